"""Run a command to its end: how long it took, and the most memory that it and its children held at one time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from flowerbench.errors import RunError

ROOT = Path(__file__).resolve().parents[1]
# How long a command that was told to stop may take, before it is ended with all its children.
_GRACE = 10.0  # seconds


@dataclass(frozen=True)
class Usage:
    """When a command began (seconds since 1970), how long it took, and its peak of memory; None where none looked."""

    began: float
    seconds: float
    peak_bytes: int | None


def run(command: Sequence[str], folder: Path, variables: Mapping[str, str], watch: float | None = None) -> Usage:
    """Run `python -m COMMAND` in `folder`, which then holds what it printed: out.txt and err.txt.

    Its memory is looked at every `watch` seconds. The kernel walks all its pages for that, and what trains has to wait:
    every half second costs a tenth of its speed.

    Raises RunError when it fails. Whatever ends this ends the command and all its children.
    """
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    with (folder / "out.txt").open("wb") as out, (folder / "err.txt").open("wb") as err:
        began, clock = time.time(), time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,  # Ctrl-C comes to this process alone, which then sees to the others
        )
        watcher = _Watch(process.pid, watch) if watch else None
        try:
            if watcher:
                watcher.start()
            process.wait()
            seconds = time.perf_counter() - clock
        finally:
            _end(process)
            if watcher:
                watcher.stop()
    if process.returncode:
        raise RunError(f"{' '.join(command[:1])} failed with exit code {process.returncode}: {_last_line(folder)}")
    return Usage(began, seconds, watcher.peak_bytes if watcher else None)


def held_bytes(pid: int) -> int:
    """The memory that a process and its children hold: what they share counts once where the system tells (PSS)."""
    total = 0
    for process in _tree(pid):
        with suppress(psutil.Error):
            total += _bytes_of(process)
    return total


def _bytes_of(process: psutil.Process) -> int:
    try:
        memory = process.memory_full_info()
    except psutil.AccessDenied:
        memory = process.memory_info()
    return int(getattr(memory, "pss", 0) or memory.rss)


def _tree(pid: int) -> list[psutil.Process]:
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


class _Watch(threading.Thread):
    """Looks at the memory of a process and its children until it is stopped."""

    def __init__(self, pid: int, pace: float) -> None:
        super().__init__(daemon=True)
        self.peak_bytes = 0
        self._pid, self._pace, self._is_over = pid, pace, threading.Event()

    def run(self) -> None:
        while not self._is_over.wait(self._pace):
            self.peak_bytes = max(self.peak_bytes, held_bytes(self._pid))

    def stop(self) -> None:
        self._is_over.set()
        self.join()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command that is still running: politely, and after a while with everything that it has started."""
    if process.poll() is not None:
        return
    started = _tree(process.pid)
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE)
    for child in started:
        with suppress(psutil.Error):
            child.kill()
    process.wait()


def _last_line(folder: Path) -> str:
    """What a failed command said last."""
    text = (folder / "err.txt").read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
