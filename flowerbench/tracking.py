"""MLflow, and what happens when it is away: training goes on, and what was not acknowledged is sent again."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowerbench import mlflow_store
from flowerbench.errors import Pruned, one_line
from flowerbench.mlflow_store import create_store, without_password

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from flowerbench.config import Tracking
    from flowerbench.engine import Epoch

_METRICS = {
    "lr": "lr",
    "train/loss": "train_loss",
    "train/accuracy": "train_accuracy",
    "val/loss": "val_loss",
    "val/accuracy": "val_accuracy",
    "seconds": "seconds",
}
# MLflow's limits: parameters in a batch, characters in the value of a parameter and of a tag.
_BATCH, _PARAM_LENGTH, _TAG_LENGTH = 100, 6000, 8000


@contextmanager
def run(
    tracking: Tracking,
    *,
    params: Mapping[str, Any],
    name: str,
    folder: Path,
    parent: str | None = None,
    tags: Mapping[str, Any] | None = None,
) -> Iterator[Tracker]:
    """One run in MLflow, child of the run `parent`; what leaves the block decides how it ended, and goes on.

    `params` is the flat config. At the end the files of the run folder follow, and figures drawn from them.
    Raises UsageError for a store that cannot be used; one that is away costs a warning, and nothing else.
    """
    tracker = _start(tracking, name, {**(tags or {}), **({"mlflow.parentRunId": parent} if parent else {})})
    try:
        tracker.params(params)
        yield tracker
        tracker.end("FINISHED", folder)
    except Pruned as pruned:
        tracker.tag({"flowerbench.status_reason": one_line(pruned)})
        tracker.end("KILLED", folder)  # the nearest that MLflow has
        raise
    except Exception as error:
        tracker.end("FAILED", folder, error)
        raise
    except BaseException:
        tracker.end("KILLED", folder)
        raise


def start_sweep(tracking: Tracking, name: str, points: int) -> str | None:
    """Start the run whose children are the sweep's runs; its id, or None without MLflow. Raises as `run`."""
    about = {"flowerbench.kind": "sweep", "flowerbench.sweep": name, "flowerbench.points": str(points)}
    return _start(tracking, name, about).run_id


def finish_sweep(tracking: Tracking, run_id: str | None, note: str, status: str) -> None:
    """Give the sweep's run its note, in Markdown, and end it; `status` is FINISHED, FAILED or KILLED."""
    if tracking.uri is None or run_id is None:
        return
    with mlflow_store.going_on_without(tracking.uri):
        sweep = Tracker(mlflow_store.client(tracking.uri), run_id, tracking.uri)
        sweep.tag({"mlflow.note.content": note})
        sweep.end(status)


