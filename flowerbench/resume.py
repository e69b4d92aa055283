"""Epochs that need not be trained: those in the run's own folder, and those that other runs left in the cache."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from flowerbench import provenance
from flowerbench.config import Config
from flowerbench.data.sources import Photos
from flowerbench.data.split import Split
from flowerbench.engine import Epoch
from flowerbench.history import last_epoch, row_of
from flowerbench.store import RunFolder
from flowerbench.trajectory import Trajectory

log = logging.getLogger(__name__)


def from_disk(
    folder: RunFolder,
    kept: Trajectory,
    facts: Mapping[str, Any],
    params: Mapping[str, Any],
    cfg: Config,
    photos: Photos,
    parts: Split,
) -> dict[str, Any] | None:
    """Bring the run folder as far as its own epochs and the kept ones go; the state to go on from, None for a start.

    Afterwards the folder is as if they had just been trained there: its checkpoints hold `params`, this run's.
    """
    state = folder.resume(facts)
    own = folder.epochs_done
    if own:
        log.info("Going on from epoch %d of %s", own, folder.path)
    while len(found := _wanted(kept, cfg)) > own:
        if (states := kept.states(found)) is None:
            continue
        config = provenance.kept_params(params)
        state, best = ({**whole, "config": config} for whole in states)
        folder.take(found[own:], state, best, photos, parts)
        folder.know(reused_from=kept.key)
        log.info(
            "Epochs %d to %d are taken from the cache; %d are left to train (trajectory %s, %s)",
            *(own + 1, len(found), cfg.epochs - len(found), kept.key, facts["computed_on"]),
        )
        break
    return state


def _wanted(kept: Trajectory, cfg: Config) -> list[Epoch]:
    """The kept epochs that the run would have trained."""
    found = kept.epochs(cfg.epochs)
    end = last_epoch([row_of(epoch) for epoch in found], cfg.best_by, cfg.patience)
    return found if end is None else kept.epochs(end)
