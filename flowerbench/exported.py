"""A trained model as a file for other programs: ONNX, TorchScript or safetensors, checked before it is kept."""

from __future__ import annotations

import csv
import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import flowerbench
from flowerbench import atomic, predictions
from flowerbench.data import images, sources, synthetic
from flowerbench.errors import RunError, one_line
from flowerbench.trained import Trained

# Photos to check with, and how many go through a model at a time.
_PHOTOS, _AT_ONCE = 64, 16
# No rounding of float32 makes probabilities differ by more.
_TOLERANCE = 1e-3
_KWARGS = "model.kwargs."

Shares = NDArray[np.float32]


class Classifier(nn.Module):
    """All from pixels to probabilities: uint8 (n, size, size, 3), RGB as image libraries have it, to (n, classes).

    Where the validation of the training looked at mirror images too, so does this.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self.network, self.flips = trained.network, trained.flips
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(trained.config[f"data.{name}"]).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        images = (pixels.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
        found = self.network(images).softmax(1)
        if self.flips:
            found = (found + self.network(images.flip(3)).softmax(1)) / 2
        return cast(Tensor, found)


def about(trained: Trained) -> dict[str, str]:
    """What a file says of its model: texts, lists and numbers as JSON."""
    config, size = trained.config, trained.image_size
    kwargs = {key.removeprefix(_KWARGS): value for key, value in config.items() if key.startswith(_KWARGS)}
    facts = {
        "classes": list(trained.classes),
        "image_size": size,
        "resize": round(size / config["data.center_crop"]),
        "mean": list(config["data.mean"]),
        "std": list(config["data.std"]),
        "flips": trained.flips,
        "kwargs": kwargs,
        "epoch": trained.epoch,
    }
    told = {name: json.dumps(value, ensure_ascii=False) for name, value in facts.items()}
    return {"flowerbench": flowerbench.__version__, "model": str(config["model.name"]), **told}


def squares(trained: Trained) -> tuple[Tensor, str]:
    """Photos to check with, as the model sees them, uint8 (n, size, size, 3): validation photos, else drawn ones."""
    found = []
    for file in _validation_photos(trained):
        try:
            found.append(trained.square(images.read_rgb(file)))
        except Exception:  # Pillow's plugins raise anything on a file that was broken since
            continue
    if found:
        return torch.stack(found), f"{len(found)} validation photos"
    drawn = [synthetic.draw(species, 0, number, 128) for species in synthetic.SPECIES for number in range(3)]
    return torch.stack([trained.square(image) for image in drawn]), f"{len(drawn)} drawn photos"


def _validation_photos(trained: Trained) -> list[Path]:
    """Those of the run that are on this machine, from all over their list."""
    root, table = sources.place(trained.config), trained.folder / predictions.VAL
    if root is None or not table.is_file():
        return []
    with table.open(encoding="utf-8", newline="") as file:
        there = [root / row["photo"] for row in csv.DictReader(file) if (root / row["photo"]).is_file()]
    return there[:: -(-len(there) // _PHOTOS) or 1]


def to_onnx(trained: Trained, to: Path, pixels: Tensor) -> float:
    """Write an ONNX file; the largest difference of a probability from PyTorch's. Raises RunError where it is large."""
    import onnx

    def packed(module: nn.Module, example: Tensor) -> bytes:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                dynamic_shapes={"pixels": {0: torch.export.Dim("batch")}},
                input_names=["pixels"],
                output_names=["probabilities"],
                verbose=False,
            )
        assert program is not None, "the exporter with dynamo gives a program"
        proto = program.model_proto
        onnx.helper.set_model_props(proto, about(trained))
        return cast(bytes, proto.SerializeToString())

    def answers(file: Path) -> Callable[[Tensor], Shares]:
        import onnxruntime

        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        return lambda part: cast(Shares, session.run(["probabilities"], {"pixels": part.numpy()})[0])

    return _checked(trained, to, pixels, "ONNX", packed, answers)


def to_torchscript(trained: Trained, to: Path, pixels: Tensor) -> float:
    """Write a traced module, which torch has deprecated but still loads; returns and raises as `to_onnx`."""

    def packed(module: nn.Module, example: Tensor) -> bytes:
        buffer, told = io.BytesIO(), {"about.json": json.dumps(about(trained), ensure_ascii=False)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.save(torch.jit.trace(module, example), buffer, _extra_files=told)  # type: ignore[no-untyped-call]
        return buffer.getvalue()

    def answers(file: Path) -> Callable[[Tensor], Shares]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            loaded = torch.jit.load(str(file))  # type: ignore[no-untyped-call]
        return lambda part: cast(Shares, loaded(part).numpy())

    return _checked(trained, to, pixels, "TorchScript", packed, answers)


def to_safetensors(trained: Trained, to: Path) -> None:
    """Write the network's weights alone, under torchvision's names. Raises RunError where they come back otherwise."""
    from safetensors import safe_open
    from safetensors.torch import load_file
    from safetensors.torch import save as packed

    weights = {name: tensor.contiguous() for name, tensor in trained.network.state_dict().items()}
    told = {"format": "pt", **about(trained)}

    def save(temporary: Path) -> None:
        temporary.write_bytes(packed(weights, told))
        found = load_file(temporary)
        with safe_open(temporary, framework="pt") as file:
            is_same = file.metadata() == told and found.keys() == weights.keys()
        if not is_same or any(_bytes(found[name]) != _bytes(tensor) for name, tensor in weights.items()):
            raise RunError(f"{to} would not hold what was written into it: nothing was changed")

    atomic.write(to, save)


def _bytes(tensor: Tensor) -> tuple[torch.dtype, torch.Size, bytes]:
    return tensor.dtype, tensor.shape, tensor.numpy().tobytes()


def _checked(
    trained: Trained,
    to: Path,
    pixels: Tensor,
    name: str,
    packed: Callable[[nn.Module, Tensor], bytes],
    answers: Callable[[Path], Callable[[Tensor], Shares]],
) -> float:
    module, parts = Classifier(trained).eval().requires_grad_(False), torch.split(pixels, _AT_ONCE)
    differences: list[float] = []
    with torch.inference_mode():
        expected = [module(part).numpy() for part in parts]

    def save(temporary: Path) -> None:
        temporary.write_bytes(content)
        with torch.inference_mode():
            ask = answers(temporary)
            differences.extend(abs(ask(part) - right).max() for part, right in zip(parts, expected, strict=True))
        if not max(differences) <= _TOLERANCE:
            raise RunError(
                f"as {name} the model answers otherwise than with PyTorch (probabilities differ by "
                f"{max(differences):.2g}): nothing was written"
            )

    try:
        with torch.no_grad():
            content = packed(module, torch.zeros(2, *pixels.shape[1:], dtype=torch.uint8))
    except Exception as error:  # exporters raise anything where a network has what they do not know
        reason = one_line(error)[:300]
        raise RunError(f"{trained.config['model.name']} cannot be exported to {name} ({reason})") from error
    atomic.write(to, save)
    return float(max(differences))
