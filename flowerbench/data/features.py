"""What a frozen backbone makes of photos that no epoch changes: computed once, and kept for every run that asks again.

A linear probe (Alain & Bengio 2017) then trains its head on features, and an epoch takes milliseconds.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flowerbench import atomic, cache, torchrun
from flowerbench.config import Config
from flowerbench.data.batches import Batches
from flowerbench.placement import Placement

log = logging.getLogger(__name__)


def are_enough(cfg: Config, head: nn.Module) -> bool:
    """Whether nothing of the photos but their features is ever asked for, in this process alone."""
    is_fixed = cfg.model.freeze == "backbone" and cfg.data.augmentation is None and not cfg.eval_flips
    is_mixed = cfg.regularization.mixup or cfg.regularization.cutmix
    is_plain = not is_mixed and cfg.model.ema is None and cfg.compile is not True and torchrun.processes() == 1
    return is_fixed and is_plain and isinstance(head, nn.Linear)


def of_all(
    batches: Batches,
    count: int,
    network: nn.Module,
    head: nn.Module,
    placement: Placement,
    facts: Mapping[str, Any],
    max_bytes: float,
    micro_batch: int | None = None,
) -> Tensor | None:
    """The input of the head for each of `count` photos, shape (count, features), on the device.

    They are read from the cache folder, or computed and put there, where at most `max_bytes` are kept; `facts` are
    what they depend on beside the backbone's weights. With `micro_batch` so many photos at most are in the network at
    a time. None where the head is not all that comes after them.
    """
    file = cache.decoded_folder() / f"features-{_key(network, head, facts)}" / "features.npy"
    try:
        kept = torch.from_numpy(np.load(file)).to(placement.device)
        os.utime(file.parent)  # what was not used for longest goes first
        return kept
    except (OSError, ValueError):
        started = time.perf_counter()
    found = _computed(batches, count, network, head, placement, micro_batch)
    if found is None:
        return None
    try:
        _keep(file, found)
        cache.bound(file.parent.parent, max_bytes, in_use=file.parent)
    except OSError as error:
        log.warning("Features are not kept for other runs (%s): %s", error.strerror or error, file.parent)
    seconds = time.perf_counter() - started
    log.info("Features of %d photos took %.1f s; the epochs train the head on them", count, seconds)
    return found


@torch.inference_mode()
def _computed(
    batches: Batches, count: int, network: nn.Module, head: nn.Module, placement: Placement, micro_batch: int | None
) -> Tensor | None:
    network.eval()
    seen: list[Tensor] = []
    parts = (part for images, _ in batches.val(0, range(count)) for part in torch.split(images, micro_batch or count))
    with head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].float())):
        for part in parts:
            with placement.autocast():
                logits = network(part)
                if not torch.equal(logits, head(seen[-1])):
                    return None
            seen.pop()  # what the comparison has added
    return torch.cat(seen).clone()


def _keep(file: Path, found: Tensor) -> None:
    def save(temporary: Path) -> None:
        with temporary.open("wb") as opened:
            np.save(opened, found.cpu().numpy())

    file.parent.mkdir(parents=True, exist_ok=True)
    atomic.write(file, save)


def _key(network: nn.Module, head: nn.Module, facts: Mapping[str, Any]) -> str:
    own = {id(tensor) for tensor in head.state_dict(keep_vars=True).values()}
    hashed = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for name, tensor in network.state_dict(keep_vars=True).items():
        if id(tensor) not in own:
            hashed.update(name.encode())
            hashed.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return hashed.hexdigest()[:16]
