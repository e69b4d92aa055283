"""How numbers and outcomes are written."""

from __future__ import annotations

import math
from fractions import Fraction

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowerbench.report import words
from flowerbench.summaries import STOPPED


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
    assert words.learning_rate(rate) == shown


@given(st.integers(1, 10**6).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_accuracies_are_rounded_as_on_paper(counts: tuple[int, int]):
    rounded = math.floor(Fraction(*counts) * 10_000 + Fraction(1, 2))
    assert words.share(*counts) == f"{rounded // 10_000}.{rounded % 10_000:04}"


@pytest.mark.parametrize(
    ("value", "shown"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf"), (0.00005, "0.0001")]
)
def test_what_is_no_number_stays_visible(value: float, shown: str):
    assert words.decimals(value) == shown


@pytest.mark.parametrize(
    ("difference", "shown"),
    [
        (0.024, "2.4 points"),
        (-0.024, "2.4 points"),
        (0.01, "1 point"),
        (0.0004, "0.04 points"),
        (0.00175, "0.2 points"),
        (0.03996, "4 points"),
    ],
)
def test_differences_are_in_percentage_points(difference: float, shown: str):
    assert words.points(difference) == shown


@given(st.floats(0, 1))
def test_no_p_is_rounded_across_the_level(p: float):
    shown = words.p_value(p)
    if shown == "p < 0.001":
        assert p < 0.001
    else:
        assert (float(shown.removeprefix("p = ")) <= 0.05) == (p <= 0.05)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["a"], "`a`"),
        (["a", "b"], "`a` and `b`"),
        (list("abc"), "`a`, `b` and `c`"),
        (list("abcd"), "`a`, `b` and 2 more"),
    ],
)
def test_names_in_a_sentence(names: list[str], text: str):
    assert words.listed(names, most=3 if len(names) < 4 else 2) == text


@pytest.mark.parametrize(
    ("status", "reason", "text"),
    [
        ("FAILED", "the disk is full", "FAILED: the disk is full (1 of 3 epochs)"),
        ("KILLED", STOPPED, "KILLED (1 of 3 epochs)"),
        ("PRUNED", "pruned after epoch 1 of 3", "PRUNED (1 of 3 epochs)"),
    ],
)
def test_a_reason_does_not_say_again_what_the_status_says(status: str, reason: str, text: str):
    assert words.outcome(pd.Series({"status": status, "reason": reason, "epochs": 3, "epochs_done": 1})) == text
