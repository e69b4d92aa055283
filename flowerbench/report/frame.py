"""Runs → one tidy table of runs and one of their epochs, from folders and from MLflow."""

from __future__ import annotations

import gc
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd

from flowerbench.errors import UsageError
from flowerbench.history import HISTORY
from flowerbench.report import folders, from_mlflow, keys
from flowerbench.report.record import FACTS, Record

_COUNTS = ("best_epoch", "correct", "total", "test_correct", "test_total", "train_total", "epochs_done")
_NUMBERS = ("best_accuracy", "last_accuracy", "seconds")


@dataclass(frozen=True)
class Runs:
    """`runs` has one row per run or planned point, `epochs` one per run and epoch.

    `runs` is indexed by a unique name; its columns are the flat config keys (`batch_size`, `optim.lr`, …; None is
    null, NaN a key that the run has not), then `FACTS`: `settings` is what tells the run from the others,
    `best_accuracy` a fraction of `total` photos, of which `correct` were right, `seconds` the time it took.
    `epochs` has `run`, the name, and the columns of history.csv. `varied` are the keys that a sweep says it varied.
    """

    runs: pd.DataFrame
    epochs: pd.DataFrame
    varied: frozenset[str] = frozenset()
    _predictions: Mapping[str, Callable[[], pd.DataFrame | None]] = field(default_factory=dict, repr=False)
    _of_test: Mapping[str, Callable[[], pd.DataFrame | None]] = field(default_factory=dict, repr=False)

    @cached_property
    def varying(self) -> list[str]:
        """The config keys that the runs differ in, and those that a sweep says it varied."""
        return keys.varying(self.runs, self.varied)

    def predictions(self, run: str) -> pd.DataFrame | None:
        """The validation predictions of a run's best epoch: `photo`, and the class names `label` and `prediction`.

        They are read when asked for. None where there are none, or none that can be read.
        """
        read = self._predictions.get(run)
        return read() if read else None

    def test_predictions(self, run: str) -> pd.DataFrame | None:
        """Likewise those of the test photos."""
        read = self._of_test.get(run)
        return read() if read else None

    def only(self, which: pd.Series[bool] | pd.Index[str] | list[str]) -> Runs:
        """The runs that a mask or a list of names picks, with their epochs."""
        runs = self.runs.loc[which]
        return Runs(
            runs, self.epochs[self.epochs["run"].isin(runs.index)], self.varied, self._predictions, self._of_test
        )


def load(*sources: str | Path, tracking_uri: str | None = None, where: str | None = None) -> Runs:
    """Read and join the sources: folders of runs or sweeps, or MLflow experiments, runs and sweeps by name or id.

    Without any it is the newest sweep or run here. A run that several sources hold is taken from the first.
    `tracking_uri` is the MLflow store (default: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db); `where` keeps the runs
    that satisfy conditions such as `batch_size=16 and epochs>=20` (see `where.matches`). Raises UsageError for a
    source that is not there, a file or store that cannot be read, and where no run satisfies the conditions.
    """
    records: dict[str, Record] = {}
    with _without_search_for_cycles():
        for source in sources or (folders.newest(),):
            for record in _read(source, tracking_uri or from_mlflow.default_uri()):
                records.setdefault(record.key, record)
    runs = tabulate(list(records.values()))
    if where is None or runs.runs.empty:
        return runs
    from flowerbench.report.where import matches

    kept = matches(runs.runs, where)
    if not kept.any():
        raise UsageError(f"none of the {len(kept)} runs satisfies --where {where!r}")
    return tabulate(list(itertools.compress(records.values(), kept)))


@contextmanager
def _without_search_for_cycles() -> Iterator[None]:
    """Python would search all of MLflow for cycles, again and again as runs are read: half of the time that takes."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _read(source: str | Path, uri: str) -> list[Record]:
    folder = Path(source)
    records = folders.read(folder) if folder.is_dir() else []
    if not records and (folder / "sweep.json").is_file():
        return []  # a sweeper that plans as it goes, stopped before its first point
    if not records and from_mlflow.is_there(uri):
        records = from_mlflow.read(str(source), uri)
    if not records:
        from flowerbench.mlflow_store import without_password

        here = "holds no run" if folder.is_dir() else "is no folder here"
        store = without_password(uri)
        there = f"{store} has no run under this name" if from_mlflow.is_there(uri) else f"there is no store {store}"
        raise UsageError(f"{source} {here}, and {there}: name a run folder, a sweep folder or an MLflow experiment")
    return records


def tabulate(records: Sequence[Record]) -> Runs:
    """The two tables of these runs, in their order."""
    names = _unique_names(records)
    rows = [{**record.config, **dict.fromkeys(FACTS), **record.facts, "sweep": record.sweep} for record in records]
    index = pd.Index(names, name="run", dtype=object)
    runs = pd.DataFrame(rows, index=index, dtype=object)
    runs = runs.reindex(columns=[key for key in runs.columns if key not in FACTS] + list(FACTS))
    runs = runs.astype(dict.fromkeys(_COUNTS, "Int64") | dict.fromkeys(_NUMBERS, "float64"))
    varied = frozenset(key for record in records for key in record.varying)
    runs["settings"] = keys.labels(runs, varied)
    epochs = pd.DataFrame(
        [{"run": name, **row} for name, record in zip(names, records, strict=True) for row in record.history],
        columns=["run", *HISTORY],
    )
    named = list(zip(names, records, strict=True))
    predictions = {name: record.predictions for name, record in named if record.predictions}
    of_test = {name: record.test_predictions for name, record in named if record.test_predictions}
    return Runs(runs, epochs.astype({"epoch": "int64", "run": object}), varied, predictions, of_test)


def _unique_names(records: Sequence[Record]) -> list[str]:
    """The runs' names; where several runs have the same, their sweep or else their place tells them apart."""
    names = [record.name for record in records]
    for more in ([record.sweep or record.facts["folder"] for record in records], [record.key for record in records]):
        count = Counter(names)
        names = [
            f"{prefix}/{record.name}" if count[name] > 1 else name
            for name, prefix, record in zip(names, more, records, strict=True)
        ]
    return names
