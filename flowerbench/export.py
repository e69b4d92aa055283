"""The command `python -m flowerbench.export`: a trained run's model for other programs, or for MLflow."""

from __future__ import annotations

import argparse
import shlex
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from flowerbench import run_arguments
from flowerbench.errors import Parser, RunError, UsageError, leave_politely

if TYPE_CHECKING:
    from flowerbench.outbox import Outbox
    from flowerbench.trained import Trained

# What comes with the extra `export`, and the file that is written into the run's folder.
_NEEDED = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "safetensors": ("safetensors",)}
_FILES = {"onnx": "model.onnx", "torchscript": "model.torchscript", "safetensors": "model.safetensors"}


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m flowerbench.export",
        description="Write the model of a trained run as a file that other programs read, checked against PyTorch on "
        "the run's validation photos (on drawn ones where they are not here), or log it to MLflow with its run.",
    )
    run_arguments.add_run(parser)
    parser.add_argument("--format", choices=(*_FILES, "mlflow"), required=True, help="of the model")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="PATH",
        help="the file to write (default: model.FORMAT in the run's folder); with mlflow, a folder to write instead of "
        "logging",
    )
    parser.add_argument("--register", metavar="NAME", help="with mlflow, also make it a version of a registered model")
    run_arguments.add_store(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Write or log the model, and say in a few lines what and where it is."""
    with leave_politely():
        asked = _parser().parse_args(arguments)
        if asked.register and (asked.format != "mlflow" or asked.out):
            raise UsageError("--register is for models that are logged: --format mlflow, without --out")
        lacking = [name for name in _NEEDED.get(asked.format, ()) if find_spec(name) is None]
        if lacking:
            raise UsageError(f"--format {asked.format} needs {', '.join(lacking)}: pip install '.[export]'")
        from flowerbench import trained

        folder = trained.find(asked.run, asked.tracking_uri)
        found = trained.load(folder, "cpu")  # which says what is wrong with it
        if asked.format != "mlflow":
            _write(found, asked.format, asked.out or folder / _FILES[asked.format])
        elif asked.out:
            _save(found, asked.out)
        else:
            _log(found, asked.register, asked.tracking_uri)


def _write(found: Trained, kind: str, to: Path) -> None:
    from flowerbench import exported

    size, classes = found.image_size, len(found.classes)
    try:
        if kind == "safetensors":
            exported.to_safetensors(found, to)
            said = "the weights came back from it bit for bit"
        else:
            write = exported.to_onnx if kind == "onnx" else exported.to_torchscript
            pixels, photos = exported.squares(found)
            difference = write(found, to, pixels)
            said = f"on {photos}, no probability differs from PyTorch's by more than {difference:.1e}"
    except OSError as error:
        raise UsageError(f"{to} cannot be written: {error.strerror or error}") from error
    print(f"{to}: {to.stat().st_size / 1e6:.1f} MB; {said}")
    if kind == "safetensors":
        print(f"Input of the network: normalised photos, float32 (n, 3, {size}, {size}); output: {classes} logits")
    else:
        print(f"Input: pixels, uint8 (n, {size}, {size}, 3), RGB; output: probabilities, float32 (n, {classes})")
    if kind == "torchscript":
        print("TorchScript is deprecated by PyTorch, and not supported with Python 3.14: prefer --format onnx")


def _save(found: Trained, to: Path) -> None:
    from flowerbench import mlflow_model

    if to.exists() and (to.is_file() or any(to.iterdir())):
        raise UsageError(f"--out {to} is there already: name a new folder")
    try:
        with tempfile.TemporaryDirectory(dir=to.absolute().parent, prefix=f".{to.name}.") as place:
            mlflow_model.save(found.folder, found.classes, Path(place, "model"))
            Path(place, "model").replace(to)
    except OSError as error:
        raise UsageError(f"--out {to} cannot be written: {error.strerror or error}") from error
    print(f"{to}: a model for MLflow. To serve it: {_serve(str(to))}")


def _log(found: Trained, name: str | None, tracking_uri: str | None) -> None:
    from flowerbench import mlflow_model, mlflow_store, sync
    from flowerbench.outbox import Outbox

    box = Outbox(found.folder)
    run_id, uri = _run_id(box, found.folder), sync.with_password(box, [tracking_uri] if tracking_uri else [])
    store = box.about_run[0]["uri"]
    if uri is None:
        raise UsageError(f"set MLFLOW_TRACKING_URI to {store} with its password")
    try:
        client = mlflow_store.client(uri)
        model_id = mlflow_model.log(client, uri, run_id, found.folder, found.classes)
        print(f"models:/{model_id}: logged with run {run_id} in MLflow at {store}")
        model = f"models:/{model_id}"
        if name:
            model = f"models:/{name}/{mlflow_model.register(client, uri, name, model_id, run_id)}"
            print(f"{model}: registered")
    except Exception as error:
        reason = mlflow_store.reason(error)
        if getattr(error, "error_code", None) == "INVALID_PARAMETER_VALUE":
            raise UsageError(f"MLflow at {store} refuses: {reason}") from error
        raise RunError(f"MLflow at {store}: {reason}") from error
    print(f"To serve it: {_serve(model)}")


def _run_id(box: Outbox, folder: Path) -> str:
    if not box.messages:
        raise UsageError(f"{folder} was not tracked in MLflow: write its model to a folder with --out, to serve it")
    if box.run_id is None:
        raise UsageError(f"MLflow has not been told of {folder} yet: first, python -m flowerbench.sync {folder}")
    return box.run_id


def _serve(model: str) -> str:
    return f"mlflow models serve -m {shlex.quote(model)} --env-manager local -h 127.0.0.1 -p 5001"


if __name__ == "__main__":
    main()
