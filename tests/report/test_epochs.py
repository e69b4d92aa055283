"""The epochs of one run: which are shown, and how."""

from __future__ import annotations

import itertools
import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowerbench.errors import UsageError
from flowerbench.report import epochs
from tests.report.helpers import HEADER


def history(rates: list[float], accuracies: list[float] | None = None) -> pd.DataFrame:
    accuracies = accuracies or [0.5] * len(rates)
    rows = [(i, lr, 1.0, 0.5, math.nan, acc, 1.0) for i, (lr, acc) in enumerate(zip(rates, accuracies, strict=True), 1)]
    return pd.DataFrame(rows, columns=HEADER.split(","))


STAIRS = [0.1] * 3 + [0.01] * 3 + [0.001] * 3
ACCURACIES = [0.1, 0.2, 0.2, 0.3, 0.9, 0.9, 0.4, 0.4, 0.5]


def test_the_first_epoch_at_each_rate_the_best_and_the_last_are_shown():
    table = epochs.table(history(STAIRS, ACCURACIES))
    assert [row[0] for row in table.rows] == ["1", "4", "5", "7", "9"]
    assert table.bold == {(2, 4)}
    assert table.rows[0] == ["1", "0.100000", "1.0000", "nan", "0.1000"]


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("best", ["5"]),
        ("first,last", ["1", "9"]),
        ("8, 2,99", ["2", "8"]),
        ("lr-change,2", ["2", "4", "7"]),
        ("99", []),
    ],
)
def test_epochs_are_chosen_by_name_and_by_number(asked: str, shown: list[str]):
    table = epochs.table(history(STAIRS, ACCURACIES), epochs.selection(asked))
    assert [row[0] for row in table.rows] == shown


@pytest.mark.parametrize("asked", ["frist", "0", "-1", "1.5", "", " , "])
def test_what_is_no_epoch_is_refused(asked: str):
    with pytest.raises(UsageError, match="--epochs"):
        epochs.selection(asked)


def test_published_epochs_stand_beside():
    table = epochs.table(history(STAIRS, ACCURACIES), ["best"], "Paper", {2: "0.2500", 40: "0.9"})
    assert table.header[-1] == "Paper"
    assert [(row[0], row[-1]) for row in table.rows] == [("2", "0.2500"), ("5", "–")]


def test_a_run_without_an_epoch_says_so():
    assert epochs.table(history([])).caption == "No epoch was completed."


@given(
    st.lists(
        st.tuples(st.sampled_from([0.1, 0.01, 0.001]), st.sampled_from([0.1, 0.5, 0.7, math.nan])),
        min_size=1,
        max_size=40,
    )
)
def test_epochs_are_shown_in_order_once_with_one_best(steps: list[tuple[float, float]]):
    rates, accuracies = map(list, zip(*steps, strict=True))
    table = epochs.table(history(rates, accuracies))
    shown = [int(row[0]) for row in table.rows]
    assert shown == sorted(set(shown))
    assert (shown[0], shown[-1]) == (1, len(steps))
    assert len(shown) <= 9
    finite = [a for a in accuracies if not math.isnan(a)]
    assert [shown[row] for row, _ in table.bold] == ([accuracies.index(max(finite)) + 1] if finite else [])
    changes = sum(a != b for a, b in itertools.pairwise(rates))
    assert ("evenly chosen" in table.caption) == (changes > 6)
