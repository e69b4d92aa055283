"""What a person sees of a run: a bar within an epoch, a line after it."""

from __future__ import annotations

import logging
import sys
import threading
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from flowerbench.engine import Epoch

log = logging.getLogger(__name__)


class EpochBar:
    """A bar over the photos of the epoch at work, on stderr, gone when the epoch is done; silent off a terminal.

    One thread may show it while another tells of an epoch before.
    """

    def __init__(self, epochs: int, *, is_shown: bool = True) -> None:
        self._epochs, self._epoch = epochs, 1
        self._is_shown = is_shown and sys.stderr.isatty()
        self._bar: Progress | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> EpochBar:
        return self

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._clear()

    def begin(self, epoch: int) -> None:
        """From here on, the bar is that of the epoch of this number."""
        with self._lock:
            self._clear()
            self._epoch = epoch

    def __call__(self, part: str, done: int, total: int) -> None:
        if not self._is_shown:
            return
        with self._lock:
            if self._bar is None:
                columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
                self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
                self._task = self._bar.add_task("")
                self._bar.start()
            self._bar.update(
                self._task, description=f"epoch {self._epoch}/{self._epochs} {part}", completed=done, total=total
            )

    def _clear(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def tell(self, epoch: Epoch, is_best: bool) -> None:
        """Say in a line how `epoch` went, with no bar in its way."""
        with self._lock:
            self._clear()
            log.info(self._line(epoch, is_best))

    def _line(self, epoch: Epoch, is_best: bool) -> str:
        return (
            f"epoch {epoch.epoch:>{len(str(self._epochs))}}/{self._epochs}  lr {epoch.lr:<8.3g} "
            f"train loss {epoch.train_loss:.4f} accuracy {epoch.train_accuracy:.4f}  "
            f"val loss {epoch.val_loss:.4f} accuracy {epoch.val_accuracy:.4f}  "
            f"{epoch.seconds:.1f} s{'  best so far' if is_best else ''}"
        )
