"""Accuracies by two keys, and the law that no run is lost."""

from __future__ import annotations

import math
import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowerbench.errors import UsageError
from flowerbench.report import pivot
from flowerbench.report.analysis import sections
from flowerbench.report.frame import tabulate
from tests.report.helpers import record, section

PAPER = ("batch_size", "epochs")


def grid() -> list[object]:
    runs = [record(f"{seed}", {"batch_size": 16, "epochs": 4, "seed": seed}, correct=90 + seed) for seed in range(3)]
    runs.append(record("x", {"batch_size": 16, "epochs": 8, "seed": 0}, "FAILED"))
    runs.append(record("y", {"batch_size": 16, "epochs": 8, "seed": 1}))
    runs.append(record("z", {"batch_size": 8, "epochs": 4, "seed": 1}, "MISSING", None))
    return runs


def test_a_cell_says_what_is_behind_it():
    table = pivot.table(section(*grid()), *PAPER)
    assert table.header == ["batch_size", "epochs=4", "epochs=8"]
    assert table.rows == [["8", "MISSING", "–"], ["16", "0.9100 ± 0.0100 (n=3)", "0.9000, 1 FAILED"]]


def test_settings_that_meet_in_a_cell_are_a_mean_that_says_so():
    runs = [
        record(str(lr), {"batch_size": 16, "epochs": 4, "optim.lr": lr}, correct=c) for lr, c in ((0.1, 80), (1, 90))
    ]
    assert pivot.table(section(*runs), *PAPER).rows == [["16", "0.8500 (mean of 2 settings)"]]
    assert pivot.values(section(*runs), *PAPER).to_numpy().tolist() == [[pytest.approx(0.85)]]


def test_the_frame_has_the_finished_settings_alone():
    values = pivot.values(section(*grid()), *PAPER)
    assert values.to_dict() == {"4": {"16": pytest.approx(0.91)}, "8": {"16": pytest.approx(0.9)}}


def test_numbers_are_in_order_and_what_is_not_set_comes_last():
    runs = [record(str(b), {"epochs": 4} | ({"batch_size": b} if b else {})) for b in (128, None, 16, 8)]
    assert [row[0] for row in pivot.table(section(*runs), *PAPER).rows] == ["8", "16", "128", "not set"]


def test_an_axis_may_be_a_key_that_does_not_vary():
    runs = [record(str(b), {"batch_size": b, "epochs": 4, "model.name": "tiny"}) for b in (8, 16)]
    made = section(*runs, rows="model.name", columns="batch_size")
    table = pivot.table(made, *made.axes)
    assert [table.header, *table.rows] == [
        ["model.name", "batch_size=8", "batch_size=16"],
        ["tiny", "0.9000", "0.9000"],
    ]


def test_an_axis_that_no_run_has_is_named():
    with pytest.raises(UsageError, match=r"no run has the key optim\.lr: the keys are batch_size"):
        section(record("a", {"batch_size": 16, "epochs": 4}), rows="optim.lr")


STATUSES = st.sampled_from(["FINISHED", "FINISHED", "RUNNING", "KILLED", "FAILED", "MISSING"])
POINTS = st.tuples(
    st.sampled_from([16, 32]),
    st.sampled_from([4, 8, None]),
    STATUSES,
    st.integers(1, 100),
    st.sampled_from(["clean", "augmented", None]),
    st.sampled_from(["ab", "cd", None]),
)


@settings(max_examples=50)
@given(st.lists(POINTS, min_size=1, max_size=12))
def test_no_run_is_lost_nor_counted_twice(points: list[tuple[int, int | None, str, int, str | None, str | None]]):
    records = []
    for number, (batch, length, status, correct, protocol, split) in enumerate(points):
        told = {"batch_size": batch, "seed": number, "epochs": length}
        known = None if status == "MISSING" else correct
        records.append(record(str(number), told, status, known, protocol=protocol, split=split))
    runs = tabulate(records)
    parts = sections(runs)
    assert Counter(name for part in parts for name in part.runs.runs.index) == Counter(runs.runs.index)
    for part in parts:
        assert sum(setting.n + sum(setting.others.values()) for setting in part.settings) == len(part.runs.runs)
        counted = [count(cell) for row in pivot.table(part, *PAPER).rows for cell in row[1:]]
        assert sum(counted) == len(part.runs.runs)
        finished = sum(setting.n > 0 for setting in part.settings)
        assert sum(not math.isnan(x) for x in pivot.values(part, *PAPER).to_numpy().ravel()) == finished


def count(cell: str) -> int:
    """How many runs a cell stands for."""
    if cell == "–":
        return 0
    if re.match(r"[A-Z]+( \(|$)", cell):
        return 1
    several = [int(n) for n in re.findall(r"n=(\d+)", cell)]
    others = [int(n) for n in re.findall(r"(\d+) [A-Z]+", cell)]
    is_number = re.match(r"[01]\.\d{4}", cell) is not None
    return sum(several) + sum(others) + (is_number and not several)
