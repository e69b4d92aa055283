"""A trained run made usable: found by what a user calls it, and loaded as the model that it kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from PIL import Image
from torch import Tensor, nn

from flowerbench import checkpoint as checkpoints
from flowerbench import model, summaries
from flowerbench.config import Model
from flowerbench.data.sizes import Sizes
from flowerbench.errors import UsageError, one_line
from flowerbench.placement import Placement, pick_device, place

Group = TypeVar("Group")

_OF_A_RUN = ("best.pt", "summary.json", "history.csv", ".hydra")
_OTHER_VERSION = "it was written by another version of flowerbench, or by something else"


@dataclass(frozen=True)
class Trained:
    """The model of a run's checkpoint, in evaluation mode on its device; `config` is the flat one of its training."""

    folder: Path
    config: Mapping[str, Any]
    classes: tuple[str, ...]
    network: nn.Module
    image_size: int
    device: torch.device
    epoch: int

    def square(self, image: Image.Image) -> Tensor:
        """A photo as clean validation sees it, resized and its centre cut out: uint8 (size, size, 3), on the CPU."""
        sizes = Sizes(self.image_size, self.config["data.center_crop"], shorter=self.image_size)
        return torch.from_numpy(sizes.square(image))

    def normalised(self, squares: Sequence[Tensor]) -> Tensor:
        """Squares as the model takes them: float32 (n, 3, size, size), on its device."""
        mean, std = (torch.tensor(self.config[f"data.{key}"], device=self.device) for key in ("mean", "std"))
        # In the order of `Batches`, which the last digits depend on.
        images = torch.stack(list(squares)).to(self.device).permute(0, 3, 1, 2).float().div_(255)
        return images.sub_(mean.view(1, 3, 1, 1)).div_(std.view(1, 3, 1, 1))

    @property
    def flips(self) -> bool:
        """Whether its validation took the mean of the probabilities over each photo and its mirror image."""
        return bool(self.config.get("eval_flips", False))

    @torch.inference_mode()
    def probabilities(self, images: Tensor, *, flips: bool = False) -> Tensor:
        """Those of the classes, float32 (n, classes), of normalised squares; in the precision of the training.

        With `flips`, or where its validation did so, the mean over each photo and its mirror image.
        """
        seen = [images, images.flip(3)] if flips or self.flips else [images]
        with Placement(self.device, self.config["precision"]).autocast():
            found = [self.network(one).float().softmax(1) for one in seen]
        return torch.stack(found).mean(0)


def find(run: str, tracking_uri: str | None = None) -> Path:
    """The run folder that `run` means: a run's own, a sweep's for its best finished run, or an MLflow run's id or name.

    Raises UsageError where there is none on this machine.
    """
    folder = Path(run).expanduser()
    if folder.is_file():
        raise UsageError(f"{run} is a file: name the run's folder, {folder.parent}")
    if not folder.is_dir():
        from flowerbench import mlflow_runs

        folder = mlflow_runs.folder(run, tracking_uri)
    if any((folder / name).exists() for name in _OF_A_RUN):
        return folder
    if (folder / "sweep.json").is_file():
        return _best(folder)
    raise UsageError(f"{run} is no run and no sweep: name a folder that `python -m flowerbench.train` has left")


def load(folder: Path, device: str = "auto", checkpoint: str = "best.pt") -> Trained:
    """The model of a run folder. Raises UsageError for a folder without one, and for a checkpoint that is broken."""
    state = _state(folder, checkpoint)
    try:
        config, classes, tensors, epoch = (state[key] for key in ("config", "classes", "model", "epoch"))
        asked = group(config, "model", Model)
        weights, asked.weights = asked.weights, None
        network = model.build(asked, len(classes), config["image_size"])
        # The weights that training began with decided how these two families scale their input.
        if hasattr(network, "transform_input") and "transform_input" not in asked.kwargs:
            network.transform_input = weights is not None  # type: ignore[assignment]
        network.load_state_dict(tensors)
    except (KeyError, TypeError, AttributeError, RuntimeError, OmegaConfBaseException) as error:
        raise UsageError(f"{folder / checkpoint} cannot be used ({one_line(error)[:200]}): {_OTHER_VERSION}") from error
    where = pick_device(device, bool(config.get("deterministic")))
    place(network, where, config["precision"])
    return Trained(folder, config, tuple(classes), network.eval(), int(config["image_size"]), where, int(epoch))


def _state(folder: Path, checkpoint: str) -> dict[str, Any]:
    try:
        return checkpoints.load(folder / checkpoint)
    except FileNotFoundError:
        if not any((folder / name).exists() for name in _OF_A_RUN):
            raise UsageError(f"{folder} is no run folder: it holds none of {', '.join(_OF_A_RUN)}") from None
        status = summaries.read(folder).get("status")
        why = "its weights were not kept" if status == "FINISHED" else f"its status is {status or 'not known'}"
        raise UsageError(f"{folder} has no {checkpoint} ({why}): name another run, or train it again") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder / checkpoint} cannot be read: {one_line(error)}") from error


def _best(sweep: Path) -> Path:
    """The finished run of a sweep that got the most validation photos right, the first of equals."""
    found = {file.parent: summaries.read(file.parent) for file in sorted(sweep.rglob("summary.json"))}
    finished = {
        folder: summary
        for folder, summary in found.items()
        if summary.get("status") == "FINISHED" and isinstance(summary.get("best_val_accuracy"), int | float)
    }
    if not finished:
        raise UsageError(f"no run of the sweep {sweep} has finished: name the folder of one of its runs")
    if len({(summary.get("protocol"), summary.get("split")) for summary in finished.values()}) > 1:
        raise UsageError(
            f"the runs of the sweep {sweep} were judged on different photos or by different protocols, so none is its "
            "best: name the folder of one of them"
        )
    return max(finished, key=lambda folder: float(finished[folder]["best_val_accuracy"]))


def group(config: Mapping[str, Any], name: str, kind: type[Group]) -> Group:
    """A group of a flat config, typed by the schema; keys that a checkpoint does not hold have no value."""
    nested: dict[str, Any] = {}
    for key, value in config.items():
        first, *others = key.split(".")
        if first != name:
            continue
        *within, last = others
        node = nested
        for part in within:
            node = node.setdefault(part, {})
        node[last] = value
    return cast(Group, OmegaConf.merge(OmegaConf.structured(kind), nested))
