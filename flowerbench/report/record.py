"""One run as a report sees it, wherever it was read from."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from flowerbench.errors import one_line
from flowerbench.history import Row, best_row

log = logging.getLogger(__name__)

# What is known about a run beside its config; the columns of Runs.runs that are no config keys.
FACTS = (
    "settings",
    "status",
    "reason",
    "best_epoch",
    "best_accuracy",
    "correct",
    "total",
    "test_correct",
    "test_total",
    "train_total",
    "last_accuracy",
    "epochs_done",
    "protocol",
    "split",
    "seconds",
    "folder",
    "started",
    "sweep",
)


@dataclass(frozen=True)
class Record:
    """A run: `key` is the same wherever a copy of it is found, `varying` what its sweep says it varied.

    `predictions` finds those of its best epoch, when they are asked for, and `test_predictions` those of the test.
    """

    key: str
    name: str
    sweep: str | None
    config: Mapping[str, Any]
    facts: Mapping[str, Any]
    history: Sequence[Row]
    varying: tuple[str, ...] = ()
    predictions: Callable[[], pd.DataFrame | None] | None = None
    test_predictions: Callable[[], pd.DataFrame | None] | None = None


def outcome(status: str, summary: Mapping[str, Any], history: Sequence[Row]) -> dict[str, Any]:
    """What a run came to, of the fields of summary.json and the history.

    A run that did not finish may have stopped between an epoch and the summary of it: there the history counts.
    """
    best, total = best_row(history), summary.get("val_total")
    found = {
        "status": status,
        "best_epoch": summary.get("best_epoch"),
        "best_accuracy": summary.get("best_val_accuracy"),
        "correct": summary.get("best_val_correct"),
        "total": total,
        **{name: summary.get(name) for name in ("test_correct", "test_total", "train_total")},
        "last_accuracy": history[-1]["val_accuracy"] if history else None,
        "epochs_done": max(int(summary.get("epochs_done") or 0), int(history[-1]["epoch"]) if history else 0),
    }
    if best is not None and (status != "FINISHED" or found["best_accuracy"] is None):
        accuracy = best["val_accuracy"]
        found |= {"best_epoch": int(best["epoch"]), "best_accuracy": accuracy}
        found["correct"] = round(accuracy * total) if total else None
    return found


def read_predictions(file: Path) -> pd.DataFrame | None:
    """The columns `photo`, `label` and `prediction` of a file of predictions; None where it cannot be read."""
    columns = ["photo", "label", "prediction"]
    try:
        # A class may be called 1, or None.
        return pd.read_csv(file, usecols=columns, dtype=str, keep_default_na=False, engine="c")[columns]
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.warning("flowerbench: %s cannot be read (%s): going on without it", file, one_line(error))
        return None
