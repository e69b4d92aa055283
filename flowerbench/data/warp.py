"""Augmentation of a batch, on whatever device it is: every photo is sampled once, and recoloured where it lies."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from flowerbench.data.augment import Changes

# ITU-R 601-2: how much red, green and blue each make a grey, in Pillow and torchvision.
_GREY = (0.299, 0.587, 0.114)


def augmented(photos: Sequence[Tensor], changes: Changes, image_size: int, device: torch.device) -> Tensor:
    """Photos of uint8 (height, width, 3) as `changes` has them: float32 (n, 3, image_size, image_size), 0 to 255.

    A photo's numbers are the same to the bit in whatever batch it is.
    """
    return recoloured(sampled(photos, changes, image_size, device), changes)


def sampled(photos: Sequence[Tensor], changes: Changes, image_size: int, device: torch.device) -> Tensor:
    """The photos rotated, cropped, resized and flipped at once; what lies outside of a photo is black.

    Between pixels it is bilinear. A photo that shrinks is halved before, as often as leaves it nearest to the size
    that is wanted (the nearest mipmap level: Williams, Pyramidal Parametrics, 1983), so that no pixel is passed over.
    """
    alike: dict[tuple[tuple[int, ...], int], list[int]] = defaultdict(list)
    for index, photo in enumerate(photos):
        size = tuple(photo.shape)
        alike[size, _halvings(size, float(changes.areas[index]), image_size)].append(index)
    maps = torch.from_numpy(changes.maps).to(device, torch.float32, non_blocking=True)
    shape = (len(photos), 3, image_size, image_size)
    squares = torch.empty(shape, device=device).contiguous(memory_format=torch.channels_last)
    for (_, halvings), members in alike.items():
        pixels = torch.stack([photos[index] for index in members]).to(device, non_blocking=True)
        pixels = pixels.permute(0, 3, 1, 2).float()
        for _ in range(halvings):
            pixels = _halved(pixels)
        where = places(members, device)
        squares.index_copy_(0, where, _sample(pixels, maps.index_select(0, where), image_size))
    return squares


def places(indices: Sequence[int], device: torch.device) -> Tensor:
    """The indices as a tensor there: indexing a GPU's tensor by a list would wait for all that it was asked before."""
    return torch.tensor(indices, dtype=torch.int64).to(device, non_blocking=True)


def _halvings(size: tuple[int, ...], area: float, image_size: int) -> int:
    """How often to halve a photo of this size of which so large a share is shown."""
    shrink = math.sqrt(area * size[0] * size[1]) / image_size
    return max(0, round(math.log2(shrink)))


def _halved(pixels: Tensor) -> Tensor:
    """Each pixel the mean of four; where a side is odd, as near to that as keeps the edges where they are."""
    height, width = pixels.shape[2:]
    return F.interpolate(pixels, ((height + 1) // 2, (width + 1) // 2), mode="bilinear", align_corners=False)


def _sample(pixels: Tensor, maps: Tensor, image_size: int) -> Tensor:
    height, width = pixels.shape[2:]
    steps = (torch.arange(image_size, device=pixels.device, dtype=torch.float32) * 2 + 1) / image_size - 1
    across, down = steps, steps[:, None]
    # Products and sums one by one: a fused one may round otherwise at the end of a row.
    x, y = (maps[:, axis, 0, None, None] * across + maps[:, axis, 1, None, None] * down for axis in (0, 1))
    x, y = x + maps[:, 0, 2, None, None], y + maps[:, 1, 2, None, None]
    is_outside = (x.abs() > 1) | (y.abs() > 1)
    # Half a pixel from its edge on a photo goes on as it is, instead of fading to black.
    grid = torch.stack([x.clamp(1 / width - 1, 1 - 1 / width), y.clamp(1 / height - 1, 1 - 1 / height)], dim=-1)
    return F.grid_sample(pixels, grid, align_corners=False).masked_fill_(is_outside[:, None], 0)


def recoloured(squares: Tensor, changes: Changes) -> Tensor:
    """The squares, float32 (n, 3, size, size) from 0 to 255, with brightness, contrast and saturation changed in place.

    As torchvision's adjust_brightness, adjust_contrast and adjust_saturation do it on images of Pillow: each mixes
    the colours with black, with the mean grey or with the grey of each pixel, and then cuts off what leaves 0 to 255.
    """
    factors = torch.from_numpy(changes.factors).to(squares.device, torch.float32, non_blocking=True)
    orders = torch.from_numpy(changes.orders).to(squares.device, non_blocking=True)
    for place in range(3):
        kind = orders[:, place].view(-1, 1, 1, 1)
        factor = factors.gather(1, orders[:, place, None]).view(-1, 1, 1, 1)
        red, green, blue = (squares[:, channel, None] * share for channel, share in enumerate(_GREY))
        grey = red.add_(green).add_(blue)
        mean = grey.mean(dim=(1, 2, 3), keepdim=True, dtype=torch.float64).add(0.5).floor().float()
        rest = 1 - factor
        # Nothing of black, for brightness.
        mixed_in = grey.mul_(rest * (kind == 2)).add_(mean * rest * (kind == 1))
        squares.mul_(factor).add_(mixed_in).clamp_(0, 255)
    return squares
