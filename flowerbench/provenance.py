"""What a run is made of, for its summary, its tags, its checkpoints and the line that it begins with."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any, cast

import torch
from omegaconf import DictConfig
from torch import nn

import flowerbench
from flowerbench import identity, model
from flowerbench.config import Config
from flowerbench.data.sources import Photos
from flowerbench.data.split import Split
from flowerbench.engine import Epoch


def facts(cfg: Config, photos: Photos, parts: Split, network: nn.Module, device: torch.device) -> dict[str, Any]:
    """The fields of summary.json that say what was trained on what."""
    weights = model.weights_hash(cfg.model)
    fingerprints = {"photos": photos.fingerprint, "split": parts.fingerprint, "weights": weights}
    return {
        "identity": identity.identity(cast(DictConfig, cfg), fingerprints),
        "protocol": cfg.data.validation,
        "data": cfg.data.name,
        "classes": photos.per_class,
        "train_total": len(parts.train),
        "val_total": len(parts.val),
        "skipped": len(photos.skipped),
        **fingerprints,
        "model": cfg.model.name,
        "trainable_parameters": model.trainable_parameters(network),
        "device": str(device),
        "precision": cfg.precision,
        "versions": {
            "flowerbench": flowerbench.__version__,
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("torch", "torchvision", "numpy", "pillow", "mlflow")},
        },
    }


def tags(known: Mapping[str, Any]) -> dict[str, str]:
    """The facts that MLflow is to find a run by."""
    versions = ", ".join(f"{package} {version}" for package, version in known["versions"].items())
    found = {key: str(known[key]) for key in ("identity", "protocol", "photos", "split", "weights", "device")}
    tagged = {f"flowerbench.{key}": value for key, value in found.items()}
    return tagged | {"flowerbench.versions": versions}


def opening_line(known: Mapping[str, Any]) -> str:
    """One line on what is about to happen: device, photos per class, parts, trainable parameters."""
    classes = list(known["classes"].items())
    shown = ", ".join(f"{name} {count}" for name, count in classes[:10])
    more = f" and {len(classes) - 10} more classes" if len(classes) > 10 else ""
    skipped = f", {known['skipped']} unreadable left out" if known["skipped"] else ""
    return (
        f"{known['device']} {known['precision']} | {sum(known['classes'].values())} photos ({shown}{more}{skipped}) | "
        f"{known['train_total']} train, {known['val_total']} validation ({known['protocol']}) | "
        f"{known['model']}: {known['trainable_parameters']:,} parameters train"
    )


def state(
    epoch: Epoch,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: Any,
    photos: Photos,
    params: Mapping[str, Any],
) -> dict[str, Any]:
    """What a checkpoint holds: enough to use the model, and to go on training it; tensors and plain values only."""
    return {
        "model": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "epoch": epoch.epoch,
        "val_accuracy": epoch.val_accuracy,
        "classes": list(photos.classes),
        # An address of a store may hold a password.
        "config": {key: value for key, value in params.items() if not key.startswith(("tracking.", "search."))},
    }
