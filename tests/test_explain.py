"""Where a model looks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from flowerbench import explain, model
from flowerbench._torchvision import torchvision
from flowerbench.config import Model
from flowerbench.errors import UsageError
from flowerbench.trained import Trained


def trained(network: nn.Module, size: int = 64, name: str = "made") -> Trained:
    means = {"data.mean": [0.5] * 3, "data.std": [0.5] * 3, "data.center_crop": 1.0}
    config = {"model.name": name, "precision": "fp32", **means}
    return Trained(Path("run"), config, ("red", "blue"), network.eval(), size, torch.device("cpu"), 1)


def test_what_speaks_for_a_class_is_coloured_and_the_rest_stays():
    convolution = nn.Conv2d(3, 2, 1, bias=False)
    network = nn.Sequential(convolution, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with torch.no_grad():
        convolution.weight.copy_(torch.tensor([[1.0, 0, -1], [-1, 0, 1]]).view(2, 3, 1, 1))
    square = np.zeros((240, 240, 3), dtype=np.uint8)
    square[:60, :60, 0] = 255  # red, at the top left
    square[-60:, -60:, 2] = 255  # blue, at the bottom right
    made = explain.explainer(trained(network, 240))
    red, blue = made.pictures([torch.from_numpy(square)] * 2, [0, 1])
    for picture, inside, outside in ((red, slice(60), slice(-60, None)), (blue, slice(-60, None), slice(60))):
        photo, shown = np.asarray(picture)[:, :240], np.asarray(picture)[:, -240:]
        assert np.array_equal(photo, square)
        is_coloured = np.ptp(shown, axis=2) > 0
        assert is_coloured[inside, inside].all()
        assert not is_coloured[outside, outside].any()


FAMILIES = {
    "tiny": ("tiny", {}, "9"),
    "resnet18": ("resnet18", {}, "layer4"),
    "mobilenet_v2": ("mobilenet_v2", {"width_mult": 0.35}, "features"),
    "squeezenet1_1": ("squeezenet1_1", {}, "classifier.1"),
}
MORE = {
    "densenet121": ("densenet121", {}, "features"),
    "efficientnet_b0": ("efficientnet_b0", {}, "features"),
    "convnext_tiny": ("convnext_tiny", {}, "features"),
    "googlenet": ("googlenet", {"init_weights": False}, "inception5b"),
    "inception_v3": ("inception_v3", {"init_weights": False}, "Mixed_7c"),
    "shufflenet_v2_x0_5": ("shufflenet_v2_x0_5", {}, "conv5"),
    "mnasnet0_5": ("mnasnet0_5", {}, "layers"),
    "regnet_y_400mf": ("regnet_y_400mf", {}, "trunk_output"),
    "vgg11": ("vgg11", {}, "features"),
    "alexnet": ("alexnet", {}, "features"),
    "mobilenet_v3_small": ("mobilenet_v3_small", {}, "features"),
}


@pytest.mark.parametrize(
    ("name", "kwargs", "layer"),
    [*FAMILIES.values(), *(pytest.param(*family, marks=pytest.mark.long) for family in MORE.values())],
    ids=[*FAMILIES, *MORE],
)
def test_the_last_map_of_any_convolutional_model_explains_it(name: str, kwargs: dict[str, object], layer: str):
    size = 128 if name in ("inception_v3", "alexnet") else 64
    made = trained(model.build(Model(name, None, kwargs), 2, size), size, name)
    found = explain.explainer(made)
    assert {module: path for path, module in made.network.named_modules()}[found.layer] == layer
    square = torch.randint(0, 256, (size, size, 3), dtype=torch.uint8)
    (picture,) = found.pictures([square], [1])
    assert picture.size == (2 * 224 + 4, 224)


SLIM_ATTENTION = {
    "vit": lambda: torchvision.models.VisionTransformer(32, 16, 1, 2, 16, 16, num_classes=2),
    "swin": lambda: torchvision.models.SwinTransformer([4, 4], 8, [1, 1], [2, 2], [4, 4], num_classes=2),
}


@pytest.mark.parametrize("name", SLIM_ATTENTION)
def test_where_attention_follows_there_is_no_map(name: str):
    with pytest.raises(UsageError, match=f"{name} has no convolution whose map"):
        explain.explainer(trained(SLIM_ATTENTION[name](), 32, name))
