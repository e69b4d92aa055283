"""What follows from the facts of each run, and what is not known."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from flowerbench.history import HISTORY
from flowerbench.report.frame import tabulate
from flowerbench.report.measures import MEASURES, measures
from flowerbench.report.record import Record
from tests.report.helpers import record


def measured(*records: Record) -> dict[str, float]:
    """Of the first of these runs."""
    return dict(measures(tabulate(records)).iloc[0])


def with_history(record: Record, accuracies: list[float], seconds: float = 2.0) -> Record:
    rows = [(n, 0.01, 0.5, 0.9, 0.4, accuracy, seconds) for n, accuracy in enumerate(accuracies, start=1)]
    facts = {**record.facts, "epochs_done": len(rows)}
    return replace(record, facts=facts, history=[dict(zip(HISTORY, row, strict=True)) for row in rows])


def test_every_measure_by_hand():
    told = record("a", {"batch_size": 16, "optim.lr": 0.01}, train_total=400, test_correct=45, test_total=50)
    assert measured(with_history(told, [0.1, 0.8, 0.9, 0.85, 0.9, 0.95])) == {
        "accuracy": 0.9,
        "mean_last": pytest.approx((0.8 + 0.9 + 0.85 + 0.9 + 0.95) / 5),
        "test": 0.9,
        "steps": 25 * 6,
        "lr_per_photo": 0.01 / 16,
        "train_seconds": 12.0,
        "photos_per_second": pytest.approx((400 + 100) * 6 / 12),
    }


def test_the_last_batch_of_an_epoch_may_be_smaller():
    assert measured(record("a", {"batch_size": 16}, train_total=401))["steps"] == 26 * 4


@pytest.mark.parametrize("accuracies", [[0.7, 0.8], [0.5, math.nan, 0.7, 0.7, 0.7]])
def test_a_mean_of_the_last_five_is_of_five(accuracies: list[float]):
    assert math.isnan(measured(with_history(record("a", {}), accuracies))["mean_last"])


def test_of_a_run_whose_epochs_are_not_all_there_nobody_knows_how_long_it_took():
    known = with_history(record("a", {"batch_size": 16}, train_total=400), [0.1, 0.2])
    found = measured(replace(known, facts={**known.facts, "epochs_done": 20}))
    assert math.isnan(found["train_seconds"])
    assert math.isnan(found["photos_per_second"])


def test_what_is_not_known_is_nan():
    nothing = measured(record("a", {}, "MISSING", None, epochs_done=None))
    assert set(nothing) == set(MEASURES)
    assert all(map(math.isnan, nothing.values()))


@pytest.mark.parametrize("facts", [{"correct": None}, {"total": None}])
def test_without_counts_the_accuracy_is_as_it_was_written(facts: dict[str, Any]):
    assert measured(record("a", {}, best_accuracy=0.8765, **facts))["accuracy"] == 0.8765


def test_counts_are_more_exact_than_what_was_written():
    assert measured(record("a", {}, correct=90, best_accuracy=0.8999))["accuracy"] == 0.9


def test_each_run_has_its_own_and_no_time_is_no_speed():
    runs = tabulate(
        [
            with_history(record("a", {"batch_size": 8}, train_total=80), [0.5, 0.6], seconds=0.0),
            record("b", {"batch_size": "many"}, train_total=80),
            with_history(record("c", {"batch_size": 16}, train_total=80), [0.9], seconds=4.0),
        ]
    )
    found = measures(runs)
    assert list(found.index) == ["a", "b", "c"]
    assert found["train_seconds"].fillna(-1).tolist() == [0.0, -1, 4.0]
    assert found["photos_per_second"].fillna(-1).tolist() == [-1, -1, 45.0]
    assert found["mean_last"].fillna(-1).tolist() == [-1, -1, -1]
    assert found["steps"].fillna(-1).tolist() == [20, -1, 5]
