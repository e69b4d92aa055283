"""MLflow, a copy of what the run folders hold: told of every epoch, in a journal first, so that it may be away."""

from __future__ import annotations

import logging
import math
import os
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowerbench import delivery, messages, mlflow_store
from flowerbench.errors import Pruned, UsageError, one_line
from flowerbench.messages import Message, message, texts
from flowerbench.mlflow_store import without_password
from flowerbench.outbox import Outbox

if TYPE_CHECKING:
    from flowerbench.config import Tracking
    from flowerbench.history import Row

log = logging.getLogger(__name__)

# What an epoch, or a stop by a signal, may take to send what had to wait.
_SECONDS = 5
# What `flowerbench.sync` may take with a journal before it is a mistake to want it.
_PATIENCE = 10


@contextmanager
def run(
    tracking: Tracking,
    *,
    params: Mapping[str, Any],
    name: str,
    folder: Path,
    sweep: Path | None = None,
    tags: Mapping[str, Any] | None = None,
) -> Iterator[Tracker]:
    """One run in MLflow, child of the sweep's of the folder `sweep`; what leaves the block is its end, and goes on.

    `params` is the flat config. A folder that has a journal for the same experiment goes on with its run. At the end
    the files of the folder follow, and figures drawn from them. Raises UsageError for a store that cannot be used;
    one that is away costs a warning, and what it missed is sent later.
    """
    if tracking.uri is None:
        yield Tracker()
        return
    above = None if sweep is None else os.path.relpath(sweep, folder)
    opening = [messages.start(tracking, name, tags or {}, above), *messages.params(params)]
    tracker = Tracker(_owned(folder), tracking.uri, opening)
    try:
        tracker.begin()
        yield tracker
        tracker.end("FINISHED")
    except Pruned as error:
        tracker.end("KILLED", one_line(error))
        raise
    except Exception as error:
        tracker.end("FAILED", one_line(error), "".join(traceback.format_exception(error)))
        raise
    except BaseException:
        tracker.end("KILLED")
        raise
    finally:
        tracker.release()


# The journals of the sweeps that this process drives.
_driven: dict[Path, Outbox] = {}


def start_sweep(tracking: Tracking, folder: Path, name: str, points: int) -> str | None:
    """Start the run whose children are the sweep's runs, or go on with it; its id, if it has one. Raises as `run`."""
    if tracking.uri is None:
        return None
    about = {"flowerbench.kind": "sweep", "flowerbench.sweep": name, "flowerbench.points": points}
    box = _driven.get(folder.absolute()) or _owned(folder)
    sweep = Tracker(box, tracking.uri, [messages.start(tracking, name, about, None)])
    try:
        sweep.begin()
    except BaseException:
        sweep.release()
        raise
    _driven[folder.absolute()] = box
    return sweep.run_id


def finish_sweep(tracking: Tracking, folder: Path, note: str, status: str) -> None:
    """Give the sweep's run its note, in Markdown, and end it; then send what is left below the folder.

    `status` is FINISHED, FAILED or KILLED. Runs that are still in a process are left to it.
    """
    if tracking.uri is None:
        return
    from flowerbench import sync

    box = _driven.pop(folder.absolute(), None) or _owned(folder)
    if box.is_for(mlflow_store.address(tracking.uri), tracking.experiment):
        box.add(message("tags", tags=texts({"mlflow.note.content": note})), message("end", status=status))
    box.release()
    missing = [found.trouble for found in sync.deliver_below(folder, [tracking.uri]) if found.trouble]
    if missing:
        say = "MLflow lacks something of %d runs of this sweep (%s); send it with: python -m flowerbench.sync %s"
        log.warning(say, len(missing), missing[0], folder)


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

    def data(self, name: str, split: str) -> None:
        """Name the run's data set, told apart by the fingerprint of its split."""
        self._add("data", name=name, split=split)

    def go_on(self, rows: Sequence[Row]) -> None:
        """Take note of the epochs that are on disk already; a run that begins again without its own is another run."""
        if self._epochs and not rows:
            self.start_over()
        for row in rows:
            self._note(row)

    def log(self, row: Row) -> None:
        """Send an epoch, a row of history.csv, as soon as it ends: MLflow shows that time. One it has is left out."""
        if self._note(row):
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
        self._add("best", step=int(best["epoch"]), metrics=named | {"val_total": float(val_total)})

    def end(self, status: str, reason: str | None = None, trace: str | None = None) -> None:
        """Send MLflow's word for the end, then the files of the run folder and their figures."""
        if self._box is None:
            return
        if reason is not None:
            self.tag({"flowerbench.status_reason": reason})
        # The end first: a run that is over must not stay RUNNING, whatever becomes of its files.
        self._add("end", status=status)
        self._add("files", traceback=trace and without_password(trace))
        self._deliver(_SECONDS if status == "KILLED" else math.inf)

    def release(self) -> None:
        """Leave the journal to others."""
        if self._box is not None:
            self._box.release()

    def _add(self, do: str, **details: Any) -> None:
        if self._box is None:
            return
        # A run that goes on says some things again; a metric with another time would be there twice.
        if do in ("data", "best") and any(details.items() <= said.items() for said in self._box.about_run):
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


def _owned(folder: Path) -> Outbox:
    box = Outbox(folder)
    if not box.own(_PATIENCE):
        raise UsageError(f"{folder} is in use by another process: wait for its end, or name another folder")
    return box
