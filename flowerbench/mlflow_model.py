"""The model of a run as MLflow has models: with signature and example, no pickle, logged with its run, registered."""

from __future__ import annotations

import base64
import hashlib
import io
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowerbench import mlflow_store

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.models import ModelSignature

# What the package, which the model carries, needs to answer.
_NEEDED = (
    *("torch", "torchvision", "mlflow", "numpy", "pandas", "pillow"),
    *("hydra-core", "omegaconf", "filelock", "platformdirs"),
)
# Which weights a logged model holds.
_WEIGHTS = "flowerbench.weights"
_METRICS = ("best/val_accuracy", "best/val_correct", "best/epoch", "val_total")


def save(folder: Path, classes: Sequence[str], to: Path, **of_store: Any) -> None:
    """Write the model of the run folder to the folder `to`, new or empty; `of_store` is what a store knows it by."""
    mlflow_store.load_mlflow()
    import mlflow.pyfunc
    from mlflow.models import Model

    package = Path(__file__).parent
    mlflow.pyfunc.save_model(
        str(to),
        python_model=str(package / "served.py"),
        artifacts={"checkpoint": (folder.absolute() / "best.pt").as_uri()},
        code_paths=[str(package)],
        signature=_signature(classes),
        input_example=example(),
        # PyPI has no builds of torch for one kind of machine, which a local version names.
        pip_requirements=[f"{name}=={metadata.version(name).partition('+')[0]}" for name in _NEEDED],
        mlflow_model=Model(**of_store),
    )


def example() -> pd.DataFrame:
    """What the model may be asked: a drawn photo, for nobody's own should travel with a model."""
    import pandas as pd

    from flowerbench.data import synthetic

    file = io.BytesIO()
    synthetic.draw(synthetic.SPECIES[0], 0, 0, 64).save(file, format="JPEG")
    return pd.DataFrame({"image": [base64.b64encode(file.getvalue()).decode()]})


def _signature(classes: Sequence[str]) -> ModelSignature:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    shares = [ColSpec("double", f"p({name})") for name in classes]
    return ModelSignature(Schema([ColSpec("string", "image")]), Schema([ColSpec("string", "prediction"), *shares]))


def log(client: MlflowClient, uri: str, run_id: str, folder: Path, classes: Sequence[str]) -> str:
    """Log the model of the run folder with the run of MLflow's that is its copy; its id there.

    A model of the same weights that the run has already stays the only one. Raises what MLflow raises.
    """
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus, Metric

    weights = hashlib.sha256((folder / "best.pt").read_bytes()).hexdigest()[:16]
    run = client.get_run(run_id)
    for known in run.outputs.model_outputs if run.outputs else ():
        kept = client.get_logged_model(known.model_id)
        if kept.tags.get(_WEIGHTS) == weights and kept.status == LoggedModelStatus.READY:
            return str(kept.model_id)
    epoch = int(run.data.metrics.get("best/epoch", 0))
    with mlflow_store.turn(uri):
        made = client.create_logged_model(
            run.info.experiment_id, "model", run_id, {_WEIGHTS: weights}, run.data.params, "classifier"
        )
        client.log_outputs(run_id, [LoggedModelOutput(made.model_id, step=epoch)])
        # The very metrics of the run, so that there is nothing new for it.
        last = [client.get_metric_history(run_id, name)[-1:] for name in _METRICS]
        metrics = [Metric(m.key, m.value, m.timestamp, m.step, made.model_id) for found in last for m in found]
        client.log_batch(run_id, metrics=metrics, synchronous=True)
    status = LoggedModelStatus.FAILED
    try:
        with tempfile.TemporaryDirectory() as place:
            ids = {"model_id": made.model_id, "model_uuid": made.model_id, "run_id": run_id}
            save(folder, classes, Path(place, "model"), artifact_path=made.artifact_location, **ids)
            client.log_model_artifacts(made.model_id, str(Path(place, "model")))
        status = LoggedModelStatus.READY
    finally:
        with mlflow_store.turn(uri):
            client.finalize_logged_model(made.model_id, status)
    return str(made.model_id)


def register(client: MlflowClient, uri: str, name: str, model_id: str, run_id: str) -> str:
    """The version of the registered model `name` that the logged model is; made unless there is one."""
    from mlflow.exceptions import MlflowException

    with mlflow_store.turn(uri):
        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        known = [found for found in client.search_model_versions(f"name = '{name}'") if found.model_id == model_id]
        if known:
            return str(known[0].version)
        return str(client.create_model_version(name, f"models:/{model_id}", run_id, model_id=model_id).version)
