"""One run, whatever happens to it: alone in its folder, not done twice, its errors told where they happen."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from flowerbench import (
    checks,
    claim,
    config,
    drive,
    errors,
    interrupt,
    isolation,
    launchers,
    place,
    store,
    summaries,
    sweep,
)

log = logging.getLogger(__name__)

Train = Callable[[config.Config, sweep.Run, int | None], float]


def single(train: Train, cfg: DictConfig, run: sweep.Run) -> float | None:
    """Train; an error has been told when it ends the command with its exit code."""
    value, exit_code = guarded(train, cfg, run)
    if exit_code:
        sys.exit(exit_code)
    return value


def point(train: Train, cfg: DictConfig, run: sweep.Run) -> float | None:
    """Train a point of a sweep in a process of its own; None when it has no result.

    Whatever happens to the point is told and noted in its folder, and never reaches the launcher. A signal to the
    process that drives the sweep ends the sweep; one to a process that a launcher started ends its point.
    """
    if cfg.on_error == "stop" and sweep.was_stopped(run):
        log.info("%s is not begun: another point failed, and on_error=stop", run.name)
        return None
    hydra = HydraConfig.get()
    drive.warm_up(cfg)
    logging_config = OmegaConf.to_container(hydra.job_logging, resolve=True)
    try:
        with interrupt.listening(), launchers.share(hydra.launcher, cast(Path, run.sweep_folder)):
            outcome = isolation.call(_child, train, cfg, run, logging_config, hydra.verbose, str(Path.cwd()))
    except KeyboardInterrupt:
        drive.end_what_died(run.folder, "KILLED", summaries.STOPPED)
        if drive.is_driver():
            raise
        return None
    if outcome.exit_code and summaries.read(run.folder).get("status", "RUNNING") == "RUNNING":
        _end(run, outcome)
    return cast(float | None, outcome.value)


def _end(run: sweep.Run, outcome: isolation.Outcome) -> None:
    """Say of a point what its process could not say itself."""
    status, reason = "FAILED", f"its process ended with exit code {outcome.exit_code}"
    if outcome.was_stopped:
        status, reason = "KILLED", summaries.STOPPED
    elif outcome.killed_by:
        reason = f"its process was killed by {outcome.killed_by}"
        reason += " (as the system does when memory runs out)" if outcome.killed_by == "SIGKILL" else ""
    log.error("flowerbench: %s: %s", run.name, reason)
    drive.end_what_died(run.folder, status, reason)


def _child(
    train: Train, cfg: DictConfig, run: sweep.Run, logging_config: Any, verbose: Any, working_folder: str
) -> float | None:
    from hydra.core.utils import configure_log

    os.chdir(working_folder)
    if not run.is_alone:
        _name_lines(logging_config, run.name)
    configure_log(OmegaConf.create(logging_config), verbose)
    with errors.leave_politely():
        value, exit_code = guarded(train, cfg, run)
    if exit_code:
        sys.exit(exit_code)
    return value


def _name_lines(logging_config: Any, name: str) -> None:
    """Let every line on the terminal say which of the runs there it comes from."""
    if "console" in logging_config.get("handlers", {}):
        logging_config.setdefault("formatters", {})["named"] = {"format": f"{name.replace('%', '%%')}: %(message)s"}
        logging_config["handlers"]["console"]["formatter"] = "named"


def guarded(train: Train, cfg: DictConfig, run: sweep.Run) -> tuple[float | None, int]:
    """Train, unless that was done; the accuracy and the exit code. Every error is told and logged here."""
    try:
        checks.check(cfg)
        with interrupt.listening(), claim.alone_in(run.folder, waits=run.sweep is not None):
            if cfg.on_done == "skip" and place.is_finished(cfg, run.folder):
                return _told_again(run), 0
            store.refuse_other_settings(run.folder, cfg)
            return _with_what_memory_there_is(train, cast(config.Config, cfg), run), 0
    except errors.Pruned as pruned:
        log.info("%s", pruned)
        return None, 0
    except Exception as error:
        _tell(error)
        if not summaries.read(run.folder):  # it came before the run had begun
            known = {"name": run.name, "sweep": run.sweep, "exit_code": errors.exit_code(error)}
            summaries.write(run.folder, {"status": "FAILED", "reason": errors.one_line(error), **known})
        return None, errors.exit_code(error)


def _told_again(run: sweep.Run) -> float:
    done = summaries.read(run.folder)
    accuracy = float(done["best_val_accuracy"])
    log.info(
        "Done already, best validation accuracy %.4f in epoch %s: %s (on_done=rerun trains again)",
        *(accuracy, done["best_epoch"], run.folder),
    )
    return accuracy


def _with_what_memory_there_is(train: Train, cfg: config.Config, run: sweep.Run) -> float:
    """Train; when a GPU's memory runs out, again with batches in parts of half the size, down to min_micro_batch."""
    micro_batch: int | None = None
    while True:
        try:
            return train(cfg, run, micro_batch)
        except Exception as error:
            if not _is_out_of_memory(error):
                raise
            micro_batch = -(-(micro_batch or cfg.batch_size) // 2)
            if micro_batch < cfg.min_micro_batch:
                raise errors.RunError(
                    f"the device's memory is too small for batches in parts of {2 * micro_batch}: "
                    "try a smaller image_size or model, precision=bf16, or a smaller min_micro_batch"
                ) from error
        log.warning(
            "The device's memory is too small: again, batches of %d in parts of %d photos whose gradients add up. "
            "An optimiser step is the same; batch norm sees the smaller parts.",
            *(cfg.batch_size, micro_batch),
        )
        _free_memory()


def _is_out_of_memory(error: Exception) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError)


def _free_memory() -> None:
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _tell(error: Exception) -> None:
    """One line for what a user can do something about, a traceback for a bug; the log file has it either way."""
    if not isinstance(error, errors.UsageError | errors.RunError) and not errors.is_disk_trouble(error):
        log.exception("flowerbench: the run failed")
        return
    log.error("flowerbench: %s", errors.one_line(error))
    trace = (type(error), error, error.__traceback__)
    record = log.makeRecord(log.name, logging.ERROR, __file__, 0, "flowerbench: the traceback", (), trace)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)
