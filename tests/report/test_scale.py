"""Reading a thousand runs: seconds, memory, and that both grow no faster than the number of runs.

`python -m tests.report.test_scale 100 1000 10000` measures the same by hand, and prints a table in Markdown.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

pytestmark = [
    pytest.mark.long,
    pytest.mark.alone,
    pytest.mark.skipif(os.name == "nt", reason="Windows does not tell the peak of memory"),
]

CHECKOUT = Path(__file__).parents[2]
EPOCHS = 25
VALIDATION = 570

# Loaded in a process of its own; what it says are runs, epochs, seconds of the processor, peak of memory.
LOAD = """
import resource, sys
from flowerbench.report import frame
runs = frame.load(sys.argv[1], tracking_uri=sys.argv[2])
assert runs.runs["settings"].is_unique and runs.runs["best_accuracy"].notna().all()
used = resource.getrusage(resource.RUSAGE_SELF)
print(len(runs.runs), len(runs.epochs), used.ru_utime + used.ru_stime, used.ru_maxrss)
"""


class Cost(NamedTuple):
    """Of loading runs in a fresh process, imports included.

    The tests go by the seconds of the processor: those of the clock depend on what else the machine is doing.
    """

    seconds: float
    processor: float
    megabytes: float


class Template(NamedTuple):
    """A sweep of one real run: its folder and the store that it was logged to."""

    sweep: Path
    store: Path


def train(folder: Path) -> Template:
    """Train a short run of 25 epochs, and give it as many predictions as the paper has validation photos."""
    command = ["--multirun", "experiment=quickstart", f"epochs={EPOCHS}", "data.synthetic.count=60", "cache.dir=cache"]
    subprocess.run(
        [sys.executable, "-m", "flowerbench.train", *command],
        cwd=folder,
        env={k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"} | {"PYTHONPATH": str(CHECKOUT)},
        check=True,
        capture_output=True,
    )
    [sweep] = [file.parent for file in folder.glob("multirun/*/*/sweep.json")]
    [predictions] = sweep.glob("*/val_predictions.csv")
    header, *lines = predictions.read_text().splitlines()
    predictions.write_text("\n".join([header, *(lines[i % len(lines)] for i in range(VALIDATION))]) + "\n")
    return Template(sweep, folder / "mlflow.db")


def settings(number: int) -> dict[str, str]:
    """What a run differs in from the others."""
    return {"batch_size": f"{8 << number % 4}", "lr": f"{0.1 / (1 + number // 4 % 8)}", "seed": f"{number // 32}"}


def write_folders(template: Template, folder: Path, count: int) -> Path:
    """A sweep of so many runs, whose folders are those of the real one but for the weights."""
    plan = json.loads((template.sweep / "sweep.json").read_text())
    [point] = plan["points"]
    plan["points"] = []
    plan["varying"] = ["batch_size", "optim.lr", "seed"]
    for number in range(count):
        name, told = f"point-{number}", settings(number)
        shutil.copytree(template.sweep / point["folder"], folder / name, ignore=shutil.ignore_patterns("*.pt"))
        file = folder / name / ".hydra" / "config.yaml"
        text = file.read_text()
        for key, value in told.items():
            text = re.sub(rf"(?m)^( *{key}): .*$", rf"\1: {value}", text, count=1)
        file.write_text(text)
        for known in ("summary.json", "mlflow.json"):
            file = folder / name / known
            file.write_text(re.sub(r'"[0-9a-f]{32}"', f'"{number:032x}"', file.read_text()))
        overrides = [f"{key}={value}" for key, value in zip(plan["varying"], told.values(), strict=True)]
        plan["points"].append({**point, "folder": name, "overrides": [*point["overrides"], *overrides]})
    (folder / "sweep.json").write_text(json.dumps(plan))
    return folder


def write_store(template: Template, file: Path, count: int) -> str:
    """A store with so many copies of the real run in its sweep; the address."""
    shutil.copy(template.store, file)
    changed = {
        ("tags", "value"): "case key when 'flowerbench.name' then 'point-' || number else value end",
        ("params", "value"): "case key when 'batch_size' then batch_size when 'optim.lr' then lr "
        "when 'seed' then seed else value end",
        ("metrics", "value"): "value * (1 - number * 1e-6)",
        ("inputs", "input_uuid"): "id",
    }
    with closing(sqlite3.connect(file)) as store, store:
        [(real,)] = store.execute("select run_uuid from tags where key = 'flowerbench.name'")
        store.execute("create temp table copies (id text, number integer, batch_size text, lr text, seed text)")
        copies = [(f"{number:032x}", number, *settings(number).values()) for number in range(1, count)]
        store.executemany("insert into copies values (?, ?, ?, ?, ?)", copies)
        for table in ("runs", "tags", "params", "metrics", "latest_metrics", "inputs"):
            run = "destination_id" if table == "inputs" else "run_uuid"
            columns = [row[1] for row in store.execute(f"pragma table_info({table})")]
            values = ["id" if name == run else changed.get((table, name), f"{table}.{name}") for name in columns]
            told = f"insert into {table} ({', '.join(columns)}) select {', '.join(values)} from {table}, copies"
            store.execute(f"{told} where {table}.{run} = ?", [real])
    return f"sqlite:///{file.as_posix()}"


def cost(source: str, uri: str, count: int) -> Cost:
    """Of `frame.load`."""
    began = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run([sys.executable, "-c", LOAD, source, uri], env=environment, capture_output=True, text=True)
    seconds = time.perf_counter() - began
    assert done.returncode == 0, done.stderr
    runs, epochs, processor, peak = map(float, done.stdout.split())
    assert (runs, epochs) == (count, count * EPOCHS)
    return Cost(seconds, processor, peak / (2**20 if sys.platform == "darwin" else 2**10))


def costs(folder: Path, counts: list[int]) -> Iterator[tuple[str, int, Cost]]:
    """Of loading so many runs, from MLflow and from folders, all made in `folder`."""
    template = train(folder)
    sweep = template.sweep.relative_to(folder / "multirun").as_posix()
    for count in counts:
        store, runs = folder / f"{count}.db", folder / str(count)
        yield "MLflow", count, cost(sweep, write_store(template, store, count), count)
        yield "folders", count, cost(str(write_folders(template, runs, count)), "sqlite:///none.db", count)
        store.unlink()
        shutil.rmtree(runs)


Costs = dict[tuple[str, int], Cost]


@pytest.fixture(scope="module")
def paid(tmp_path_factory: pytest.TempPathFactory) -> Costs:
    found = costs(tmp_path_factory.mktemp("scale"), [100, 1000])
    return {(source, count): paid for source, count, paid in found}


@pytest.mark.parametrize("source", ["MLflow", "folders"])
def test_a_thousand_runs_take_less_than_ten_seconds_and_a_gigabyte(paid: Costs, source: str):
    assert paid[source, 1000].processor < 10
    assert paid[source, 1000].megabytes < 1000


@pytest.mark.parametrize("source", ["MLflow", "folders"])
def test_ten_times_the_runs_cost_at_most_ten_times_as_much(paid: Costs, source: str):
    assert paid[source, 1000].processor < 10 * paid[source, 100].processor
    assert paid[source, 1000].megabytes < 10 * paid[source, 100].megabytes


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        print("| source | runs | seconds | of the processor | peak memory (MB) |", flush=True)
        print("| --- | --- | --- | --- | --- |", flush=True)
        for source, count, paid in costs(Path(name), [int(count) for count in sys.argv[1:]]):
            told = f"{paid.seconds:.1f} | {paid.processor:.1f} | {paid.megabytes:.0f}"
            print(f"| {source} | {count:,} | {told} |", flush=True)
