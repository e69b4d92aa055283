"""What a run is made of, for its summary, its tags, its checkpoints and the line that it begins with."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

import flowerbench
from flowerbench import engine, identity, model, protocols, torchrun
from flowerbench.config import Config
from flowerbench.data.sources import Photos
from flowerbench.data.split import Split
from flowerbench.engine import Epoch
from flowerbench.history import row_of

_PACKAGES = ("torch", "torchvision", "numpy", "pillow", "mlflow")


def fingerprints(cfg: Config, photos: Photos, parts: Split) -> dict[str, str]:
    """What the config only points at, by contents: photos, split and weights."""
    return {"photos": photos.fingerprint, "split": parts.fingerprint, "weights": model.weights_hash(cfg.model)}


def computation(
    cfg: Config, device: torch.device, micro_batch: int | None, threads: int | None = None
) -> dict[str, Any]:
    """What the last bits of a number depend on, beside the config: it names the trajectory with the identity.

    `threads` are torch's, those of this process by default.
    """
    if device.type == "cpu":
        threads = threads or torch.get_num_threads()
        place = [torch.backends.cpu.get_cpu_capability(), platform.machine(), f"{threads} threads"]
    else:
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        place = [name, "deterministic" if cfg.deterministic else "not deterministic"]
    if torchrun.processes() > 1:
        place.append(f"{torchrun.processes()} processes")
    versions = {name: metadata.version(name) for name in _PACKAGES if name != "mlflow"}
    return {"engine": engine.VERSION, "computed_on": ", ".join(place), "micro_batch": micro_batch, **versions}


def trajectory(cfg: Config, known: Mapping[str, Any], is_compiled: bool) -> str:
    """The name of the trajectory of these facts, whoever decided whether it is compiled."""
    return identity.trajectory(cast(DictConfig, OmegaConf.merge(cfg, {"compile": is_compiled})), known)


def facts(
    cfg: Config,
    photos: Photos,
    parts: Split,
    network: nn.Module,
    device: torch.device,
    micro_batch: int | None = None,
    is_compiled: bool = False,
) -> dict[str, Any]:
    """The fields of summary.json that say what was trained on what."""
    known = fingerprints(cfg, photos, parts)
    computed = computation(cfg, device, micro_batch)
    return {
        "identity": identity.identity(cast(DictConfig, cfg), known),
        "trajectory": trajectory(cfg, known | computed, is_compiled),
        "settings": identity.settings(cast(DictConfig, cfg)),
        "protocol": protocols.named(identity.flat(cast(DictConfig, cfg))),
        "data": cfg.data.name,
        "classes": photos.per_class,
        "train_total": len(parts.train),
        "val_total": len(parts.val),
        **({"held_out": len(parts.test)} if parts.test else {}),
        "skipped": len(photos.skipped),
        **known,
        "model": cfg.model.name,
        "trainable_parameters": model.trainable_parameters(network),
        "device": str(device),
        "computed_on": computed["computed_on"],
        "engine": computed["engine"],
        "micro_batch": micro_batch,
        "compiled": is_compiled,
        "precision": cfg.precision,
        "versions": {
            "flowerbench": flowerbench.__version__,
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in _PACKAGES},
        },
    }


# What the time of an epoch depends on.
COSTS = ("model", "freeze", "image_size", "precision", "photos", "augmented", "computed_on", "micro_batch")


def about(cfg: Config, known: Mapping[str, Any]) -> dict[str, Any]:
    """What the cache says of the epochs that a run left there."""
    optimizer, schedule = (str(group["_target_"]).rpartition(".")[2] for group in (cfg.optim, cfg.schedule))
    return {
        "settings": f"{cfg.data.name}, {cfg.model.name}, {cfg.image_size} px, batch_size={cfg.batch_size}, "
        f"{optimizer} lr={cfg.optim.get('lr')}, {schedule}, seed={cfg.seed}",
        "model": f"{cfg.model.name} {dict(cfg.model.kwargs)}",
        "freeze": cfg.model.freeze,
        "image_size": cfg.image_size,
        "batch_size": cfg.batch_size,
        "precision": cfg.precision,
        "augmented": cfg.data.augmentation is not None,
        "photos": known["photos"],
        "computed_on": known["computed_on"],
        "micro_batch": known["micro_batch"],
    }


_TAGS = (
    *("identity", "trajectory", "protocol", "photos", "split", "train_total", "weights", "device", "computed_on"),
    *("epochs_reused", "epochs_resumed", "reused_from"),
)


def tags(known: Mapping[str, Any]) -> dict[str, str]:
    """The facts that MLflow is to find a run by."""
    versions = ", ".join(f"{package} {version}" for package, version in known["versions"].items())
    tagged = {f"flowerbench.{key}": str(known[key]) for key in _TAGS if known.get(key) is not None}
    return tagged | {"flowerbench.versions": versions}


def opening_line(known: Mapping[str, Any]) -> str:
    """One line on what is about to happen: device, photos per class, parts, trainable parameters."""
    # Whether a run repeats to the bit is no question on the CPU.
    device = known["device"] if known["device"] == "cpu" else f"{known['device']} ({known['computed_on']})"
    classes = list(known["classes"].items())
    shown = ", ".join(f"{name} {count}" for name, count in classes[:10])
    more = f" and {len(classes) - 10} more classes" if len(classes) > 10 else ""
    skipped = f", {known['skipped']} unreadable left out" if known["skipped"] else ""
    tested = f", {known['held_out']} test" if "held_out" in known else ""
    return (
        f"{device} {known['precision']} | {sum(known['classes'].values())} photos ({shown}{more}{skipped}) | "
        f"{known['train_total']} train, {known['val_total']} validation{tested} ({known['protocol']}) | "
        f"{known['model']}: {known['trainable_parameters']:,} parameters train"
    )


def state(
    epoch: Epoch,
    learnt: Mapping[str, Any],
    photos: Photos,
    params: Mapping[str, Any],
) -> dict[str, Any]:
    """What a checkpoint holds: enough to use the model, and to go on training it; tensors and plain values only.

    `learnt` is the state of model, optimiser and schedule.
    """
    return {
        **learnt,
        "epoch": epoch.epoch,
        "val_accuracy": epoch.val_accuracy,
        "numbers": {name: value for name, value in row_of(epoch).items() if name != "seconds"},
        "classes": list(photos.classes),
        "config": kept_params(params),
    }


def kept_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """The flat config as a checkpoint holds it: without how the run is carried out, which may include passwords."""
    return {key: value for key, value in params.items() if not identity.is_one_of(key, identity.NOT_SETTINGS)}
