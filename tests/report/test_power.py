"""The power that is stated against all outcomes, by simulation, and the laws that it keeps."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from flowerbench.report import power, stats

SHARES = st.floats(0.01, 0.5)


@pytest.mark.parametrize(("photos", "disagreement", "difference"), [(14, 0.5, 0.3), (25, 0.9, 0.5), (30, 0.4, 0.0)])
def test_power_is_what_all_outcomes_add_up_to(photos: int, disagreement: float, difference: float):
    share = (disagreement + difference) / 2, (disagreement - difference) / 2
    outcomes = [(a, b, photos - a - b) for a, b in product(range(photos + 1), repeat=2) if a + b <= photos]
    chances = scipy_stats.multinomial(photos, [*share, 1 - disagreement]).pmf(outcomes)
    rejected = [stats.mcnemar(a, b) <= stats.LEVEL for a, b, _ in outcomes]
    assert power.on_photos(photos, disagreement, difference) == pytest.approx(np.sum(chances[rejected]), abs=1e-7)


@given(st.integers(20, 2000), SHARES, SHARES)
def test_power_grows_with_photos_and_with_the_difference(photos: int, disagreement: float, difference: float):
    chance = power.on_photos(photos, disagreement, difference)
    assert 0 <= chance <= 1
    assert power.on_photos(2 * photos, disagreement, difference) >= chance - 1e-6
    assert (
        power.on_photos(photos, max(disagreement, 1.2 * difference), 1.2 * difference)
        >= power.on_photos(photos, max(disagreement, 1.2 * difference), difference) - 1e-9
    )
    assert power.on_photos(photos, disagreement, 0.0) <= stats.LEVEL


def test_what_can_be_seen_is_seen_with_80_percent_chance():
    for level in (0.05, 0.05 / 28):
        seen = power.detectable(570, 0.07, level)
        assert seen is not None
        assert power.on_photos(570, 0.07, seen, level) == pytest.approx(power.POWER, abs=1e-3)
    assert power.detectable(5, 0.3) is None


def test_as_many_photos_as_needed_are_enough_and_fewer_are_not():
    for disagreement, difference in ((0.07, 0.02), (0.3, 0.01), (0.05, 0.05)):
        photos = power.photos_needed(disagreement, difference)
        assert photos is not None
        assert power.on_photos(photos, disagreement, difference) >= power.POWER
        assert power.on_photos(photos - max(2, photos // 100), disagreement, difference) < power.POWER
    assert power.photos_needed(0.5, 0.0001) is None


def test_what_fishers_test_can_see_it_sees_about_as_often():
    rng = np.random.default_rng(0)
    for photos, accuracy in ((200, 0.93), (570, 0.88)):
        drop = power.detectable_unpaired(photos, accuracy)
        first, second = rng.binomial(photos, [[accuracy], [accuracy - drop]], (2, 400))
        p_values = [stats.unpaired((int(a), int(b)), (photos, photos)) for a, b in zip(first, second, strict=True)]
        assert 0.7 <= np.mean(np.array(p_values) <= stats.LEVEL) <= 0.85
    assert power.detectable_unpaired(10, 0.3) is None
    assert power.detectable_unpaired(20, 0.2) is None


@given(st.integers(2, 10), st.floats(0, 0.05), st.floats(0, 0.02), st.floats(0, 0.02), st.floats(0.001, 0.3))
def test_power_over_seeds_grows_with_seeds_and_with_the_difference(
    seeds: int, spread: float, photo_error: float, answer_error: float, difference: float
):
    def chance(seeds: int, difference: float) -> float:
        return power.over_seeds(seeds, spread, photo_error, difference, answer_error=answer_error)

    assert 0 <= chance(seeds, difference) <= 1
    assert chance(seeds, difference) == pytest.approx(chance(seeds, -difference))
    assert chance(seeds, 1.2 * difference) >= chance(seeds, difference) - 1e-6
    # Next to no difference is found as often as none, which more seeds make rarer.
    assert chance(seeds + 1, difference) >= chance(seeds, difference) - 1e-6 or chance(seeds, difference) < 0.1


@pytest.mark.parametrize(("seeds", "photo_error", "answer_error"), [(3, 0.0, 0.0), (5, 0.006, 0.0), (5, 0.0, 0.01)])
def test_power_over_seeds_is_how_often_a_difference_is_found(seeds: int, photo_error: float, answer_error: float):
    spread, photos, found = 0.012, 400, []
    seen = power.detectable_over_seeds(seeds, spread, photo_error, answer_error=answer_error)
    assert seen is not None
    rng = np.random.default_rng(0)
    for _ in range(1000):
        of_seed = math.sqrt(spread**2 - answer_error**2) * rng.standard_normal((seeds, 1))
        of_photo = photo_error * math.sqrt(photos) * rng.standard_normal(photos)
        of_answer = answer_error * math.sqrt(photos) * rng.standard_normal((seeds, photos))
        found.append(stats.crossed(seen + of_seed + of_photo + of_answer).p <= stats.LEVEL)
    assert np.mean(found) == pytest.approx(power.POWER, abs=0.04)


def test_as_many_seeds_as_needed_are_enough_and_fewer_are_not():
    for difference, spread, photo_error, answer_error in ((0.02, 0.012, 0.005, 0.01), (0.01, 0.015, 0.0, 0.01)):
        seeds = power.seeds_needed(difference, spread, photo_error, answer_error=answer_error)
        assert seeds is not None
        assert power.over_seeds(seeds, spread, photo_error, difference, answer_error=answer_error) >= power.POWER
        assert power.over_seeds(seeds - 1, spread, photo_error, difference, answer_error=answer_error) < power.POWER
    # Other photos might well tell otherwise, and no seed is another photo.
    assert power.seeds_needed(0.01, 0.01, 0.005) is None
    assert power.detectable_over_seeds(2, 0.5, 0.1) is None


def test_without_any_error_every_difference_is_seen():
    assert power.over_seeds(2, 0.0, 0.0, 0.01) == 1
    assert power.over_seeds(2, 0.0, 0.0, 0.0) == 0
    assert power.on_photos(100, 0.0, 0.0) == 0
