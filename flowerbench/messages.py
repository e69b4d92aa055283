"""What MLflow is told of a run: the lines of a journal, their times fixed when they are written."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from flowerbench import mlflow_store
from flowerbench.mlflow_store import without_password

if TYPE_CHECKING:
    from flowerbench.config import Tracking

Message = dict[str, Any]

# MLflow's pages list them in this order, and compare runs by the first.
_METRICS = {
    "val/accuracy": "val_accuracy",
    "val/loss": "val_loss",
    "train/accuracy": "train_accuracy",
    "train/loss": "train_loss",
    "lr": "lr",
    "seconds": "seconds",
}
# MLflow's limits: parameters in a batch, characters in the value of a parameter and of a tag.
_BATCH, _PARAM_LENGTH, _TAG_LENGTH = 100, 6000, 8000


def message(do: str, **details: Any) -> Message:
    """A line of a journal; sent again, it says the same."""
    return {"do": do, "time": int(time.time() * 1000), **details}


def start(tracking: Tracking, name: str, tags: Mapping[str, Any], sweep: str | None) -> Message:
    """What opens a run, child of the run of the folder `sweep`; its key tells it from all others."""
    assert tracking.uri is not None
    about = texts({**mlflow_store.source_tags(), **tags})
    where = {"uri": mlflow_store.address(tracking.uri), "experiment": tracking.experiment}
    return message("start", **where, name=without_password(name), key=uuid.uuid4().hex, sweep=sweep, tags=about)


def params(flat: Mapping[str, Any]) -> list[Message]:
    """The flat config, in batches."""
    pairs = [(key, _text(value, _PARAM_LENGTH)) for key, value in flat.items()]
    batches = [pairs[first : first + _BATCH] for first in range(0, len(pairs), _BATCH)]
    return [message("params", params=dict(batch)) for batch in batches]


def texts(tags: Mapping[str, Any]) -> dict[str, str]:
    """Tags as MLflow takes them."""
    return {key: _text(value, _TAG_LENGTH) for key, value in tags.items()}


def metrics(value: Callable[[str], float]) -> dict[str, float]:
    """The metrics of an epoch, from a function that gives the value of a field of it."""
    return {name: float(value(field)) for name, field in _METRICS.items()}


def ending(note: str, status: str, reason: str | None = None, trace: str | None = None) -> list[Message]:
    """How a run ended: why, its note and its status, and then its files."""
    why = [] if reason is None else [message("tags", tags=texts({"flowerbench.status_reason": reason}))]
    # The end first: a run that is over must not stay RUNNING, whatever becomes of its files.
    end = [message("end", status=status), message("files", traceback=trace and without_password(trace))]
    return [*why, message("note", text=note), *end]


def _text(value: Any, length: int) -> str:
    return without_password(str(value))[:length]
