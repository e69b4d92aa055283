"""Both sides: the commands that carry the same task out, and what their runs tell."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import processes
from benchmarks.processes import Usage
from flowerbench.points import quoted


@dataclass(frozen=True)
class Task:
    """What both sides are to do: train a model on the photos in a folder."""

    photos: Path
    model: str
    model_args: tuple[tuple[str, Any], ...]
    weights: Path | None
    image_size: int
    batch_size: int
    epochs: int


@dataclass(frozen=True)
class Run:
    """What came of it: the use of time and memory, and what was noted at the first step and after each epoch."""

    usage: Usage
    imported: float
    first_step: float
    epochs: Sequence[Mapping[str, float]]

    @property
    def until_first_step(self) -> float:
        """Seconds from the command to the end of the first training step."""
        return self.first_step - self.usage.began

    @property
    def after_imports(self) -> float:
        """Those of them that come after all imports."""
        return self.first_step - self.imported

    @property
    def later(self) -> Sequence[Mapping[str, float]]:
        """The epochs after the first, in which all is warm; the first where there is no other."""
        return self.epochs[1:] or self.epochs

    @staticmethod
    def seconds(epochs: Sequence[Mapping[str, float]]) -> list[float]:
        """Of each of these epochs, training and evaluation together."""
        return [epoch["train_seconds"] + epoch["val_seconds"] for epoch in epochs]

    @property
    def besides(self) -> float:
        """Seconds of the command that no epoch took."""
        return self.usage.seconds - sum(self.seconds(self.epochs))

    @staticmethod
    def rate(part: str, epochs: Sequence[Mapping[str, float]]) -> float:
        """Photos per second in these epochs, of `train` or `val`."""
        return sum(epoch[f"{part}_photos"] for epoch in epochs) / sum(epoch[f"{part}_seconds"] for epoch in epochs)

    @property
    def besides_imports(self) -> float:
        """Those of them that are no imports either."""
        return self.besides - (self.imported - self.usage.began)

    @property
    def accuracy(self) -> float:
        """The highest validation accuracy."""
        return max(epoch["val_accuracy"] for epoch in self.epochs)

    @property
    def gpu_bytes(self) -> float | None:
        """The peak of a GPU's memory, where there is one."""
        return max((epoch["gpu_bytes"] for epoch in self.epochs if "gpu_bytes" in epoch), default=None)

    def raw(self) -> dict[str, Any]:
        """All of it, for a file."""
        return asdict(self)


@dataclass(frozen=True)
class Sweep:
    """What came of a sweep: its cost, the epochs trained, and the best accuracies by batch size and epochs."""

    seconds: float
    peak_bytes: int | None
    trained: int
    accuracies: Mapping[tuple[int, int], float]

    def raw(self) -> dict[str, Any]:
        """All of it, for a file."""
        points = [{"batch_size": b, "epochs": e, "accuracy": found} for (b, e), found in self.accuracies.items()]
        return {"seconds": self.seconds, "peak_bytes": self.peak_bytes, "trained": self.trained, "points": points}


def one_after_another(runs: Mapping[tuple[int, int], Run]) -> Sweep:
    """The sweep that runs come to, by batch size and epochs."""
    return Sweep(
        sum(run.usage.seconds for run in runs.values()),
        max((run.usage.peak_bytes for run in runs.values() if run.usage.peak_bytes), default=None),
        sum(len(run.epochs) for run in runs.values()),
        {point: run.accuracy for point, run in runs.items()},
    )


