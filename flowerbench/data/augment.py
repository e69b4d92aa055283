"""Augmentation as a function: one table of random numbers per epoch; pixels depend on a photo and its row alone.

The transforms and the distributions of their parameters are torchvision's RandomRotation, RandomResizedCrop,
RandomHorizontalFlip, RandomVerticalFlip and ColorJitter, in the order of the paper's script.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from flowerbench._torchvision import torchvision
from flowerbench.config import Augmentation, Data

F = torchvision.transforms.functional

Row = NDArray[np.float64]

# The columns of a row, uniform in [0, 1). torchvision tries ten times to fit a crop into the photo.
_CROP_TRIES = 10
_ANGLE, _TOP, _LEFT, _HORIZONTAL, _VERTICAL, _BRIGHTNESS, _CONTRAST, _SATURATION, _ORDER = range(9)
_AREAS = slice(9, 9 + _CROP_TRIES)
_RATIOS = slice(9 + _CROP_TRIES, 9 + 2 * _CROP_TRIES)
COLUMNS = 9 + 2 * _CROP_TRIES

_JITTER_ORDERS = tuple(itertools.permutations(range(3)))
# Keeps the random numbers of different uses apart.
_AUGMENTATION, _ORDER_OF_PHOTOS, _MODEL = range(3)


def generator(use: int, seed: int, epoch: int, *more: int) -> np.random.Generator:
    """The random numbers of one use in one epoch; the same on every machine (NumPy's Philox, seeded by all these)."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([use, seed, epoch, *more])))


def table(seed: int, epoch: int, photos: int) -> NDArray[np.float64]:
    """The epoch's random numbers, shape (photos, COLUMNS): row i belongs to photo i, in whatever order it comes."""
    return generator(_AUGMENTATION, seed, epoch).random((photos, COLUMNS))


def order(seed: int, epoch: int, photos: int) -> NDArray[np.int64]:
    """The order in which the epoch visits the training photos, a permutation of range(photos)."""
    return generator(_ORDER_OF_PHOTOS, seed, epoch).permutation(photos)


def model_seed(seed: int, epoch: int, process: int = 0) -> int:
    """The seed of what the model itself draws in an epoch (dropout); epoch 0 is the new head's weights.

    Where several processes share a run, each draws its own.
    """
    return int(generator(_MODEL, seed, epoch, *([process] if process else [])).integers(2**63))


def augmented(image: Image.Image, row: Row, image_size: int, spec: Augmentation) -> Image.Image:
    """The photo rotated, cropped, resized to (image_size, image_size), flipped and recoloured as `row` says."""
    image = F.rotate(image, float((2 * row[_ANGLE] - 1) * spec.rotation))
    top, left, height, width = crop_box(image.height, image.width, row, spec)
    image = F.resized_crop(image, top, left, height, width, [image_size, image_size])
    if row[_HORIZONTAL] < spec.horizontal_flip:
        image = F.hflip(image)
    if row[_VERTICAL] < spec.vertical_flip:
        image = F.vflip(image)
    jitters = (
        (F.adjust_brightness, spec.brightness, row[_BRIGHTNESS]),
        (F.adjust_contrast, spec.contrast, row[_CONTRAST]),
        (F.adjust_saturation, spec.saturation, row[_SATURATION]),
    )
    for index in _JITTER_ORDERS[int(row[_ORDER] * len(_JITTER_ORDERS))]:
        adjust, strength, uniform = jitters[index]
        image = adjust(image, float(1 + (2 * uniform - 1) * strength))
    return image


def crop_box(height: int, width: int, row: Row, spec: Augmentation) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the random crop in pixels, drawn as RandomResizedCrop draws it.

    The first of ten draws of area and ratio that fits is taken; when none fits, the largest centred crop within
    the ratios (torchvision.transforms.RandomResizedCrop).
    """
    areas = height * width * (spec.scale[0] + row[_AREAS] * (spec.scale[1] - spec.scale[0]))
    low, high = math.log(spec.ratio[0]), math.log(spec.ratio[1])
    ratios = np.exp(low + row[_RATIOS] * (high - low))
    for area, ratio in zip(areas, ratios, strict=True):
        crop_width, crop_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top = int(row[_TOP] * (height - crop_height + 1))
            left = int(row[_LEFT] * (width - crop_width + 1))
            return top, left, crop_height, crop_width
    crop_width, crop_height = width, height
    if width / height < spec.ratio[0]:
        crop_height = max(1, round(width / spec.ratio[0]))
    elif width / height > spec.ratio[1]:
        crop_width = max(1, round(height * spec.ratio[1]))
    return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width


def clean(image: Image.Image, image_size: int, center_crop: float) -> Image.Image:
    """The photo resized so that a centre crop of (image_size, image_size) keeps `center_crop` of its shorter side."""
    square: Image.Image = F.center_crop(F.resize(image, round(image_size / center_crop)), [image_size, image_size])
    return square


def prepared(image: Image.Image, row: Row | None, image_size: int, cfg: Data) -> NDArray[np.uint8]:
    """The pixels that the model sees of a photo, shape (3, image_size, image_size): augmented by `row`, or clean."""
    if row is None or cfg.augmentation is None:
        square = clean(image, image_size, cfg.center_crop)
    else:
        square = augmented(image, row, image_size, cfg.augmentation)
    return np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1))
