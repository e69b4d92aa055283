"""The statistics against references, by hand and by other libraries, and the laws that they keep."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats as scipy_stats
from statsmodels.stats import contingency_tables, proportion

from flowerbench.report import stats

COUNTS = st.integers(0, 60)
# Seeds by photos, each cell what one pair of runs says: 1, 0 or -1.
DIFFERENCES = arrays(np.int8, st.tuples(st.integers(2, 5), st.integers(2, 20)), elements=st.integers(-1, 1))


@given(st.integers(1, 600).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_the_interval_of_a_share_is_wilsons(counts: tuple[int, int]):
    correct, total = counts
    low, high = stats.wilson(correct, total)
    assert (low, high) == pytest.approx(proportion.proportion_confint(correct, total, method="wilson"), abs=1e-9)
    assert low - 1e-12 <= correct / total <= high + 1e-12


def test_the_papers_interval():
    assert stats.wilson(533, 570) == pytest.approx((0.9118, 0.9525), abs=5e-5)


@pytest.mark.parametrize("photos", [200, 570])
def test_wilsons_interval_covers_what_it_says(photos: int):
    counts = np.arange(photos + 1)
    low, high = np.transpose([stats.wilson(int(correct), photos) for correct in counts])
    for accuracy in (0.6, 0.7, 0.8, 0.85, 0.88, 0.9, 0.93, 0.95, 0.97, 0.98):
        chances = scipy_stats.binom.pmf(counts, photos, accuracy)
        assert 0.93 <= chances[(low <= accuracy) & (accuracy <= high)].sum() <= 0.97


def test_the_interval_of_a_mean_is_students():
    # Mean 0.92, standard error 0.01/√3, and 4.303 from the table of two degrees of freedom.
    low, high = stats.mean_interval([0.91, 0.92, 0.93])
    assert (low, high) == pytest.approx((0.92 - 4.303 * 0.01 / 3**0.5, 0.92 + 4.303 * 0.01 / 3**0.5), abs=1e-5)
    assert stats.mean_interval([0.7, 0.7, 0.7]) == pytest.approx((0.7, 0.7))


@given(COUNTS, COUNTS)
def test_mcnemars_test_is_the_binomial_one(first: int, second: int):
    p = stats.mcnemar(first, second)
    assert p == stats.mcnemar(second, first)
    assert 0 < p <= 1
    if first + second:
        assert p == pytest.approx(scipy_stats.binomtest(first, first + second).pvalue, rel=1e-9)
        assert p == pytest.approx(contingency_tables.mcnemar([[9, first], [second, 9]], exact=True).pvalue, rel=1e-9)


def test_mcnemars_test_of_many_counts_is_that_of_each():
    first, second = np.array([0, 5, 20]), np.array([0, 1, 4])
    each = [stats.mcnemar(int(a), int(b)) for a, b in zip(first, second, strict=True)]
    assert stats.mcnemar(first, second).tolist() == each
    assert each[:2] == [1.0, pytest.approx(2 * (1 + 6) / 2**6)]


def test_two_counts_are_fishers_test():
    # The lady who tells 3 of 4 cups of tea: p = 17/70 one-sided, 34/70 two-sided.
    assert stats.unpaired((3, 1), (4, 4)) == pytest.approx(34 / 70)


# By hand: F over seeds 0.5² / (1/48) = 12, over photos 0.5² / (5/108) = 5.4.
BY_HAND = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0]])


def test_min_f_is_clarks():
    found = stats.crossed(BY_HAND)
    min_f = 12 * 5.4 / (12 + 5.4)
    freedom = (12 + 5.4) ** 2 / (12**2 / 3 + 5.4**2 / 2)
    assert (found.difference, found.seed_error**2, found.photo_error**2) == pytest.approx((0.5, 1 / 48, 5 / 108))
    assert found.p == pytest.approx(scipy_stats.f.sf(min_f, 1, freedom))
    # What seed and photo leave unexplained: a mean square of 5/36 over 12 answers.
    assert found.answer_error**2 == pytest.approx(5 / 36 / 12)


def test_students_test_over_seeds_counts_where_it_is_the_weaker():
    by_seed = BY_HAND.mean(axis=1, keepdims=True)
    assert stats.crossed(by_seed, 0.01).p == pytest.approx(1 - math.sqrt(12 / 14))


def test_an_error_of_photos_that_is_given_is_taken_for_certain():
    assert stats.crossed(np.array([[0.1], [0.1]]), 0.04).p == pytest.approx(2 * scipy_stats.norm.sf(2.5), rel=1e-4)


@given(DIFFERENCES)
def test_over_seeds_neither_order_nor_side_matters(differences: np.ndarray):
    found, turned = stats.crossed(differences), stats.crossed(-differences[::-1, ::-1])
    assert turned.p == pytest.approx(found.p, rel=1e-6)
    assert turned.difference == pytest.approx(-found.difference)
    assert 0 <= found.p <= 1
    assert found.difference or found.p == 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("photos", [6, 570])
def test_seeds_without_any_spread_leave_the_photos(photos: int):
    same = np.tile(np.arange(photos) % 3 == 0, (3, 1)).astype(int)
    by_photos = scipy_stats.ttest_1samp(same[0], 0.0).pvalue
    assert stats.crossed(same).p == pytest.approx(by_photos)
    assert stats.crossed(np.zeros((3, photos))).p == 1
    assert stats.crossed(np.ones((3, photos))).p == stats.mcnemar(photos, 0)


def test_holms_correction_by_hand():
    # Four times 0.005, three times 0.01, twice 0.03, and for 0.04 no less than what stands before it.
    assert stats.holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm(np.array([0.2])) == pytest.approx([0.2])
    assert len(stats.holm(np.array([]))) == 0


# statsmodels collects garbage at every call.
@settings(max_examples=15)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holms_correction_keeps_the_order_and_makes_no_p_smaller(p_values: list[float]):
    corrected = stats.holm(np.array(p_values))
    assert (corrected >= p_values).all()
    assert (corrected <= 1).all()
    assert (np.diff(corrected[np.argsort(p_values, kind="stable")]) >= 0).all()


def test_one_photo_says_nothing_whatever_the_seeds():
    assert stats.crossed(np.array([[1], [1], [0]])).p == 1.0
