"""The sizes that photos are brought to before they are batched."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from flowerbench._torchvision import torchvision

F = torchvision.transforms.functional


@dataclass(frozen=True)
class Sizes:
    """What photos are brought to before they are batched: a clean square of `image_size`, or a photo to augment.

    The square keeps `center_crop` of the shorter side; that of a photo to augment is `shorter` pixels at most.
    """

    image_size: int
    center_crop: float
    shorter: int

    def pixels(self, image: Image.Image, *, is_clean: bool) -> NDArray[np.uint8]:
        """The clean square, or the photo to augment."""
        return self.square(image) if is_clean else self.photo(image)

    def square(self, image: Image.Image) -> NDArray[np.uint8]:
        """The photo resized and its centre cut out, as torchvision's Resize and CenterCrop do it: (size, size, 3)."""
        resized = F.resize(image, round(self.image_size / self.center_crop))
        return np.array(F.center_crop(resized, [self.image_size, self.image_size]))

    def photo(self, image: Image.Image) -> NDArray[np.uint8]:
        """The photo, shape (height, width, 3), resized if it is larger than needed."""
        return np.array(F.resize(image, self.shorter) if min(image.size) > self.shorter else image)
