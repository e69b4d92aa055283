"""MLflow and what draws its figures, imported with our settings: for the process that points are forked from."""

from flowerbench.mlflow_store import load_mlflow
from flowerbench.report import plots

load_mlflow()

__all__ = ["plots"]