class Tracker:
    """One run in MLflow; without a client, as when tracking is off, every method does nothing.

    Messages wait in line until the store has acknowledged them, so they arrive in order, and none is lost
    while the store is away for a time. Sent twice, one does no harm: MLflow takes equal ones for the same.
    """

    def __init__(self, client: MlflowClient | None = None, run_id: str | None = None, uri: str = "") -> None:
        self.run_id = run_id
        self._client = client
        self._uri = uri
        self._waiting: list[Callable[[], object]] = []
        self._has_warned = False

    def params(self, params: Mapping[str, Any]) -> None:
        """Send the flat config."""
        if self._client is None:
            return
        from mlflow.entities import Param

        texts = [Param(key, _text(value, _PARAM_LENGTH)) for key, value in params.items()]
        for first in range(0, len(texts), _BATCH):
            self._send(params=texts[first : first + _BATCH])

    def tag(self, tags: Mapping[str, Any]) -> None:
        """Set tags of the run."""
        if self._client is None:
            return
        from mlflow.entities import RunTag

        self._send(tags=[RunTag(key, _text(value, _TAG_LENGTH)) for key, value in tags.items()])

    def data(self, name: str, split: str) -> None:
        """Name the run's data set, told apart by the fingerprint of its split."""
        if self._client is None:
            return
        from mlflow.entities import Dataset, DatasetInput

        dataset = Dataset(name, digest=split[:36], source_type="local", source=json.dumps({"name": name}))
        self._waiting.append(partial(self._client.log_inputs, self.run_id, [DatasetInput(dataset)]))
        self._flush()

    def log(self, epoch: Epoch) -> None:
        """Send the numbers of an epoch, as soon as it ends: MLflow shows that time."""
        self._measure({name: getattr(epoch, field) for name, field in _METRICS.items()}, epoch.epoch)

    def finish(self, best: Epoch, val_total: int) -> None:
        """Send what the run came to: its best epoch, of `val_total` validation photos."""
        numbers = {"val_accuracy": best.val_accuracy, "epoch": best.epoch, "val_correct": best.val_correct}
        named = {f"best/{name}": number for name, number in numbers.items()}
        self._measure({**named, "val_total": val_total}, best.epoch)

    def end(self, status: str, folder: Path | None = None, error: Exception | None = None) -> None:
        """Send the error, the files of the run folder and their figures, and MLflow's word for the end."""
        if self._client is None or self.run_id is None:
            return
        if error is not None:
            self.tag({"flowerbench.status_reason": one_line(error)})
            trace = "".join(traceback.format_exception(error))
            self._waiting.append(partial(self._client.log_text, self.run_id, trace, "traceback.txt"))
        self._flush()
        if folder is not None and not self._waiting:
            for send in (_send_files, _send_figures):
                self._is_done(partial(send, self._client, self.run_id, folder))
        # Whatever became of the files: a run that is over must not stay RUNNING.
        self._is_done(partial(self._client.set_terminated, self.run_id, status))

    def _measure(self, numbers: Mapping[str, float], step: int) -> None:
        if self._client is None:
            return
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._send(metrics=[Metric(name, float(value), now, step) for name, value in numbers.items()])

    def _send(self, **entities: Any) -> None:
        assert self._client is not None
        self._waiting.append(partial(self._client.log_batch, self.run_id, synchronous=True, **entities))
        self._flush()

    def _flush(self) -> None:
        while self._waiting and self._is_done(self._waiting[0]):
            del self._waiting[0]

    def _is_done(self, message: Callable[[], object]) -> bool:
        """Send a message; False when it has to be sent again."""
        try:
            message()
        except Exception as error:
            if not self._has_warned:
                mlflow_store.warn(self._uri, error)
            self._has_warned = True
            # What the store will never take must not hold up what comes after.
            return getattr(error, "error_code", None) == "INVALID_PARAMETER_VALUE"
        return True


def _send_files(client: MlflowClient, run_id: str, folder: Path) -> None:
    from omegaconf import OmegaConf

    for name in ("history.csv", "summary.json", "val_predictions.csv"):
        if (folder / name).is_file():
            client.log_artifact(run_id, str(folder / name))
    config = folder / ".hydra" / "config.yaml"
    if config.is_file():
        resolved = OmegaConf.to_yaml(OmegaConf.load(config), resolve=True)
        client.log_text(run_id, without_password(resolved), "config.yaml")


def _send_figures(client: MlflowClient, run_id: str, folder: Path) -> None:
    import warnings

    import pandas as pd

    from flowerbench.report import plots

    warnings.filterwarnings("ignore", "Glyph .* missing from font")
    history, predictions = folder / "history.csv", folder / "val_predictions.csv"
    if history.is_file() and len(epochs := pd.read_csv(history)):
        client.log_figure(run_id, plots.curves(epochs), "curves.png")
    if predictions.is_file():
        # A class may be called 1, or None.
        named = pd.read_csv(predictions, usecols=["label", "prediction"], dtype=str, keep_default_na=False)
        client.log_figure(run_id, plots.confusion_matrix(named), "confusion_matrix.png")


def _start(tracking: Tracking, name: str, tags: Mapping[str, Any]) -> Tracker:
    if tracking.uri is None:
        return Tracker()
    started = None
    with mlflow_store.going_on_without(tracking.uri):
        experiment = create_store(tracking.uri, tracking.experiment)
        client = mlflow_store.client(tracking.uri)
        texts = {key: _text(value, _TAG_LENGTH) for key, value in {**mlflow_store.source_tags(), **tags}.items()}
        started = client.create_run(experiment, run_name=name, tags=texts)
    return Tracker(client, started.info.run_id, tracking.uri) if started else Tracker()


def _text(value: Any, length: int) -> str:
    return without_password(str(value))[:length]
