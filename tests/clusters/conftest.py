"""Real clusters on this machine, brought up once for the tests that need them, and sweeps to run on them."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.clusters import services
from tests.conftest import finish_together, start_train, write_photos


@pytest.fixture(scope="module")
def slurm() -> Iterator[dict[str, str]]:
    """The variables of a real SLURM with two cores."""
    with services.slurm(cpus=2) as variables, pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield variables


@pytest.fixture
def ray_nodes() -> Iterator[tuple[str, psutil.Process]]:
    """The address of a Ray cluster of two nodes, and the second one's raylet: a test may kill it."""
    with services.ray_nodes() as nodes:
        yield nodes


@pytest.fixture(scope="module")
def mlflow_on_postgresql() -> Iterator[str]:
    """The address of an `mlflow server` on PostgreSQL."""
    with services.postgresql() as store, services.mlflow_server(store) as address:
        yield address


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache for every test, so that none takes the epochs of another's sweep."""
    monkeypatch.setenv("FLOWERBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    """Settings of a tiny model on a few photos, in the folder that the sweep is started in."""
    write_photos(tmp_path / "photos", {"ash": 20, "beech": 16, "cedar": 14})
    return ["data=folder", "data.root=photos", "model=tiny", "image_size=16", "data.workers=0"]


class Sweep:
    """A sweep as a command that runs, and what it has left on the disk."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.process = start_train(folder, "--multirun", *arguments)

    def runs(self) -> dict[str, Path]:
        """The folder of every point that has started, by its name."""
        return {run.parent.name: run.parent for run in self.folder.glob("multirun/**/summary.json")}

    def epochs(self, name: str) -> list[list[str]]:
        """The rows of a point's history, with the epoch's number first."""
        return _rows(self.runs()[name]) if name in self.runs() else []

    def numbers(self, name: str) -> list[list[str]]:
        """The same without the seconds, which stand last."""
        return [row[:-1] for row in self.epochs(name)]

    def under_way(self, epochs: int = 3) -> list[str]:
        """The points that have so many epochs, or more, and go on."""
        return [
            name for name in self.statuses() if len(self.epochs(name)) >= epochs and self.statuses()[name] == "RUNNING"
        ]

    def statuses(self) -> dict[str, str]:
        """How every point that has started stands."""
        return {name: json.loads((run / "summary.json").read_text())["status"] for name, run in self.runs().items()}

    def wait_for(self, what: str, happens: Callable[[], object], within: float = 90) -> object:
        """Wait until `happens()`, as long as the command runs."""

        def looked() -> object:
            if self.process.poll() is not None:
                output, errors = self.process.communicate()
                pytest.fail(f"{what}: the sweep ended before, with {self.process.returncode}\n{output}\n{errors}")
            return happens()

        return services.wait_for(what, looked, within)

    def finish(self, within: float = 200) -> tuple[int, str, str]:
        """The exit code of the command, its output and its errors."""
        try:
            output, errors = self.process.communicate(timeout=within)
        except subprocess.TimeoutExpired:
            self.stop()
            output, errors = self.process.communicate()
            pytest.fail(f"the sweep did not end within {within} s: {self.statuses()}\n{output}\n{errors}")
        return self.process.returncode, output, errors

    def stop(self) -> None:
        """End the command and every process that it has started."""
        services.end(self.process.pid)


@pytest.fixture
def sweep(tmp_path: Path) -> Iterator[Callable[..., Sweep]]:
    """Start a sweep in an empty folder; what is left of it is ended after the test."""
    started: list[Sweep] = []

    def start(*arguments: str) -> Sweep:
        started.append(Sweep(tmp_path, *arguments))
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.fixture
def alone(tmp_path: Path, photos: list[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[list[str]]]:
    """What a run by itself with one thread comes to, as `Sweep.numbers` has it; it takes no epoch from another."""

    def numbers(*arguments: str) -> list[list[str]]:
        with monkeypatch.context() as patch:
            patch.setenv("OMP_NUM_THREADS", "1")
            own = ["tracking=none", "reuse=off", "hydra.run.dir=alone"]
            finish_together([start_train(tmp_path, *photos, *arguments, *own)])
        return [row[:-1] for row in _rows(tmp_path / "alone")]

    return numbers


def _rows(run: Path) -> list[list[str]]:
    history = run / "history.csv"
    return list(csv.reader(history.read_text().splitlines()))[1:] if history.is_file() else []


def is_whole(sweep: Sweep, name: str, epochs: int) -> bool:
    """Whether a point's history has every epoch once, in order."""
    return [int(row[0]) for row in sweep.epochs(name)] == list(range(1, epochs + 1))
