"""Where a model looks: Grad-CAM (Selvaraju et al. 2017) by captum, drawn over the photos."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from flowerbench.errors import UsageError
from flowerbench.trained import Trained

# Pixels: of a picture's smaller side at least, and between the photo and its explanation.
_SIDE, _GAP = 224, 4
_STRENGTH = 0.7  # of the colours over the grey photo, where the class has most evidence


@dataclass(frozen=True)
class Explainer:
    """Draws where a model finds a class; `layer` is the last part of it whose output still is a map of the photo."""

    trained: Trained
    layer: nn.Module

    def pictures(self, squares: list[Tensor], classes: list[int]) -> list[Image.Image]:
        """Each square beside itself in grey, the places that speak for its class in colour: the warmer, the more."""
        from captum.attr import LayerAttribution, LayerGradCam

        images = self.trained.normalised(squares).requires_grad_()
        found: Any = LayerGradCam(self.trained.network, self.layer).attribute(
            images, target=torch.tensor(classes, device=images.device), relu_attributions=True
        )
        size = max(self.trained.image_size, _SIDE)
        maps = LayerAttribution.interpolate(found.detach(), (size, size), "bilinear")[:, 0].cpu().numpy()
        return [_picture(square.numpy(), evidence) for square, evidence in zip(squares, maps, strict=True)]


def explainer(trained: Trained) -> Explainer:
    """What explains a model's answers. Raises UsageError where captum is missing, and for a model without maps."""
    try:
        import captum.attr  # noqa: F401
    except ImportError:
        raise UsageError("--explain needs captum: in the checkout, pip install '.[explain]'") from None
    layer = _last_map(trained)
    if layer is None:
        raise UsageError(
            f"--explain: {trained.config['model.name']} has no convolution whose map its answer comes from, "
            "as Grad-CAM needs"
        )
    return Explainer(trained, layer)


def _last_map(trained: Trained) -> nn.Module | None:
    """The outermost module around the last convolution whose output is still a map; None where attention follows."""
    called: list[tuple[nn.Module, bool]] = []

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        called.append((module, isinstance(output, Tensor) and output.ndim == 4 and min(output.shape[2:]) > 1))

    network, size = trained.network, trained.image_size
    hooks = [module.register_forward_hook(note) for module in network.modules()]
    try:
        trained.probabilities(torch.zeros(1, 3, size, size, device=trained.device))
    finally:
        for hook in hooks:
            hook.remove()
    maps = [place for place, (module, is_map) in enumerate(called) if isinstance(module, nn.Conv2d) and is_map]
    if not maps:
        return None
    last, later = called[maps[-1]][0], called[maps[-1] :]
    if any("attention" in type(module).__name__.lower() for module, _ in later):
        return None
    # A module is done after all that are within it, so the last of these is the outermost.
    return [module for module, is_map in later if is_map and any(inner is last for inner in module.modules())][-1]


def _picture(square: NDArray[np.uint8], evidence: NDArray[np.float32]) -> Image.Image:
    from matplotlib import colormaps

    photo = Image.fromarray(square).resize(evidence.shape, Image.Resampling.BICUBIC)
    most = float(evidence.max())
    share = evidence / most if most > 0 else evidence
    colours = 255 * colormaps["turbo"](share)[..., :3]
    strength = _STRENGTH * share[..., None]
    shown = (1 - strength) * np.asarray(photo.convert("L"))[..., None] + strength * colours
    picture = Image.new("RGB", (2 * photo.width + _GAP, photo.height), "white")
    picture.paste(photo)
    picture.paste(Image.fromarray(shown.round().astype(np.uint8)), (photo.width + _GAP, 0))
    return picture
