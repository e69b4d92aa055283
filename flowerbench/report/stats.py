"""The statistics of the report, as pure functions on counts and arrays: SciPy and statsmodels do the computing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The level of every test and, with its complement, of every interval.
LEVEL = 0.05
# Of photos that nothing but an error is known of: as many as make no difference any more.
ENDLESS = 1_000_000


def wilson(correct: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share, `correct` of `total` photos: Wilson, JASA 22 (1927), by SciPy."""
    from scipy import stats

    interval = stats.binomtest(correct, total).proportion_ci(1 - LEVEL, method="wilson")
    return float(interval.low), float(interval.high)


def mean_interval(values: Sequence[float], *, are_folds: bool = False) -> tuple[float, float]:
    """The 95 % interval of the mean that two shares or more are drawn around: Student, Biometrika 6 (1908), by SciPy.

    It is cut at 0 and 1. Equal shares show no spread, and leave an interval of one point. That of folds is wider, by
    what they train on in common (`over_folds`).
    """
    from scipy import stats

    mean, error = float(np.mean(values)), float(stats.sem(values))
    if are_folds:
        error *= math.sqrt(1 + len(values) / (len(values) - 1))
    if error <= 1e-12:
        return mean, mean
    interval = stats.t.interval(1 - LEVEL, len(values) - 1, mean, error)
    return max(float(interval[0]), 0.0), min(float(interval[1]), 1.0)


def mcnemar(only_first: Any, only_second: Any) -> Any:
    """The exact two-sided p of photos that only one of two models gets right: McNemar, Psychometrika 12 (1947).

    Under no difference each of them is as likely to be the first's as the second's; a binomial test, by SciPy. Takes
    counts, or arrays of them.
    """
    from scipy import stats

    fewer = np.minimum(only_first, only_second)
    return np.minimum(1.0, 2 * stats.binom.cdf(fewer, np.add(only_first, only_second), 0.5))


def unpaired(correct: tuple[int, int], total: tuple[int, int]) -> float:
    """The exact two-sided p of two counts of whose photos nothing is known: Fisher, JRSS 98 (1935), by SciPy.

    For two models on the same photos it is conservative: it does not know that both fail on the same hard ones.
    """
    from scipy import stats

    return float(stats.fisher_exact([list(correct), [total[0] - correct[0], total[1] - correct[1]]]).pvalue)


@dataclass(frozen=True)
class Crossed:
    """A difference of accuracies over seeds and photos: its size, what seeds and photos add to its error, and p.

    `answer_error` is the part of both errors that the single answers make, which neither seed nor photo explains.
    """

    difference: float
    seed_error: float
    photo_error: float
    answer_error: float
    p: float


def crossed(differences: NDArray[Any], photo_error: float | None = None) -> Crossed:
    """Whether a mean difference would be there for other seeds, and for other seeds and other photos: the larger p.

    `differences`, shape (seeds, photos) with two seeds or more, says for each pair of runs of one seed and each photo
    whether only the first is right (1), only the second (-1), or neither alone (0). One test is Student's over the
    seeds. The other is minF', whose squared error is the sum of those over seeds and over photos (Clark, J. Verbal
    Learning and Verbal Behavior 12, 1973, p. 347); by itself it would err too often with two seeds. Where answers are
    not known, the shape is (seeds, 1), and `photo_error` is given.
    """
    from scipy import stats

    seeds, photos = differences.shape
    if photos == 1 and photo_error is None:
        return Crossed(float(differences.mean()), math.nan, math.nan, math.nan, 1.0)
    by_seed, by_photo, mean = differences.mean(axis=1), differences.mean(axis=0), float(differences.mean())
    seed_variance = round(float(by_seed.var(ddof=1)), 24) / seeds  # equal seeds differ by rounding
    photo_variance, answer_variance = (photo_error or 0.0) ** 2, 0.0
    if photo_error is None:
        rest = differences - by_seed[:, None] - by_photo + mean
        photo_variance = float(by_photo.var(ddof=1)) / photos
        answer_variance = float((rest**2).sum()) / ((seeds - 1) * (photos - 1) * seeds * photos)
    both = seed_variance + photo_variance
    degrees = freedom(seed_variance, photo_variance, seeds, ENDLESS if photo_error is not None else photos)
    p_seeds = 2 * stats.t.sf(abs(mean) / math.sqrt(seed_variance), seeds - 1) if seed_variance else 0.0
    # Without any spread, only the number of photos says how sure a difference is.
    p_both = 2 * stats.t.sf(abs(mean) / math.sqrt(both), degrees) if both else mcnemar(photos if mean else 0, 0)
    by_seeds, by_photos, by_answers = map(math.sqrt, (seed_variance, photo_variance, answer_variance))
    return Crossed(mean, by_seeds, by_photos, by_answers, max(float(p_both), float(p_seeds)))


def over_folds(differences: Sequence[float], photos: int) -> float:
    """The two-sided p of a mean difference over two folds or more of a cross-validation of so many photos.

    Student's test with the error that Nadeau and Bengio correct (Machine Learning 52, 2003): folds train on photos in
    common, so k of them tell less than k independent runs; for k folds the variance of the mean is 1/k + 1/(k - 1)
    times theirs, not 1/k. Photos are counted, so it is never below the p of as many of them as the difference is, all
    on one side.
    """
    from scipy import stats

    folds, mean = len(differences), float(np.mean(differences))
    error = float(np.std(differences, ddof=1)) * math.sqrt(1 / folds + 1 / (folds - 1))
    p = 2 * float(stats.t.sf(abs(mean) / error, folds - 1)) if error > 1e-12 else 0.0
    return max(p, float(mcnemar(round(abs(mean) * photos), 0)))


def freedom(by_seed: Any, by_photo: float, seeds: int, photos: int) -> Any:
    """Satterthwaite's degrees of freedom of the sum of two squared errors, by seeds and by photos."""
    return (by_seed + by_photo) ** 2 / np.maximum(by_seed**2 / (seeds - 1) + by_photo**2 / (photos - 1), 1e-300)


def share_error(first: float, second: float, photos: int) -> float:
    """The standard error of a difference of two shares of so many photos, as if they were others: never too small."""
    return math.sqrt((first * (1 - first) + second * (1 - second)) / photos)


def holm(p_values: NDArray[Any]) -> NDArray[Any]:
    """The p of several tests that together err once in twenty: Holm, Scand. J. Stat. 6 (1979), by statsmodels."""
    from statsmodels.stats.multitest import multipletests

    return np.asarray(multipletests(p_values, LEVEL, method="holm")[1]) if len(p_values) > 1 else np.asarray(p_values)
