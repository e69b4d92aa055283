"""Folds of a cross-validation in a report: one row, an interval and a test that know that folds share photos."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from flowerbench.report import notes, stats, tables
from flowerbench.report.analysis import sections
from flowerbench.report.evidence import FOLDS, MCNEMAR, NO_TEST
from flowerbench.report.frame import tabulate
from flowerbench.report.record import Record
from tests.report.helpers import record, section

KFOLD = {"protocol": "5-fold", "split": "abcd1234"}


def folds(setting: str, correct: list[int], seed: int = 0, first: int = 0, **facts: Any) -> list[Record]:
    """A run of 100 validation photos for each fold; the second half of a split's fingerprint is the fold's own."""
    return [
        record(
            f"{setting}-{seed}-{fold}",
            {"setting": setting, "seed": seed, "data.folds": 5, "data.fold": fold},
            correct=count,
            **{**KFOLD, "split": f"abcd1234{fold:08}", **facts},
        )
        for fold, count in enumerate(correct, start=first)
    ]


def test_folds_are_one_row_with_mean_deviation_and_number():
    counts = [80, 84, 88, 82, 86]
    made = section(*folds("a", counts))
    (setting,) = made.settings
    assert (setting.n, setting.apart, len(setting.repeats)) == (5, "data.fold", 5)
    assert tables.accuracy(setting) == "0.8400 ± 0.0316 (n=5)"
    shares = [count / 100 for count in counts]
    plain, corrected = stats.mean_interval(shares), stats.mean_interval(shares, are_folds=True)
    assert setting.interval == corrected
    assert corrected[1] - corrected[0] == pytest.approx((plain[1] - plain[0]) * math.sqrt(1 + 5 / 4))
    told = " ".join(notes.notes(made))
    assert "Each photo is validated in one of 5 folds" in told
    assert "As asked for" not in told


def test_seeds_of_a_fold_repeat_the_setting_too_but_tell_nothing_of_other_folds():
    made = section(*folds("a", [80, 84, 88]), *folds("a", [80, 84, 88], seed=1))
    (setting,) = made.settings
    assert (setting.n, setting.apart) == (6, "seed, data.fold")
    assert setting.interval == pytest.approx(stats.mean_interval([0.80, 0.84, 0.88], are_folds=True))


def test_two_settings_are_compared_over_the_folds_of_both():
    a, b = [80, 84, 88, 82, 86], [78, 83, 84, 80, 85]
    made = section(*folds("a", a), *folds("b", b))
    (pair,) = made.comparison.pairs
    assert (pair.better, pair.test, pair.repeats) == ("setting=a", FOLDS, 5)
    differences = np.subtract(a, b) / 100
    error = differences.std(ddof=1) * math.sqrt(1 / 5 + 1 / 4)
    assert pair.p == pytest.approx(2 * scipy_stats.t.sf(differences.mean() / error, 4))
    assert pair.p > scipy_stats.ttest_rel(a, b).pvalue, "folds are no independent runs"
    assert "corrected for the photos that they train on in common" in " ".join(notes.notes(made))
    assert not any("cannot be counted on" in sentence for sentence in made.conclusion)
    twice = section(*folds("a", a), *folds("b", b), *folds("a", a, seed=1), *folds("b", b, seed=1))
    assert twice.comparison.pairs[0].p == pytest.approx(pair.p), "more seeds of the same folds are no more folds"


def test_folds_that_only_one_setting_has_are_no_evidence():
    (one,) = section(*folds("a", [80, 84, 88]), *folds("b", [70], first=2)).comparison.pairs
    assert one.repeats == 1
    assert one.test != FOLDS
    (none,) = section(*folds("a", [99, 99]), *folds("b", [50, 50], first=2)).comparison.pairs
    assert (none.test, none.p, none.repeats) == (NO_TEST, 1.0, 0)


def test_equal_differences_are_worth_as_many_photos_as_they_are():
    assert stats.over_folds([0.01] * 5, 500) == stats.mcnemar(5, 0) > 0.05
    assert stats.over_folds([0.1] * 5, 500) < 0.001
    assert stats.over_folds([0.0] * 5, 500) == 1


def test_folds_of_another_number_or_split_are_not_compared():
    others = folds("b", [80, 84], protocol="2-fold")
    assert len(sections(tabulate([*folds("a", [80, 84, 88]), *others]))) == 2


def test_one_fold_alone_is_a_run_as_any_other():
    made = section(*folds("a", [80]), *folds("b", [90]))
    assert made.comparison.pairs[0].test in (MCNEMAR, "Fisher, unpaired")
    assert made.settings[0].interval == stats.wilson(80, 100)


def equal_learners(rng: np.random.Generator, photos: int, folds: int) -> NDArray[np.float64]:
    """The differences, by fold, of two learners that are equally good by symmetry, really trained on the folds.

    Each sees features of its own, drawn from one distribution, and separates two classes by the line between their
    means; so folds share what they train on, as those of a cross-validation do.
    """
    labels = np.arange(photos) % 2
    features = rng.standard_normal((2, photos, 10)) + 0.35 * (2 * labels[:, None] - 1)
    fold = rng.permutation(photos) % folds
    right = np.zeros((2, photos))
    for number in range(folds):
        train, val = fold != number, fold == number
        for learner in range(2):
            seen = features[learner]
            means = [seen[train & (labels == label)].mean(axis=0) for label in (0, 1)]
            toward = means[1] - means[0]
            told = (seen[val] - (means[0] + means[1]) / 2) @ toward > 0
            right[learner, val] = told == labels[val]
    difference = right[0] - right[1]
    return np.array([difference[fold == number].mean() for number in range(folds)])


@pytest.mark.long
@pytest.mark.parametrize(("photos", "folds"), [(60, 3), (100, 5), (400, 5), (200, 10)])
def test_equally_good_learners_are_not_told_apart_more_often_than_stated(photos: int, folds: int):
    rng = np.random.default_rng(photos + folds)
    p_values = [stats.over_folds(list(equal_learners(rng, photos, folds)), photos) for _ in range(2000)]
    assert np.mean(np.array(p_values) <= stats.LEVEL) <= 0.06
