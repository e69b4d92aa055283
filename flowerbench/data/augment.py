"""Augmentation as a function: one table of random numbers per epoch; pixels depend on a photo and its row alone.

The transforms and the distributions of their parameters are torchvision's RandomRotation, RandomResizedCrop,
RandomHorizontalFlip, RandomVerticalFlip and ColorJitter, in the order of the paper's script. What the numbers mean
is decided here, for many photos at once; `warp` does it to the pixels.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowerbench.config import Augmentation

Rows = NDArray[np.float64]

# The columns of a row, uniform in [0, 1). torchvision tries ten times to fit a crop into the photo.
_CROP_TRIES = 10
_ANGLE, _TOP, _LEFT, _HORIZONTAL, _VERTICAL, _BRIGHTNESS, _CONTRAST, _SATURATION, _ORDER = range(9)
_AREAS = slice(9, 9 + _CROP_TRIES)
_RATIOS = slice(9 + _CROP_TRIES, 9 + 2 * _CROP_TRIES)
COLUMNS = 9 + 2 * _CROP_TRIES

_JITTER_ORDERS = np.array(list(itertools.permutations(range(3))))
# Keeps the random numbers of different uses apart.
_AUGMENTATION, _ORDER_OF_PHOTOS, _MODEL, _STRONGER = range(4)


def generator(use: int, seed: int, epoch: int, *more: int) -> np.random.Generator:
    """The random numbers of one use in one epoch; the same on every machine (NumPy's Philox, seeded by all these)."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([use, seed, epoch, *more])))


def table(seed: int, epoch: int, photos: int) -> NDArray[np.float64]:
    """The epoch's random numbers, shape (photos, COLUMNS): row i belongs to photo i, in whatever order it comes."""
    return generator(_AUGMENTATION, seed, epoch).random((photos, COLUMNS))


def more(seed: int, epoch: int, photos: int, columns: int) -> NDArray[np.float64]:
    """Further random numbers of the epoch, shape (photos, columns): the table stays what it is without them."""
    return generator(_STRONGER, seed, epoch).random((photos, columns))


def order(seed: int, epoch: int, photos: int) -> NDArray[np.int64]:
    """The order in which the epoch visits the training photos, a permutation of range(photos)."""
    return generator(_ORDER_OF_PHOTOS, seed, epoch).permutation(photos)


def model_seed(seed: int, epoch: int, process: int = 0) -> int:
    """The seed of what the model itself draws in an epoch (dropout); epoch 0 is the new head's weights.

    Where several processes share a run, each draws its own.
    """
    return int(generator(_MODEL, seed, epoch, *([process] if process else [])).integers(2**63))


@dataclass(frozen=True)
class Changes:
    """What happens to each of n photos.

    `maps`, shape (n, 2, 3), takes a place (x, y, 1) in the square that the model sees to the place in the photo that
    is shown there; both count from -1 to 1, from edge to edge, as in torch.nn.functional.affine_grid. `areas`, shape
    (n,), are the shares of the photos that are shown. `factors`, shape (n, 3), are those of brightness, contrast and
    saturation, and `orders`, shape (n, 3), which of them comes first, second, third.
    """

    maps: NDArray[np.float64]
    areas: NDArray[np.float64]
    factors: NDArray[np.float64]
    orders: NDArray[np.int64]


def changes(sizes: NDArray[np.int64], rows: Rows, spec: Augmentation) -> Changes:
    """What `rows`, shape (n, COLUMNS), mean for photos of these `sizes`, shape (n, 2): height and width in pixels.

    A photo is rotated, cropped to what becomes the square, flipped and recoloured.
    """
    height, width = sizes[:, 0], sizes[:, 1]
    top, left, crop_height, crop_width = crop_boxes(sizes, rows, spec).T
    angle = np.radians((2 * rows[:, _ANGLE] - 1) * spec.rotation)
    mirror = np.where(rows[:, _HORIZONTAL] < spec.horizontal_flip, -1, 1)
    turn = np.where(rows[:, _VERTICAL] < spec.vertical_flip, -1, 1)
    # From the square to the crop, in pixels from the photo's centre …
    across, down = mirror * crop_width / 2, turn * crop_height / 2
    x, y = left + (crop_width - width) / 2, top + (crop_height - height) / 2
    # … and from there to the photo as it was before it was rotated, counter-clockwise by the angle.
    cos, sin = np.cos(angle), np.sin(angle)
    maps = np.stack(
        [
            np.stack([cos * across, -sin * down, cos * x - sin * y], axis=1) / (width / 2)[:, None],
            np.stack([sin * across, cos * down, sin * x + cos * y], axis=1) / (height / 2)[:, None],
        ],
        axis=1,
    )
    strengths = np.array([spec.brightness, spec.contrast, spec.saturation])
    return Changes(
        maps=maps,
        areas=crop_height * crop_width / (height * width),
        factors=1 + (2 * rows[:, [_BRIGHTNESS, _CONTRAST, _SATURATION]] - 1) * strengths,
        orders=_JITTER_ORDERS[(rows[:, _ORDER] * len(_JITTER_ORDERS)).astype(np.int64)],
    )


def crop_boxes(sizes: NDArray[np.int64], rows: Rows, spec: Augmentation) -> NDArray[np.int64]:
    """(top, left, height, width) of the random crops in pixels, shape (n, 4), drawn as RandomResizedCrop draws them.

    The first of ten draws of area and ratio that fits is taken; when none fits, the largest centred crop within
    the ratios (torchvision.transforms.RandomResizedCrop).
    """
    height, width = sizes[:, 0], sizes[:, 1]
    areas = (height * width)[:, None] * (spec.scale[0] + rows[:, _AREAS] * (spec.scale[1] - spec.scale[0]))
    low, high = math.log(spec.ratio[0]), math.log(spec.ratio[1])
    ratios = np.exp(low + rows[:, _RATIOS] * (high - low))
    heights, widths = np.rint(np.sqrt(areas / ratios)), np.rint(np.sqrt(areas * ratios))
    fits = (heights > 0) & (heights <= height[:, None]) & (widths > 0) & (widths <= width[:, None])
    first, each = fits.argmax(axis=1), np.arange(len(rows))
    crop_height, crop_width = heights[each, first], widths[each, first]
    top = np.floor(rows[:, _TOP] * (height - crop_height + 1))
    left = np.floor(rows[:, _LEFT] * (width - crop_width + 1))

    ratio, none = width / height, ~fits.any(axis=1)
    is_narrow, is_wide = none & (ratio < spec.ratio[0]), none & (ratio > spec.ratio[1])
    crop_height = np.where(none, height, crop_height)
    crop_width = np.where(none, width, crop_width)
    crop_height = np.where(is_narrow, np.maximum(1, np.rint(width / spec.ratio[0])), crop_height)
    crop_width = np.where(is_wide, np.maximum(1, np.rint(height * spec.ratio[1])), crop_width)
    top = np.where(none, (height - crop_height) // 2, top)
    left = np.where(none, (width - crop_width) // 2, left)
    return np.stack([top, left, crop_height, crop_width], axis=1).astype(np.int64)
