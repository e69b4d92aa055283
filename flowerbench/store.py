"""What must survive a run: its folder with the history, the summary, the checkpoints and the predictions."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowerbench import checkpoint, errors, identity, interrupt, predictions, summaries
from flowerbench.history import HISTORY, Row, append_row, best_row, read_history, row_of, write_history

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from omegaconf import DictConfig

    from flowerbench.data.sources import Photos
    from flowerbench.data.split import Split
    from flowerbench.engine import Epoch

log = logging.getLogger(__name__)

# What the summary says of the test photos, when all epochs are done.
TESTED = ("test_correct", "test_total", "test_accuracy", "test_loss")


def refuse_other_settings(folder: Path, cfg: DictConfig) -> None:
    """Raise UsageError where the folder holds a run of other settings, or a finished one: none is overwritten."""
    before = summaries.read(folder)
    is_other = bool(before) and before.get("settings") != identity.settings(cfg)
    if before.get("status") == "FINISHED" or ((folder / "history.csv").exists() and is_other):
        raise errors.UsageError(f"{folder} holds a run already: name another folder, or remove it")


class RunFolder:
    """The durable record of one run. Every method leaves files that a reader or a crash finds whole.

    Left, its summary says how the run ended. Whoever uses it is alone in it (`alone_in`).
    """

    def __init__(self, path: Path, facts: Mapping[str, Any], best_by: str = "accuracy") -> None:
        self.path = path
        self.best_by = best_by
        self.facts = dict(facts)
        self.rows: list[Row] = []
        self._before: dict[str, Any] = {}
        self._began = time.monotonic()
        self._val_total = 0

    def __enter__(self) -> RunFolder:
        self.path.mkdir(parents=True, exist_ok=True)
        self._before = summaries.read(self.path)
        (self.path / predictions.TEST).unlink(missing_ok=True)  # the test comes last, and anew
        self._before.setdefault("started", datetime.now(UTC).isoformat(timespec="seconds"))
        # Until it is known whether they can be gone on from, earlier epochs stay as they are.
        self.rows = read_history(self.path / "history.csv")
        self._val_total = int(self._before.get("val_total") or 0)
        self.facts = {key: value for key, value in self._before.items() if key not in (*_OWN, *TESTED)} | self.facts
        self._summarise("RUNNING")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            if error is None:
                self._summarise("FINISHED")
            elif isinstance(error, errors.Pruned):
                self._summarise("PRUNED", errors.one_line(error))
            elif isinstance(error, Exception):
                self.facts["exit_code"] = errors.exit_code(error)
                self._summarise("FAILED", errors.one_line(error))
            else:
                self._summarise("KILLED", summaries.STOPPED)
        except OSError:
            if error is None:
                raise  # else the disk that is full has told the user already

    @property
    def best(self) -> Row | None:
        """The row of the best epoch so far: of equals the first."""
        return best_row(self.rows, self.best_by)

    def correct(self, row: Row) -> int:
        """How many validation photos the epoch got right."""
        return round(row["val_accuracy"] * self._val_total)

    @property
    def epochs_done(self) -> int:
        return int(self.rows[-1]["epoch"]) if self.rows else 0

    def know(self, **facts: Any) -> None:
        """Add what has become known about the run to its summary."""
        self.facts |= facts
        self._summarise("RUNNING")

    def resume(self, facts: Mapping[str, Any]) -> dict[str, Any] | None:
        """Take note of the run's facts, and go on from the last epoch of an earlier process; its state, or None.

        An epoch counts when last.pt holds it. Epochs that were computed in another way (on another device, with
        other versions) do not: then the run begins again.
        """
        state = None
        if self.rows or (self.path / "last.pt").exists():
            if self._before.get("trajectory") == facts["trajectory"]:
                state = self._last_state()
            else:
                log.info("%s was begun with other photos, versions or on another device: beginning again", self.path)
        done = int(state["epoch"]) if state else 0
        rows = [row for row in self.rows if row["epoch"] <= done]
        if state and len(rows) == done - 1:
            rows.append({**dict.fromkeys(HISTORY, math.nan), **state["numbers"]})  # killed before the line was written
        if self.rows and (len(rows) != done or not self._has_best(rows)):
            log.warning("The files of %s are not whole: beginning again", self.path)
            rows = []
        self.rows = rows
        write_history(self.path / "history.csv", self.rows)
        reused = min(int(self._before.get("epochs_reused") or 0), self.epochs_done)
        self.know(**facts, epochs_resumed=self.epochs_done, epochs_reused=reused)
        return state if self.rows else None

    def _has_best(self, rows: list[Row]) -> bool:
        """Whether best.pt is whole, and of the best of the rows; or of a later epoch, which will be trained again."""
        best = best_row(rows, self.best_by)
        try:
            number = int(checkpoint.load(self.path / "best.pt")["epoch"])
        except (OSError, ValueError, KeyError):
            return best is None
        return best is not None and (number == best["epoch"] or number > rows[-1]["epoch"])

    def _last_state(self) -> dict[str, Any] | None:
        try:
            return checkpoint.load(self.path / "last.pt")
        except (OSError, ValueError) as error:
            log.warning("%s", error)
            return None

    def record(self, epoch: Epoch, state: checkpoint.Snapshot, photos: Photos, split: Split) -> bool:
        """Make an epoch durable; True when it is the best so far.

        last.pt, `state`, makes the epoch count; so what belongs to the best is written before it, and the history
        names no epoch that has no model. best.pt is last.pt of that epoch without the optimiser's and the
        schedule's memory.
        """
        self._val_total = len(split.val)
        with interrupt.held():
            row = row_of(epoch)
            is_best = best_row([self.best, row] if self.best else [row], self.best_by) is row
            if is_best:
                self._keep_best(epoch, state, photos, split)
            checkpoint.save(self.path / "last.pt", state)
            self.rows.append(row)
            append_row(self.path / "history.csv", row)
            self._summarise("RUNNING")
        return is_best

    def take(
        self, epochs: Sequence[Epoch], last: Mapping[str, Any], best: Mapping[str, Any], photos: Photos, split: Split
    ) -> None:
        """Make epochs that were trained elsewhere durable, all at once: as if each had been recorded.

        `last` is the state of the last of them, `best` that of the best of all up to it.
        """
        self._val_total = len(split.val)
        with interrupt.held():
            self.rows += [row_of(epoch) for epoch in epochs]
            for epoch in epochs:
                if self.best is not None and epoch.epoch == self.best["epoch"]:
                    self._keep_best(epoch, checkpoint.snapshot(best), photos, split)
            write_history(self.path / "history.csv", self.rows)
            checkpoint.save(self.path / "last.pt", checkpoint.snapshot(last))
            self.know(epochs_reused=int(self.facts.get("epochs_reused") or 0) + len(epochs))

    def tested(self, loss: float, probabilities: NDArray[np.float32], photos: Photos, split: Split) -> int:
        """Make the result on the test photos durable, the predictions before the numbers; how many are right."""
        with interrupt.held():
            predictions.write(self.path / predictions.TEST, split.test, probabilities, photos)
            total = len(split.test)
            labels = [photos.labels[index] for index in split.test]
            correct = sum(int(row.argmax()) == label for row, label in zip(probabilities, labels, strict=True))
            self.know(**dict(zip(TESTED, (correct, total, correct / total, loss), strict=True)))
        return correct

    def _keep_best(self, epoch: Epoch, state: checkpoint.Snapshot, photos: Photos, split: Split) -> None:
        predictions.write(self.path / predictions.VAL, split.val, epoch.probabilities, photos)
        checkpoint.save(self.path / "best.pt", state.without("trained_model", "optimizer", "scheduler", "numbers"))

    def _summarise(self, status: str, reason: str | None = None) -> None:
        best = self.best
        content = {
            "status": status,
            "reason": reason,
            "best_by": self.best_by,
            "best_epoch": best and int(best["epoch"]),
            "best_val_accuracy": best and best["val_accuracy"],
            "best_val_correct": best and self.correct(best),
            "epochs_done": self.epochs_done,
            **self.facts,
            "started": self._before["started"],
            "seconds": round(float(self._before.get("seconds") or 0) + time.monotonic() - self._began, 3),
        }
        summaries.write(self.path, content)


# What the summary says of the run as it goes, beside what it was told.
_OWN = (
    "exit_code",
    "status",
    "reason",
    "best_by",
    "best_epoch",
    "best_val_accuracy",
    "best_val_correct",
    "epochs_done",
    "started",
    "seconds",
)
