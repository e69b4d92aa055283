"""Every command in the README works, or another test runs it and is named here."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.conftest import write_photos

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = "\n".join(re.findall(r"```bash\n(.*?)```", README, re.DOTALL)).replace("\\\n", " ")
COMMANDS = [" ".join(line.split()) for line in BLOCKS.splitlines() if line.strip()]
PAPER = "paper_mobilenet_v2_160px"
# What makes a command of the README small; it changes no meaning but the photos' and the model's.
SMALL = ["data=folder", "data.root=photos", "model=tiny", "image_size=16", "data.workers=0"]


def test_the_set_up_commands_are_those_that_the_checks_run():
    checks = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for command in ("quickstart", "test"):
        assert f"python -m flowerbench {command}" in COMMANDS
        assert f'"$python" -m flowerbench {command}' in checks


def test_what_the_readme_points_at_is_there():
    for target in re.findall(r"\]\(([^)]+)\)|src=\"([^\"]+)\"", README):
        path = target[0] or target[1]
        assert path.startswith(("http", "#")) or (ROOT / path).exists(), path


def test_no_placeholder_is_left():
    assert not re.findall(r"^[A-Z]{4,}$", README, re.MULTILINE)


def test_the_tables_of_the_paper_are_those_of_the_committed_sweep():
    from flowerbench import report
    from flowerbench.report import epochs, frame
    from flowerbench.report.formats.markdown import pipe_table

    runs = frame.load(ROOT / "multirun" / PAPER)
    assert set(runs.runs["status"]) == {"FINISHED"}
    assert report.summary(runs) in README
    longest = runs.epochs[runs.epochs["run"] == "batch_size-16_epochs-25"]
    assert pipe_table(epochs.table(longest)) in README


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_commands(tmp_path):
    write_photos(tmp_path / "photos", {"daisy": 20, "rose": 20})
    (tmp_path / "my_options" / "optim").mkdir(parents=True)
    (tmp_path / "my_options" / "optim" / "rmsprop.yaml").write_text("_target_: torch.optim.RMSprop\nlr: 0.001\n")
    (tmp_path / "points.csv").write_text("batch_size,optim.lr\n8,0.01\n16,0.02\n")
    shutil.copytree(ROOT / "multirun" / PAPER, tmp_path / "multirun" / PAPER)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ran = 0
    for command in COMMANDS:
        words = shlex.split(command)
        if words[:3] == ["python", "-m", "flowerbench"] or "experiment=paper" in words:
            continue  # the checks run the first two, test_real_photos.py the last
        if ELSEWHERE & set(words) or words[0] == "torchrun":
            continue  # tests/clusters, test_distributed.py
        if words == ["mlflow", "ui"]:
            look_at_mlflow(tmp_path, environment)
        else:
            assert words[:2] == ["python", "-m"], command
            more = SMALL if words[2] == "flowerbench.train" else []
            done = subprocess.run(
                [sys.executable, *words[1:], *more],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                encoding="utf-8",
            )
            assert done.returncode == 0, f"{command}\n{done.stderr}"
            if words[2] == "flowerbench.report":
                assert (
                    (tmp_path / "my_report" / "report.html").exists()
                    if "--out" in words
                    else "| Settings" in done.stdout
                )
        ran += 1
    assert ran >= 13


# On a cluster, which tests/clusters bring up; they name the same settings.
ELSEWHERE = {"hydra/launcher=slurm", "hydra/launcher=ray_cluster"}


def test_the_command_for_several_gpus_is_the_one_that_is_tested():
    (command,) = (shlex.split(command) for command in COMMANDS if command.startswith("torchrun"))
    tests = (ROOT / "tests" / "test_distributed.py").read_text(encoding="utf-8")
    assert command[1:3] == ["--standalone", "--nproc_per_node=2"]
    assert '"--standalone", f"--nproc_per_node={processes}"' in tests


def test_the_commands_for_clusters_are_those_that_are_run_on_one():
    tests = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests" / "clusters").glob("test_*.py"))
    found = [command.split() for command in COMMANDS if ELSEWHERE & set(command.split())]
    assert len(found) == 2
    for words in found:
        assert all(f'"{word}"' in tests for word in words[4:]), words


def look_at_mlflow(folder: Path, environment: dict[str, str]) -> None:
    """`mlflow ui` in the folder of the runs shows their experiment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
        cwd=folder,
        env=environment | {"MLFLOW_DISABLE_TELEMETRY": "true"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                query = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/get-by-name?experiment_name=flowerbench"
                with urllib.request.urlopen(query, timeout=5) as answer:
                    assert b"flowerbench" in answer.read()
                return
            except OSError:
                assert time.monotonic() < deadline, "mlflow ui does not answer"
                time.sleep(1)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)
