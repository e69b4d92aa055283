"""Train one classifier, or with --multirun a sweep of them: config → photos → split → batches → model → epochs."""

from __future__ import annotations

import logging
import os
from typing import cast

import hydra
from omegaconf import DictConfig

from flowerbench import closing, config, errors, guard, identity, interrupt, search, sweep

log = logging.getLogger(__name__)


def train(cfg: config.Config, run: sweep.Run, micro_batch: int | None = None) -> float:
    """Train as `cfg` says and record everything in `run.folder`; returns the best validation accuracy.

    Epochs that are on disk already, in the folder or in the cache, are taken from there. With `micro_batch` a batch
    goes through the model in parts of so many photos.
    """
    import torch
    from hydra.utils import instantiate

    from flowerbench import engine, model, provenance, resume, store, tracking, trajectory
    from flowerbench.data import augment, batches, sources, split
    from flowerbench.progress import EpochBar

    params = identity.flat(cast(DictConfig, cfg))
    with (
        tracking.run(
            cfg.tracking, params=params, name=run.name, folder=run.folder, sweep=run.sweep_folder, tags=run.tags
        ) as tracker,
        store.RunFolder(run.folder, {"name": run.name, "sweep": run.sweep}) as folder,
        EpochBar(cfg.epochs, is_shown=run.is_alone) as bar,
    ):
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

        facts = provenance.facts(cfg, photos, parts, network, device, micro_batch)
        tracker.data(cfg.data.name, parts.fingerprint)
        log.info(provenance.opening_line(facts))

        def on_batch(part: str, done: int, total: int) -> None:
            interrupt.check()
            bar(part, done, total)

        with trajectory.shared(facts["trajectory"], cfg) as kept:
            if state := resume.from_disk(folder, kept, facts, params, cfg.epochs, photos, parts):
                for part, name in ((network, "model"), (optimizer, "optimizer"), (scheduler, "scheduler")):
                    part.load_state_dict(state[name])
            tracker.go_on(folder.rows)
            report = search.reporter(cfg.search, cfg.epochs)
            for row in folder.rows:
                report(row)
            tracker.tag(provenance.tags(folder.facts))
            for epoch in engine.fit(
                *(network, optimizer, scheduler, stream, parts, placement, cfg, on_batch),
                after=folder.epochs_done,
                micro_batch=micro_batch,
            ):
                state = provenance.state(epoch, network, optimizer, scheduler, photos, params)
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


config.register()


@hydra.main(version_base="1.3", config_path=str(config.folder()), config_name="config")
def run(cfg: DictConfig) -> float | None:
    """One run, called by Hydra: a point of a sweep has a process of its own, whatever launched it."""
    return (guard.point if sweep.is_point() else guard.single)(train, cfg, sweep.this_run())


def main() -> None:
    """The command `python -m flowerbench.train`."""
    # Hydra then hands its errors on, instead of printing several lines and exiting with 1.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    with errors.leave_politely(), interrupt.listening(), closing.summed_up():
        run()


if __name__ == "__main__":
    # Under its own name, which other processes know it by.
    from flowerbench.train import main as main_by_name

    main_by_name()