@dataclass(frozen=True)
class Sides:
    """Runs tasks in folders below `scratch`, on one device and under one validation protocol.

    `workers` are the plain script's, and `ours` further settings of our command.
    """

    scratch: Path
    device: str
    validation: str
    workers: int | None = None
    ours: Sequence[str] = ()
    _numbers: Iterator[int] = field(default_factory=itertools.count, repr=False)

    def fresh(self, name: str) -> Path:
        """A folder that nothing has used."""
        return self.scratch / f"{next(self._numbers):03}_{name}"

    def plain(self, task: Task, steps: int = 0, watch: float | None = None, seed: int = 0) -> Run:
        """Let the plain script do it; with `steps` it ends after so many."""
        folder = self.fresh("plain")
        command = ["benchmarks.plain", str(task.photos), "--model", task.model, "--image-size", str(task.image_size)]
        command += ["--batch-size", str(task.batch_size), "--epochs", str(task.epochs)]
        command += ["--validation", self.validation, "--device", self.device, "--seed", str(seed)]
        command += ["--model-args", *(f"{name}={json.dumps(value)}" for name, value in task.model_args)]
        command += ["--weights", str(task.weights)] if task.weights else []
        command += ["--workers", str(self.workers)] if self.workers is not None else []
        command += ["--steps", str(steps)] if steps else []
        usage = processes.run(command, folder, {}, watch)
        return _read(usage, folder / "out.txt")

    def train(
        self,
        task: Task,
        *settings: str,
        cache: Path | None = None,
        steps: int = 0,
        watch: float | None = None,
    ) -> Run:
        """Let our command do it, with `cache` as its cache folder, or with an empty one that is removed afterwards."""
        folder = self.fresh("ours")
        log = folder / "log.jsonl"
        own = [f"batch_size={task.batch_size}", f"epochs={task.epochs}", "hydra.run.dir=run"]
        command = ["benchmarks.ours", str(log), str(steps), *self._settings(task), *own, *settings]
        with self._cache(cache) as variables:
            usage = processes.run(command, folder, variables, watch)
        return _read(usage, log)

    def sweep(
        self,
        task: Task,
        batch_sizes: Sequence[int],
        epochs: Sequence[int],
        launcher: str | None,
        watch: float | None = None,
    ) -> Sweep:
        """Let our command do it for all batch sizes and numbers of epochs, beginning with an empty cache folder."""
        folder = self.fresh("sweep")
        grid = [f"batch_size={','.join(map(str, batch_sizes))}", f"epochs={','.join(map(str, epochs))}"]
        chosen = [f"hydra/launcher={launcher}"] if launcher else []
        command = ["flowerbench.train", "--multirun", *self._settings(task), *grid, *chosen, "hydra.sweep.dir=sweep"]
        with self._cache() as variables:
            usage = processes.run(command, folder, variables, watch)
        return _read_sweep(usage, folder / "sweep")

    @contextmanager
    def _cache(self, given: Path | None = None) -> Iterator[dict[str, str]]:
        """The variables that name a cache folder, the given one or an empty one, which may grow large."""
        folder = given or self.fresh("cache")
        try:
            yield {"FLOWERBENCH_CACHE": str(folder)}
        finally:
            if given is None:
                shutil.rmtree(folder, ignore_errors=True)

    def _settings(self, task: Task) -> list[str]:
        return [
            "experiment=paper",
            "data=folder",
            f"data.root={quoted(str(task.photos))}",
            f"data.validation={self.validation}",
            "model=base",
            f"model.name={task.model}",
            f"model.weights={quoted(str(task.weights)) if task.weights else 'null'}",
            *(f"++model.kwargs.{name}={json.dumps(value)}" for name, value in task.model_args),
            f"image_size={task.image_size}",
            f"device={self.device}",
            "tracking=none",
            *self.ours,
        ]


def _read(usage: Usage, log: Path) -> Run:
    """A run from the lines of JSON that it left: one of its first step, one per epoch."""
    begin, *epochs = (json.loads(line) for line in log.read_text(encoding="utf-8").splitlines())
    return Run(usage, begin["imported"], begin["first_step"], epochs)


def _read_sweep(usage: Usage, sweep: Path) -> Sweep:
    """Our sweep from the files that it left."""
    trained, accuracies = 0, {}
    for point in json.loads((sweep / "sweep.json").read_text(encoding="utf-8"))["points"]:
        settings = dict(override.split("=", 1) for override in point["overrides"])
        summary = json.loads((sweep / point["folder"] / "summary.json").read_text(encoding="utf-8"))
        trained += summary["epochs_done"] - summary["epochs_reused"]
        accuracies[int(settings["batch_size"]), int(settings["epochs"])] = float(summary["best_val_accuracy"])
    return Sweep(usage.seconds, usage.peak_bytes, trained, accuracies)
