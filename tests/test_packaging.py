"""The wheel, used from an empty folder as one who installed it does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.long

Python = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built without a network."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("flowerbench-*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the wheel installed in it; what it depends on comes from this environment."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(folder), str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def python(site: Path, tmp_path: Path) -> Python:
    """Run Python with the installed wheel in an empty folder; the checkout itself is out of its sight."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )

    return run


def test_the_wheel_holds_the_package_and_its_configuration_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if ".dist-info/" not in name}
    package = {f"flowerbench/{path.relative_to(ROOT / 'flowerbench').as_posix()}" for path in _files("flowerbench")}
    settings = {f"flowerbench/conf/{path.relative_to(ROOT / 'conf').as_posix()}" for path in _files("conf")}
    plugins = {
        f"hydra_plugins/{path.relative_to(ROOT / 'hydra_plugins').as_posix()}" for path in _files("hydra_plugins")
    }
    assert "flowerbench/conf/config.yaml" in settings
    assert "hydra_plugins/flowerbench/grid_sweeper.py" in plugins
    assert shipped == package | settings | plugins


def _files(folder: str) -> list[Path]:
    return [path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix != ".pyc"]


def test_the_package_in_use_is_that_of_the_wheel(python: Python, site: Path) -> None:
    done = python("-c", "import flowerbench; print(flowerbench.__file__)")
    assert Path(done.stdout.strip()) == site / "flowerbench" / "__init__.py"


def test_the_config_is_composed_from_the_files_of_the_wheel(python: Python, site: Path) -> None:
    done = python("-m", "flowerbench.train", "--cfg", "job")
    assert done.returncode == 0, done.stderr
    assert "batch_size: 16" in done.stdout
    assert str(site / "flowerbench" / "conf") in python("-m", "flowerbench.train", "--info", "searchpath").stdout


def test_options_of_your_own_are_added_with_config_dir(python: Python, tmp_path: Path) -> None:
    (tmp_path / "mine" / "optim").mkdir(parents=True)
    (tmp_path / "mine" / "optim" / "mine.yaml").write_text("_target_: torch.optim.Adagrad\nlr: 0.0625\n")
    done = python("-m", "flowerbench.train", "--config-dir", "mine", "optim=mine", "--cfg", "job", "--package", "optim")
    assert done.returncode == 0, done.stderr
    assert "_target_: torch.optim.Adagrad\nlr: 0.0625\n" in done.stdout


def test_a_sweep_runs_and_leaves_its_folders_where_it_was_started(python: Python, tmp_path: Path) -> None:
    sweep = ["--multirun", "experiment=quickstart", "batch_size=16,32", "epochs=1", "data.synthetic.count=100"]
    done = python("-m", "flowerbench.train", *sweep, "tracking=none")
    assert done.returncode == 0, done.stdout + done.stderr
    summaries = [json.loads(path.read_text()) for path in tmp_path.glob("multirun/*/*/*/summary.json")]
    assert [summary["status"] for summary in summaries] == ["FINISHED", "FINISHED"]
    assert [path.name for path in tmp_path.iterdir()] == ["multirun"]


def test_the_set_up_commands_know_that_this_is_no_checkout(python: Python) -> None:
    done = python("-m", "flowerbench", "quickstart")
    assert done.returncode == 2
    assert "for a checkout" in done.stderr
