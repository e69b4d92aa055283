"""Epochs kept for other runs: those that compute the same share one trajectory, and train none of it twice."""

from __future__ import annotations

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

if TYPE_CHECKING:
    from flowerbench.config import Config
    from flowerbench.engine import Epoch

log = logging.getLogger(__name__)


class Trajectory:
    """The epochs of one trajectory, one folder: for epoch 7 `0007.npz`, its numbers, and `0007.pt`, its state.

    An epoch is there when both are; the numbers come second. `about.json` says whose they are and what they took.
    """

    def __init__(self, folder: Path, *, max_gb: float = 0, takes: bool = True, extends: bool = False) -> None:
        self.key = folder.name
        self._folder = folder
        self._max_bytes = max_gb * 1e9
        self._takes = takes
        self._extends = extends

    def usable(self, upto: int) -> int:
        """How many epochs, of the first `upto`, a run can take: the last needs its state, and so does the best."""
        epochs: list[Epoch] = []
        for number in range(1, upto + 1 if self._takes else 1):
            epoch = self._epoch(number)
            if epoch is None:
                break
            epochs.append(epoch)
        while epochs and not (self._has_state(epochs[-1].epoch) and self._has_state(_best(epochs).epoch)):
            epochs.pop()
        return len(epochs)

    def epochs(self, upto: int) -> list[Epoch]:
        """The first `upto` epochs; call `usable` first."""
        found = [self._epoch(number) for number in range(1, upto + 1)]
        return [epoch for epoch in found if epoch is not None]

    def state(self, epoch: int) -> dict[str, Any]:
        """Model, optimiser and schedule as they were after the epoch."""
        return checkpoint.load(self._state_file(epoch))

    def best_state(self, upto: int) -> dict[str, Any]:
        """The state of the best of the first `upto` epochs."""
        return self.state(_best(self.epochs(upto)).epoch)

    def append(self, epoch: Epoch, state: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        """Keep an epoch; a disk that takes no more ends the keeping, not the run."""
        if not self._extends:
            return
        try:
            with interrupt.held():
                self._folder.mkdir(parents=True, exist_ok=True)
                checkpoint.save(self._state_file(epoch.epoch), state)
                self._write_epoch(epoch)
                self._describe(epoch, about)
            cache.bound(self._folder.parent, self._max_bytes, in_use=self._folder)
        except OSError as error:
            log.warning("Epochs are no longer kept for other runs (%s): %s", error.strerror or error, self._folder)
            self._extends = False

    def _state_file(self, epoch: int) -> Path:
        return self._folder / f"{epoch:04}.pt"

    def _has_state(self, epoch: int) -> bool:
        return self._state_file(epoch).is_file()

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
        seconds = cache.about(self._folder).get("seconds", 0.0) if epoch.epoch > 1 else 0.0
        content = {**about, "epochs": epoch.epoch, "seconds": round(seconds + epoch.seconds, 3)}
        atomic.write_text(file, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _best(epochs: list[Epoch]) -> Epoch:
    return max(epochs, key=lambda epoch: epoch.val_accuracy)  # of equals the first


@contextmanager
def shared(key: str, cfg: Config) -> Iterator[Trajectory]:
    """The trajectory `key` in the cache as `cfg.reuse` allows it, and unless that is off this process's alone.

    Another process that is at work on it is waited for: what it trains need not be trained again. One that died
    has let go of it.
    """
    home = cache.epochs_folder(cfg.cache.dir)
    kept = Trajectory(home / key, max_gb=cfg.cache.max_gb, takes=cfg.reuse != "off", extends=cfg.reuse == "on")
    if cfg.reuse == "off":
        yield kept
        return
    home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home / f"{key}.lock")
    claim.wait_for(lock, f"Another process is training these very epochs (trajectory {key})")
    try:
        if (home / key).is_dir():
            os.utime(home / key)  # the time of its last use
        yield kept
    finally:
        lock.release()
