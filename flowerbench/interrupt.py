"""Ctrl-C, SIGTERM and what clusters send before they take a machine away, so that no library can swallow them."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# What asks a process to stop. SLURM and spot machines announce their end so; SIGHUP comes when the terminal goes.
STOPS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
)
# The same Ctrl-C may come twice, from the terminal and from the process that started this one.
_ECHO = 2.0  # seconds

_received: list[int] = []
_holds = _depth = 0
_is_over = False
_last = -_ECHO


@contextmanager
def listening() -> Iterator[None]:
    """Within, such a signal raises KeyboardInterrupt(its number) wherever the main thread is, and is remembered.

    Only a main thread may listen, and some launchers have others. Forked workers do not take part. A handler that
    a launcher has set for a signal of its own is called, and no other signal interrupts it. One that is raised where
    Python can raise nothing, in a callback, is not printed: `check` raises it again.
    """
    global _depth
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    main_process = os.getpid()

    def stop(number: int, frame: Any) -> None:
        global _last
        if os.getpid() != main_process:
            os._exit(128 + number)
        is_echo = time.monotonic() - _last < _ECHO
        _last = time.monotonic()
        if is_echo and _received:
            return
        _received.append(number)
        # A signal to a whole group ends torch's workers, too; that torch raises an error for them is no help now.
        if hasattr(signal, "SIGCHLD"):
            signal.signal(signal.SIGCHLD, lambda *_: None)
        if not _holds and not _is_over:
            raise KeyboardInterrupt(number)

    before = {}
    for number in STOPS:
        current = signal.getsignal(number)
        if number in (signal.SIGINT, signal.SIGTERM) or current == signal.SIG_DFL:
            before[number] = current
            signal.signal(number, stop)
        elif callable(current) and getattr(current, "__module__", None) != __name__:
            before[number] = current
            signal.signal(number, _undisturbed(current))
    report = sys.unraisablehook
    sys.unraisablehook = lambda lost: None if lost.exc_type is KeyboardInterrupt and _received else report(lost)
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if not _depth:
            _received.clear()
        sys.unraisablehook = report
        for number, handler in before.items():
            signal.signal(number, handler)


def _undisturbed(handler: Callable[[int, Any], Any]) -> Callable[[int, Any], None]:
    """submitit's handler asks SLURM for a new job, then ends the process; SLURM's SIGTERM may come in between."""

    def handle(number: int, frame: Any) -> None:
        with held():
            handler(number, frame)

    return handle


@contextmanager
def held() -> Iterator[None]:
    """Within, what has begun is finished before a signal raises: the write in hand.

    Signals interrupt the main thread alone: another has nothing to hold.
    """
    global _holds
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _holds += 1
    try:
        yield
    finally:
        _holds -= 1
    if not _holds:
        check()


def ignore() -> None:
    """From now on a signal is remembered, and never raises: the process is ending, and must finish what that takes."""
    global _is_over
    _is_over = True


def received() -> int | None:
    """The signal that came last, if one came."""
    return _received[-1] if _received else None


def check() -> None:
    """Raise KeyboardInterrupt once more where one was raised and lost, in a callback of a C library for example."""
    if _received and not _is_over:
        raise KeyboardInterrupt(_received[-1])
