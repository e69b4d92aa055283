"""What a report could have seen: the power of its tests, and the photos and seeds that a difference needs."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from flowerbench.report.stats import ENDLESS, LEVEL, freedom, unpaired

# The chance to see a difference that a statement on what can be seen speaks of.
POWER = 0.8
_MOST_SEEDS, _MOST_PHOTOS = 1000, 1_000_000


def on_photos(photos: int, disagreement: float, difference: float, level: float = LEVEL) -> float:
    """The chance that `stats.mcnemar` finds a true `difference` of accuracy, exactly: Duffy, Biometrics 40 (1984).

    The two models disagree on a share `disagreement` of all photos, at least as large as the difference: how many
    photos that makes is binomial, and so is how many of those the better one has right.
    """
    from scipy import stats

    disagreement = min(max(disagreement, abs(difference)), 1.0)
    if disagreement == 0:
        return 0.0
    low, high = stats.binom.interval(1 - 1e-9, photos, disagreement)
    counts = np.arange(int(low), int(high) + 1)
    # The largest number of photos of the worse model at which the test rejects; -1 for none.
    critical = stats.binom.ppf(level / 2, counts, 0.5)
    critical = np.where(stats.binom.cdf(critical, counts, 0.5) <= level / 2, critical, critical - 1)
    share = (1 + abs(difference) / disagreement) / 2
    rejects = stats.binom.cdf(critical, counts, share) + stats.binom.sf(counts - critical - 1, counts, share)
    return float(np.sum(stats.binom.pmf(counts, photos, disagreement) * np.where(critical >= 0, rejects, 0.0)))


def detectable(photos: int, disagreement: float, level: float = LEVEL) -> float | None:
    """The smallest difference that `stats.mcnemar` finds with 80 % chance; None where none would be found."""
    return _root(lambda difference: on_photos(photos, disagreement, difference, level))


def detectable_unpaired(photos: int, accuracy: float, level: float = LEVEL) -> float | None:
    """The smallest drop from `accuracy` that a test of two counts finds with 80 % chance, about; None for none.

    Cohen's effect size h, Statistical Power Analysis (1988), ch. 6, by statsmodels. Fisher's test finds it a little
    less often.
    """
    from statsmodels.stats.power import NormalIndPower

    if unpaired((round(accuracy * photos), 0), (photos, photos)) > level:
        return None
    effect = float(NormalIndPower().solve_power(nobs1=photos, alpha=level, power=POWER))
    lowest = math.asin(math.sqrt(accuracy)) - effect / 2
    return accuracy - math.sin(lowest) ** 2 if lowest > 0 else None


def photos_needed(disagreement: float, difference: float, level: float = LEVEL) -> int | None:
    """How many photos `stats.mcnemar` needs to find the difference with 80 % chance, None above a million."""
    return _smallest(lambda photos: on_photos(photos, disagreement, difference, level), _MOST_PHOTOS)


def over_seeds(
    seeds: int, spread: float, photo_error: float, difference: float, level: float = LEVEL, answer_error: float = 0.0
) -> float:
    """The chance, about, that `stats.crossed` finds a true difference, in both of its tests.

    `spread` is the standard deviation of the difference between seeds. `photo_error` is the standard error that the
    photos would leave with endless seeds, `answer_error` what the single answers of one seed add to it; minF' counts
    them twice. The spread that seeds happen to show varies as chi-squared does; that of hundreds of photos is held.
    """
    from scipy import stats

    by_seed, by_photo, by_answer = max(spread, answer_error) ** 2 / seeds, photo_error**2, answer_error**2 / seeds
    if by_seed + by_photo < 1e-24:
        return 1.0 if difference else 0.0
    shown = by_seed * stats.chi2.ppf((np.arange(500) + 0.5) / 500, seeds - 1) / (seeds - 1)
    degrees = freedom(shown, by_photo + by_answer, seeds, ENDLESS)
    both = stats.t.isf(level / 2, degrees) * np.sqrt(shown + by_photo + by_answer)
    critical = np.maximum(both, stats.t.isf(level / 2, seeds - 1) * np.sqrt(shown))
    return float(2 * stats.norm.sf((critical - [[difference], [-difference]]) / math.sqrt(by_seed + by_photo)).mean())


def detectable_over_seeds(
    seeds: int, spread: float, photo_error: float, level: float = LEVEL, answer_error: float = 0.0
) -> float | None:
    """The smallest difference that `stats.crossed` finds with 80 % chance, about; None where none would be found."""
    return _root(lambda difference: over_seeds(seeds, spread, photo_error, difference, level, answer_error))


def seeds_needed(
    difference: float, spread: float, photo_error: float, level: float = LEVEL, answer_error: float = 0.0
) -> int | None:
    """How many seeds `stats.crossed` needs to find the difference with 80 % chance, about; None above 1,000."""
    return _smallest(
        lambda seeds: over_seeds(seeds, spread, photo_error, difference, level, answer_error), _MOST_SEEDS, 2
    )


def _root(chance: Callable[[float], float]) -> float | None:
    from scipy import optimize

    if chance(1.0) <= POWER:
        return None
    return float(optimize.brentq(lambda difference: chance(difference) - POWER, 0.0, 1.0, xtol=1e-5))


def _smallest(chance: Callable[[int], float], most: int, start: int = 1) -> int | None:
    """The smallest whole number that is enough, in its first three digits: found by doubling, then by halving."""
    low, high = start - 1, start
    while chance(high) < POWER:
        low, high = high, high * 2
        if low >= most:
            return None
    while high - low > max(1, high // 1000):
        middle = (low + high) // 2
        low, high = (low, middle) if chance(middle) >= POWER else (middle, high)
    return high if high <= most else None
