"""Augmentation beyond the paper's: TrivialAugment and random erasing, each photo by random numbers of its own."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowerbench._torchvision import transforms_v2
from flowerbench.config import Augmentation

# Of torchvision.transforms.RandomErasing: the area as a share of the photo's, and height to width.
_AREAS, _RATIOS = (0.02, 0.33), (0.3, 3.3)
# Uniform numbers per photo: whether it is erased, the rectangle's area, ratio, top and left, and what seeds the rest.
COLUMNS = 6


def is_asked_for(spec: Augmentation | None) -> bool:
    """Whether there is anything to do."""
    return spec is not None and (spec.trivial_augment or spec.random_erasing > 0)


def recoloured(squares: Tensor, draws: NDArray[np.float64]) -> Tensor:
    """Photos of 0 to 255, shape (n, 3, size, size), each changed by one operation of a random strength, in place.

    TrivialAugment (Müller & Hutter 2021) in its wide form, as torchvision has it. `draws` has shape (n, COLUMNS).
    """
    change = transforms_v2().TrivialAugmentWide()
    with torch.random.fork_rng(devices=[]):
        for square, draw in zip(squares, draws[:, 5], strict=True):
            torch.default_generator.manual_seed(int(draw * 2**53))  # not the GPU's, which draws dropout
            square.copy_(change(square.round().to(torch.uint8)))
    return squares


def erased(squares: Tensor, draws: NDArray[np.float64], probability: float) -> Tensor:
    """Normalised photos of shape (n, 3, size, size), in some of which a rectangle is the mean colour, in place.

    Random erasing (Zhong et al. 2020), with the distributions of torchvision's RandomErasing. `draws` has shape
    (n, COLUMNS).
    """
    size = squares.shape[-1]
    areas = size * size * (_AREAS[0] + draws[:, 1] * (_AREAS[1] - _AREAS[0]))
    ratios = np.exp(np.log(_RATIOS[0]) + draws[:, 2] * (np.log(_RATIOS[1]) - np.log(_RATIOS[0])))
    lengths = np.rint(np.stack([np.sqrt(areas * ratios), np.sqrt(areas / ratios)], axis=1)).clip(1, size - 1)
    starts = np.floor(draws[:, 3:5] * (size - lengths + 1))
    inside = []
    for axis in (0, 1):
        start, end = (torch.from_numpy(x).view(-1, 1) for x in (starts[:, axis], starts[:, axis] + lengths[:, axis]))
        pixels = torch.arange(size)
        inside.append((pixels >= start) & (pixels < end))
    is_chosen = torch.from_numpy(draws[:, 0] < probability).view(-1, 1, 1)
    mask = inside[0][:, :, None] & inside[1][:, None, :] & is_chosen
    return squares.masked_fill_(mask[:, None].to(squares.device), 0)
