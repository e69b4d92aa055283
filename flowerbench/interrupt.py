"""Ctrl-C and SIGTERM, so that no library in between can swallow them."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

_received: list[int] = []


def listen() -> None:
    """From now on Ctrl-C and SIGTERM raise KeyboardInterrupt(signal number) wherever the main thread is.

    Only a main thread may listen, and some launchers have others. Forked workers do not take part.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    _received.clear()
    main_process = os.getpid()

    def stop(number: int, frame: Any) -> None:
        if os.getpid() != main_process:
            os._exit(128 + number)
        _received.append(number)
        raise KeyboardInterrupt(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)


def check() -> None:
    """Raise KeyboardInterrupt once more where one was raised and lost, in a callback of a C library for example."""
    if _received:
        raise KeyboardInterrupt(_received[-1])
