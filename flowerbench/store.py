"""What must survive a run: its folder with the history, the summary, the checkpoints and the predictions."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from flowerbench import atomic
from flowerbench.errors import Pruned, UsageError, one_line

if TYPE_CHECKING:
    from flowerbench.data.sources import Photos
    from flowerbench.data.split import Split
    from flowerbench.engine import Epoch

HISTORY = ("epoch", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds")


class RunFolder:
    """The durable record of one run. Every method leaves files that a reader or a crash finds whole.

    Entered, it is this run's alone; left, its summary says how the run ended. Raises UsageError when another process
    holds it, or an earlier run's history is in it, which is never overwritten.
    """

    def __init__(self, path: Path, facts: Mapping[str, Any]) -> None:
        self.path = path
        self.facts = dict(facts)
        self.best: Epoch | None = None
        self.epochs_done = 0
        self._started = datetime.now(UTC)
        self._lock = FileLock(path / ".lock")

    def __enter__(self) -> RunFolder:
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UsageError(f"{self.path} is in use by another run: name another hydra.run.dir") from None
        if (self.path / "history.csv").exists():
            self._lock.release()
            raise UsageError(f"{self.path} holds a run already: name another hydra.run.dir, or remove it")
        self._summarise("RUNNING")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            if error is None:
                self._summarise("FINISHED")
            elif isinstance(error, Pruned):
                self._summarise("PRUNED", one_line(error))
            elif isinstance(error, Exception):
                self._summarise("FAILED", one_line(error))
            else:
                self._summarise("KILLED", "stopped by Ctrl-C or a signal")
        except OSError:
            if error is None:
                raise  # else the disk that is full has told the user already
        finally:
            self._lock.release()

    def know(self, **facts: Any) -> None:
        """Add what has become known about the run to its summary."""
        self.facts |= facts
        self._summarise("RUNNING")

    def record(self, epoch: Epoch, state: Mapping[str, Any], photos: Photos, split: Split) -> None:
        """Make an epoch durable: checkpoints and predictions first, so that the history names none that has no model.

        `state` is what last.pt holds. The best epoch is the one with the most correct validation photos, the first
        of equals; best.pt is last.pt of that epoch without the optimiser's and the schedule's memory.
        """
        self._checkpoint("last.pt", state)
        if self.best is None or epoch.val_correct > self.best.val_correct:
            self.best = epoch
            kept = {key: value for key, value in state.items() if key not in ("optimizer", "scheduler")}
            self._checkpoint("best.pt", kept)
            self._predictions(epoch, photos, split)
        row = ",".join(repr(getattr(epoch, name)) for name in HISTORY)
        self._append(row if self.epochs_done else f"{','.join(HISTORY)}\n{row}")
        self.epochs_done = epoch.epoch
        self._summarise("RUNNING")

    def _checkpoint(self, name: str, state: Mapping[str, Any]) -> None:
        import torch

        atomic.write(self.path / name, lambda temporary: torch.save(dict(state), temporary))

    def _predictions(self, epoch: Epoch, photos: Photos, split: Split) -> None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["photo", "label", "prediction", *(f"p({name})" for name in photos.classes)])
        for index, row in zip(split.val, epoch.probabilities, strict=True):
            label, prediction = photos.classes[photos.labels[index]], photos.classes[int(row.argmax())]
            writer.writerow([photos.paths[index], label, prediction, *(f"{p:.6f}" for p in row)])
        atomic.write_text(self.path / "val_predictions.csv", text.getvalue())

    def _summarise(self, status: str, reason: str | None = None) -> None:
        summary = {
            "status": status,
            "reason": reason,
            "best_epoch": self.best and self.best.epoch,
            "best_val_accuracy": self.best and self.best.val_accuracy,
            "best_val_correct": self.best and self.best.val_correct,
            "epochs_done": self.epochs_done,
            **self.facts,
            "started": self._started.isoformat(timespec="seconds"),
            "seconds": round((datetime.now(UTC) - self._started).total_seconds(), 3),
        }
        atomic.write_text(self.path / "summary.json", json.dumps(summary, indent=2, ensure_ascii=False) + "\n")

    def _append(self, line: str) -> None:
        with (self.path / "history.csv").open("a", encoding="utf-8", newline="\n") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
