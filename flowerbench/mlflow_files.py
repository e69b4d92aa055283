"""The files of a run folder as MLflow gets them: tables, configuration, figures, report and model."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowerbench import mlflow_store, predictions
from flowerbench.mlflow_store import without_password

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)


def send(client: MlflowClient, run_id: str | None, folder: Path, trace: str | None) -> None:
    """Send the files of a run or a sweep, and a traceback if there is one."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if trace is not None:
        client.log_text(run_id, trace, "traceback.txt")
    for name in ("history.csv", "summary.json", predictions.VAL, predictions.TEST):
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


def send_model(client: MlflowClient, run_id: str, folder: Path, uri: str) -> None:
    """Log the best model as MLflow keeps models; one that cannot be read is told and left out."""
    from flowerbench import checkpoint, mlflow_model

    try:
        classes = checkpoint.load(folder / "best.pt")["classes"]
    except (OSError, ValueError, KeyError) as error:  # somebody has removed it since
        log.warning("no model of %s for MLflow: %s", folder, mlflow_store.reason(error))
        return
    mlflow_model.log(client, uri, run_id, folder, classes)


def _figures(folder: Path) -> dict[str, Any]:
    """Figures drawn from the files; what cannot be drawn is told, and must not hold up the rest."""
    history, answers = folder / "history.csv", folder / predictions.VAL
    if not history.is_file() and not answers.is_file():
        return {}
    import pandas as pd

    from flowerbench.report import plots

    warnings.filterwarnings("ignore", "Glyph .* missing from font")
    figures: dict[str, Any] = {}
    try:
        if history.is_file() and len(epochs := pd.read_csv(history)):
            figures["curves.png"] = plots.curves(epochs)
        if answers.is_file():
            # A class may be called 1, or None.
            named = pd.read_csv(answers, usecols=["label", "prediction"], dtype=str, keep_default_na=False)
            figures["confusion_matrix.png"] = plots.confusion_matrix(named)
    except Exception as error:
        log.warning("no figure of %s for MLflow: %s", folder, mlflow_store.reason(error))
    return figures
