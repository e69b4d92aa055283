"""What a training step does beside the plain one: mixed photos, softer targets, shorter gradients, averaged weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from flowerbench._torchvision import transforms_v2
from flowerbench.config import Config, Regularization
from flowerbench.open_groups import optim_options

Mix = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Recipe:
    """See `conf/`: regularization, optim.clip_norm and model.ema."""

    label_smoothing: float = 0.0
    clip_norm: float | None = None
    mix: Mix | None = None
    average: AveragedModel | None = None

    def mixed(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The batch as it is learnt: its targets are the labels, or probabilities of shape (photos, classes)."""
        return self.mix(images, labels) if self.mix and len(labels) else (images, labels)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The mean cross-entropy that is learnt from."""
        return F.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)

    def step(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Let the optimiser use the gradients."""
        if self.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), self.clip_norm)
        optimizer.step()
        if self.average is not None:
            self.average.update_parameters(model)


# A step as the paper takes it.
PLAIN = Recipe()


def build(cfg: Config, classes: int, average: AveragedModel | None) -> Recipe:
    """The recipe that `cfg` describes."""
    return Recipe(
        label_smoothing=cfg.regularization.label_smoothing,
        clip_norm=optim_options(cast(DictConfig, cfg.optim)).clip_norm,
        mix=_mix(cfg.regularization, classes),
        average=average,
    )


def averaged(network: nn.Module, decay: float | None) -> AveragedModel | None:
    """A copy of the network to hold the exponential moving average of its weights and its batch norms' statistics."""
    if decay is None:
        return None
    return AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)  # type: ignore[no-untyped-call]


def _mix(cfg: Regularization, classes: int) -> Mix | None:
    """Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019) of torchvision; they draw from torch's generator."""
    if not (cfg.mixup or cfg.cutmix):
        return None
    v2 = transforms_v2()
    named = ((cfg.mixup, v2.MixUp), (cfg.cutmix, v2.CutMix))
    chosen = [make(alpha=alpha, num_classes=classes) for alpha, make in named if alpha]
    return cast(Mix, chosen[0] if len(chosen) == 1 else v2.RandomChoice(chosen))
