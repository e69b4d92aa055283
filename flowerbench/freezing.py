"""Freeze the first stages of a classifier, of whatever family: they keep their weights, and compute as in use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import groupby

from torch import nn

from flowerbench.errors import UsageError

# A module with so many of the layers is the trunk, and what it is made of are the stages.
_TRUNK_SHARE = 0.8


def stages(network: nn.Module, head: Collection[str]) -> list[list[str]]:
    """The parameters of the layers before the head, by stage, first to last: what the network is made of in its trunk.

    ResNet-18 has five, the first convolution and layer1 to layer4; MobileNetV2 and VGG one per entry of `features`;
    a vision transformer its patches and then one per block.
    """
    names = {name: parameter.ndim > 1 for name, parameter in network.named_parameters() if name not in head}
    layers = [name for name, is_layer in names.items() if is_layer]
    trunk = _trunk(layers)
    found: list[list[str]] = []
    for place, group in groupby(names, key=lambda name: _place(name, trunk)):
        members = list(group)
        # Before the trunk is one stage, its stem; what comes after it, and a norm by itself, goes with the one before.
        if not found or (place.startswith(trunk) and any(names[name] for name in members)):
            found.append(members)
        else:
            found[-1] += members
    return found


def freeze(network: nn.Module, head: Collection[str], until: str | int | None) -> None:
    """Let the parameters of the first `until` stages, or of all before the head (`backbone`), train no more.

    Raises UsageError where there are not so many stages.
    """
    if until is None:
        return
    parts = stages(network, head)
    depth = len(parts) if until == "backbone" else int(until)
    if depth > len(parts):
        raise UsageError(
            f"model.freeze={until}: this model has {len(parts)} stages before its head ({', '.join(_names(parts))})"
        )
    frozen = {name for part in parts[:depth] for name in part}
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name not in frozen)


def train_mode(network: nn.Module) -> None:
    """Training mode, but for all that comes before the first parameter that trains.

    There batch norm keeps its statistics and dropout does nothing, so that a photo's features stay what they are.
    """
    network.train()
    if all(parameter.requires_grad for parameter in network.parameters()):
        return
    for module in network.modules():
        if any(parameter.requires_grad for parameter in module.parameters(recurse=False)):
            break
        if not any(parameter.requires_grad for parameter in module.parameters()):
            module.eval()


def _trunk(layers: Sequence[str]) -> str:
    """The dotted prefix that stages have in common."""
    trunk = ""
    while True:
        places = Counter(_place(name, trunk) for name in layers if name.startswith(trunk))
        largest, count = places.most_common(1)[0]
        if count < _TRUNK_SHARE * len(layers) or largest in layers or not _is_parted(largest, layers):
            return trunk
        trunk = f"{largest}."


def _is_parted(place: str, layers: Iterable[str]) -> bool:
    """Whether the place holds modules, and is not a layer itself."""
    return any("." in name.removeprefix(f"{place}.") for name in layers if name.startswith(f"{place}."))


def _place(name: str, trunk: str) -> str:
    """The part that a parameter belongs to: one level below the trunk, or beside it."""
    if name.startswith(trunk):
        return trunk + name.removeprefix(trunk).partition(".")[0]
    return name.partition(".")[0]


def _names(parts: Iterable[Collection[str]]) -> list[str]:
    return [next(iter(part)).rpartition(".")[0] or next(iter(part)) for part in parts]
