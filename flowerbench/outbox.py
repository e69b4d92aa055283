"""What MLflow is to know of a run, written down before it is sent: a journal in its folder, and how far it came."""

from __future__ import annotations

import json
import os
from pathlib import Path

from filelock import FileLock, Timeout

from flowerbench import atomic
from flowerbench.messages import Message

JOURNAL, STATE = "mlflow.jsonl", "mlflow.json"


class Outbox:
    """The journal of a folder. One process at a time owns it, adds to it and sends from it; any may read it.

    A "start" opens a run of MLflow's; what follows is about that run, until another "start".
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.messages: list[Message] = []
        self._acknowledged = 0
        self._run_id: str | None = None
        self._saved: tuple[int, str | None] = (0, None)
        self._size = 0
        # Whatever thread a launcher may end a sweep in.
        self._owner = FileLock(folder / ".mlflow.lock", thread_local=False)
        self._read()

    def own(self, timeout: float) -> bool:
        """Keep other processes from adding to it and sending, until released or dead; False where one does so."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._owner.acquire(timeout)
        except Timeout:
            return False
        self._read()
        return True

    def release(self) -> None:
        """Let others own it."""
        self._owner.release()

    def creation(self) -> FileLock:
        """What to hold while the run is made in MLflow: a sweep's is made by whichever process gets through first."""
        return FileLock(self.folder / ".mlflow.create.lock", timeout=10)

    @property
    def about_run(self) -> list[Message]:
        """All about the last run, its "start" first."""
        return self.messages[_last_start(self.messages) :]

    @property
    def waiting(self) -> list[Message]:
        """What is not acknowledged, in the order in which it is to be sent."""
        return self.messages[self._acknowledged :]

    @property
    def next(self) -> Message | None:
        """The first of them."""
        return self.messages[self._acknowledged] if self._acknowledged < len(self.messages) else None

    @property
    def run_id(self) -> str | None:
        """The last run's id in MLflow, if it was made there."""
        return self._run_id if self._acknowledged > _last_start(self.messages) else None

    @property
    def addressee(self) -> str | None:
        """The id of the run that the next message is about, unless it is a "start"."""
        return self._run_id

    @property
    def is_ended(self) -> bool:
        """True when the last run has an end, after which it was not opened again."""
        return [said["do"] for said in self.about_run if said["do"] in ("end", "reopened")][-1:] == ["end"]

    def is_for(self, uri: str, experiment: str) -> bool:
        """True when there is a journal, and it is of this store and experiment."""
        return bool(self.messages) and (uri, experiment) == (self.messages[0]["uri"], self.messages[0]["experiment"])

    def begin(self, *messages: Message) -> None:
        """Make the journal, in the place of one for another store."""
        (self.folder / STATE).unlink(missing_ok=True)
        atomic.write_text(self.folder / JOURNAL, "".join(map(_line, messages)))
        self._read()

    def add(self, *messages: Message) -> None:
        """Make messages durable, in the place of a line that a kill or a full disk cut short."""
        text = "".join(map(_line, messages)).encode()
        with (self.folder / JOURNAL).open("rb+") as file:
            file.seek(self._size)
            file.write(text)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
        self.messages += messages
        self._size += len(text)

    def acknowledge(self, run_id: str | None = None) -> None:
        """The next message has arrived; where it was a "start", as the run `run_id`."""
        self._acknowledged += 1
        self._run_id = run_id or self._run_id

    def rewind(self) -> None:
        """Begin again with the run that the next message is about: MLflow does not have it any more."""
        self._acknowledged = _last_start(self.messages[: self._acknowledged])
        self._run_id = None
        self.save()

    def save(self) -> None:
        """Make durable how far it came, where that has changed."""
        if self._saved != (self._acknowledged, self._run_id):
            state = {"run_id": self._run_id, "acknowledged": self._acknowledged}
            atomic.write_text(self.folder / STATE, json.dumps(state) + "\n")
            self._saved = (self._acknowledged, self._run_id)

    def discard(self) -> None:
        """Remove the journal."""
        for name in (JOURNAL, STATE):
            (self.folder / name).unlink(missing_ok=True)
        self._read()

    def read_state(self) -> None:
        """Read how far it came, as whoever made the run has left it."""
        try:
            state = json.loads((self.folder / STATE).read_text(encoding="utf-8"))
            self._saved = min(state["acknowledged"], len(self.messages)), state["run_id"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            self._saved = 0, None  # then all is sent again, which does no harm
        self._acknowledged, self._run_id = self._saved

    def _read(self) -> None:
        self.messages, self._size = [], 0
        try:
            lines = (self.folder / JOURNAL).read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            lines = []
        for line in lines:
            try:
                said = json.loads(line)
            except ValueError:
                break
            if not line.endswith(b"\n"):
                break
            self.messages.append(said)
            self._size += len(line)
        self.read_state()


def _line(said: Message) -> str:
    return json.dumps(said, ensure_ascii=False) + "\n"


def _last_start(messages: list[Message]) -> int:
    starts = (index for index in range(len(messages) - 1, -1, -1) if messages[index]["do"] == "start")
    return next(starts, 0)
