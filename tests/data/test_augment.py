"""What the random numbers of an epoch mean: the distributions are torchvision's, and so is the geometry."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from flowerbench._torchvision import torchvision
from flowerbench.config import Augmentation
from flowerbench.data import augment

T = torchvision.transforms
PAPER = Augmentation(
    rotation=30.0,
    scale=[0.08, 1.0],
    ratio=[3 / 4, 4 / 3],
    horizontal_flip=0.5,
    vertical_flip=0.5,
    brightness=0.2,
    contrast=0.2,
    saturation=0.2,
)


def test_a_row_depends_on_seed_epoch_and_photo_alone():
    table = augment.table(seed=3, epoch=5, photos=100)
    assert table.shape == (100, augment.COLUMNS)
    assert (augment.table(3, 5, 40) == table[:40]).all(), "rows of further photos change nothing"
    assert (augment.table(3, 6, 100) != table).any(axis=1).all()
    assert (augment.table(4, 5, 100) != table).any(axis=1).all()
    assert len(np.unique(table, axis=0)) == 100


@given(st.integers(0, 2**32 - 1), st.integers(1, 500), st.integers(1, 300))
def test_the_order_is_a_permutation(seed, epoch, photos):
    assert sorted(augment.order(seed, epoch, photos)) == list(range(photos))


@given(st.lists(st.tuples(st.integers(1, 900), st.integers(1, 900)), min_size=1, max_size=20), st.integers(0, 1000))
def test_a_crop_lies_within_the_photo_and_the_ratios(sizes, seed):
    sizes, rows = np.array(sizes), augment.table(seed, 1, len(sizes))
    boxes = augment.crop_boxes(sizes, rows, PAPER)
    top, left, height, width = boxes.T
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] >= 1).all()
    assert (top + height <= sizes[:, 0]).all()
    assert (left + width <= sizes[:, 1]).all()
    # Where nothing fits, and but for rounding to pixels, the largest crop within the ratios is taken.
    assert ((width - 0.5) / (height + 0.5) <= 4 / 3).all()
    assert ((width + 0.5) / (height - 0.5) >= 3 / 4).all()


@given(st.integers(1, 900), st.integers(1, 900), st.integers(0, 1000))
def test_a_photos_crop_does_not_depend_on_the_others(height, width, seed):
    rows = augment.table(seed, 1, 3)
    sizes = np.array([[height, width], [200, 300], [7, 90]])
    together = augment.changes(sizes, rows, PAPER)
    alone = augment.changes(sizes[:1], rows[:1], PAPER)
    assert (together.maps[0] == alone.maps[0]).all()
    assert (together.factors[0] == alone.factors[0]).all()


def test_crops_are_distributed_as_torchvisions():
    ours = augment.crop_boxes(np.tile([240, 320], (4000, 1)), augment.table(0, 1, 4000), PAPER).astype(float)
    image = Image.new("RGB", (320, 240))
    theirs = np.array(
        [T.RandomResizedCrop.get_params(image, PAPER.scale, PAPER.ratio) for _ in range(4000)], dtype=float
    )
    for column in range(4):
        both = np.sort(np.concatenate([ours[:, column], theirs[:, column]]))
        steps = [np.searchsorted(np.sort(x[:, column]), both, side="right") / 4000 for x in (ours, theirs)]
        # Kolmogorov-Smirnov: two samples of 4,000 from one distribution differ by more than 0.05 once in 10,000 times.
        assert np.abs(steps[0] - steps[1]).max() < 0.05


def test_the_uniform_numbers_are_uniform_and_independent():
    rows = augment.table(0, 1, 4000)
    assert np.abs(rows.mean(axis=0) - 0.5).max() < 0.03
    assert np.abs(np.corrcoef(rows.T) - np.eye(augment.COLUMNS)).max() < 0.08


def changes_of(spec: Augmentation, photos: int = 4000) -> augment.Changes:
    return augment.changes(np.tile([240, 320], (photos, 1)), augment.table(0, 1, photos), spec)


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("axis", [0, 1])
def test_flips_happen_as_often_as_asked(probability, axis):
    flips = [probability, 0.0] if axis == 0 else [0.0, probability]
    maps = changes_of(Augmentation(0.0, [1.0, 1.0], [4 / 3, 4 / 3], *flips, 0.0, 0.0, 0.0)).maps
    assert np.mean(maps[:, axis, axis] < 0) == pytest.approx(probability, abs=0.03)
    assert (maps[:, 1 - axis, 1 - axis] > 0).all()


def test_rotations_span_what_is_asked():
    """The whole range of RandomRotation(30), as torchvision's own get_params draws it."""
    angles = -30 + 60 * augment.table(0, 1, 4000)[:, augment._ANGLE]
    theirs = np.array([T.RandomRotation.get_params([-30.0, 30.0]) for _ in range(4000)])
    assert np.quantile(angles, [0.01, 0.25, 0.5, 0.75, 0.99]) == pytest.approx(
        np.quantile(theirs, [0.01, 0.25, 0.5, 0.75, 0.99]), abs=2.5
    )


def test_factors_and_orders_span_what_is_asked():
    """ColorJitter(0.2, 0.3, 0.4): uniform from 1 - x to 1 + x, in each of the six orders as often."""
    spec = Augmentation(30.0, [0.08, 1.0], [3 / 4, 4 / 3], 0.5, 0.5, 0.2, 0.3, 0.4)
    changes = changes_of(spec)
    for factors, strength in zip(changes.factors.T, (0.2, 0.3, 0.4), strict=True):
        expected = 1 + strength * np.array([-0.9, 0.0, 0.9])
        assert np.quantile(factors, [0.05, 0.5, 0.95]) == pytest.approx(expected, abs=0.03 * strength * 2)
        assert np.abs(factors - 1).max() <= strength
    orders, counts = np.unique(changes.orders, axis=0, return_counts=True)
    assert len(orders) == 6
    assert counts.min() > 4000 / 6 * 0.85


def test_model_seeds_differ():
    seeds = {augment.model_seed(seed, epoch) for seed in range(20) for epoch in range(20)}
    assert len(seeds) == 400
