"""Epochs kept for other runs: those that compute the same share one trajectory, and train none of it twice."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from flowerbench import atomic, cache, checkpoint, claim, interrupt
from flowerbench.history import best_row, row_of

if TYPE_CHECKING:
    from flowerbench.config import Config
    from flowerbench.engine import Epoch

log = logging.getLogger(__name__)


class Trajectory:
    """The epochs of one trajectory, one folder: for epoch 7 `0007.npz`, its numbers, and `0007.pt`, its state.

    An epoch is there when both are; the numbers come second. `about.json` says whose they are and what they took.
    """

    def __init__(
        self, folder: Path, *, max_gb: float = 0, takes: bool = True, extends: bool = False, best_by: str = "accuracy"
    ) -> None:
        self.key = folder.name
        self._folder = folder
        self._max_bytes = max_gb * 1e9
        self._takes = takes
        self._extends = extends
        self._best_by = best_by
        self._broken: set[int] = set()

    def epochs(self, upto: int) -> list[Epoch]:
        """The epochs, of the first `upto`, that a run can take: the last needs its state, and so does the best."""
        epochs: list[Epoch] = []
        for number in range(1, upto + 1 if self._takes else 1):
            epoch = self._epoch(number)
            if epoch is None:
                break
            epochs.append(epoch)
        while epochs and not (self._has_state(epochs[-1].epoch) and self._has_state(self._best(epochs).epoch)):
            epochs.pop()
        return epochs

    def usable(self, upto: int) -> int:
        """How many they are."""
        return len(self.epochs(upto))

    def has(self, epoch: int) -> bool:
        """Whether the first epochs up to this one can be taken, and nothing is left to train."""
        return (self._folder / f"{epoch:04}.npz").is_file() and self.usable(epoch) == epoch

    def states(self, epochs: list[Epoch]) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Model, optimiser and schedule as they were after the last of the epochs, and after the best of them.

        None where a file is broken, or gone since; then that epoch counts no more.
        """
        found = []
        for number in (epochs[-1].epoch, self._best(epochs).epoch):
            try:
                found.append(checkpoint.load(self._state_file(number)))
            except (OSError, ValueError) as error:
                log.warning("Kept epochs cannot be used: %s", error)
                self._broken.add(number)
                with contextlib.suppress(OSError):  # so that a later run keeps a whole one
                    self._state_file(number).unlink(missing_ok=True)
                return None
        return found[0], found[1]

    def append(self, epoch: Epoch, state: checkpoint.Snapshot, about: Mapping[str, Any]) -> None:
        """Keep an epoch; a disk that takes no more ends the keeping, not the run."""
        is_next = epoch.epoch == 1 or (self._folder / f"{epoch.epoch - 1:04}.npz").is_file()
        if not self._extends or not is_next:  # without those before, no run could take it
            return
        try:
            with interrupt.held():
                self._folder.mkdir(parents=True, exist_ok=True)
                checkpoint.save(self._state_file(epoch.epoch), state)
                self._write_epoch(epoch)
                self._describe(epoch, about)
            cache.bound(self._folder.parent, self._max_bytes, in_use=self._folder, newest=epoch.epoch)
        except OSError as error:
            log.warning("Epochs are no longer kept for other runs (%s): %s", error.strerror or error, self._folder)
            self._extends = False

    def _best(self, epochs: list[Epoch]) -> Epoch:
        best = best_row([row_of(epoch) for epoch in epochs], self._best_by)
        return epochs[0] if best is None else epochs[int(best["epoch"]) - 1]

    def touch(self) -> None:
        """Note that the trajectory was used now: what was not for longest goes first."""
        with contextlib.suppress(OSError):
            os.utime(self._folder)

    def _state_file(self, epoch: int) -> Path:
        return self._folder / f"{epoch:04}.pt"

    def _has_state(self, epoch: int) -> bool:
        return epoch not in self._broken and self._state_file(epoch).is_file()

    def _write_epoch(self, epoch: Epoch) -> None:
        import numpy as np

        def save(temporary: Path) -> None:
            with temporary.open("wb") as file:
                np.savez(file, **{field.name: getattr(epoch, field.name) for field in fields(epoch)})

        atomic.write(self._folder / f"{epoch.epoch:04}.npz", save)

    def _epoch(self, number: int) -> Epoch | None:
        import numpy as np

        from flowerbench.engine import Epoch

        try:
            with np.load(self._folder / f"{number:04}.npz", allow_pickle=False) as found:
                values = {field.name: found[field.name] for field in fields(Epoch)}
        except FileNotFoundError:
            return None
        except Exception as error:  # a broken archive raises anything
            log.warning("%s holds a broken epoch %d (%s): it will be trained again", self._folder, number, error)
            return None
        return Epoch(**{name: value if value.ndim else value.item() for name, value in values.items()})

    def _describe(self, epoch: Epoch, about: Mapping[str, Any]) -> None:
        file = self._folder / "about.json"
        before = cache.about(self._folder) if epoch.epoch > 1 else {}
        if epoch.epoch <= before.get("epochs", 0):
            return  # its state had gone to make room, and is back
        seconds = round(before.get("seconds", 0.0) + epoch.seconds, 3)
        content = {**about, "epochs": epoch.epoch, "seconds": seconds}
        atomic.write_text(file, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def shared(key: str, cfg: Config) -> Iterator[Trajectory]:
    """The trajectory `key` in the cache, as `cfg.reuse` allows it; this process's alone where it may have to extend it.

    Another process that is at work on it is waited for until it has the epochs that `cfg` wants, or has ended: what
    it trains need not be trained again. One that died has let go of it.
    """
    home = cache.epochs_folder(cfg.cache.dir)
    kept = Trajectory(home / key, max_gb=cfg.cache.max_gb, takes=cfg.reuse != "off", best_by=cfg.best_by)
    if cfg.reuse != "on" or kept.has(cfg.epochs):
        kept.touch()
        yield kept
        return
    lock = FileLock(home / f"{key}.lock")
    try:
        home.mkdir(parents=True, exist_ok=True)
        told = f"Another process is training these very epochs (trajectory {key})"
        is_alone = claim.wait_for(lock, told, unless=lambda: kept.has(cfg.epochs))
    except OSError as error:
        log.warning("Epochs are not kept for other runs (%s): %s", error.strerror or error, home)
        yield kept
        return
    try:
        kept.touch()
        extended = Trajectory(home / key, max_gb=cfg.cache.max_gb, extends=True, best_by=cfg.best_by)
        yield extended if is_alone else kept
    finally:
        lock.release()
