"""From a journal to MLflow: every message in order, each acknowledged, and sent again where that is not sure."""

from __future__ import annotations

import json
import logging
import math
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowerbench import mlflow_notes, mlflow_pages, mlflow_store
from flowerbench.messages import Message
from flowerbench.mlflow_store import without_password
from flowerbench.outbox import Outbox

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)


def deliver(box: Outbox, uri: str, seconds: float = math.inf) -> Exception | None:
    """Send what waits, until something does not get through, which is raised, or the time is up.

    What the store will never take is left out, lest it hold up the rest; the first such refusal is returned.
    """
    refusal, has_rewound = None, False
    deadline = time.monotonic() + seconds
    client = None
    try:
        while (said := box.next) and time.monotonic() < deadline:
            if said["do"] == "start":
                _create(box, uri)
                continue
            client = client or _client(uri)
            try:
                _send(client, box, said, uri)
            except Exception as error:
                code = getattr(error, "error_code", None)
                is_gone = code == "RESOURCE_DOES_NOT_EXIST" or (said["do"] == "reopened" and code == _REFUSED)
                if is_gone and not has_rewound:
                    box.rewind()
                    has_rewound = True
                    continue
                if code != _REFUSED:
                    raise
                refusal = refusal or error
            box.acknowledge()
    finally:
        box.save()
    return refusal


def _client(uri: str) -> MlflowClient:
    mlflow_store.load_mlflow()
    with mlflow_store.turn(uri):  # where a local database was removed, it makes another
        return mlflow_store.client(uri)


_REFUSED = "INVALID_PARAMETER_VALUE"


def _create(box: Outbox, uri: str) -> None:
    """Make the run of the next message, a "start", unless that was done, by whomever."""
    said = box.next
    assert said is not None
    experiment = mlflow_store.create_store(uri, said["experiment"])
    client = mlflow_store.client(uri)
    tags = said["tags"] | {"flowerbench.key": said["key"]}
    if parent := _parent(box, said, uri):
        tags["mlflow.parentRunId"] = parent
    with box.creation():
        box.save()
        box.read_state()
        if box.next is not said:
            return
        with mlflow_store.turn(uri):
            # One whose answer was lost is there already.
            found = client.search_runs([experiment], f"tags.`flowerbench.key` = '{said['key']}'", max_results=1)
            run = (found or [client.create_run(experiment, said["time"], tags, said["name"])])[0]
        box.acknowledge(run.info.run_id)
        box.save()


def _parent(box: Outbox, start: Message, uri: str) -> str | None:
    """The run of the sweep that the run belongs to, made if need be: no run is made without its parent."""
    if start["sweep"] is None:
        return None
    sweep = Outbox(box.folder / start["sweep"])
    if not sweep.is_for(start["uri"], start["experiment"]):
        return None
    if sweep.run_id is None:
        _create(sweep, uri)
    return sweep.run_id


def _send(client: MlflowClient, box: Outbox, said: Message, uri: str) -> None:
    run_id = box.addressee
    if said["do"] == "files":
        # A run that goes on will have others at its end.
        if all(later["do"] not in ("reopened", "start") for later in box.waiting):
            _send_files(client, run_id, box.folder, said["traceback"])
        return
    with mlflow_store.turn(uri):
        _SEND[said["do"]](client, run_id, said)


def _send_params(client: MlflowClient, run_id: str | None, said: Message) -> None:
    from mlflow.entities import Param

    client.log_batch(run_id, params=[Param(*param) for param in said["params"].items()], synchronous=True)


def _send_tags(client: MlflowClient, run_id: str | None, said: Message) -> None:
    from mlflow.entities import RunTag

    client.log_batch(run_id, tags=[RunTag(*tag) for tag in said["tags"].items()], synchronous=True)


def _send_metrics(client: MlflowClient, run_id: str | None, said: Message) -> None:
    from mlflow.entities import Metric

    metrics = [Metric(name, value, said["time"], said["step"]) for name, value in said["metrics"].items()]
    client.log_batch(run_id, metrics=metrics, synchronous=True)


