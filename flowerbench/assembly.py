"""What a run is put together from, before its first epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from omegaconf import DictConfig
from torch import nn

from flowerbench import compiling, engine, freezing, model, optimizers, provenance, recipe, schedules
from flowerbench.config import Config
from flowerbench.data import augment, features, sources, split
from flowerbench.data.batches import Batches
from flowerbench.history import Row
from flowerbench.open_groups import optim_options
from flowerbench.placement import Placement, pick_device, place

# A GPU is faster with many photos at a time; a CPU is not.
_EVAL_BATCH_SIZES = {"cuda": 256}


@dataclass(frozen=True)
class Assembly:
    """Photos and their split, batches of them, and what learns from them, on its device.

    The `learner` is the network, or its head where the batches are of features.
    """

    photos: sources.Photos
    parts: split.Split
    stream: Batches
    device: torch.device
    placement: Placement
    network: nn.Module
    learner: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: schedules.Schedule
    recipe: recipe.Recipe
    accumulate: int
    is_compiled: bool

    def epochs(
        self, cfg: Config, on_batch: engine.OnBatch, *, done: Sequence[Row] = (), micro_batch: int | None = None
    ) -> Iterator[engine.Epoch]:
        """Train on after the epochs that are done; see engine.fit."""
        return engine.fit(
            self.learner,
            self.optimizer,
            self.scheduler,
            self.stream,
            self.parts,
            self.placement,
            cfg,
            on_batch,
            done=done,
            micro_batch=micro_batch,
            accumulated=cfg.batch_size if self.accumulate > 1 else None,  # a step's batches are parts of a large one
            recipe=self.recipe,
        )

    def state(self) -> dict[str, Any]:
        """Model, optimiser and schedule as they are: what `load` takes.

        The model is the one that is validated; where it is an average, the one that is trained stands beside it.
        """
        average = self.recipe.average
        return {
            "model": (average.module if average else self.network).state_dict(),
            **({"trained_model": self.network.state_dict()} if average else {}),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Be as model, optimiser and schedule were when the state was kept."""
        self.network.load_state_dict(state.get("trained_model", state["model"]))
        if self.recipe.average:
            self.recipe.average.module.load_state_dict(state["model"])
            self.recipe.average.n_averaged.fill_(1)  # it has begun: the next step is averaged in
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])


def assemble(cfg: Config, micro_batch: int | None = None) -> Assembly:
    """Photos → split → model → optimiser, schedule → batches, as `cfg` has them. Raises UsageError for a misfit.

    With `micro_batch` no more photos than that go through the model at a time.
    """
    photos = sources.load(cfg.data)
    parts = split.split(photos, cfg.data)
    device = pick_device(cfg.device, cfg.deterministic)
    is_compiled = compiling.decided(cfg, len(photos.classes), len(parts.train), device)

    torch.manual_seed(augment.model_seed(cfg.seed, 0))
    network = model.build(cfg.model, len(photos.classes), cfg.image_size)
    head = model.head(network, cfg.model, len(photos.classes), cfg.image_size)
    freezing.freeze(network, head, cfg.model.freeze)
    average = recipe.averaged(network, cfg.model.ema)
    if average:
        place(average.module, device, cfg.precision, is_compiled)
    placement = place(network, device, cfg.precision, is_compiled)
    accumulate = optim_options(cast(DictConfig, cfg.optim)).accumulate
    optimizer = optimizers.build(cast(DictConfig, cfg.optim), network, head, cfg.batch_size * accumulate)
    scheduler = schedules.build(cast(DictConfig, cfg.schedule), optimizer)
    stream = Batches(
        photos,
        cfg.data,
        image_size=cfg.image_size,
        batch_size=cfg.batch_size * accumulate,
        eval_batch_size=cfg.eval_batch_size or _EVAL_BATCH_SIZES.get(device.type, 16),
        seed=cfg.seed,
        device=device,
    )
    steps = recipe.build(cfg, len(photos.classes), average)
    learner: nn.Module = network
    if features.are_enough(cfg, last := model.head_module(network, head)):
        facts, max_bytes = _facts_of_features(cfg, photos, device, micro_batch), cfg.data.cached_max_gb * 1e9
        found = features.of_all(stream, len(photos), network, last, placement, facts, max_bytes, micro_batch)
        if found is not None:
            stream, learner = stream.prepared(found), last
    learns = (learner, optimizer, scheduler, steps, accumulate, is_compiled)
    return Assembly(photos, parts, stream, device, placement, network, *learns)


def _facts_of_features(
    cfg: Config, photos: sources.Photos, device: torch.device, micro_batch: int | None
) -> dict[str, Any]:
    data = {"photos": photos.fingerprint, "center_crop": cfg.data.center_crop}
    normalised = {"mean": list(cfg.data.mean), "std": list(cfg.data.std)}
    made = {"model": cfg.model.name, "kwargs": dict(cfg.model.kwargs), "image_size": cfg.image_size}
    computed = provenance.computation(cfg, device, micro_batch)
    batches = {"eval_batch_size": cfg.eval_batch_size, "precision": cfg.precision}
    return {**data, **normalised, **made, **computed, **batches}
