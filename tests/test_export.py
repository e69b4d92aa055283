"""A trained model as files that other libraries read, and what is said when that cannot be."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flowerbench import checkpoint, export, exported, identity, model, trained
from flowerbench.config import Model
from flowerbench.data import images
from flowerbench.trained import Trained


@pytest.fixture
def run(trained_run: Path, tmp_path: Path) -> Path:
    """A copy of the run."""
    return Path(shutil.copytree(trained_run, tmp_path / "a run"))


@pytest.fixture
def squares(photo_folder: Path, run: Path) -> torch.Tensor:
    """Five photos as the model sees them."""
    photos = sorted(photo_folder.rglob("*.png"))[::10][:5]
    return torch.stack([trained.load(run, "cpu").square(images.read_rgb(photo)) for photo in photos])


def predicted(run: Path, squares: torch.Tensor) -> np.ndarray:
    found = trained.load(run, "cpu")
    return found.probabilities(found.normalised(list(squares))).numpy()


def answer(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[str, int]:
    """What a command said, on stdout or as its error, and its exit code."""
    try:
        export.main([str(argument) for argument in arguments])
    except SystemExit as end:
        return capsys.readouterr().err, int(end.code or 0)
    return capsys.readouterr().out, 0


def test_help_needs_no_heavy_library():
    code = (
        "import sys, flowerbench.export as c\n"
        "try: c.main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert not {'pandas', 'mlflow', 'torch', 'hydra', 'onnx', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr
    assert "--register" in done.stdout


def test_onnx_answers_as_predict_does_for_batches_of_any_size(
    run: Path, squares: torch.Tensor, capsys: pytest.CaptureFixture[str]
):
    import onnxruntime

    said, code = answer(capsys, run, "--format", "onnx")
    assert code == 0
    assert "on 11 validation photos, no probability differs" in said
    assert "pixels, uint8 (n, 32, 32, 3), RGB" in said
    session = onnxruntime.InferenceSession(str(run / "model.onnx"))
    expected = predicted(run, squares)
    for part in (slice(0, 1), slice(0, 5)):
        (shares,) = session.run(["probabilities"], {"pixels": squares[part].numpy()})
        assert shares == pytest.approx(expected[part], abs=1e-5)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["classes"]) == ["ash", "beech", "cedar"]
    assert {key: json.loads(about[key]) for key in ("image_size", "resize", "kwargs")} == {
        "image_size": 32,
        "resize": 37,
        "kwargs": {},
    }


@pytest.mark.parametrize("flips", [False, True])
def test_torchscript_answers_as_predict_does(
    run: Path, squares: torch.Tensor, flips: bool, capsys: pytest.CaptureFixture[str]
):
    state = checkpoint.load(run / "best.pt")
    state["config"]["eval_flips"] = flips
    checkpoint.save(run / "best.pt", checkpoint.snapshot(state))
    said, code = answer(capsys, run, "--format", "torchscript")
    assert code == 0
    assert "deprecated" in said
    told = {"about.json": ""}
    loaded = torch.jit.load(str(run / "model.torchscript"), _extra_files=told)
    for part in (slice(0, 1), slice(0, 5)):
        assert loaded(squares[part]).numpy() == pytest.approx(predicted(run, squares)[part], abs=1e-6)
    about = json.loads(told["about.json"])
    assert json.loads(about["mean"]) == [0.485, 0.456, 0.406]
    assert json.loads(about["flips"]) == flips


def test_safetensors_hold_the_very_weights(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    from safetensors import safe_open
    from safetensors.torch import load_file

    _, code = answer(capsys, run, "--format", "safetensors", "--out", tmp_path / "weights")
    assert code == 0
    expected = checkpoint.load(run / "best.pt")["model"]
    found = load_file(tmp_path / "weights")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    with safe_open(tmp_path / "weights", framework="pt") as file:
        assert (file.metadata()["model"], file.metadata()["std"]) == ("tiny", "[0.229, 0.224, 0.225]")


def test_without_its_photos_a_model_is_checked_on_drawn_ones(
    run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    (run / "val_predictions.csv").unlink()
    said, _ = answer(capsys, run, "--format", "torchscript", "--out", tmp_path / "model")
    assert "on 15 drawn photos" in said


def made(compose_config: Callable[..., Any], folder: Path, *overrides: str) -> Trained:
    """A run that was never trained, of another model."""
    cfg = compose_config("data=folder", "data.root=nowhere", "model.weights=null", *overrides)
    network = model.build(Model(name=cfg.model.name, weights=None, kwargs=dict(cfg.model.kwargs)), 3, cfg.image_size)
    state = {"model": network.state_dict(), "classes": ["a", "b", "c"], "config": identity.flat(cfg), "epoch": 1}
    checkpoint.save(folder / "best.pt", checkpoint.snapshot(state))
    return trained.load(folder, "cpu")


@pytest.mark.long
@pytest.mark.parametrize("name", ["resnet18", "swin_t"])
def test_other_families_can_be_exported(compose_config: Callable[..., Any], tmp_path: Path, name: str):
    found = made(compose_config, tmp_path, f"model.name={name}", "image_size=64")
    pixels, _ = exported.squares(found)
    assert exported.to_onnx(found, tmp_path / "model.onnx", pixels[:5]) < 1e-4
    assert exported.to_torchscript(found, tmp_path / "model.torchscript", pixels[:5]) < 1e-4
    exported.to_safetensors(found, tmp_path / "model.safetensors")


def test_arguments_of_the_model_travel_with_it(compose_config: Callable[..., Any], tmp_path: Path):
    found = made(compose_config, tmp_path, "model=mobilenet_v2", "model.kwargs.width_mult=0.25", "image_size=32")
    assert json.loads(exported.about(found)["kwargs"]) == {"width_mult": 0.25}


@pytest.mark.parametrize("kind", ["torchscript", "safetensors"])
def test_what_would_answer_otherwise_replaces_nothing(
    run: Path, kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    old = run / f"model.{kind}"
    old.write_text("the last one")
    if kind == "safetensors":
        import safetensors.torch

        monkeypatch.setattr(safetensors.torch, "load_file", lambda file: {})
    else:
        monkeypatch.setattr(exported, "_TOLERANCE", -1.0)
    said, code = answer(capsys, run, "--format", kind)
    assert code == 1
    assert len(said.splitlines()) == 1
    assert old.read_text() == "the last one"
    assert not list(run.glob("*.tmp"))


def test_what_is_not_installed_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnxscript" else name)
    said, code = answer(capsys, "anything", "--format", "onnx")
    assert (said, code) == ("flowerbench: --format onnx needs onnxscript: pip install '.[export]'\n", 2)


def test_mistakes_are_one_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for arguments, message in (
        ((run, "--format", "onnx", "--register", "x"), "--register is for models that are logged"),
        ((run, "--format", "pickle"), "invalid choice: 'pickle'"),
        ((run, "--format", "safetensors", "--out", tmp_path / "none" / "x"), "cannot be written: No such file"),
        ((run, "--format", "safetensors", "--out", tmp_path), "cannot be written"),
        ((run, "--format", "mlflow"), "was not tracked in MLflow: write its model to a folder with --out"),
        ((run, "--format", "mlflow", "--out", run), "is there already: name a new folder"),
        ((tmp_path / "gone", "--format", "onnx"), "gone is no folder"),
    ):
        said, code = answer(capsys, *arguments)
        assert (code, len(said.splitlines())) == (2, 1), said
        assert message in said
