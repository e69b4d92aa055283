"""Run folders and sweeps made by hand, and reports compared with the golden ones.

`FLOWERBENCH_GOLDEN=write python -m pytest tests/report` writes the golden files anew; read the difference then.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from flowerbench.report.analysis import Section, sections
from flowerbench.report.frame import tabulate
from flowerbench.report.record import Record, outcome

HEADER = "epoch,lr,train_loss,train_accuracy,val_loss,val_accuracy,seconds"
GOLDEN = Path(__file__).parent / "golden"
# A sweep on real photos, kept in the repository: four settings, with 502, 502, 501 and 501 of 570 photos right.
KEPT_SWEEP = Path(__file__).parents[2] / "multirun" / "paper_mobilenet_v2_160px"

Epochs = Sequence[tuple[int, float, float, float, float]]

# Epoch, learning rate, train loss, validation loss, correct photos of 570: batch size 16, 25 epochs.
PAPER_TABLE_1 = [
    (1, 0.001, 0.7551, 0.4084, 475),
    (8, 0.0001, 0.2416, 0.2580, 521),
    (16, 0.00001, 0.2223, 0.1904, 527),
    (23, 0.000001, 0.2271, 0.1981, 533),
    (25, 0.000001, 0.2138, 0.2031, 528),
]


def steps(correct: Sequence[int], lr: float = 0.01) -> Epochs:
    """Epochs of one learning rate, whose losses are made up from the number of correct photos."""
    return [(i, lr, 1.0 / i, 1.0 - c / 1000, c) for i, c in enumerate(correct, 1)]


def history_rows(epochs: Epochs, total: int) -> list[str]:
    return [f"{n},{lr!r},{train!r},0.5,{val!r},{correct / total!r},2.5" for n, lr, train, val, correct in epochs]


def write_run(
    folder: Path,
    config: Mapping[str, Any],
    epochs: Epochs = (),
    total: int = 570,
    **summary: Any,
) -> Path:
    """A run folder as training leaves it; `summary` replaces fields of a finished run's summary.json."""
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "config.yaml").write_text(yaml.safe_dump(dict(config), sort_keys=False))
    lines = [HEADER, *history_rows(epochs, total)]
    (folder / "history.csv").write_text("\n".join(lines) + "\n")
    best = max(epochs, key=lambda row: row[4], default=None)
    told = {
        "status": "FINISHED",
        "reason": None,
        "best_epoch": best and best[0],
        "best_val_accuracy": best and best[4] / total,
        "best_val_correct": best and best[4],
        "val_total": total,
        "epochs_done": len(epochs),
        "protocol": "clean",
        "split": "39ae2c042277c583",
        "started": "2026-11-24T02:10:11+00:00",
        "seconds": 81.25,
    }
    (folder / "summary.json").write_text(json.dumps(told | summary))
    return folder


def write_plan(folder: Path, varying: Sequence[str], points: Sequence[Sequence[str]], name: str = "today") -> Path:
    """sweep.json of a sweep whose points have these overrides; a folder is named after what varies."""
    folder.mkdir(parents=True, exist_ok=True)
    named = []
    for point in points:
        told = [text for text in point if text.partition("=")[0] in varying]
        named.append({"folder": "_".join(told).replace("=", "-"), "overrides": list(point)})
    plan = {"name": name, "mlflow_run_id": None, "varying": list(varying), "points": named}
    (folder / "sweep.json").write_text(json.dumps(plan))
    return folder


def config(batch_size: int = 16, epochs: int = 4, **more: Any) -> dict[str, Any]:
    """A small config; `more` are further root keys or groups."""
    return {"batch_size": batch_size, "epochs": epochs, "seed": 0, "optim": {"lr": 0.01}, **more}


def paper_sweep(folder: Path) -> Path:
    """The paper's Table 2 as a sweep; of the epochs behind it, Table 1 is all that is known."""
    rest = {"protocol": "augmented"}
    for batch, epochs, seen in ((32, 25, [(9, 0.0001, 0.3, 0.2, 531)]), (16, 20, [(9, 0.0001, 0.3, 0.2, 533)])):
        name = f"batch_size-{batch}_epochs-{epochs}"
        write_run(folder / name, config(batch, epochs), seen, **rest, epochs_done=epochs)
    write_run(folder / "batch_size-16_epochs-25", config(16, 25), PAPER_TABLE_1, **rest, epochs_done=25)
    points = [[f"batch_size={batch}", f"epochs={epochs}"] for batch, epochs in ((32, 25), (16, 20), (16, 25))]
    return write_plan(folder, ["batch_size", "epochs"], points, name="paper")


def half_failed_sweep(folder: Path) -> Path:
    """Two by two: one finished, one killed hard within a line of its history, one failed, one never begun."""
    write_run(folder / "batch_size-16_epochs-4", config(16, 4), steps([90, 95, 97, 96], lr=1e-7), total=100)
    running = write_run(
        folder / "batch_size-16_epochs-8",
        config(16, 8),
        steps([91, 96, 94]),
        total=100,
        status="RUNNING",
        best_epoch=None,
        best_val_accuracy=None,
        best_val_correct=None,
        epochs_done=2,
    )
    with (running / "history.csv").open("a") as file:
        file.write("4,0.01,0.25,0.5,0.9")
    reason = "the loss is nan | in epoch 2: lower optim.lr"
    write_run(folder / "batch_size-32_epochs-4", config(32, 4), steps([40]), total=100, status="FAILED", reason=reason)
    points = [[f"batch_size={batch}", f"epochs={epochs}"] for batch in (16, 32) for epochs in (4, 8)]
    return write_plan(folder, ["batch_size", "epochs"], points, name="2026-11-24/02-10-11")


def record(
    name: str, config: Mapping[str, object], status: str = "FINISHED", correct: int | None = 90, **facts: object
) -> Record:
    """A run of 100 validation photos without a history; `facts` replaces what is known of it."""
    summary = {"best_epoch": 3, "best_val_accuracy": correct and correct / 100, "best_val_correct": correct}
    known = outcome(status, {**summary, "val_total": 100, "epochs_done": 4}, []) if correct else {"status": status}
    told = {"folder": name, "epochs_done": 4, "reason": None, "protocol": "clean", "split": "ab"} | known | facts
    return Record(name, name, None, config, told, [])


def section(*records: Record, **asked: Any) -> Section:
    """The one section that these runs make."""
    made = sections(tabulate(records), **asked)
    assert len(made) == 1
    return made[0]


def check_golden(name: str, text: str) -> None:
    """Compare with `golden/<name>.md`, to the letter."""
    file = GOLDEN / f"{name}.md"
    if os.environ.get("FLOWERBENCH_GOLDEN") == "write":
        file.write_text(text, encoding="utf-8", newline="\n")
    assert text == file.read_text(encoding="utf-8")


def cells(table: str) -> list[list[str]]:
    """The rows of a Markdown table, header first, with its cells stripped."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in (lines[0], *lines[2:])]
