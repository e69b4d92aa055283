"""Any torchvision classifier: build it, load weights, give it a head for the classes at hand."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowerbench import freezing
from flowerbench._torchvision import torchvision
from flowerbench.config import Model
from flowerbench.errors import UsageError

# Two families have auxiliary heads for training; without them every model returns plain logits.
_AUXILIARY_HEADS = {"inception_v3": ("AuxLogits.",), "googlenet": ("aux1.", "aux2.")}
# Two families are built for one size of image.
_SIZE_ARGUMENT = {"vit_": "image_size", "maxvit_": "input_size"}


def tiny(num_classes: int = 1000, width: int = 16) -> nn.Module:
    """Four convolutions with batch norm, for tests and quick looks: about 60,000 parameters for five classes."""
    stages: list[nn.Module] = []
    channels = 3
    for stage in range(4):
        wider = width * 2**stage if stage < 3 else width * 4
        stages += [
            nn.Conv2d(channels, wider, 3, stride=1 + (stage > 0), padding=1, bias=False),
            nn.BatchNorm2d(wider),
            nn.ReLU(inplace=True),
        ]
        channels = wider
    return nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))


def build(cfg: Model, classes: int, image_size: int) -> nn.Module:
    """The classifier named `cfg.name` with `classes` outputs and the weights that `cfg.weights` names.

    The head always starts from random numbers (of torch's generator), as do all layers when there are no weights.
    Raises UsageError for an unknown name, arguments that do not fit, or weights that do not fit.
    """
    arguments = _arguments(cfg, image_size)
    model = _construct(cfg.name, num_classes=classes, **arguments)
    if cfg.weights is None and cfg.dropout is None:
        return model
    own = head(model, cfg, classes, image_size)
    if cfg.weights is not None:
        state = _imagenet(cfg.name) if cfg.weights == "imagenet" else _from_file(Path(cfg.weights))
        _load(model, state, head=own, source=f"model.weights={cfg.weights}")
    if cfg.dropout is not None:
        _drop_out(model, own, cfg.dropout)
    return model


def head(model: nn.Module, cfg: Model, classes: int, image_size: int) -> set[str]:
    """The names of the head's parameters in a model that was built so."""
    return _head(model, lambda: _construct(cfg.name, num_classes=classes + 1, **_arguments(cfg, image_size)))


def head_module(model: nn.Module, head: Collection[str]) -> nn.Module:
    """The layer that holds the head's parameters."""
    return model.get_submodule(next(iter(sorted(head))).rpartition(".")[0])


def _drop_out(model: nn.Module, head: Collection[str], share: float) -> None:
    """Drop out the head's inputs, in the place of what the architecture has there."""
    place, _, layer = next(iter(sorted(head))).rpartition(".")[0].rpartition(".")
    before = list(model.get_submodule(place).named_children()) if layer else []
    own = [module for name, module in before[: [name for name, _ in before].index(layer)]] if before else []
    if own and isinstance(own[-1], nn.Dropout):
        own[-1].p = 0.0
    head_module(model, head).register_forward_pre_hook(
        lambda module, inputs: (F.dropout(inputs[0], share, module.training), *inputs[1:])
    )


def weights_hash(cfg: Model) -> str:
    """What names the weights in a run's identity: the file's SHA-256, torchvision's own name of them, or `none`."""
    if cfg.weights is None:
        return "none"
    if cfg.weights == "imagenet":
        return str(_imagenet_entry(cfg.name).url)
    path = Path(cfg.weights).expanduser()
    if not path.is_file():
        raise UsageError(f"model.weights={cfg.weights} is not a file: name a state dict, imagenet or null")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def trainable_parameters(model: nn.Module) -> int:
    """How many numbers the optimiser may change."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def unknown_name(name: str) -> str | None:
    """What is wrong with a model's name, and which come near; None when there is such a model."""
    names = [*torchvision.models.list_models(module=torchvision.models), "tiny"]
    if name in names:
        return None
    near = difflib.get_close_matches(name, names, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}"
    return f"model.name={name} is no classifier of torchvision: {hint}"


def misfit(cfg: Model, image_size: int) -> str | None:
    """What is wrong with a model's name, its arguments or how deep it is frozen; None when nothing is."""
    if wrong := unknown_name(cfg.name):
        return wrong
    if not cfg.kwargs and cfg.freeze is None:
        return None
    try:
        network = _shapes(lambda: _construct(cfg.name, num_classes=2, **_arguments(cfg, image_size)))
        freezing.freeze(network, head(network, cfg, 2, image_size), cfg.freeze)
    except UsageError as error:
        return str(error)
    return None


def _arguments(cfg: Model, image_size: int) -> dict[str, Any]:
    if misfit := unknown_name(cfg.name):
        raise UsageError(misfit)
    arguments: dict[str, Any] = {}
    if cfg.name in _AUXILIARY_HEADS:
        arguments |= {"aux_logits": False, "init_weights": cfg.weights is None}
        # torchvision's weights of these two expect inputs scaled to -1..1, which the model then does itself.
        arguments["transform_input"] = cfg.weights is not None
    for family, argument in _SIZE_ARGUMENT.items():
        if cfg.name.startswith(family):
            arguments[argument] = (image_size, image_size) if argument == "input_size" else image_size
    return arguments | dict(cfg.kwargs)


def _construct(name: str, num_classes: int, **arguments: Any) -> nn.Module:
    try:
        if name == "tiny":
            return tiny(num_classes, **arguments)
        return cast(nn.Module, torchvision.models.get_model(name, weights=None, num_classes=num_classes, **arguments))
    except NotImplementedError:
        raise
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise UsageError(f"model.name={name} cannot be built with {arguments}: {error}") from error


def _imagenet_entry(name: str) -> Any:
    try:
        return torchvision.models.get_model_weights(name).DEFAULT
    except (ValueError, AttributeError, RuntimeError) as error:
        raise UsageError(
            f"model.weights=imagenet: torchvision has none for {name}; use a file, or model.weights=null"
        ) from error


def _imagenet(name: str) -> dict[str, Tensor]:
    entry = _imagenet_entry(name)
    try:
        return cast(dict[str, Tensor], entry.get_state_dict(progress=True, check_hash=True))
    except (OSError, RuntimeError) as error:
        raise UsageError(
            f"model.weights=imagenet: cannot fetch {entry.url} ({error}); put that file into "
            f"{Path(torch.hub.get_dir()) / 'checkpoints'}, or use model.weights=FILE or model.weights=null"
        ) from error


def _from_file(path: Path) -> dict[str, Tensor]:
    try:
        loaded = torch.load(path.expanduser(), map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling a file that is no checkpoint raises anything
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise UsageError(f"model.weights={path} is not a file that torch saved a state dict in ({reason})") from error
    if isinstance(loaded, Mapping):
        for wrapper in ("model", "state_dict"):
            if isinstance(loaded.get(wrapper), Mapping):
                loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise UsageError(f"model.weights={path} holds no state dict (names of parameters and their tensors)")
    return dict(loaded)


def _head(model: nn.Module, build_with_another_class: Callable[[], nn.Module]) -> set[str]:
    """The head, whatever an architecture calls it: the tensors whose shape follows the number of classes."""
    shapes = {name: tensor.shape for name, tensor in _shapes(build_with_another_class).state_dict().items()}
    return {name for name, tensor in model.state_dict().items() if tensor.shape != shapes[name]}


def _shapes(build: Callable[[], nn.Module]) -> nn.Module:
    """A model of shapes without numbers, at no cost, where that can be."""
    try:
        with torch.device("meta"):
            return build()
    except NotImplementedError:  # a RegNet computes its own shape with tensors
        return build()


def _load(model: nn.Module, state: dict[str, Tensor], *, head: set[str], source: str) -> None:
    expected = model.state_dict()
    auxiliary = tuple(prefix for prefixes in _AUXILIARY_HEADS.values() for prefix in prefixes)
    given = {name: tensor for name, tensor in state.items() if name in expected or not name.startswith(auxiliary)}
    # A head of the right size may still be of other classes, or of these in another order.
    body = {name: tensor for name, tensor in given.items() if name not in head}
    problems = {
        "missing": sorted(expected.keys() - body.keys() - head - _counters(expected)),
        "unknown": sorted(body.keys() - expected.keys()),
        "of another size": sorted(
            name for name in body.keys() & expected.keys() if body[name].shape != expected[name].shape
        ),
    }
    if any(problems.values()):
        listed = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in problems.items() if names)
        raise UsageError(f"{source} does not fit the model: {listed}")
    model.load_state_dict(body, strict=False)


def _counters(state: Mapping[str, Tensor]) -> set[str]:
    # Checkpoints from before torch 0.4.1 lack this count, which only a momentum of None would use.
    return {name for name in state if name.endswith("num_batches_tracked")}
