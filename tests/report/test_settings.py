"""Runs folded into settings: which are repeats of one, and what they come to."""

from __future__ import annotations

import math
from typing import Any

import pytest

from flowerbench.report import stats
from flowerbench.report.frame import tabulate
from flowerbench.report.record import Record
from flowerbench.report.settings import NUMBERS, Setting, fold, keys_of, table
from tests.report.helpers import record


def folded(*records: Record) -> list[Setting]:
    runs = tabulate(records)
    return fold(runs, keys_of(runs))


def seeded(*correct: int, batch_size: int = 16, **facts: Any) -> list[Record]:
    return [
        record(f"{batch_size}-{seed}", {"batch_size": batch_size, "seed": seed}, correct=count, **facts)
        for seed, count in enumerate(correct)
    ]


def test_a_point_that_never_began_belongs_to_the_setting_of_its_experiment():
    overlays = {"small": {"batch_size": 16, "epochs": 12}, "best": {"batch_size": 32, "epochs": 8}}
    begun = [record(name, {"experiment": name, "seed": 0, **more}) for name, more in overlays.items()]
    small, best = folded(*begun, record("never", {"experiment": "best", "seed": 1}, "MISSING", None))
    assert best.label == "batch_size=32, epochs=8, experiment=best"
    assert (best.n, best.others) == (1, {"MISSING": 1})
    assert (small.n, small.others) == (1, {})


def test_a_setting_is_the_mean_of_its_seeds():
    first, second = folded(*seeded(90, 91, 95), *seeded(80, batch_size=32))
    assert (first.label, first.values, first.n) == ("batch_size=16", {"batch_size": 16}, 3)
    assert first.repeats == {"seed=0": "16-0", "seed=1": "16-1", "seed=2": "16-2"}
    assert first.accuracy == pytest.approx(0.92)
    assert first.spread == pytest.approx(((0.02**2 + 0.01**2 + 0.03**2) / 2) ** 0.5)
    assert first.interval == pytest.approx(stats.mean_interval([0.9, 0.91, 0.95]))
    assert (first.correct, first.total, first.best_epoch) == ((90, 91, 95), 100, (3, 3, 3))
    assert (second.n, second.interval) == (1, stats.wilson(80, 100))
    assert math.isnan(second.spread)


@pytest.mark.parametrize("order", [1, -1])
def test_a_run_done_twice_counts_once(order: int):
    again = record("again", {"batch_size": 16, "seed": 0}, correct=90)
    (found,) = folded(*[*seeded(90, 92), again][::order])
    assert (found.n, sorted(found.correct), found.accuracy) == (2, [90, 92], pytest.approx(0.91))
    assert found.status == "FINISHED (1 of them with the same settings again, not counted)"
    (alone,) = folded(*seeded(90), again)
    assert (alone.n, alone.interval) == (1, stats.wilson(90, 100))


def test_only_finished_runs_are_counted_and_the_others_told():
    broken = record("x", {"batch_size": 16, "seed": 7}, "FAILED", reason="no memory")
    (found,) = folded(*seeded(90, 92), broken, record("y", {"batch_size": 16, "seed": 8}, correct=None))
    assert (found.n, found.others) == (2, {"FAILED": 1, "FINISHED": 1})
    assert "1 FAILED: no memory" in found.status


def test_without_a_finished_run_the_one_that_has_begun_is_told_without_an_interval():
    running = record("a", {"batch_size": 16}, "RUNNING", 90)
    (found,) = folded(running, record("b", {"batch_size": 16, "seed": 1}, "MISSING", None))
    assert (found.n, found.accuracy, found.interval) == (0, 0.9, None)
    (failed,) = folded(record("a", {"batch_size": 16}, "FAILED", 90))
    assert all(math.isnan(failed.numbers[name]) for name in NUMBERS)


@pytest.mark.parametrize("facts", [{"total": None}, {"correct": None}])
def test_without_counts_there_is_no_interval_of_one_run(facts: dict[str, Any]):
    (found,) = folded(record("a", {"batch_size": 16}, best_accuracy=0.91, **facts))
    assert (found.accuracy, found.interval, found.correct, found.total) == (0.91, None, (), None)
    # That of a mean needs none.
    (mean,) = folded(*seeded(90, 92, best_accuracy=0.91, total=None))
    assert mean.interval == (0.91, 0.91)


def test_an_accuracy_that_is_not_a_number_is_no_result():
    odd = record("b", {"batch_size": 16, "seed": 1}, correct=None, best_accuracy=math.nan)
    (found,) = folded(*seeded(90), odd)
    assert (found.n, found.accuracy) == (1, 0.9)


def test_runs_that_all_came_out_the_same_have_no_spread():
    (found,) = folded(*seeded(90, 90, 90))
    assert (found.spread, found.interval) == (pytest.approx(0), pytest.approx((0.9, 0.9)))


def test_test_photos_count_where_every_run_has_them():
    tested = {"test_correct": 45, "test_total": 50}
    (one,) = folded(*seeded(90, **tested))
    assert (one.numbers["test"], one.test_interval) == (0.9, stats.wilson(45, 50))
    (mean,) = folded(*seeded(90, 91, **tested))
    assert mean.test_interval == pytest.approx((0.9, 0.9))
    (some,) = folded(*seeded(90, **tested), record("x", {"batch_size": 16, "seed": 5}))
    assert (some.is_tested, some.test_interval) == (False, None)


def test_settings_are_told_by_what_varies_but_not_by_the_seed():
    runs = [record(str(i), {"seed": i, "optim.lr": lr, "same": 1}) for i, lr in enumerate((0.1, 0.01, 0.1))]
    assert keys_of(tabulate(runs)) == ["optim.lr"]
    assert [(setting.label, setting.n) for setting in folded(*runs)] == [("optim.lr=0.1", 2), ("optim.lr=0.01", 1)]


def test_a_class_is_told_without_its_module_and_an_unset_key_not_at_all():
    runs = [record("a", {"optim._target_": "torch.optim.SGD", "momentum": 0.9}), record("b", {"optim._target_": "x.Y"})]
    assert [setting.label for setting in folded(*runs)] == ["optim=SGD, momentum=0.9", "optim=x.Y"]


def test_where_nothing_tells_settings_apart_there_is_one():
    (found,) = folded(record("a", {}), record("b", {}, correct=80))
    assert (found.n, found.label, found.accuracy) == (1, "a", 0.9)


def test_settings_are_a_tidy_table():
    made = table(folded(*seeded(90, 92), *seeded(80, batch_size=32)))
    assert made.index.tolist() == ["batch_size=16", "batch_size=32"]
    assert made["correct"].tolist() == ["90 92", "80"]
    assert made["n"].tolist() == [2, 1]
    assert made["accuracy"].tolist() == [pytest.approx(0.91), 0.8]
    assert (made["low"] < made["accuracy"]).all()
    assert (made["accuracy"] < made["high"]).all()


def test_equal_numbers_are_one_setting_however_written():
    runs = [record(str(i), {"optim.lr": lr, "seed": i}) for i, lr in enumerate((1, 1.0, 2.0))]
    assert [(setting.label, setting.n) for setting in folded(*runs)] == [("optim.lr=1", 2), ("optim.lr=2.0", 1)]
