"""history.csv: one row per epoch, as numbers."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flowerbench import atomic

if TYPE_CHECKING:
    from flowerbench.engine import Epoch

HISTORY = ("epoch", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds")

Row = dict[str, float]


def row_of(epoch: Epoch) -> Row:
    """The row of an epoch."""
    return {name: getattr(epoch, name) for name in HISTORY}


def read_history(file: Path) -> list[Row]:
    """The epochs of a history.csv, but for a line that a kill cut short; of an epoch written twice the later row."""
    if not file.is_file():
        return []
    rows: dict[float, Row] = {}
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)[1:]:
        if not line.endswith("\n"):
            continue  # of 1.25 the 1.2 would be a number too
        try:
            row = dict(zip(HISTORY, map(float, line.split(",")), strict=True))
        except ValueError:
            continue
        if row["epoch"] >= 1:
            rows[row["epoch"]] = row
    return [rows[epoch] for epoch in sorted(rows)]


def append_row(file: Path, row: Mapping[str, float]) -> None:
    """Add an epoch to a history.csv, which is made if need be; it is on the disk when this returns."""
    line = _line(row) if file.exists() else f"{','.join(HISTORY)}\n{_line(row)}"
    with file.open("a", encoding="utf-8", newline="\n") as appended:
        appended.write(line + "\n")
        appended.flush()
        os.fsync(appended.fileno())


def write_history(file: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Replace a history.csv by these epochs; without any there is none."""
    if rows:
        atomic.write_text(file, "\n".join([",".join(HISTORY), *map(_line, rows)]) + "\n")
    else:
        file.unlink(missing_ok=True)


def best_row(history: Sequence[Row], by: str = "accuracy") -> Row | None:
    """The first of the epochs with the highest finite validation accuracy, or lowest loss; None where there is none."""
    measured = [row for row in history if math.isfinite(row[f"val_{by}"])]
    return max(measured, key=lambda row: row["val_accuracy"] if by == "accuracy" else -row["val_loss"], default=None)


def last_epoch(history: Sequence[Row], by: str, patience: int | None) -> int | None:
    """The epoch after which a run ends since none of the last `patience` was its best; None where it goes on."""
    if patience is None:
        return None
    best, since = None, 0
    for row in history:
        found = best_row([row] if best is None else [best, row], by)
        best, since = found, 0 if found is row else since + 1
        if since >= patience:
            return int(row["epoch"])
    return None


def _line(row: Mapping[str, float]) -> str:
    return ",".join(repr(int(row[name])) if name == "epoch" else repr(float(row[name])) for name in HISTORY)
