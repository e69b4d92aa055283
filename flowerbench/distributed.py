"""One run computed by several processes: each has its part of every batch, and the numbers are those of the whole."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from flowerbench import errors
from flowerbench.torchrun import processes, rank

if TYPE_CHECKING:
    import torch
    from omegaconf import DictConfig
    from torch import Tensor, nn

Number = TypeVar("Number", int, float)


def check(cfg: DictConfig) -> None:
    """Raise UsageError for what several processes cannot do."""
    count = processes()
    if cfg.batch_size < count:
        raise errors.UsageError(f"batch_size={cfg.batch_size} is less than a photo for each of {count} processes")
    if count > 1 and cfg.optim.get("accumulate", 1) > 1:
        raise errors.UsageError(f"optim.accumulate is for one process, not for {count}: use a larger batch_size")
    if count > 1 and cfg.compile == "auto":
        raise errors.UsageError(f"compile=auto is for one process, not for {count}: use compile=true or false")
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
