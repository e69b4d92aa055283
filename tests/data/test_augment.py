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


def test_flips_and_jitter_happen_as_often_and_as_strongly_as_asked():
    rows = augment.table(0, 1, 4000)
    uniform = rows[:, :9]
    assert np.abs(uniform.mean(axis=0) - 0.5).max() < 0.03
    assert np.abs(np.corrcoef(rows.T) - np.eye(augment.COLUMNS)).max() < 0.08


def test_pixels_are_those_of_torchvisions_own_transforms():
    image, row = picture(), augment.table(0, 1, 1)[0]
    row[augment._ORDER] = 0.0  # brightness, contrast, saturation
    row[augment._HORIZONTAL], row[augment._VERTICAL] = 0.1, 0.9
    row[augment._BRIGHTNESS], row[augment._CONTRAST], row[augment._SATURATION] = 0.0, 0.5, 1.0
    row[augment._ANGLE] = 0.75
    top, left, height, width = augment.crop_box(48, 60, row, PAPER)
    expected = T.RandomRotation((15, 15))(image)
    expected = T.Resize([32, 32])(expected.crop((left, top, left + width, top + height)))
    expected = T.RandomHorizontalFlip(1.0)(expected)
    expected = T.ColorJitter((0.8, 0.8))(expected)
    expected = T.ColorJitter(0, 0, (1.2, 1.2))(expected)
    ours = np.asarray(augment.augmented(image, row, 32, PAPER))
    # Cropping before resizing lets the filter see no pixel beyond the crop, as resized_crop does.
    assert np.abs(ours.astype(int) - np.asarray(expected).astype(int)).max() <= 1


@pytest.mark.parametrize("size", [(60, 48), (30, 90), (224, 224), (5, 7)])
def test_clean_keeps_the_centre(size):
    square = augment.clean(picture(*size), 32, 0.875)
    assert square.size == (32, 32)
    expected = T.Compose([T.Resize(round(32 / 0.875)), T.CenterCrop(32)])(picture(*size))
    assert (np.asarray(square) == np.asarray(expected)).all()


def test_model_seeds_differ():
    seeds = {augment.model_seed(seed, epoch) for seed in range(20) for epoch in range(20)}
    assert len(seeds) == 400
