"""Import torchvision also where its compiled operators do not fit the installed torch.

A CPU build of torch beside a CUDA build of torchvision (what a package index may serve) fails at import with
"operator torchvision::nms does not exist". Those operators are for detection; classifiers and transforms need none.
Every module takes torchvision from here.
"""

from __future__ import annotations

from types import ModuleType
from typing import cast

import torch

_DETECTION_OPERATORS = ("nms", "qnms")

try:
    import torchvision
except RuntimeError as error:
    if "operator torchvision::" not in str(error):
        raise
    for _name in _DETECTION_OPERATORS:
        torch.library.define(f"torchvision::{_name}", "(Tensor boxes, Tensor scores, float threshold) -> Tensor")
    import torchvision

__all__ = ["torchvision", "transforms_v2"]


def transforms_v2() -> ModuleType:
    """torchvision.transforms.v2, which takes a while to import and which few runs need."""
    from torchvision.transforms import v2

    return cast(ModuleType, v2)
