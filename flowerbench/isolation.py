"""Work in a process of its own: what kills it (the kernel when memory runs out, a crash in C) kills nothing else."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from types import ModuleType
from typing import Any

from flowerbench import interrupt, launchers

_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
# How long a child that was told to stop may take to finish its write and tell MLflow.
_GRACE = 30.0  # seconds


@dataclass(frozen=True)
class Outcome:
    """How a child ended: what it returned, and its exit code, negative for the signal that killed it."""

    value: Any
    exit_code: int

    @property
    def was_stopped(self) -> bool:
        """Whether a signal ended the child that asks it to stop, before it could answer or by its answer."""
        return any(self.exit_code in (-number, 128 + number) for number in interrupt.STOPS)

    @property
    def killed_by(self) -> str | None:
        """The name of the signal that killed the child, if one did."""
        if self.exit_code >= 0:
            return None
        try:
            return signal.Signals(-self.exit_code).name
        except ValueError:
            return f"signal {-self.exit_code}"


def prepare(*modules: str) -> None:
    """Begin to import the modules in the process that children are forked from, where there are such: it takes seconds.

    Only the first call has an effect, and children need not wait for it.
    """
    if _METHOD == "forkserver":
        from multiprocessing import forkserver

        forkserver.set_forkserver_preload(["flowerbench._forkserver", *modules])
        with _as_a_plain_process(_METHOD):
            forkserver.ensure_running()


def call(function: Callable[..., Any], *args: Any) -> Outcome:
    """Call the function in a child process, and wait for it; a signal to this process stops the child first.

    The function must be importable, and args must pickle. The child never outlives this process.
    """
    context: Any = multiprocessing.get_context(_METHOD)
    receiver, sender = context.Pipe(duplex=False)
    surroundings = _Surroundings(dict(os.environ), list(sys.path), _start_method())
    child = context.Process(target=_child, args=(sender, surroundings, function, args))
    with _as_a_plain_process(_METHOD):
        child.start()
    sender.close()
    try:
        # In short waits: a signal is seen between them, whatever a library does with it.
        while not wait([receiver, child.sentinel], timeout=0.5):
            pass
        value = receiver.recv() if receiver.poll() else None
        child.join()
    except EOFError:
        value = None  # it closed its end, and is about to end itself
        child.join()
    except BaseException as last:
        # What came first counts: SLURM asks for room, submitit ends the process for that, and SIGTERM follows.
        first = last.__context__ if isinstance(last.__context__, SystemExit) else last
        with suppress(KeyboardInterrupt):
            _stop(child)
        raise first from None
    finally:
        receiver.close()
    return Outcome(value, child.exitcode if child.exitcode is not None else 1)


def _stop(child: Any) -> None:
    if os.name != "nt":  # there Ctrl-C has reached the child, and terminate would not let it finish
        child.terminate()
    child.join(_GRACE)
    if child.is_alive():
        child.kill()
        child.join()


def _start_method() -> str:
    """How processes that prepare photos are started: as Python does it here, not as a launcher's worker would."""
    methods = multiprocessing.get_all_start_methods()
    current = multiprocessing.get_start_method(allow_none=True)
    return current if current in methods else methods[0]


@contextmanager
def _as_a_plain_process(method: str) -> Iterator[None]:
    """Within, a child gets neither the main script, a command's or a launcher's worker's, nor a launcher's ways."""
    main, before = sys.modules["__main__"], multiprocessing.get_start_method(allow_none=True)
    sys.modules["__main__"] = ModuleType("__main__")
    multiprocessing.set_start_method(method, force=True)
    try:
        yield
    finally:
        multiprocessing.set_start_method(before, force=True)
        sys.modules["__main__"] = main


@dataclass(frozen=True)
class _Surroundings:
    """What a child has from its parent, and not from the process that it is forked from."""

    environment: dict[str, str]
    path: list[str]
    start_method: str


def _child(sender: Connection, surroundings: _Surroundings, function: Callable[..., Any], args: Any) -> None:
    if _METHOD == "forkserver":
        _listen_again()
    os.environ.clear()
    os.environ.update(surroundings.environment)
    sys.path[:] = surroundings.path
    multiprocessing.set_start_method(surroundings.start_method, force=True)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    gc.freeze()  # what was imported before stays in pages that are shared: no look for rubbish writes on them
    if threads := launchers.given_threads(os.environ):
        import torch

        # OpenMP looked at the variable when it was loaded, before this child began.
        torch.set_num_threads(threads)
    value = function(*args)
    sender.send(value)
    sender.close()


def _listen_again() -> None:
    """Undo what `_forkserver` did."""
    for number in interrupt.STOPS:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        # Nothing is lost: whatever is on disk can be gone on from.
        os.kill(os.getpid(), signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
