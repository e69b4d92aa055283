"""From an MLflow run to the folder that it is a copy of."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from flowerbench import cache
from flowerbench.errors import UsageError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# Where training leaves runs unless it is told otherwise.
_HOMES = ("multirun", "outputs")
_SAME_NAME = 5


def folder(run: str, tracking_uri: str | None = None) -> Path:
    """The folder of the run, or sweep, with this id or name in MLflow; where that is elsewhere, its model from there.

    `tracking_uri` is the store (default: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db). Raises UsageError where
    there is no such run, several, or neither folder nor model.
    """
    is_id = re.fullmatch(r"[0-9a-f]{32}", run) is not None
    if is_id and (here := _here(run)):
        return here
    from flowerbench import mlflow_store
    from flowerbench.report import from_mlflow

    uri = tracking_uri or from_mlflow.default_uri()
    where = mlflow_store.without_password(uri)
    hint = "name a run's or sweep's folder, or an MLflow run by its id or name"
    if not from_mlflow.is_there(uri):
        raise UsageError(f"{run} is no folder, and there is no MLflow store at {where}: {hint}")
    try:
        client = mlflow_store.client(uri)
        found = _runs(client, run, is_id)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(
            f"{run} is no folder, and MLflow at {where} cannot be asked: {mlflow_store.reason(error)}"
        ) from error
    if not found:
        raise UsageError(f"{run} is no folder, and no run in MLflow at {where}: {hint}")
    if len(found) > 1:
        ids = ", ".join(one.info.run_id for one in found[:_SAME_NAME])
        raise UsageError(f"several runs in MLflow at {where} are called {run}: name one by its id ({ids})")
    return _of(client, uri, found[0])


def _runs(client: MlflowClient, run: str, is_id: bool) -> list[Run]:
    """The runs of this id or name, the newest first; what a run was begun again in place of does not count."""
    from mlflow.exceptions import MlflowException

    if is_id:
        try:
            return [client.get_run(run)]
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return []
    if '"' in run:
        return []
    everywhere = [experiment.experiment_id for experiment in client.search_experiments()]
    named: dict[str, Run] = {}
    sweep = f'tags.`flowerbench.sweep` = "{run}" and tags.`flowerbench.kind` = "sweep"'
    for called in (f'attributes.run_name = "{run}"', f'tags.`flowerbench.name` = "{run}"', sweep):
        for found in client.search_runs(everywhere, called, max_results=_SAME_NAME + 1):
            if "flowerbench.replaced" not in found.data.tags:
                named[found.info.run_id] = found
    return list(named.values())


def _of(client: MlflowClient, uri: str, run: Run) -> Path:
    run_id = run.info.run_id
    noted = run.data.tags.get("flowerbench.folder")
    for candidate in (_here(run_id), Path(noted) if noted else None):
        if candidate is not None and candidate.is_dir():
            return candidate
    home: Path = cache.folder() / "mlflow" / run_id
    logged = {file.path for file in client.list_artifacts(run_id)} & {"best.pt", "summary.json"}
    models = [client.get_logged_model(made.model_id) for made in (run.outputs.model_outputs if run.outputs else ())]
    models = [model for model in models if model.status == "READY"]
    if models or "best.pt" in logged:
        home.mkdir(parents=True, exist_ok=True)
        for name in logged:
            client.download_artifacts(run_id, name, str(home))
        if "best.pt" not in logged:
            latest = max(models, key=lambda model: model.creation_timestamp)
            _fetch(latest.artifact_location, uri, home)
        return home
    told = f"{noted} is not on this machine" if noted else f"none below {' and '.join(_HOMES)} is its folder"
    raise UsageError(
        f"the model of the run {run.info.run_name} ({run_id}) is not here: {told}, and MLflow has no best.pt"
    )


def _fetch(model: str, uri: str, to: Path) -> None:
    """The checkpoint of a logged model, see mlflow_model."""
    from mlflow import artifacts

    with tempfile.TemporaryDirectory(dir=to) as place:
        file = artifacts.download_artifacts(f"{model}/artifacts/best.pt", dst_path=place, tracking_uri=uri)
        Path(file).replace(to / "best.pt")


def _here(run_id: str) -> Path | None:
    """The folder below those of training whose journal says that MLflow's run is its copy."""
    for file in (found for home in _HOMES for found in Path(home).rglob("mlflow.json")):
        try:
            if json.loads(file.read_text(encoding="utf-8"))["run_id"] == run_id:
                return file.parent
        except (OSError, ValueError, KeyError, TypeError):
            continue  # another process writes it, or it is not ours
    return None
