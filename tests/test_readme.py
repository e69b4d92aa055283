"""Every command in the README and in docs/ works, or another test runs it and is named there or here."""

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
import tomllib
import urllib.request
from pathlib import Path

import pytest

from tests.conftest import write_photos

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# In the order of the site's menu, in which a reader may type them.
PAGES = re.findall(r"^ +- [^#\n]*?(\w+\.md)", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
# A comment before a block says why it is not run here: `<!-- needs a cluster: TEST -->`, `<!-- run by TEST: … -->`, or
# `<!-- not run: REASON -->`.
BLOCK = re.compile(r"(?:<!-- ([^\n]*) -->\n+)?```bash\n(.*?)```", re.DOTALL)
EXEMPT = re.compile(r"(?:needs a cluster: (tests/\S+)|run by (tests/[^\s:]+)(?:: .+)?|not run: (?:\S+ ){3,}\S+)")


def blocks(page: Path) -> list[tuple[str, list[str]]]:
    """The page's blocks of commands: the comment before each, or nothing, and its commands in one line each."""
    text = re.sub(r"<!--[^>]*\n.*?-->", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)  # hidden from readers
    found = [(comment, block.replace("\\\n", " ")) for comment, block in BLOCK.findall(text)]
    return [
        (comment, [" ".join(line.split()) for line in block.splitlines() if line.strip()]) for comment, block in found
    ]


BLOCKS = [block for page in (ROOT / "README.md", *(ROOT / "docs" / name for name in PAGES)) for block in blocks(page)]
COMMANDS = list(dict.fromkeys(command for _, commands in BLOCKS for command in commands))
EXEMPTED = {command for comment, commands in BLOCKS if comment for command in commands}
PAPER = "paper_mobilenet_v2_160px"
# The columns of the paper's Table 1, and the digits that it prints.
PRINTED = {"lr": 6, "train_loss": 4, "val_loss": 4, "accuracy": 4}
# What makes a command of the pages small; it changes no meaning but the photos' and the model's.
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


def test_every_page_is_in_the_menu():
    assert set(PAGES) == {page.name for page in (ROOT / "docs").glob("*.md")}


def test_what_is_not_run_here_says_why_or_where_it_is():
    for comment in filter(None, (comment for comment, _ in BLOCKS)):
        found = EXEMPT.fullmatch(comment)
        assert found, f"{comment!r} is no reason"
        assert all((ROOT / test).is_file() for test in found.groups() if test), comment


@pytest.mark.parametrize(
    ("comment", "is_reason"),
    [
        ("needs a cluster: tests/clusters/test_ray.py", True),
        ("run by tests/test_readme.py: in another way", True),
        ("not run: it takes a night", True),
        ("not run: ", False),
        ("not run: slow", False),
        ("needs a cluster", False),
        ("skipped", False),
    ],
)
def test_a_reason_is_a_test_or_a_few_words(comment, is_reason):
    assert bool(EXEMPT.fullmatch(comment)) is is_reason


def test_the_tables_of_the_paper_are_those_of_the_committed_sweep():
    import yaml

    from flowerbench import report
    from flowerbench.report import epochs, frame
    from flowerbench.report.formats.markdown import pipe_table

    paper = yaml.safe_load((ROOT / "flowerbench/report/references/paper.yaml").read_text(encoding="utf-8"))
    runs = frame.load(ROOT / "multirun" / PAPER)
    assert set(runs.runs["status"]) == {"FINISHED"}
    assert report.summary(runs) in README
    longest = runs.epochs[runs.epochs["run"] == "batch_size-16_epochs-25"]
    page = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
    for text in (README, page):
        assert pipe_table(epochs.table(longest)) in text
    rows = re.sub(" +", " ", page)
    for printed in paper["epochs"][0]["rows"]:
        cells = [f"{printed[key]:.{digits}f}" for key, digits in PRINTED.items()]
        assert f"| {printed['epoch']} | {' | '.join(cells)} |" in rows
    for printed in paper["settings"]:
        name = f"Batch_size={printed['batch_size']}, epochs={printed['epochs']}"
        assert f"| {name} | {printed['accuracy']:.4f} | {printed['correct']}/{printed['total']} |" in rows


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_commands(tmp_path):
    lay_out(tmp_path)
    bin_folder = str(Path(sys.executable).parent)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": os.pathsep.join([bin_folder, os.environ["PATH"]])}
    ran = 0
    for command in COMMANDS:
        words = shlex.split(command)
        if words[:3] == ["python", "-m", "flowerbench"] or "experiment=paper" in words:
            continue  # the checks run the first two, test_real_photos.py the last
        if command in EXEMPTED or ELSEWHERE & set(words) or words[0] in ("torchrun", "pip"):
            continue  # tests/clusters, test_distributed.py; what pip installs, the set-up does
        if words == ["mlflow", "ui"]:
            look_at_mlflow(tmp_path, environment)
        else:
            assert words[:2] == ["python", "-m"] or "|" in words, command
            more = shlex.join(SMALL) if words[2] == "flowerbench.train" else ""
            done = subprocess.run(
                ["bash", "-o", "pipefail", "-c", f"{command} {more}"],
                cwd=tmp_path / "fresh" if words[2:4] == ["flowerbench.data", "prepare"] else tmp_path,
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


def lay_out(folder: Path) -> None:
    """What the commands of the pages name: photos, lists, options, and a sweep."""
    write_photos(folder / "photos", {"daisy": 20, "rose": 20})
    write_photos(folder / "more", {"tulip": 1})
    (folder / "more" / "tulip" / "000.png").rename(folder / "more" / "tulip.jpg")
    for photo in (folder / "photos" / "daisy").iterdir():
        photo.rename(photo.with_suffix(".jpg"))
    downloaded = write_photos(folder / "fresh" / "downloaded", {"all": 4})
    (downloaded / "train.txt").write_text("all/000.png 0\nall/001.png 1\n")
    (downloaded / "val.txt").write_text("all/002.png 0\nall/003.png 1\n")
    (downloaded / "classes.txt").write_text("daisy\nrose\n")
    (folder / "fresh" / "names.txt").write_text("daisy\nrose\n")
    (folder / "fresh" / "labels.csv").write_text("path,class\nall/000.png,0\nall/001.png,1\n")
    (folder / "my_options" / "optim").mkdir(parents=True)
    (folder / "my_options" / "optim" / "rmsprop.yaml").write_text("_target_: torch.optim.RMSprop\nlr: 0.001\n")
    (folder / "points.csv").write_text("batch_size,optim.lr\n8,0.01\n16,0.02\n")
    shutil.copytree(ROOT / "multirun" / PAPER, folder / "multirun" / PAPER)


def test_what_pip_installs_there_is():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = "\n".join(page.read_text(encoding="utf-8") for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    extras = re.findall(r"pip install '\.\[(\w+)\]'", text)
    assert {"joblib", "slurm", "ray", "optuna", "server"} <= set(extras)
    assert set(extras) <= project["optional-dependencies"].keys()


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
