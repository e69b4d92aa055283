"""Tables, from frames: how numbers are written, and the law that no run is lost."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from fractions import Fraction

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowerbench.errors import UsageError
from flowerbench.report import frame, tables
from flowerbench.report.record import Record, outcome
from tests.report.helpers import HEADER, cells


def record(
    name: str, config: dict[str, object], status: str = "FINISHED", correct: int | None = 90, **facts: object
) -> Record:
    summary = {"best_epoch": 3, "best_val_accuracy": correct and correct / 100, "best_val_correct": correct}
    known = outcome(status, {**summary, "val_total": 100, "epochs_done": 4}, []) if correct else {"status": status}
    told = {"folder": name, "epochs_done": 4, "reason": None, "protocol": "clean", "split": "ab"} | known | facts
    return Record(name, name, None, config, told, [])


def runs(*records: Record) -> pd.DataFrame:
    return frame.tabulate(records).runs


def epochs(rates: list[float], accuracies: list[float] | None = None) -> pd.DataFrame:
    accuracies = accuracies or [0.5] * len(rates)
    rows = [(i, lr, 1.0, 0.5, math.nan, acc, 1.0) for i, (lr, acc) in enumerate(zip(rates, accuracies, strict=True), 1)]
    return pd.DataFrame(rows, columns=HEADER.split(","))


def test_pipes_and_lines_cannot_break_a_table():
    table = tables.pipe_table(["a", "b|c"], [["x\ny", "1"]])
    assert table == "| a   | b\\|c |\n| --- | ---- |\n| x y | 1    |"


@pytest.mark.parametrize(
    ("rate", "shown"),
    [
        (0.001, "0.001000"),
        (1e-6, "0.000001"),
        (1e-7, "0.0000001"),
        (2.5e-6, "0.0000025"),
        (0.1, "0.100000"),
        (0.0001234567, "0.000123"),
        (1e-5 / 3, "0.00000333"),
        (0.0, "0.000000"),
        (1e-20, "1e-20"),
        (12.0, "12.000000"),
        (math.nan, "nan"),
    ],
)
def test_a_learning_rate_shows_what_counts(rate: float, shown: str):
    assert tables.learning_rate(rate) == shown


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 10**6).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_accuracies_are_rounded_as_on_paper(counts: tuple[int, int]):
    correct, total = counts
    table = tables.settings_table(runs(record("a", {}, best_accuracy=correct / total, correct=correct, total=total)))
    rounded = math.floor(Fraction(correct, total) * 10_000 + Fraction(1, 2))
    assert cells(table)[1][1] == f"{rounded // 10_000}.{rounded % 10_000:04}"


@pytest.mark.parametrize(
    ("value", "shown"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf"), (0.00005, "0.0001")]
)
def test_what_is_no_number_stays_visible(value: float, shown: str):
    assert tables.decimals(value) == shown


def test_the_first_epoch_at_each_rate_the_best_and_the_last_are_shown():
    accuracies = [0.1, 0.2, 0.2, 0.3, 0.9, 0.9, 0.4, 0.4, 0.5]
    table = tables.epochs_table(epochs([0.1] * 3 + [0.01] * 3 + [0.001] * 3, accuracies))
    assert [row[0] for row in cells(table)[1:]] == ["1", "4", "5", "7", "9"]
    assert [row[0] for row in cells(table)[1:] if row[4].startswith("**")] == ["5"]
    assert "nan" in table


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.1, 0.01, 0.001]), st.sampled_from([0.1, 0.5, 0.7, math.nan])),
        min_size=1,
        max_size=40,
    )
)
def test_epochs_are_shown_in_order_once_with_one_best(history: list[tuple[float, float]]):
    rates, accuracies = map(list, zip(*history, strict=True))
    table = tables.epochs_table(epochs(rates, accuracies))
    shown = [int(row[0]) for row in cells(table)[1:]]
    assert shown == sorted(set(shown))
    assert shown[0] == 1
    assert shown[-1] == len(history)
    assert len(shown) <= 9
    finite = [a for a in accuracies if not math.isnan(a)]
    best = [int(row[0]) for row in cells(table)[1:] if row[4].startswith("**")]
    assert best == ([accuracies.index(max(finite)) + 1] if finite else [])
    changes = sum(a != b for a, b in itertools.pairwise(rates))
    assert ("evenly chosen" in table) == (changes > 6)


@pytest.mark.parametrize(
    ("told", "row"),
    [
        ({}, ["0.9000", "3", "90/100", "FINISHED"]),
        ({"status": "FAILED", "reason": "no memory"}, ["–", "–", "–", "FAILED: no memory (4 of 20 epochs)"]),
        ({"status": "FAILED", "epochs_done": 0, "reason": "no photos"}, ["–", "–", "–", "FAILED: no photos"]),
        ({"status": "RUNNING"}, ["0.9000 (unfinished)", "3", "90/100", "RUNNING (4 of 20 epochs)"]),
        ({"status": "KILLED", "reason": "stopped"}, ["0.9000 (unfinished)", "3", "90/100", "KILLED (4 of 20 epochs)"]),
        ({"status": "RUNNING", "correct": None, "epochs_done": 0}, ["–", "–", "–", "RUNNING"]),
        ({"status": "MISSING", "correct": None, "epochs_done": 0}, ["–", "–", "–", "MISSING"]),
        ({"total": None, "best_accuracy": 0.91}, ["0.9100", "3", "–", "FINISHED"]),
    ],
)
def test_a_row_says_how_its_run_ended(told: dict[str, object], row: list[str]):
    table = tables.settings_table(runs(record("a", {"batch_size": 16, "epochs": 20}, **told)))
    assert cells(table)[1] == ["batch_size=16, epochs=20", *row]


def test_several_runs_in_a_cell_are_a_mean_that_says_so():
    grid = [record(f"{seed}", {"batch_size": 16, "epochs": 4, "seed": seed}, correct=90 + seed) for seed in range(3)]
    grid.append(record("x", {"batch_size": 16, "epochs": 8, "seed": 0}, "FAILED"))
    grid.append(record("y", {"batch_size": 16, "epochs": 8, "seed": 1}))
    grid.append(record("z", {"batch_size": 8, "epochs": 4, "seed": 1}, "MISSING", None))
    assert cells(tables.pivot(runs(*grid))) == [
        ["batch_size", "epochs=4", "epochs=8"],
        ["8", "MISSING", "–"],
        ["16", "0.9100 (mean of 3)", "0.9000 (1 FAILED)"],
    ]


def test_runs_of_different_protocols_or_splits_are_never_averaged():
    told = {"batch_size": 16, "epochs": 4}
    for other in ({"protocol": "augmented"}, {"split": "cd"}):
        with pytest.raises(ValueError, match="several protocols or splits"):
            tables.pivot(runs(record("a", told), record("b", told, **other)))


def test_an_axis_that_no_run_has_is_named():
    with pytest.raises(UsageError, match=r"no run has the key optim\.lr: the keys are batch_size"):
        tables.pivot(runs(record("a", {"batch_size": 16, "epochs": 4})), rows="optim.lr")


def test_a_run_of_unknown_split_goes_where_alone_it_can():
    failed = record("b", {}, "FAILED", None, split=None)
    missing = record("c", {}, "MISSING", None, protocol=None, split=None)
    told = [record("a", {}), failed, missing]
    assert [len(group) for _, group in tables.sections(runs(*told))] == [3]
    both = [*told, record("d", {}, protocol="augmented")]
    assert [sorted(group.index) for _, group in tables.sections(runs(*both))] == [["a", "b"], ["c"], ["d"]]


def test_only_finished_runs_of_equal_count_are_ties():
    told = [record(str(n), {"batch_size": n}, correct=c) for n, c in ((8, 90), (16, 91), (32, 90), (64, 90))]
    found = tables.ties(runs(*told, record("x", {"batch_size": 128}, "KILLED")))
    named = "`batch_size=8`, `batch_size=32` and `batch_size=64`"
    assert found == [f"A tie: {named} have the same result, 90 of 100 photos."]


STATUSES = st.sampled_from(["FINISHED", "FINISHED", "RUNNING", "KILLED", "FAILED", "MISSING"])
POINTS = st.tuples(
    st.sampled_from([16, 32]),
    st.sampled_from([4, 8, None]),
    STATUSES,
    st.integers(1, 100),
    st.sampled_from(["clean", "augmented", None]),
    st.sampled_from(["ab", "cd", None]),
)


@settings(deadline=None, max_examples=50)
@given(st.lists(POINTS, min_size=1, max_size=12))
def test_no_run_is_lost_nor_counted_twice(points: list[tuple[int, int | None, str, int, str | None, str | None]]):
    records = []
    for number, (batch, length, status, correct, protocol, split) in enumerate(points):
        config = {"batch_size": batch, "seed": 0, **({"epochs": length} if length else {"epochs": None})}
        known = None if status == "MISSING" else correct
        records.append(record(str(number), config, status, known, protocol=protocol, split=split))
    whole = runs(*records)
    assert whole["settings"].is_unique
    groups = tables.sections(whole)
    listed = [row[0] for _, group in groups for row in cells(tables.settings_table(group))[1:]]
    assert Counter(listed) == Counter(whole["settings"])
    for _, group in groups:
        counted = [count(cell) for row in cells(tables.pivot(group))[1:] for cell in row[1:]]
        assert sum(counted) == len(group)


def count(cell: str) -> int:
    """How many runs a cell of the pivot stands for."""
    if cell == "–":
        return 0
    means = [int(n) for n in re.findall(r"mean of (\d+)", cell)]
    others = [int(n) for n in re.findall(r"(\d+) [A-Z]+", cell)]
    is_number = re.match(r"[01]\.\d{4}", cell) is not None
    return sum(means) + sum(others) + (is_number and not means) + (not is_number and not others)
