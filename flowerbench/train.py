"""Train one classifier, or with --multirun a sweep of them: config → photos → split → batches → model → epochs."""

from __future__ import annotations

import logging
import os
from typing import cast

import hydra
from omegaconf import DictConfig

from flowerbench import checks, config, errors, identity, interrupt, search, sweep

log = logging.getLogger(__name__)


def train(cfg: config.Config, run: sweep.Run) -> float:
    """Train as `cfg` says and record everything in `run.folder`; returns the best validation accuracy."""
    import torch
    from hydra.utils import instantiate

    from flowerbench import engine, model, provenance, store, tracking
    from flowerbench.data import augment, batches, sources, split
    from flowerbench.progress import EpochBar

    params = identity.flat(cast(DictConfig, cfg))
    with (
        tracking.run(
            cfg.tracking, params=params, name=run.name, parent=run.parent, folder=run.folder, tags=run.tags
        ) as tracker,
        store.RunFolder(run.folder, {"name": run.name, "sweep": run.sweep}) as folder,
        EpochBar(cfg.epochs) as bar,
    ):
        photos = sources.load(cfg.data)
        parts = split.split(photos, cfg.data)
        device = engine.pick_device(cfg.device)

        torch.manual_seed(augment.model_seed(cfg.seed, 0))
        network = model.build(cfg.model, len(photos.classes), cfg.image_size)
        placement = engine.place(network, device, cfg.precision, cfg.data)
        optimizer = errors.blamed_on("optim", instantiate, cfg.optim, _args_=[list(network.parameters())])
        scheduler = errors.blamed_on("schedule", instantiate, cfg.schedule, _args_=[optimizer])
        stream = batches.Batches(
            photos, cfg.data, image_size=cfg.image_size, batch_size=cfg.batch_size, seed=cfg.seed, device=device
        )

        facts = provenance.facts(cfg, photos, parts, network, device)
        folder.know(**facts, mlflow_run_id=tracker.run_id)
        tracker.tag(provenance.tags(facts))
        tracker.data(cfg.data.name, parts.fingerprint)
        log.info(provenance.opening_line(facts))
        report = search.reporter(cfg.search, cfg.epochs)

        def on_batch(part: str, done: int, total: int) -> None:
            interrupt.check()
            bar(part, done, total)

        for epoch in engine.fit(network, optimizer, scheduler, stream, parts, placement, cfg, on_batch):
            folder.record(epoch, provenance.state(epoch, network, optimizer, scheduler, photos, params), photos, parts)
            tracker.log(epoch)
            log.info(bar.finish(epoch, is_best=epoch is folder.best))
            report(epoch)
        assert folder.best is not None, "a run has one epoch at least"
        tracker.finish(folder.best, val_total=len(parts.val))
    log.info("best validation accuracy %.4f in epoch %d: %s", folder.best.val_accuracy, folder.best.epoch, run.folder)
    return folder.best.val_accuracy


config.register()


@hydra.main(version_base="1.3", config_path=str(config.folder()), config_name="config")
def run(cfg: DictConfig) -> float | None:
    """One point, called by Hydra: an error is told and logged here, where it happens, whatever launched the point."""
    interrupt.listen()
    try:
        checks.check(cfg)
        return train(cast(config.Config, cfg), sweep.this_run())
    except errors.Pruned as pruned:
        log.info("%s", pruned)
        return None
    except Exception as error:
        if isinstance(error, errors.UsageError | errors.RunError) or errors.is_disk_trouble(error):
            log.error("flowerbench: %s", errors.one_line(error))
        else:
            log.exception("flowerbench: the run failed")
        sweep.leave(errors.USAGE if isinstance(error, errors.UsageError) else errors.FAILED, error)


def main() -> None:
    """The command `python -m flowerbench.train`."""
    # Hydra then hands its errors on, instead of printing several lines and exiting with 1.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    with errors.leave_politely(), sweep.summed_up():
        run()


if __name__ == "__main__":
    main()
