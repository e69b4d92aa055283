"""What the commands that use a trained run are told alike: which run, on what device, from which store."""

from __future__ import annotations

from argparse import ArgumentParser


def add_run(parser: ArgumentParser) -> None:
    """The run, by any of its names; see trained.find."""
    parser.add_argument(
        "run", metavar="RUN", help="a run's folder, a sweep's for its best run, or an MLflow run by its id or name"
    )


def add_batches(parser: ArgumentParser) -> None:
    """How many photos at a time, and on what device."""
    parser.add_argument("--batch-size", type=int, metavar="N", help="photos at a time (default: as in validation)")
    parser.add_argument("--device", default="auto", help="auto, cpu, mps, cuda or cuda:N (default: %(default)s)")


def add_store(parser: ArgumentParser) -> None:
    """The MLflow store in which a run is looked up by its id or name."""
    parser.add_argument(
        "--tracking-uri",
        metavar="URI",
        help="the MLflow store (default: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db)",
    )
