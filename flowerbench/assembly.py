"""What a run is put together from, before its first epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from hydra.utils import instantiate
from torch import nn

from flowerbench import engine, errors, model
from flowerbench.config import Config
from flowerbench.data import augment, sources, split
from flowerbench.data.batches import Batches
from flowerbench.placement import Placement, pick_device, place

# A GPU is faster with many photos at a time; a CPU is not.
_EVAL_BATCH_SIZES = {"cuda": 256}


@dataclass(frozen=True)
class Assembly:
    """Photos and their split, batches of them, and what learns from them, on its device."""

    photos: sources.Photos
    parts: split.Split
    stream: Batches
    device: torch.device
    placement: Placement
    network: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: Any

    def epochs(
        self, cfg: Config, on_batch: engine.OnBatch, *, after: int, micro_batch: int | None = None
    ) -> Iterator[engine.Epoch]:
        """Train from the epoch after `after` on; see engine.fit."""
        learner = (self.network, self.optimizer, self.scheduler)
        return engine.fit(
            *learner, self.stream, self.parts, self.placement, cfg, on_batch, after=after, micro_batch=micro_batch
        )

    def load(self, state: Mapping[str, Any]) -> None:
        """Be as model, optimiser and schedule were when the state was kept."""
        self.network.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])


def assemble(cfg: Config) -> Assembly:
    """Photos → split → model → optimiser, schedule → batches, as `cfg` has them. Raises UsageError for a misfit."""
    photos = sources.load(cfg.data)
    parts = split.split(photos, cfg.data)
    device = pick_device(cfg.device, cfg.deterministic)

    torch.manual_seed(augment.model_seed(cfg.seed, 0))
    network = model.build(cfg.model, len(photos.classes), cfg.image_size)
    placement = place(network, device, cfg.precision, cfg.compile)
    optimizer = errors.blamed_on("optim", instantiate, cfg.optim, _args_=[list(network.parameters())])
    scheduler = errors.blamed_on("schedule", instantiate, cfg.schedule, _args_=[optimizer])
    stream = Batches(
        photos,
        cfg.data,
        image_size=cfg.image_size,
        batch_size=cfg.batch_size,
        eval_batch_size=cfg.eval_batch_size or _EVAL_BATCH_SIZES.get(device.type, 16),
        seed=cfg.seed,
        device=device,
    )
    return Assembly(photos, parts, stream, device, placement, network, optimizer, scheduler)
