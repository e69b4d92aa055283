"""What tests share: small data sets, composed configs, the real command, and the real photos where there are any."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hypothesis import settings
from omegaconf import DictConfig
from PIL import Image

from flowerbench import config

# A busy machine is no reason to fail a property.
settings.register_profile("flowerbench", deadline=None)
settings.load_profile("flowerbench")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """How many tests run side by side: two, unless some of them want the machine for themselves."""
    return 2 if config.option.markexpr in ("not long", "long and not alone") else 0


def pytest_configure() -> None:
    """Give tests that run side by side a thread each: torch is not imported yet, and commands inherit it."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True, scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder for the session, so that tests neither use nor fill the user's."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOWERBENCH_CACHE", str(folder))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("OPTUNA_STORAGE", raising=False)
        yield folder


@pytest.fixture
def compose_config() -> Callable[..., DictConfig]:
    """Compose the config from overrides, as the command does."""

    def composed(*overrides: str) -> DictConfig:
        config.register()
        with initialize_config_dir(str(config.folder()), version_base="1.3"):
            return compose("config", list(overrides))

    return composed


def write_photos(root: Path, counts: dict[str, int], size: tuple[int, int] = (24, 20), seed: int = 0) -> Path:
    """Small photos of noise around a colour per class: `root/<class>/<n>.png`."""
    rng = np.random.default_rng(seed)
    for index, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = rng.integers(0, 120, (size[1], size[0], 3))
            pixels[..., index % 3] += 100
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{number:03}.png")
    return root


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of 20, 16 and 14 photos of 24 by 20 pixels."""
    return write_photos(tmp_path_factory.mktemp("photos"), {"ash": 20, "beech": 16, "cedar": 14})


@pytest.fixture(scope="session")
def trained_run(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small run on `photo_folder`, validated clean; who changes it takes a copy."""
    cwd = tmp_path_factory.mktemp("trained")
    quick = ["model=tiny", "image_size=32", "batch_size=8", "epochs=3", "optim.lr=0.05", "tracking=none"]
    finish_together([start_train(cwd, "data=folder", f"data.root={photo_folder}", *quick, "hydra.run.dir=run")])
    return cwd / "run"


def start_train(cwd: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a training command in `cwd` and leave it running."""
    return subprocess.Popen(
        [sys.executable, "-m", "flowerbench.train", *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def finish_together(processes: list[subprocess.Popen[str]]) -> list[str]:
    """Wait for commands that were started together; each must succeed. Returns what each printed."""
    printed = []
    for process in processes:
        output, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors
        printed.append(output)
    return printed


@pytest.fixture
def flowerbench(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command of flowerbench in an empty folder: `flowerbench("train", "epochs=1")`."""

    def run(module: str, *arguments: str, cwd: Path = tmp_path, **more: Any) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "COLUMNS": "120"} | more
        command = [sys.executable, "-m", f"flowerbench.{module}", *arguments]
        return subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=280
        )

    return run


@pytest.fixture(scope="session")
def real_photos() -> Path:
    """The paper's 2,848 photos, where they lie beside the checkout."""
    folder = SHARED / "data" / "flowers"
    if not folder.is_dir():
        pytest.skip("the paper's photos are not here (../shared/data/flowers)")
    return folder


@pytest.fixture(scope="session")
def real_weights() -> Path:
    """The small pretrained backbone, where it lies beside the checkout."""
    file = SHARED / "data" / "weights" / "mobilenet_v2_035_imagenet.pth"
    if not file.is_file():
        pytest.skip("the pretrained backbone is not here (../shared/data/weights)")
    return file
