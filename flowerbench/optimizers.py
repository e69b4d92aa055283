"""The optimiser of a run: torch's own class, with the rates and the decay that each part of the model gets."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from typing import Any, cast

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import nn

from flowerbench import errors
from flowerbench.open_groups import OptimOptions, parted

ParameterGroup = dict[str, Any]
_FUSED = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)


def build(cfg: DictConfig, network: nn.Module, head: Collection[str], batch_size: int) -> torch.optim.Optimizer:
    """The optimiser that `cfg` describes, over the parameters of the network that train.

    `head` names the parameters of the head, and `batch_size` are the photos of a step.
    """
    ours, arguments = parted("optim", cfg)
    chosen = OptimOptions(**ours)
    lr = arguments.get("lr")
    if chosen.lr_per is not None and lr is not None:
        lr = arguments["lr"] = scaled(lr, batch_size, chosen.lr_per, chosen.lr_scaling)
    groups = list(_groups(network, head, chosen, lr))
    # One group of parameters is what torch makes of a list of them.
    parameters = groups if len(groups) > 1 or len(groups[0]) > 1 else groups[0]["params"]
    # Not given to `instantiate`, which would make a config of the groups.
    make = errors.blamed_on("optim", instantiate, arguments, _partial_=True)
    if _can_be_fused(make, next(network.parameters()).device):
        make.keywords["fused"] = True
    return cast(torch.optim.Optimizer, errors.blamed_on("optim", make, parameters))


def _can_be_fused(make: Any, device: torch.device) -> bool:
    """Whether torch has the whole step as one kernel, and the user has not chosen among its implementations.

    For each parameter by itself a step of a small network takes longer to be asked for than to be computed.
    """
    chosen = {"fused", "foreach", "capturable", "differentiable"}.intersection(make.keywords)
    return make.func in _FUSED and device.type in ("cpu", "cuda") and not chosen


def scaled(lr: float, batch_size: int, per: int, rule: str) -> float:
    """The rate for this batch size where `lr` is meant for batches of `per` photos.

    Linear: Goyal et al. 2017, Accurate, Large Minibatch SGD, section 2.1; the square root: Krizhevsky 2014, One weird
    trick, section 5, and usual with Adam.
    """
    times = batch_size / per
    return lr * (times if rule == "linear" else math.sqrt(times))


def _groups(
    network: nn.Module, head: Collection[str], chosen: OptimOptions, lr: float | None
) -> Iterator[ParameterGroup]:
    """Backbone before head, and in each what decays before what does not; those without parameters are left out."""
    parts: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            # A head of the same rate is no part of its own: how parameters are grouped may decide how sums are rounded.
            is_head = chosen.head_lr_multiplier != 1 and name in head
            is_spared = not chosen.decay_norms_and_biases and parameter.ndim <= 1
            parts.setdefault((is_head, is_spared), []).append(parameter)
    for (is_head, is_spared), parameters in sorted(parts.items(), key=lambda part: part[0]):
        group: ParameterGroup = {"params": parameters}
        if is_head and lr is not None:
            group["lr"] = lr * chosen.head_lr_multiplier
        if is_spared:
            group["weight_decay"] = 0.0
        yield group
