"""One epoch of training, one of evaluation, and the loop over both, as plain functions."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from flowerbench import distributed, freezing, torchrun
from flowerbench.config import Config
from flowerbench.data.augment import model_seed
from flowerbench.data.batches import Batches
from flowerbench.data.split import Split
from flowerbench.errors import RunError
from flowerbench.history import Row, last_epoch, row_of
from flowerbench.placement import Placement
from flowerbench.recipe import PLAIN, Recipe
from flowerbench.schedules import Schedule

# Part of what epochs in the cache are known by: to be raised when a change of ours changes a number.
VERSION = 4

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


def train_epoch(
    model: nn.Module,
    batches: BatchStream,
    optimizer: Optimizer,
    placement: Placement,
    on_batch: Callable[[int], None] = lambda photos: None,
    micro_batch: int | None = None,
    recipe: Recipe = PLAIN,
) -> tuple[float, float]:
    """Take one optimiser step per batch; the mean loss and accuracy over the photos, as they were seen.

    Where several processes share a run, the batches are this one's parts, and the numbers those of all.

    With `micro_batch` a batch goes through the model in parts of so many photos at most, whose gradients add up to
    the batch's; batch norm sees the parts. Raises RunError when a loss is not finite.
    """
    freezing.train_mode(model)
    losses: list[Tensor] = []
    wholes: list[int] = []
    photos = 0
    correct = torch.zeros((), dtype=torch.int64, device=placement.device)
    for step, (images, labels) in enumerate(batches, start=1):
        optimizer.zero_grad(set_to_none=True)
        whole = distributed.total(len(labels))
        seen, targets = recipe.mixed(images, labels)
        value: Tensor | float = 0.0
        for part, goal, known in zip(*(_parts(of, micro_batch) for of in (seen, targets, labels)), strict=True):
            with placement.autocast():
                logits = model(part)
                # A process may have no photo of a last batch, but must take part in the step.
                mean = recipe.loss(logits, goal) if len(goal) else logits.sum()
                loss = mean * (len(goal) / whole)
            value = loss.detach() + value
            if placement.is_waited_for:
                _check_finite(distributed.total(float(value)), step)
            distributed.scaled(loss).backward()  # type: ignore[no-untyped-call]
            correct += (logits.argmax(1) == known).sum()
        recipe.step(model, optimizer)
        losses.append(torch.as_tensor(value))
        wholes.append(whole)
        photos += whole
        on_batch(photos)
    own = torch.stack(losses).tolist()
    total = distributed.total(math.fsum(loss * whole for loss, whole in zip(own, wholes, strict=True)))
    _check_finite(total, next((step for step, loss in enumerate(own, start=1) if not math.isfinite(loss)), len(own)))
    return total / photos, distributed.total(int(correct)) / photos


def _parts(whole: Tensor, size: int | None) -> Sequence[Tensor]:
    """Parts of `size` at most, as long as one another but for a photo: batch norm learns nothing from a single one."""
    return torch.tensor_split(whole, math.ceil(len(whole) / size)) if size and len(whole) else [whole]


def _check_finite(loss: float, step: int) -> None:
    if not math.isfinite(loss):
        raise RunError(f"the training loss became {loss} at step {step}: try a smaller optim.lr")


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    batches: BatchStream,
    placement: Placement,
    on_batch: Callable[[int], None] = lambda photos: None,
    micro_batch: int | None = None,
    flips: bool = False,
) -> tuple[float, int, NDArray[np.float32]]:
    """Mean cross-entropy, number of correct photos and class probabilities (photos, classes), in the batches' order.

    With `micro_batch` a batch goes through the model in parts of so many photos at most. With `flips` a photo's
    probabilities are the mean of its own and its mirror image's.
    """
    model.eval()
    losses: list[Tensor] = []
    probabilities: list[Tensor] = []
    correct = torch.zeros((), dtype=torch.int64, device=placement.device)
    done = 0
    for images, labels in batches:
        for part, targets in zip(_parts(images, micro_batch), _parts(labels, micro_batch), strict=True):
            with placement.autocast():
                logits = model(part).float()
                if flips:
                    # Computed before the model is asked again: compiled for a GPU it writes where it wrote before.
                    own = logits.log_softmax(1)
                    # Of the mean of two probabilities the logarithm: softmax gives that mean back.
                    logits = torch.logaddexp(own, model(part.flip(-1)).float().log_softmax(1)) - math.log(2)
            losses.append(F.cross_entropy(logits, targets, reduction="sum"))
            correct += (logits.argmax(1) == targets).sum()
            probabilities.append(logits.softmax(1))
        done += len(labels)
        on_batch(done)
    # The one place where what has been computed is waited for.
    total = math.fsum(torch.stack(losses).tolist()) if losses else 0.0
    stacked: NDArray[np.float32] = distributed.gathered([part.cpu() for part in probabilities]).numpy()
    return distributed.total(total) / len(stacked), distributed.total(int(correct)), stacked


def fit(
    model: nn.Module,
    optimizer: Optimizer,
    scheduler: Schedule,
    batches: Batches,
    split: Split,
    placement: Placement,
    cfg: Config,
    on_batch: OnBatch = lambda part, done, total: None,
    *,
    done: Sequence[Row] = (),
    micro_batch: int | None = None,
    accumulated: int | None = None,
    recipe: Recipe = PLAIN,
) -> Iterator[Epoch]:
    """Train up to `cfg.epochs` epochs, evaluating after each; yields each epoch as soon as it is complete.

    After the epochs that are `done` the model, optimiser and scheduler must be as the last of them left them. When an
    epoch is yielded, the scheduler has been stepped: they are as the next epoch will find them. Fewer are trained when
    `cfg.patience` ends. Where `accumulated` is a number, batches of so many photos make a step. Raises RunError when
    a loss is not finite, naming the epoch.
    """
    history = list(done)
    for number in range(len(history) + 1, cfg.epochs + 1):
        if last_epoch(history, cfg.best_by, cfg.patience) is not None:
            return
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
                min(filter(None, (micro_batch, accumulated)), default=None),
                recipe,
            )
            judged = recipe.average.module if recipe.average else model
            # In the same order in every process.
            for learnt in (model, judged) if judged is not model else (model,):
                distributed.average_batch_norm(learnt)
            val_loss, correct, probabilities = evaluate(
                judged,
                batches.val(number, split.val),
                placement,
                lambda done: on_batch("val", done, len(distributed.own(split.val))),
                micro_batch,
                cfg.eval_flips,
            )
        except RunError as error:
            raise RunError(f"epoch {number}: {error}") from error
        if not math.isfinite(val_loss):
            raise RunError(f"epoch {number}: the validation loss became {val_loss}: try a smaller optim.lr")
        scheduler.step(val_loss)
        epoch = Epoch(
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
        history.append(row_of(epoch))
        yield epoch
