"""Train one classifier, or with --multirun a sweep of them: config → photos → split → batches → model → epochs."""

from __future__ import annotations

import gc
import logging
import os
from functools import partial
from typing import cast

import hydra
from omegaconf import DictConfig

from flowerbench import closing, config, distributed, errors, guard, identity, interrupt, search, sweep, torchrun

log = logging.getLogger(__name__)


def train(cfg: config.Config, run: sweep.Run, micro_batch: int | None = None) -> float:
    """Train as `cfg` says and record everything in `run.folder`; returns the best validation accuracy.

    Epochs that are on disk already, in the folder or in the cache, are taken from there. With `micro_batch` a batch
    goes through the model in parts of so many photos.
    """
    from flowerbench import assembly, background, checkpoint, profiling, provenance, resume, store, tracking, trajectory
    from flowerbench.engine import Epoch
    from flowerbench.held_out import judge
    from flowerbench.history import last_epoch, row_of
    from flowerbench.progress import EpochBar

    params = identity.flat(cast(DictConfig, cfg))
    with (
        tracking.run(
            cfg.tracking,
            params=params,
            name=run.settings or run.name,
            folder=run.folder,
            sweep=run.sweep_folder,
            tags=run.tags,
        ) as tracker,
        store.RunFolder(run.folder, {"name": run.name, "sweep": run.sweep}, cfg.best_by) as folder,
        EpochBar(cfg.epochs, is_shown=run.is_alone) as bar,
        torchrun.one_fate(),
    ):
        distributed.from_main()  # other processes of one run begin when this one does
        made = assembly.assemble(cfg, micro_batch)
        photos, parts = made.photos, made.parts
        facts = provenance.facts(cfg, photos, parts, made.network, made.device, micro_batch, made.is_compiled)
        tracker.data(cfg.data.name, parts.fingerprint, *map(photos.count, (parts.train, parts.val, parts.test)))
        log.info(provenance.opening_line(facts))

        with (
            trajectory.shared(facts["trajectory"], cfg) as kept,
            profiling.Watch(folder.path / "profile" if cfg.profile else None) as watch,
            background.Writer() as writer,
        ):
            state = resume.from_disk(folder, kept, facts, params, cfg, photos, parts)
            state, _ = distributed.from_main((state, folder.rows))
            if state:
                made.load(state)
            tracker.go_on(folder.rows)
            ends = partial(last_epoch, by=cfg.best_by, patience=cfg.patience)
            report = search.reporter(cfg.search, cfg.epochs, ends)
            for row in folder.rows:
                report(row)
            tracker.tag(provenance.tags(folder.facts))
            about = provenance.about(cfg, facts)

            def on_batch(part: str, done: int, total: int) -> None:
                interrupt.check()
                writer.check()
                bar(part, done, total)

            def record(epoch: Epoch, state: checkpoint.Snapshot) -> None:
                with watch.beside("writing"):
                    kept.append(epoch, state, about)
                    is_best = folder.record(epoch, state, photos, parts)
                with watch.beside("MLflow"):
                    tracker.log(folder.rows[-1])
                bar.tell(epoch, is_best)

            bar.begin(folder.epochs_done + 1)
            for epoch in watch.epochs(made, cfg, on_batch, done=list(folder.rows), micro_batch=micro_batch):
                bar.begin(epoch.epoch + 1)
                state = provenance.state(epoch, made.state(), photos, params)
                writer.submit(record, epoch, checkpoint.snapshot(state))  # and on with the next epoch
                report(row_of(epoch))
        best = folder.best
        assert best is not None, "a run has one epoch at least"
        tracker.finish(best, folder.correct(best), val_total=len(parts.val))
        judge(cfg, made, folder, tracker, micro_batch)
    log.info("best validation accuracy %.4f in epoch %d: %s", best["val_accuracy"], best["epoch"], run.folder)
    return best["val_accuracy"]


def follow(cfg: config.Config) -> None:
    """Train along with the main process, which records what comes of it: what torchrun's other processes do."""
    from flowerbench import assembly, held_out

    with torchrun.one_fate():
        distributed.from_main()  # until it has decided to train
        made = assembly.assemble(cfg)
        state, done = distributed.from_main()
        if state:
            made.load(state)
        for _ in made.epochs(cfg, lambda *_: interrupt.check(), done=done):
            pass
        held_out.follow(cfg, made)


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
    # A million objects come with torch and MLflow: to look among them for rubbish again and again, and once more at
    # the end, takes two seconds.
    gc.set_threshold(50_000)
    try:
        with torchrun.command(), errors.leave_politely(), interrupt.listening(), closing.summed_up():
            run()
    finally:
        gc.freeze()


if __name__ == "__main__":
    # Under its own name, which other processes know it by.
    from flowerbench.train import main as main_by_name

    main_by_name()
