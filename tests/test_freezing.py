"""Which layers stay as they are, and how they compute meanwhile."""

from __future__ import annotations

import pytest
import torch

from flowerbench import freezing, model
from flowerbench.config import Model
from flowerbench.errors import UsageError


def built(name: str, classes: int = 5, size: int = 64, **kwargs):
    cfg = Model(name=name, weights=None, kwargs=kwargs)
    network = model.build(cfg, classes, size)
    return network, model.head(network, cfg, classes, size)


@pytest.mark.parametrize(
    ("name", "count", "first", "last"),
    [
        ("resnet18", 5, "conv1.weight", "layer4.1.bn2.bias"),
        ("mobilenet_v2", 19, "features.0.0.weight", "features.18.1.bias"),
        ("vgg16", 13, "features.0.weight", "classifier.3.bias"),
        ("swin_s", 8, "features.0.0.weight", "norm.bias"),
        ("vit_b_16", 13, "class_token", "encoder.ln.bias"),
        ("convnext_tiny", 8, "features.0.0.weight", "classifier.0.bias"),
        ("squeezenet1_1", 9, "features.0.weight", "features.12.expand3x3.bias"),
        ("tiny", 4, "0.weight", "10.bias"),
    ],
)
def test_stages_are_what_the_trunk_is_made_of(name, count, first, last):
    with torch.device("meta"):
        network = model.build(Model(name=name, weights=None, kwargs={}), 5, 64)
    head = model.head(network, Model(name=name, weights=None, kwargs={}), 5, 64)
    found = freezing.stages(network, head)
    assert len(found) == count
    assert found[0][0] == first
    assert found[-1][-1] == last
    listed = [parameter for stage in found for parameter in stage]
    assert listed == [parameter for parameter, _ in network.named_parameters() if parameter not in head]


def test_a_depth_freezes_so_many_stages_and_no_more():
    network, head = built("resnet18")
    freezing.freeze(network, head, "2")
    training = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert not any(name.startswith(("conv1", "bn1", "layer1")) for name in training)
    assert {"layer2.0.conv1.weight", "layer4.1.bn2.weight", "fc.weight"} <= training


def test_backbone_is_all_but_the_head():
    network, head = built("mobilenet_v2", width_mult=0.25)
    freezing.freeze(network, head, "backbone")
    assert (
        {name for name, p in network.named_parameters() if p.requires_grad}
        == head
        == {"classifier.1.weight", "classifier.1.bias"}
    )


def test_too_deep_is_refused_with_the_stages_there_are():
    network, head = built("resnet18")
    with pytest.raises(UsageError, match=r"^model\.freeze=6: this model has 5 stages .*conv1, layer1.*layer4"):
        freezing.freeze(network, head, "6")


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "vgg11_bn"])
def test_features_of_a_frozen_backbone_stay_what_they_are(name):
    network, head = built(name)
    freezing.freeze(network, head, "backbone")
    seen: list[torch.Tensor] = []
    model.head_module(network, head).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    photos = torch.rand(4, 3, 64, 64)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    for _ in range(2):
        freezing.train_mode(network)
        network(photos)
    network.eval()
    network(photos)
    assert torch.equal(seen[0], seen[1]), "no dropout before the head"
    assert torch.allclose(seen[0], seen[2], atol=1e-6)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items()), "no statistics move"


def test_what_trains_is_in_training_mode_and_nothing_frozen_is():
    network, head = built("resnet18")
    freezing.train_mode(network)
    assert all(module.training for module in network.modules())
    freezing.freeze(network, head, "3")
    freezing.train_mode(network)
    assert not network.bn1.training
    assert not network.layer2[1].bn2.training
    assert network.layer3[0].bn1.training
    assert network.layer4[1].bn2.training
