"""One epoch of training, one of evaluation, and the loop over both, as plain functions."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from flowerbench import distributed, torchrun
from flowerbench.config import Config, Data
from flowerbench.data.augment import model_seed
from flowerbench.data.batches import Batches
from flowerbench.data.split import Split
from flowerbench.errors import RunError, UsageError

log = logging.getLogger(__name__)

# Part of what epochs in the cache are known by: to be raised when a change of ours changes a number.
VERSION = 1

BatchStream = Iterable[tuple[Tensor, Tensor]]
# Called after every batch with ("train" or "val", photos done, photos in all).
OnBatch = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave. `lr` is the rate used in it; accuracies are shares; `seconds` covers both halves.

    `probabilities` are those of the validation photos, shape (photos, classes), in the split's order.
    """

    epoch: int
    lr: float
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float
    val_correct: int
    probabilities: NDArray[np.float32]


@dataclass(frozen=True)
class Placement:
    """Where and in which precision a model computes."""

    device: torch.device
    precision: str
    mean: Tensor
    std: Tensor

    def inputs(self, images: Tensor) -> Tensor:
        """uint8 images (n, 3, h, w) as the normalised floats that the model expects, on the device."""
        floats = images.to(self.device, non_blocking=True).to(torch.float32).div_(255)
        return floats.sub_(self.mean).div_(self.std).contiguous(memory_format=torch.channels_last)

    def autocast(self) -> AbstractContextManager[None]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")


def pick_device(name: str, deterministic: bool = False) -> torch.device:
    """The device that `name` means: auto is CUDA, else MPS, else the CPU. Raises UsageError when it is not there.

    Where several processes share a run, a GPU of this one's own. With `deterministic` torch is told to use algorithms
    that repeat to the bit, wherever it has such.
    """
    name = distributed.device_name(name)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        raise UsageError(f"device={name} cannot be used here ({reason}): use device=auto or device=cpu") from error
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    if device.type != "cpu":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs for it
        torch.use_deterministic_algorithms(deterministic, warn_only=True)
    return device


def place(model: nn.Module, device: torch.device, precision: str, data: Data) -> Placement:
    """Move the model to the device, in channels-last layout, which convolutions on CPU and CUDA prefer."""
    if note := distributed.share_batch_norm(model, device):
        log.info(note)
    model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    mean, std = (torch.tensor(list(values), device=device).view(1, 3, 1, 1) for values in (data.mean, data.std))
    return Placement(device, precision, mean, std)


def train_epoch(
    model: nn.Module,
    batches: BatchStream,
    optimizer: Optimizer,
    placement: Placement,
    on_batch: Callable[[int], None] = lambda photos: None,
    micro_batch: int | None = None,
) -> tuple[float, float]:
    """Take one optimiser step per batch; the mean cross-entropy and accuracy over the photos, as they were seen.

    Where several processes share a run, the batches are this one's parts, and the numbers those of all.

    With `micro_batch` a batch goes through the model in parts of so many photos at most, whose gradients add up to
    the batch's; batch norm sees the parts. Raises RunError when a loss is not finite.
    """
    model.train()
    total, correct, photos = 0.0, 0, 0
    for step, (images, labels) in enumerate(batches, start=1):
        optimizer.zero_grad(set_to_none=True)
        whole = distributed.total(len(labels))
        size = micro_batch or len(labels)
        value = 0.0
        for part, targets in zip(torch.split(images, size), torch.split(labels, size), strict=True):
            targets = targets.to(placement.device, non_blocking=True)
            with placement.autocast():
                logits = model(placement.inputs(part))
                # A process may have no photo of a last batch, but must take part in the step.
                mean = F.cross_entropy(logits, targets) if len(targets) else logits.sum()
                loss = mean * (len(targets) / whole)
            value += distributed.total(loss.item())
            if not math.isfinite(value):
                raise RunError(f"the training loss became {value} at step {step}: try a smaller optim.lr")
            distributed.scaled(loss).backward()  # type: ignore[no-untyped-call]
            correct += int((logits.argmax(1) == targets).sum())
        optimizer.step()
        total += value * whole
        photos += whole
        on_batch(photos)
    return total / photos, distributed.total(correct) / photos


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    batches: BatchStream,
    placement: Placement,
    on_batch: Callable[[int], None] = lambda photos: None,
    micro_batch: int | None = None,
) -> tuple[float, int, NDArray[np.float32]]:
    """Mean cross-entropy, number of correct photos and class probabilities (photos, classes), in the batches' order.

    With `micro_batch` a batch goes through the model in parts of so many photos at most.
    """
    model.eval()
    total, correct = 0.0, 0
    probabilities: list[Tensor] = []
    for images, labels in batches:
        size = micro_batch or len(labels)
        for part, targets in zip(torch.split(images, size), torch.split(labels, size), strict=True):
            targets = targets.to(placement.device, non_blocking=True)
            with placement.autocast():
                logits = model(placement.inputs(part))
            logits = logits.float()
            total += F.cross_entropy(logits, targets, reduction="sum").item()
            correct += int((logits.argmax(1) == targets).sum())
            probabilities.append(logits.softmax(1).cpu())
        on_batch(sum(len(p) for p in probabilities))
    stacked: NDArray[np.float32] = distributed.gathered(probabilities).numpy()
    return distributed.total(total) / len(stacked), distributed.total(correct), stacked


def fit(
    model: nn.Module,
    optimizer: Optimizer,
    scheduler: LRScheduler | ReduceLROnPlateau,
    batches: Batches,
    split: Split,
    placement: Placement,
    cfg: Config,
    on_batch: OnBatch = lambda part, done, total: None,
    *,
    after: int = 0,
    micro_batch: int | None = None,
) -> Iterator[Epoch]:
    """Train up to `cfg.epochs` epochs, evaluating after each; yields each epoch as soon as it is complete.

    After epoch `after` the model, optimiser and scheduler must be as that epoch left them. When an epoch is yielded,
    the scheduler has been stepped: they are as the next epoch will find them. Raises RunError when a loss is not
    finite, naming the epoch.
    """
    for number in range(after + 1, cfg.epochs + 1):
        started = time.perf_counter()
        torch.manual_seed(model_seed(cfg.seed, number, torchrun.rank()))
        lr = float(optimizer.param_groups[0]["lr"])
        try:
            train_loss, train_accuracy = train_epoch(
                distributed.parallel(model),
                batches.train(number, split.train),
                optimizer,
                placement,
                lambda done: on_batch("train", done, len(split.train)),
                micro_batch,
            )
            distributed.average_batch_norm(model)
            val_loss, correct, probabilities = evaluate(
                model,
                batches.val(number, split.val),
                placement,
                lambda done: on_batch("val", done, len(distributed.own(split.val))),
                micro_batch,
            )
        except RunError as error:
            raise RunError(f"epoch {number}: {error}") from error
        if not math.isfinite(val_loss):
            raise RunError(f"epoch {number}: the validation loss became {val_loss}: try a smaller optim.lr")
        if isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step(val_loss)
        else:
            scheduler.step()
        yield Epoch(
            epoch=number,
            lr=lr,
            train_loss=train_loss,
            train_accuracy=train_accuracy,
            val_loss=val_loss,
            val_accuracy=correct / len(split.val),
            seconds=time.perf_counter() - started,
            val_correct=correct,
            probabilities=probabilities,
        )
