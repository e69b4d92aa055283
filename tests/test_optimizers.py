"""Which rate and which decay each part of a model gets."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from flowerbench import model, optimizers

HEAD = ("11.weight", "11.bias")


def built(compose_config, *overrides: str, batch_size: int = 16):
    network = model.tiny(num_classes=3)
    head = {name for name, _ in list(network.named_parameters())[-2:]}
    return network, optimizers.build(compose_config(*overrides).optim, network, head, batch_size)


def test_by_default_all_parameters_are_one_group_in_their_order(compose_config):
    network, optimizer = built(compose_config)
    (group,) = optimizer.param_groups
    assert [id(p) for p in group["params"]] == [id(p) for p in network.parameters()]
    assert (group["lr"], group["momentum"], group["nesterov"]) == (0.001, 0.9, False)


def test_the_head_may_learn_faster(compose_config):
    network, optimizer = built(compose_config, "optim.head_lr_multiplier=10", "optim.lr=0.02")
    backbone, head = optimizer.param_groups
    assert (backbone["lr"], head["lr"]) == (0.02, pytest.approx(0.2))
    assert [id(p) for p in head["params"]] == [id(p) for p in list(network.parameters())[-2:]]


def test_norms_and_biases_may_be_spared_from_decay(compose_config):
    _, optimizer = built(compose_config, "optim=adamw", "optim.weight_decay=0.1", "optim.decay_norms_and_biases=false")
    decayed, spared = optimizer.param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    assert all(parameter.ndim > 1 for parameter in decayed["params"])
    assert all(parameter.ndim == 1 for parameter in spared["params"])


def test_what_is_frozen_is_nothing_for_the_optimiser(compose_config):
    network = model.tiny(num_classes=3)
    for parameter in list(network.parameters())[:-2]:
        parameter.requires_grad_(False)
    optimizer = optimizers.build(compose_config("optim.head_lr_multiplier=2").optim, network, (), 16)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 2


@pytest.mark.parametrize(("rule", "rate"), [("linear", 0.4), ("sqrt", 0.2)])
def test_the_rate_follows_the_batch_size(compose_config, rule, rate):
    _, optimizer = built(
        compose_config, "optim.lr=0.1", "optim.lr_per=256", f"optim.lr_scaling={rule}", batch_size=1024
    )
    assert optimizer.param_groups[0]["lr"] == pytest.approx(rate)


@given(st.floats(1e-6, 10), st.integers(1, 4096), st.sampled_from(["linear", "sqrt"]))
def test_at_the_batch_size_that_is_meant_the_rate_is_as_given(lr, per, rule):
    assert optimizers.scaled(lr, per, per, rule) == lr


@pytest.mark.parametrize("options", [["optim=sgd", "optim.weight_decay=0.01"], ["optim=adamw"]])
def test_a_step_in_one_kernel_is_torchs_plain_step_to_rounding(compose_config, options):
    """Photos in channels-last layout, as in training, and a checkpoint half way: memory is read in the right order."""
    torch.manual_seed(0)
    first = model.tiny(num_classes=3).to(memory_format=torch.channels_last)
    networks = first, copy.deepcopy(first)
    configs = compose_config(*options).optim, compose_config(*options, "+optim.foreach=false").optim
    fused, plain = (optimizers.build(cfg, net, (), 16) for cfg, net in zip(configs, networks, strict=True))
    assert (fused.param_groups[0]["fused"], plain.param_groups[0]["fused"]) == (True, None)
    for step in range(10):
        images, labels = torch.randn(8, 3, 16, 16), torch.arange(8) % 3
        for net, optimizer in zip(networks, (fused, plain), strict=True):
            if step == 5:
                optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(images.contiguous(memory_format=torch.channels_last)), labels).backward()
            optimizer.step()
    for one, other in zip(*(net.parameters() for net in networks), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_an_option_of_ones_own_needs_none_of_our_keys():
    from omegaconf import OmegaConf

    cfg = OmegaConf.create({"_target_": "torch.optim.RMSprop", "lr": 0.01})
    optimizer = optimizers.build(cfg, nn.Linear(2, 2), (), 16)
    assert optimizer.param_groups[0]["lr"] == 0.01
