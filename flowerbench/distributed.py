"""One run in several processes that torchrun has started: each takes its part of every batch, the first records it."""

from __future__ import annotations

import json
import os
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from flowerbench import errors, interrupt, launchers

if TYPE_CHECKING:
    import torch
    from omegaconf import DictConfig
    from torch import Tensor, nn

Number = TypeVar("Number", int, float)

# torchrun ends all processes when one has ended; one that waits need not guess whether the others are still at work.
_TIMEOUT = timedelta(days=30)
# How long after a broken connection it may take to hear why.
_HEARSAY = 3.0  # seconds
_FATE = "flowerbench/fate"

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
    from torch.distributed.rendezvous import rendezvous

    global _store
    # As a launcher's points do, the processes of one machine share its cores.
    cores = launchers.machine_cores() // int(os.environ["LOCAL_WORLD_SIZE"])
    os.environ.setdefault(launchers.CORES, str(max(1, cores)))
    _store, number, count = next(rendezvous("env://"))
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
    try:
        yield
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


def check(cfg: DictConfig) -> None:
    """Raise UsageError for what several processes cannot do."""
    count = processes()
    if cfg.batch_size < count:
        raise errors.UsageError(f"batch_size={cfg.batch_size} is less than a photo for each of {count} processes")
    if count > 1 and cfg.device not in ("auto", "cuda", "cpu"):
        raise errors.UsageError(f"device={cfg.device} is one device, for {count} processes: use device=cuda or cpu")


def device_name(name: str) -> str:
    """The device of this process: with several, a GPU each where there are GPUs, else the CPU for all."""
    if processes() == 1 or name == "cpu":
        return name
    import torch

    if name == "auto" and not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{os.environ['LOCAL_RANK']}"


def from_main(value: Any = None) -> Any:
    """The main process's value, in every process; those that are ahead wait."""
    if processes() == 1:
        return value
    import torch.distributed as dist

    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def total(number: Number) -> Number:
    """The sum of the processes' numbers."""
    if processes() == 1:
        return number
    import torch
    import torch.distributed as dist

    box = torch.tensor(number, dtype=torch.float64)
    dist.all_reduce(box)
    return type(number)(box.item())


def own(items: Sequence[Any]) -> Sequence[Any]:
    """This process's part of a batch, or of the validation photos; it may be empty."""
    return items[rank() :: processes()]


def gathered(parts: Sequence[Tensor]) -> Tensor:
    """The rows of all processes, in the order that `own` took the photos from."""
    import torch

    if processes() == 1:
        return torch.cat(list(parts))
    import torch.distributed as dist

    found: list[Any] = [None] * processes()
    dist.all_gather_object(found, torch.cat(list(parts)) if parts else None)
    rows = [part for part in found if part is not None]  # where photos are few, the last processes have none
    whole: Tensor = rows[0].new_empty((sum(map(len, rows)), *rows[0].shape[1:]))
    for first, part in enumerate(rows):
        whole[first :: processes()] = part
    return whole


def share_batch_norm(model: nn.Module, device: torch.device) -> str | None:
    """Let batch norm see whole batches, where torch can; where it cannot, what to say of it."""
    from torch import nn

    if processes() == 1 or not _own_norms(model):
        return None
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return None
    return (
        f"Batch norm: on the CPU each of the {processes()} processes has the statistics of its own part of a batch, "
        "so the numbers are not those of one process"
    )


def _own_norms(model: nn.Module) -> list[Any]:
    from torch import nn
    from torch.nn.modules.batchnorm import _BatchNorm

    found = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    return [module for module in found if not isinstance(module, nn.SyncBatchNorm)]


def average_batch_norm(model: nn.Module) -> None:
    """Make one of what the processes' batch norms have seen, so that all evaluate, and keep, the same model."""
    if processes() == 1:
        return
    import torch.distributed as dist

    for norm in _own_norms(model):
        for seen in (norm.running_mean, norm.running_var):
            if seen is not None:
                dist.all_reduce(seen)
                seen /= processes()


def parallel(model: nn.Module) -> nn.Module:
    """The model as it is trained, gradients the mean of the processes'.

    Wrap it for one epoch: after its first step DDP adds up in another order, which a run that goes on must share.
    """
    if processes() == 1:
        return model
    from torch.nn.parallel import DistributedDataParallel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # newer torch has another word for broadcast_buffers
        return DistributedDataParallel(model, broadcast_buffers=False)


def scaled(loss: Tensor) -> Tensor:
    """A process's share of the loss of a batch, so that the mean gradient of the shares is the batch's."""
    return loss * processes() if processes() > 1 else loss
