"""What one run tells MLflow as it goes: written down at once, sent when there is time for it."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flowerbench import delivery, messages, mlflow_notes, mlflow_store
from flowerbench.errors import UsageError
from flowerbench.messages import Message, message, texts
from flowerbench.mlflow_store import without_password
from flowerbench.outbox import Outbox
from flowerbench.system_metrics import Machine

if TYPE_CHECKING:
    from flowerbench.history import Row

log = logging.getLogger(__name__)

# What an epoch, or a stop by a signal, may take to send what had to wait.
_SECONDS = 5


class Tracker:
    """One run in MLflow; without a journal, as when tracking is off, every method does nothing.

    What it is told is written down at once, and sent when the run begins, after every epoch and at the end.
    """

    def __init__(self, box: Outbox | None = None, uri: str = "", opening: Sequence[Message] = ()) -> None:
        self._box = box
        self._uri = uri
        self._opening = opening
        self._goes_on = False
        self._epochs: set[int] = set()
        self._machine: Machine | None = None
        self._is_away = self._was_refused = False

    @property
    def run_id(self) -> str | None:
        """The run's id in MLflow, once that could be reached."""
        return self._box.run_id if self._box else None

    def begin(self) -> None:
        """Begin the run, or go on with the one that the folder has. Raises UsageError as `run` does."""
        if self._box is None:
            return
        self._goes_on = self._box.is_for(self._opening[0]["uri"], self._opening[0]["experiment"])
        if not self._goes_on:
            self._box.begin(*self._opening)
        elif self._box.is_ended:
            self._box.add(message("reopened"))
        self._epochs = {said["step"] for said in self._box.about_run if said["do"] == "epoch"}
        try:
            self._deliver(_SECONDS, refuse=True)
        except UsageError:
            if not self._goes_on:
                self._box.discard()
                self.release()
                self._box = None
            raise

    def measure(self) -> None:
        """From here on, send how busy the machine is."""
        if self._box is not None:
            self._machine = Machine(sum(said["do"] == "system" for said in self._box.about_run))
            self._machine.start()

    def start_over(self) -> None:
        """End the run that the folder had, marked as replaced, and begin another in its place."""
        if self._box is None or not self._goes_on:
            return
        left = [message("tags", tags={"flowerbench.replaced": "true"}), message("end", status="KILLED")]
        self._box.add(*left, *self._opening)
        self._goes_on, self._epochs = False, set()

    def tag(self, tags: Mapping[str, Any]) -> None:
        """Set tags of the run."""
        self._add("tags", tags=texts(tags))

    def data(
        self,
        name: str,
        split: str,
        train: Mapping[str, int],
        val: Mapping[str, int],
        test: Mapping[str, int] | None = None,
    ) -> None:
        """Name the run's data set, told apart by the fingerprint of its split, with the parts' photos per class."""
        tested = {"test": dict(test)} if test and any(test.values()) else {}
        self._add("data", name=name, split=split, train=dict(train), val=dict(val), **tested)

    def go_on(self, rows: Sequence[Row]) -> None:
        """Take note of the epochs that are on disk already; a run that begins again without its own is another run."""
        if self._epochs and not rows:
            self.start_over()
        for row in rows:
            self._note(row)

    def log(self, row: Row) -> None:
        """Send an epoch, a row of history.csv, as soon as it ends: MLflow shows that time. One it has is left out."""
        if self._note(row):
            self._measured()
            self._deliver(_SECONDS)

    def _note(self, row: Row) -> bool:
        if self._box is None or (step := int(row["epoch"])) in self._epochs:
            return False
        self._epochs.add(step)
        self._add("epoch", step=step, metrics=messages.metrics(row.__getitem__))
        return True

    def finish(self, best: Row, val_correct: int, val_total: int) -> None:
        """Say what the run came to: its best epoch, with so many of `val_total` validation photos right."""
        values = {"val_accuracy": best["val_accuracy"], "epoch": best["epoch"], "val_correct": val_correct}
        named = {f"best/{name}": float(value) for name, value in values.items()}
        # At step 0 MLflow draws a bar per run, at any other a point.
        self._add("best", step=0, metrics=named | {"val_total": float(val_total)})

    def test(self, correct: int, total: int, loss: float) -> None:
        """Say what the best epoch came to on the test photos, `correct` of `total` right."""
        values = {"accuracy": correct / total, "loss": loss, "correct": correct, "total": total}
        self._add("test", step=0, metrics={f"test/{name}": float(value) for name, value in values.items()})

    def end(self, status: str, reason: str | None = None, trace: str | None = None, *, is_bug: bool = False) -> None:
        """Send MLflow's word for the end, why in a note, then the files of the run folder and their figures."""
        if self._box is None:
            return
        if self._machine:
            self._machine.stop()
            self._measured()
        note = mlflow_notes.of_run(self._box.about_run, self._box.folder, status, reason, trace if is_bug else None)
        self._box.add(*messages.ending(note, status, reason, trace))
        self._deliver(_SECONDS if status == "KILLED" else math.inf)

    def release(self) -> None:
        """Leave the journal to others."""
        if self._machine:
            self._machine.stop()
        if self._box is not None:
            self._box.release()

    def _measured(self) -> None:
        if self._machine and self._box and (samples := self._machine.taken()):
            self._box.add(*samples)

    def _add(self, do: str, **details: Any) -> None:
        if self._box is None:
            return
        # A run that goes on says some things again; a metric with another time would be there twice.
        if do in ("data", "best", "test") and any(details.items() <= said.items() for said in self._box.about_run):
            return
        self._box.add(message(do, **details))

    def _deliver(self, seconds: float, refuse: bool = False) -> None:
        """Send what waits. A store that is away is told once, and once more when it has everything again."""
        assert self._box is not None
        try:
            refusal = delivery.deliver(self._box, self._uri, seconds)
        except Exception as error:
            if refuse and isinstance(error, UsageError):
                raise
            if not self._is_away:
                mlflow_store.warn(self._uri, error)
            self._is_away = True
            return
        if refusal and not self._was_refused:
            mlflow_store.warn(self._uri, refusal)
            self._was_refused = True
        if self._is_away and self._box.next is None:
            log.info("MLflow at %s is back, and has everything", without_password(self._uri))
            self._is_away = False
