"""What follows from the facts of each run: its accuracy to the last digit, its last epochs, its test, and its cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from flowerbench.report.frame import Runs

# So many epochs at the end of a run tell how it came out, without the luck of the best one.
LAST_EPOCHS = 5

MEASURES = ("accuracy", "mean_last", "test", "steps", "lr_per_photo", "train_seconds", "photos_per_second")


def measures(runs: Runs) -> pd.DataFrame:
    """The `MEASURES` of each run, NaN where something is not known; the index is that of `runs.runs`.

    `accuracy` is that of the best epoch and `mean_last` that of the last five, on validation photos; `test` is that
    on test photos. `steps` are optimiser steps, `lr_per_photo` is the learning rate divided by the batch size,
    `train_seconds` are those of its epochs, wherever they were trained, `photos_per_second` those of both parts.
    """
    facts, epochs = runs.runs, runs.epochs.groupby("run", sort=False)
    of_run = runs.epochs["run"].map(dict(zip(facts.index, _number(facts, "epochs_done"), strict=True)))
    last = runs.epochs[runs.epochs["epoch"] > of_run - LAST_EPOCHS].groupby("run", sort=False)["val_accuracy"]
    batch, done = _number(facts, "batch_size"), _number(facts, "epochs_done")
    # Of a run whose epochs are not all there, nobody knows how long it took.
    is_timed = epochs["seconds"].count().reindex(facts.index) == done
    train, seconds = _number(facts, "train_total"), epochs["seconds"].sum().reindex(facts.index).where(is_timed)
    found = {
        "accuracy": accuracies(facts),
        "mean_last": last.mean().where(last.count() == LAST_EPOCHS).reindex(facts.index),
        "test": _number(facts, "test_correct") / _number(facts, "test_total"),
        "steps": np.ceil(train / batch) * done,
        "lr_per_photo": _number(facts, "optim.lr") / batch,
        "train_seconds": seconds,
        "photos_per_second": (train + _number(facts, "total")) * done / seconds.where(seconds > 0),
    }
    return pd.DataFrame(found, index=facts.index, columns=list(MEASURES), dtype="float64")


def accuracies(runs: pd.DataFrame) -> pd.Series[float]:
    """The accuracy of the best epoch of each run: as counted, or else as it was written; `runs` are those of `Runs`."""
    counted = _number(runs, "correct") / _number(runs, "total")
    return counted.where(counted.notna(), _number(runs, "best_accuracy"))


def _number(table: pd.DataFrame, key: str) -> pd.Series[Any]:
    if key not in table:
        return pd.Series(np.nan, index=table.index)
    return pd.to_numeric(table[key], errors="coerce").astype("float64")
