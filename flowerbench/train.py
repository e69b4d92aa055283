"""Train one classifier, or with --multirun a sweep of them: config → photos → split → batches → model → epochs."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import hydra
from omegaconf import DictConfig

from flowerbench import config, distributed, drive, errors, guard, identity, interrupt, search, sweep, torchrun

if TYPE_CHECKING:
    import torch
    from torch import nn

    from flowerbench.data.batches import Batches
    from flowerbench.data.sources import Photos
    from flowerbench.data.split import Split
    from flowerbench.engine import Placement

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """What a run is put together from, before its first epoch."""

    photos: Photos
    split: Split
    device: torch.device
    network: nn.Module
    placement: Placement
    optimizer: torch.optim.Optimizer
    scheduler: Any
    stream: Batches

    def load(self, state: dict[str, Any]) -> None:
        """Be as they were when the state was kept."""
        for part, name in ((self.network, "model"), (self.optimizer, "optimizer"), (self.scheduler, "scheduler")):
            part.load_state_dict(state[name])


def prepare(cfg: config.Config) -> Parts:
    """Put together what `cfg` describes."""
    import torch
    from hydra.utils import instantiate

    from flowerbench import engine, model
    from flowerbench.data import augment, batches, sources, split

    photos = sources.load(cfg.data)
    parts = split.split(photos, cfg.data)
    device = engine.pick_device(cfg.device, cfg.deterministic)

    torch.manual_seed(augment.model_seed(cfg.seed, 0))
    network = model.build(cfg.model, len(photos.classes), cfg.image_size)
    placement = engine.place(network, device, cfg.precision, cfg.data)
    optimizer = errors.blamed_on("optim", instantiate, cfg.optim, _args_=[list(network.parameters())])
    scheduler = errors.blamed_on("schedule", instantiate, cfg.schedule, _args_=[optimizer])
    stream = batches.Batches(
        photos, cfg.data, image_size=cfg.image_size, batch_size=cfg.batch_size, seed=cfg.seed, device=device
    )
    return Parts(photos, parts, device, network, placement, optimizer, scheduler, stream)


def train(cfg: config.Config, run: sweep.Run, micro_batch: int | None = None) -> float:
    """Train as `cfg` says and record everything in `run.folder`; returns the best validation accuracy.

    Epochs that are on disk already, in the folder or in the cache, are taken from there. With `micro_batch` a batch
    goes through the model in parts of so many photos.
    """
    from flowerbench import engine, provenance, resume, store, tracking, trajectory
    from flowerbench.progress import EpochBar

    params = identity.flat(cast(DictConfig, cfg))
    with (
        tracking.run(
            cfg.tracking, params=params, name=run.name, folder=run.folder, sweep=run.sweep_folder, tags=run.tags
        ) as tracker,
        store.RunFolder(run.folder, {"name": run.name, "sweep": run.sweep}) as folder,
        EpochBar(cfg.epochs) as bar,
        torchrun.one_fate(),
    ):
        distributed.from_main()
        made = prepare(cfg)
        photos, parts = made.photos, made.split
        facts = provenance.facts(cfg, photos, parts, made.network, made.device, micro_batch)
        tracker.data(cfg.data.name, parts.fingerprint)
        log.info(provenance.opening_line(facts))

        def on_batch(part: str, done: int, total: int) -> None:
            interrupt.check()
            bar(part, done, total)

        with trajectory.shared(facts["trajectory"], cfg) as kept:
            state = resume.from_disk(folder, kept, facts, params, cfg.epochs, photos, parts)
            if state := distributed.from_main(state):
                made.load(state)
            tracker.go_on(folder.rows)
            report = search.reporter(cfg.search, cfg.epochs)
            for row in folder.rows:
                report(row)
            tracker.tag(provenance.tags(folder.facts))
            for epoch in engine.fit(
                *(made.network, made.optimizer, made.scheduler, made.stream, parts, made.placement, cfg, on_batch),
                after=folder.epochs_done,
                micro_batch=micro_batch,
            ):
                state = provenance.state(epoch, made.network, made.optimizer, made.scheduler, photos, params)
                kept.append(epoch, state, provenance.about(cfg, facts))
                is_best = folder.record(epoch, state, photos, parts)
                tracker.log(folder.rows[-1])
                log.info(bar.finish(epoch, is_best))
                report(folder.rows[-1])
        best = folder.best
        assert best is not None, "a run has one epoch at least"
        tracker.finish(best, folder.correct(best), val_total=len(parts.val))
    log.info("best validation accuracy %.4f in epoch %d: %s", best["val_accuracy"], best["epoch"], run.folder)
    return best["val_accuracy"]


def follow(cfg: config.Config) -> None:
    """Train along with the main process, which records what comes of it: what torchrun's other processes do."""
    from flowerbench import engine

    def on_batch(part: str, done: int, total: int) -> None:
        interrupt.check()

    with torchrun.one_fate():
        distributed.from_main()  # until it has decided to train
        made = prepare(cfg)
        if state := distributed.from_main():
            made.load(state)
        for _ in engine.fit(
            *(made.network, made.optimizer, made.scheduler, made.stream, made.split, made.placement, cfg, on_batch),
            after=int(state["epoch"]) if state else 0,
        ):
            pass


config.register()


@hydra.main(version_base="1.3", config_path=str(config.folder()), config_name="config")
def run(cfg: DictConfig) -> float | None:
    """One run, called by Hydra: a point of a sweep has a process of its own, whatever launched it."""
    if torchrun.is_follower():
        follow(cast(config.Config, cfg))
        return None
    return (guard.point if sweep.is_point() else guard.single)(train, cfg, sweep.this_run())


def main() -> None:
    """The command `python -m flowerbench.train`."""
    # Hydra then hands its errors on, instead of printing several lines and exiting with 1.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    with torchrun.command(), errors.leave_politely(), interrupt.listening(), drive.summed_up():
        run()


if __name__ == "__main__":
    # Under its own name, which other processes know it by.
    from flowerbench.train import main as main_by_name

    main_by_name()
