"""The processes that torchrun starts for one run: who they are, how they meet, and that they end together."""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from flowerbench import errors, interrupt, launchers

# torchrun ends all processes when one has ended; one that waits need not guess whether the others are still at work.
_TIMEOUT = timedelta(days=30)
# How long after a broken connection it may take to hear why.
_HEARSAY = 3.0  # seconds
_FATE = "fate"

# What the processes tell each other by, apart from their tensors: torchrun keeps it, so it outlives each of them.
_store: Any = None


def processes() -> int:
    """How many processes share this run; 1 without torchrun."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def rank() -> int:
    """The number of this process among them; 0 is the main one."""
    return int(os.environ["RANK"]) if processes() > 1 else 0


def is_follower() -> bool:
    """Whether this process only computes: the main process alone decides, records and speaks."""
    return rank() > 0


@contextmanager
def command() -> Iterator[None]:
    """Around the whole command: what torchrun started meets here, and none is left waiting when the main one ends."""
    if processes() == 1:
        yield
        return
    import torch
    import torch.distributed as dist
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    global _store
    # As a launcher's points do, the processes of one machine share its cores.
    cores = launchers.machine_cores() // int(os.environ["LOCAL_WORLD_SIZE"])
    os.environ.setdefault(launchers.CORES, str(max(1, cores)))
    store, number, count = next(rendezvous("env://"))
    # With --max-restarts torchrun tries again; what an earlier try came to is past.
    _store = PrefixStore(f"flowerbench/{os.environ['TORCHELASTIC_RESTART_COUNT']}", store)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    dist.init_process_group(backend, store=_store, rank=number, world_size=count, timeout=_TIMEOUT)
    with ExitStack() as stack:
        if is_follower():
            nowhere = stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
            stack.enter_context(redirect_stdout(nowhere))
            stack.enter_context(redirect_stderr(nowhere))
        try:
            yield
        except BaseException as error:
            _decide(error)
            raise
        if not is_follower():
            _decide(SystemExit(0))
    dist.destroy_process_group()


@contextmanager
def one_fate() -> Iterator[None]:
    """Within, the error of one process ends all: the main process raises what was first, as if it were its own."""
    if processes() == 1:
        yield
        return
    import torch.distributed as dist

    try:
        yield
        dist.barrier()  # else one might leave while another is in a last exchange with it
    except BaseException as error:
        interrupt.ignore()  # torchrun sends a signal to those that are left
        own = _explained(error)
        first = _decide(own)
        if first["rank"] == rank() or not (is_follower() or isinstance(error, RuntimeError | KeyboardInterrupt)):
            raise own from (error if own is not error else error.__cause__)
        if is_follower():
            raise errors.Told(first["code"]) from None
        raise _raised_elsewhere(first) from error


def _explained(error: BaseException) -> BaseException:
    """The error, in words that fit several processes; what the end of another may have caused waits for its reason."""
    import torch
    import torch.distributed as dist

    if isinstance(error, torch.OutOfMemoryError):
        return errors.RunError(
            f"the device's memory is too small for the part that one of {processes()} processes has of a batch: "
            "try more of them, a smaller batch_size, image_size or model, or precision=bf16"
        )
    if not isinstance(error, RuntimeError):
        return error
    is_cut_off = isinstance(error, dist.DistError) or "gloo" in str(error)
    deadline = time.monotonic() + _HEARSAY
    while time.monotonic() < deadline and not _is_decided() and (is_cut_off or interrupt.received() is None):
        time.sleep(0.05)
    if is_cut_off:
        return errors.RunError(f"one of the {processes()} processes was lost")
    number = interrupt.received()
    return error if number is None else KeyboardInterrupt(number)


def _is_decided() -> bool:
    try:
        return bool(_store.check([_FATE]))
    except RuntimeError:  # torchrun is gone
        return True


def _decide(error: BaseException) -> dict[str, Any]:
    """Note why this process ends, unless another has before; what was noted first."""
    mine = _fate(error)
    try:
        return cast(dict[str, Any], json.loads(_store.compare_set(_FATE, "", json.dumps(mine))))
    except RuntimeError:  # torchrun is gone
        return mine


def _fate(error: BaseException) -> dict[str, Any]:
    if isinstance(error, SystemExit):
        kind, code, text = "exit", int(error.code or 0), ""
    elif isinstance(error, KeyboardInterrupt):
        number = int(error.args[0]) if error.args else 2
        kind, code, text = "signal", 128 + number, ""
    elif errors.is_usage(error) or isinstance(error, errors.RunError):
        kind, code, text = "error", errors.exit_code(error), errors.one_line(error)
    else:
        kind, code, text = "bug", errors.FAILED, "".join(traceback.format_exception(error))
    return {"rank": rank(), "kind": kind, "code": code, "text": text}


def _raised_elsewhere(fate: dict[str, Any]) -> BaseException:
    if fate["kind"] == "signal":
        return KeyboardInterrupt(fate["code"] - 128)
    if fate["kind"] == "error":
        return (errors.UsageError if fate["code"] == errors.USAGE else errors.RunError)(fate["text"])
    return RuntimeError(f"Original Traceback of process {fate['rank']}:\n{fate['text']}")