def _send_data(client: MlflowClient, run_id: str | None, said: Message) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = []
    for part, context in (("train", "training"), ("val", "validation"), ("test", "testing")):
        if not (photos := said.get(part)):
            continue
        profile = json.dumps({"num_rows": sum(photos.values()), "photos_per_class": photos})
        about = {"source_type": "local", "source": json.dumps({"name": said["name"]}), "profile": profile}
        dataset = Dataset(f"{said['name']}/{part}", digest=said["split"][:36], schema=_SCHEMA, **about)
        inputs.append(DatasetInput(dataset, [InputTag("mlflow.data.context", context)]))
    client.log_inputs(run_id, inputs)


_SCHEMA = json.dumps(
    {"mlflow_colspec": [{"name": "photo", "type": "binary"}, {"name": "class", "type": "string"}]},
)


def _send_note(client: MlflowClient, run_id: str | None, said: Message) -> None:
    from mlflow.entities import RunTag

    run = client.get_run(run_id)
    before = run.data.tags.get(mlflow_notes.NOTE)
    if before and mlflow_notes.OURS not in before:
        return
    first, *others = said["text"].split("\n\n")
    if run.data.tags.get("flowerbench.kind") == "sweep":
        # Of a long note the page takes clicks on the first lines only, unless it is asked for more.
        first = f"{first} {mlflow_pages.links(run.info.experiment_id, run.info.run_id)}".strip()
    parts = [first, *others, mlflow_notes.OURS]
    client.log_batch(run_id, tags=[RunTag(mlflow_notes.NOTE, "\n\n".join(parts))], synchronous=True)


def _send_reopened(client: MlflowClient, run_id: str | None, said: Message) -> None:
    client.update_run(run_id, status="RUNNING")
    tags = client.get_run(run_id).data.tags
    if "flowerbench.status_reason" in tags:
        client.delete_tag(run_id, "flowerbench.status_reason")
    if mlflow_notes.OURS in tags.get(mlflow_notes.NOTE, ""):
        client.delete_tag(run_id, mlflow_notes.NOTE)


def _send_end(client: MlflowClient, run_id: str | None, said: Message) -> None:
    client.set_terminated(run_id, said["status"], said["time"])


_SEND: dict[str, Callable[[Any, str | None, Message], None]] = {
    "params": _send_params,
    "tags": _send_tags,
    "data": _send_data,
    "epoch": _send_metrics,
    "best": _send_metrics,
    "test": _send_metrics,
    "system": _send_metrics,
    "note": _send_note,
    "reopened": _send_reopened,
    "end": _send_end,
}


def _send_files(client: MlflowClient, run_id: str | None, folder: Path, trace: str | None) -> None:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if trace is not None:
        client.log_text(run_id, trace, "traceback.txt")
    for name in ("history.csv", "summary.json", "val_predictions.csv", "test_predictions.csv"):
        if (folder / name).is_file():
            client.log_artifact(run_id, str(folder / name))
    if (folder / "report").is_dir():
        client.log_artifacts(run_id, str(folder / "report"), "report")
    file = folder / ".hydra" / "config.yaml"
    if file.is_file():
        config = OmegaConf.load(file)
        try:
            text = OmegaConf.to_yaml(config, resolve=True)
        except OmegaConfBaseException:  # it names a variable of the environment that the run had
            text = OmegaConf.to_yaml(config)
        client.log_text(run_id, without_password(text), "config.yaml")
    for name, figure in _figures(folder).items():
        client.log_figure(run_id, figure, name)


def _figures(folder: Path) -> dict[str, Any]:
    """Figures drawn from the files; what cannot be drawn is told, and must not hold up the rest."""
    history, predictions = folder / "history.csv", folder / "val_predictions.csv"
    if not history.is_file() and not predictions.is_file():
        return {}
    import pandas as pd

    from flowerbench.report import plots

    warnings.filterwarnings("ignore", "Glyph .* missing from font")
    figures: dict[str, Any] = {}
    try:
        if history.is_file() and len(epochs := pd.read_csv(history)):
            figures["curves.png"] = plots.curves(epochs)
        if predictions.is_file():
            # A class may be called 1, or None.
            named = pd.read_csv(predictions, usecols=["label", "prediction"], dtype=str, keep_default_na=False)
            figures["confusion_matrix.png"] = plots.confusion_matrix(named)
    except Exception as error:
        log.warning("no figure of %s for MLflow: %s", folder, mlflow_store.reason(error))
    return figures
