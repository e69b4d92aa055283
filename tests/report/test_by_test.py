"""Where settings have seen test photos, those are what they are compared by."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from flowerbench.report import notes, stats, tables
from flowerbench.report.evidence import CROSSED, FISHER, MCNEMAR
from flowerbench.report.record import Record
from tests.report.helpers import record, section
from tests.report.simulation import predictions


def seen(name: str, correct: int, right: slice, seed: int = 0, total: int = 200, **facts: Any) -> Record:
    """A run with so many of 100 validation photos right, and of the test photos those of the slice."""
    answers = np.zeros(total, dtype=bool)
    answers[right] = True
    told = {"protocol": "holdout", "test_correct": int(answers.sum()), "test_total": total, **facts}
    made = record(f"{name}-{seed}", {"setting": name, "seed": seed}, correct=correct, **told)
    return replace(made, test_predictions=partial(predictions, answers))


def test_test_photos_decide_whatever_validation_says():
    made = section(seen("a", 95, slice(0, 150)), seen("b", 90, slice(20, 190)))
    (pair,) = made.comparison.pairs
    assert (pair.better, pair.test) == ("setting=b", MCNEMAR)
    assert pair.difference == pytest.approx(0.10)
    assert pair.p == stats.mcnemar(40, 20)
    assert made.comparison.is_by_test
    assert "200 test photos" in made.conclusion[0]
    told = tables.settings(made)
    assert {column for _, column in told.bold} <= {told.header.index("Test (trust this)")}
    assert "pick by validation" in " ".join(notes.notes(made))


def test_epochs_more_are_no_luck_on_photos_that_chose_none():
    longer = seen("a", 95, slice(0, 190), epochs_done=20)
    (pair,) = section(longer, seen("b", 90, slice(0, 150), epochs_done=2)).comparison.pairs
    assert (pair.luck, pair.p) == (0.0, stats.mcnemar(40, 0))


def test_answers_that_do_not_fit_the_summary_leave_the_counts():
    odd = replace(seen("a", 95, slice(0, 190)), test_predictions=None)
    (pair,) = section(odd, seen("b", 90, slice(0, 150))).comparison.pairs
    assert (pair.test, pair.p) == (FISHER, stats.unpaired((190, 150), (200, 200)))


def test_seeds_are_compared_by_the_test_as_well():
    runs = [seen(name, 90, slice(0, end + seed), seed) for name, end in (("a", 180), ("b", 150)) for seed in range(3)]
    (pair,) = section(*runs).comparison.pairs
    assert (pair.test, pair.repeats) == (CROSSED, 3)
    assert pair.difference == pytest.approx(0.15)
    assert pair.p < 0.05


def test_with_one_setting_that_has_no_test_all_are_compared_by_validation():
    plain = record("b", {"setting": "b", "seed": 0}, correct=90, protocol="holdout")
    made = section(seen("a", 95, slice(0, 150)), plain)
    assert not made.comparison.is_by_test
    assert made.comparison.pairs[0].difference == pytest.approx(0.05)
    assert "as not all of them have seen test photos" in " ".join(notes.notes(made))
