"""From a journal to MLflow: every message in order, each acknowledged, and sent again where that is not sure."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flowerbench import mlflow_files, mlflow_notes, mlflow_pages, mlflow_store
from flowerbench.messages import Message
from flowerbench.outbox import Outbox

if TYPE_CHECKING:
    from mlflow import MlflowClient


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
    if said["do"] in ("files", "model"):
        # A run that goes on will have others at its end.
        if any(later["do"] in ("reopened", "start") for later in box.waiting):
            return
        if said["do"] == "files":
            mlflow_files.send(client, run_id, box.folder, said["traceback"])
        elif run_id is not None:
            mlflow_files.send_model(client, run_id, box.folder, uri)
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
