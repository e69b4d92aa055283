"""Who is at work in a folder: a lock, which the system takes back from a process that ends, however it ends."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from flowerbench import interrupt
from flowerbench.errors import UsageError

log = logging.getLogger(__name__)


def lock(folder: Path) -> FileLock:
    """What the process at work in the folder holds."""
    return FileLock(folder / ".lock")


def is_held(held: BaseFileLock) -> bool:
    """Whether another process holds the lock."""
    if not Path(held.lock_file).exists():
        return False
    try:
        with held.acquire(timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False  # where nothing can be written, nobody is at work


def is_at_work(folder: Path) -> bool:
    """Whether another process is at work in the folder."""
    return is_held(lock(folder))


def wait_for(wanted: BaseFileLock, told: str, unless: Callable[[], bool] = lambda: False) -> bool:
    """Acquire the lock, however long that takes, `unless` that needs no longer be; True when it is acquired.

    `told` is logged when it takes any time at all.
    """
    has_told = False
    while True:
        try:
            wanted.acquire(timeout=0.5)
            return True
        except Timeout:
            if unless():
                return False
            if not has_told:
                log.info("%s: waiting for it", told)
            has_told = True
            interrupt.check()


@contextmanager
def alone_in(folder: Path, *, waits: bool = False) -> Iterator[None]:
    """Be the only process at work in the folder; raises UsageError when another is, unless it is to be waited for."""
    folder.mkdir(parents=True, exist_ok=True)
    own = lock(folder)
    try:
        if waits:
            wait_for(own, f"{folder} is in use by another process")
        else:
            own.acquire(timeout=0)
    except Timeout:
        raise UsageError(f"{folder} is in use by another run: name another hydra.run.dir") from None
    try:
        yield
    finally:
        own.release()
