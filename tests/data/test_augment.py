from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from flowerbench._torchvision import torchvision
from flowerbench.config import Augmentation
from flowerbench.data import augment

T = torchvision.transforms
F = torchvision.transforms.functional
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


def picture(width: int = 60, height: int = 48) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


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


@given(st.integers(1, 900), st.integers(1, 900), st.integers(0, 1000))
def test_a_crop_lies_within_the_photo_and_the_ratios(height, width, seed):
    row = augment.table(seed, 1, 1)[0]
    top, left, crop_height, crop_width = augment.crop_box(height, width, row, PAPER)
    assert top >= 0
    assert left >= 0
    assert 1 <= crop_height <= height - top
    assert 1 <= crop_width <= width - left


def test_crops_are_distributed_as_torchvisions():
    rows = augment.table(0, 1, 4000)
    ours = np.array([augment.crop_box(240, 320, row, PAPER) for row in rows], dtype=float)
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


def plain(row: np.ndarray) -> np.ndarray:
    """What torchvision's functions make of the picture with the parameters that a row stands for."""
    angle, top, left, horizontal, vertical, brightness, contrast, saturation, order = row[:9]
    turned = F.rotate(picture(), -30 + 60 * angle)
    box = augment.crop_box(48, 60, row, PAPER)
    square = F.resized_crop(turned, *box, [32, 32])
    square = F.hflip(square) if horizontal < 0.5 else square
    square = F.vflip(square) if vertical < 0.5 else square
    for name in list(itertools.permutations(["brightness", "contrast", "saturation"]))[int(order * 6)]:
        factor = {"brightness": brightness, "contrast": contrast, "saturation": saturation}[name]
        square = getattr(F, f"adjust_{name}")(square, 0.8 + 0.4 * factor)
    assert 0 <= top < 1
    assert 0 <= left < 1
    return np.asarray(square)


def test_pixels_are_those_of_torchvisions_functions_in_every_order():
    rows = augment.table(0, 1, 300)
    assert {int(order * 6) for order in rows[:, augment._ORDER]} == set(range(6))
    for row in rows:
        ours = np.asarray(augment.augmented(picture(), row, 32, PAPER)).astype(int)
        # The factors, computed another way, differ in their last bit, which may move a rounding.
        assert np.abs(ours - plain(row)).max() <= 1


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_flips_happen_as_often_as_asked(probability):
    spec = Augmentation(0.0, [1.0, 1.0], [1.0, 1.0], probability, 0.0, 0.0, 0.0, 0.0)
    image = Image.new("RGB", (8, 8))
    image.putpixel((0, 0), (255, 255, 255))
    rows = augment.table(0, 1, 1000)
    flipped = [augment.augmented(image, row, 8, spec).getpixel((7, 0))[0] > 0 for row in rows]
    assert np.mean(flipped) == pytest.approx(probability, abs=0.05)


def test_rotations_and_factors_span_what_is_asked():
    """The whole range of RandomRotation(30) and ColorJitter(0.2), as torchvision's own get_params draws them."""
    rows = augment.table(0, 1, 4000)
    angles = -30 + 60 * rows[:, augment._ANGLE]
    theirs = np.array([T.RandomRotation.get_params([-30.0, 30.0]) for _ in range(4000)])
    assert np.quantile(angles, [0.01, 0.25, 0.5, 0.75, 0.99]) == pytest.approx(
        np.quantile(theirs, [0.01, 0.25, 0.5, 0.75, 0.99]), abs=2.5
    )


@pytest.mark.parametrize("size", [(60, 48), (30, 90), (224, 224), (5, 7)])
def test_clean_keeps_the_centre(size):
    square = augment.clean(picture(*size), 32, 0.875)
    assert square.size == (32, 32)
    expected = T.Compose([T.Resize(round(32 / 0.875)), T.CenterCrop(32)])(picture(*size))
    assert (np.asarray(square) == np.asarray(expected)).all()


def test_model_seeds_differ():
    seeds = {augment.model_seed(seed, epoch) for seed in range(20) for epoch in range(20)}
    assert len(seeds) == 400
