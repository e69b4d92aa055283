"""MLflow and what draws its figures, imported with our settings: for the process that points are forked from."""

from flowerbench.mlflow_store import load_mlflow
from flowerbench.report import plots

load_mlflow()

# What they import, or make, when they are first used.
import matplotlib.backends.backend_agg  # noqa: E402
import mlflow.store.tracking.sqlalchemy_store  # noqa: E402
import sqlalchemy.dialects.sqlite  # noqa: E402
from sqlalchemy.orm import configure_mappers  # noqa: E402

configure_mappers()

__all__ = ["matplotlib", "mlflow", "plots", "sqlalchemy"]
