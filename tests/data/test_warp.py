"""Batched augmentation against torchvision's transforms, photo by photo."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from flowerbench._torchvision import torchvision
from flowerbench.config import Augmentation
from flowerbench.data import augment, warp
from tests.data.test_augment import PAPER

F = torchvision.transforms.functional
CPU = torch.device("cpu")


def spots(width: int, height: int, seed: int = 0) -> Image.Image:
    """A smooth picture of coloured spots, in which a shift shows and a rounding does not."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height // 6, width // 6, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC).filter(ImageFilter.BoxBlur(2))


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def tensors(images: list[Image.Image]) -> list[torch.Tensor]:
    return [torch.from_numpy(np.array(image)) for image in images]


def sizes(images: list[Image.Image]) -> np.ndarray:
    return np.array([[image.height, image.width] for image in images])


def plain(image: Image.Image, row: np.ndarray, spec: Augmentation, image_size: int) -> Image.Image:
    """What torchvision's functions make of the picture's geometry, with the parameters that a row stands for."""
    box = augment.crop_boxes(sizes([image]), row[None], spec)[0].tolist()
    turned = F.rotate(image, float(2 * row[augment._ANGLE] - 1) * spec.rotation)
    square = F.resized_crop(turned, *box, [image_size, image_size])
    square = F.hflip(square) if row[augment._HORIZONTAL] < spec.horizontal_flip else square
    return F.vflip(square) if row[augment._VERTICAL] < spec.vertical_flip else square


def all_plain(images: list[Image.Image], rows: np.ndarray, spec: Augmentation, image_size: int) -> np.ndarray:
    return np.stack([np.asarray(plain(*pair, spec, image_size), float) for pair in zip(images, rows, strict=True)])


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The mean difference off the black corners, whose edge torchvision rotates to the nearest pixel."""
    is_shown = (ours.sum(axis=-1) > 0) & (theirs.sum(axis=-1) > 0)
    return float(np.abs(ours - theirs)[is_shown].mean())


@pytest.mark.parametrize("image_size", [32, 96, 224])
def test_the_geometry_is_torchvisions_to_a_pixel(image_size):
    images = [spots(*size, seed) for seed, size in enumerate([(240, 180), (150, 220), (200, 200), (320, 80)] * 10)]
    rows = augment.table(0, 1, len(images))
    changes = augment.changes(sizes(images), rows, PAPER)
    ours = warp.sampled(tensors(images), changes, image_size, CPU).permute(0, 2, 3, 1).numpy()
    theirs = all_plain(images, rows, PAPER, image_size)
    here = [difference(a, b) for a, b in zip(ours, theirs, strict=True)]
    for across, down in itertools.product((-1, 0, 1), repeat=2):
        if across or down:  # a picture moved by a pixel fits worse, whichever way
            moved = [difference(np.roll(a, (down, across), (0, 1)), b) for a, b in zip(ours, theirs, strict=True)]
            assert all(a < b for a, b in zip(here, moved, strict=True))


def test_without_rotation_a_smooth_photo_is_the_same_to_a_shade():
    images = [spots(240, 180, seed) for seed in range(20)]
    spec = Augmentation(0.0, [0.08, 1.0], [3 / 4, 4 / 3], 0.5, 0.5, 0.0, 0.0, 0.0)
    rows = augment.table(0, 1, len(images))
    changes = augment.changes(sizes(images), rows, spec)
    ours = warp.augmented(tensors(images), changes, 160, CPU).permute(0, 2, 3, 1).numpy()
    theirs = all_plain(images, rows, spec, 160)
    inside = np.abs(ours - theirs)[:, 3:-3, 3:-3]  # at its edge torchvision's crop knows nothing of the photo beyond
    assert inside.mean() < 0.7
    assert np.quantile(inside, 0.999) < 4


def test_nothing_asked_for_changes_nothing():
    image = noise(32, 32)
    spec = Augmentation(0.0, [1.0, 1.0], [1.0, 1.0], 0.0, 0.0, 0.0, 0.0, 0.0)
    changes = augment.changes(sizes([image]), augment.table(0, 1, 1), spec)
    ours = warp.augmented(tensors([image]), changes, 32, CPU)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(ours, np.asarray(image), atol=1e-3)


@pytest.mark.parametrize("flip", [(1.0, 0.0), (0.0, 1.0)])
def test_flips_are_exact(flip):
    image = noise(32, 32)
    spec = Augmentation(0.0, [1.0, 1.0], [1.0, 1.0], *flip, 0.0, 0.0, 0.0)
    changes = augment.changes(sizes([image]), augment.table(0, 1, 1), spec)
    ours = warp.augmented(tensors([image]), changes, 32, CPU)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(ours, np.asarray(F.hflip(image) if flip[0] else F.vflip(image)), atol=1e-3)


def test_a_photo_that_shrinks_much_is_averaged():
    """A chessboard of single pixels is grey from afar; what passed pixels over would show it black or white."""
    board = np.indices((256, 256)).sum(axis=0) % 2 * 255
    image = Image.fromarray(np.repeat(board[..., None], 3, axis=2).astype(np.uint8))
    spec = Augmentation(0.0, [1.0, 1.0], [1.0, 1.0], 0.0, 0.0, 0.0, 0.0, 0.0)
    changes = augment.changes(sizes([image]), augment.table(0, 1, 1), spec)
    ours = warp.sampled(tensors([image]), changes, 64, CPU)
    np.testing.assert_allclose(ours, 127.5, atol=1e-3)


def test_colours_are_torchvisions_to_rounding_in_every_order():
    images = [noise(24, 24) for _ in range(200)]
    changes = augment.changes(sizes(images), augment.table(0, 1, len(images)), PAPER)
    assert len(np.unique(changes.orders, axis=0)) == 6
    squares = torch.stack(tensors(images)).permute(0, 3, 1, 2).float()
    ours = warp.recoloured(squares.clone(), changes).permute(0, 2, 3, 1).numpy()
    adjust = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation)
    for index, image in enumerate(images):
        theirs, exact = image, squares[index] / 255
        for kind in changes.orders[index]:
            theirs = adjust[kind](theirs, float(changes.factors[index, kind]))
            exact = adjust[kind](exact, float(changes.factors[index, kind]))
        # On tensors torchvision does not round, but for the mean grey, of which Pillow, and so we, take a whole number.
        assert np.abs(ours[index] - exact.permute(1, 2, 0).numpy() * 255).max() < 0.2
        # Pillow cuts off what is behind the point after each of the three.
        assert (ours[index] - np.asarray(theirs)).min() > -1
        assert (ours[index] - np.asarray(theirs)).max() < 4


@pytest.mark.parametrize("image_size", [31, 64])
def test_a_photo_is_the_same_to_the_bit_in_every_batch(image_size):
    images = [noise(*size) for size in [(60, 48), (48, 60), (60, 48), (200, 90), (33, 7)] * 4]
    changes = augment.changes(sizes(images), augment.table(0, 1, len(images)), PAPER)
    whole = warp.augmented(tensors(images), changes, image_size, CPU)

    def part(chosen: list[int]) -> torch.Tensor:
        few = augment.Changes(*(getattr(changes, name)[chosen] for name in ("maps", "areas", "factors", "orders")))
        return warp.augmented(tensors([images[index] for index in chosen]), few, image_size, CPU)

    for chosen in ([0], [3], [19], [4, 2, 0], list(range(7, 20))):
        assert torch.equal(part(chosen), whole[chosen])
