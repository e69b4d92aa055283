"""A measurement under way: settings, photos, both sides, and the runs that several sections use."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from benchmarks import photos, processes
from benchmarks.settings import Settings
from benchmarks.sides import Run, Sides, Task

PLAIN, OURS = "plain script", "flowerbench"
# Seconds between two looks at the memory: where it is what is measured, and where it must not cost time.
OFTEN, SELDOM = 0.5, 5.0


def tell(text: str) -> None:
    """Say on the terminal what is under way; stdout is for the tables."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


@dataclass
class Bench:
    """A measurement under way."""

    settings: Settings
    split: photos.Split
    sides: Sides
    has_bf16: bool
    _plain: dict[tuple[int, int], Run] = field(default_factory=dict)

    @cached_property
    def rate_task(self) -> Task:
        """A large model at a large size, for as many steps as tell how many photos per second it takes."""
        s = self.settings
        batch = s.batch_sizes[0]
        all_steps = len(self.split.train) // batch
        steps = min(s.rate_steps or (24 if self.sides.device == "cpu" else all_steps), all_steps)
        few = photos.lay_out(self.split, self.sides.fresh("few"), steps * batch, max(1, steps // 4) * batch)
        return Task(few, s.rate_model, (), None, s.rate_image_size, batch, s.rate_epochs)

    @cached_property
    def task(self) -> Task:
        """The paper's run, on all photos."""
        s = self.settings
        folder = photos.lay_out(self.split, self.sides.fresh("photos"))
        return Task(folder, s.model, s.model_args, s.weights, s.image_size, s.batch_sizes[0], s.epochs[-1])

    def plain_run(self, batch_size: int, epochs: int) -> Run:
        """The plain script's run of the paper; a point of its sweep that was run already is not run again."""
        point = (batch_size, epochs)
        if point not in self._plain:
            tell(f"{PLAIN}, batch size {batch_size}, {epochs} epochs")
            task = replace(self.task, batch_size=batch_size, epochs=epochs)
            self._plain[point] = self.sides.plain(task, watch=SELDOM)
        return self._plain[point]

    def matmul_rate(self) -> float:
        """Operations per second of the machine at this moment: others may be at work on it as well."""
        return float(measured(self.sides, self.settings.matmul_seconds)["matmul"])


def measured(sides: Sides, seconds: float) -> dict[str, Any]:
    """The machine's facts and its rate of multiplying matrices, from a process of its own."""
    folder = sides.fresh("machine")
    processes.run(["benchmarks.machine", sides.device, str(seconds)], folder, {})
    return dict(json.loads((folder / "out.txt").read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Runs:
    """The runs of each side, in the order of the rounds."""

    of: dict[str, list[Run]] = field(default_factory=dict)

    def add(self, side: str, run: Run) -> None:
        """Add a run of a side."""
        self.of.setdefault(side, []).append(run)

    def each(self, value: Callable[[Run], float]) -> dict[str, list[float]]:
        """One value per run."""
        return {side: [value(run) for run in runs] for side, runs in self.of.items()}

    def every(self, values: Callable[[Run], Sequence[float]]) -> dict[str, list[float]]:
        """All values of all runs."""
        return {side: [value for run in runs for value in values(run)] for side, runs in self.of.items()}

    def raw(self) -> list[dict[str, Any]]:
        """All of it, for a file."""
        return [{"side": side, **run.raw()} for side, runs in self.of.items() for run in runs]
