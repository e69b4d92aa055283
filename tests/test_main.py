"""The front door: what it says, and what it would run, with nothing installed by these tests."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import flowerbench
from flowerbench import __main__ as front

ROOT = Path(__file__).parents[1]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What makes a folder a checkout to the set-up."""
    for name in front.INPUTS:
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Collects the commands of a set-up; making the environment puts this test's own Python there."""
    seen: list[list[str]] = []

    def call(root: Path, *command: str, own_session: bool = False) -> int:
        seen.append(list(command))
        if "venv" in command:
            python = front.venv_python(root / ".venv")
            python.parent.mkdir(parents=True)
            python.symlink_to(sys.executable)
        return 0

    monkeypatch.setattr(front, "call", call)
    monkeypatch.setattr(front, "ROOM", 0)
    return seen


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["quickstart", "--help"]])
def test_usage_lists_the_commands(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert front.main(arguments) == 0
    shown = capsys.readouterr().out
    for command in ("flowerbench.train", "flowerbench.report", "flowerbench quickstart", "flowerbench test"):
        assert f"python -m {command} " in shown


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert front.main(["--version"]) == 0
    assert capsys.readouterr().out == f"{flowerbench.__version__}\n"


def test_an_unknown_command_is_named_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert front.main(["tarin", "epochs=1"]) == 2
    assert capsys.readouterr().err == "flowerbench: tarin is not a command: see python -m flowerbench\n"


@pytest.mark.parametrize("version", [(3, 11), (3, 12), (4, 0)])
def test_new_enough_pythons_pass(version: tuple[int, int]) -> None:
    front.require_python(version)


@pytest.mark.parametrize("version", [(2, 7), (3, 6), (3, 10)])
def test_old_pythons_are_refused_with_both_versions_named(version: tuple[int, int]) -> None:
    with pytest.raises(front.Stop, match=rf"Python 3\.11 or newer, and this is {version[0]}\.{version[1]}:") as stop:
        front.require_python(version)
    assert stop.value.code == 2


@pytest.mark.parametrize("module", [front, flowerbench])
def test_old_pythons_can_read_it_and_nothing_need_be_installed(module: object) -> None:
    tree = ast.parse(Path(str(module.__file__)).read_text(), feature_version=(3, 6))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names | {"flowerbench"}
    assert "__future__" not in imported, "its annotations came with Python 3.7"


def test_an_installed_package_says_that_set_up_is_for_a_checkout(tmp_path: Path) -> None:
    package = tmp_path / "flowerbench"
    package.mkdir()
    for name in ("__init__.py", "__main__.py"):
        (package / name).write_bytes((ROOT / "flowerbench" / name).read_bytes())
    command = [sys.executable, "-m", "flowerbench", "test"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "for a checkout" in done.stderr
    assert "python -m flowerbench.train --help" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_set_up_is_done_once(checkout: Path, steps: list[list[str]]) -> None:
    python = front.set_up(checkout, extra="dev")
    assert python == str(front.venv_python(checkout / ".venv"))
    assert [("venv" in step, "pip" in step) for step in steps] == [(True, False), (False, True)]
    assert steps[1][-4:] == ["-e", ".[dev]", "-c", "constraints.txt"]
    front.set_up(checkout, extra="dev")
    assert len(steps) == 2


def test_the_quick_start_is_content_with_the_tools_for_tests_but_not_the_reverse(
    checkout: Path, steps: list[list[str]]
) -> None:
    front.set_up(checkout, extra="")
    assert steps[-1][-3:] == [".", "-c", "constraints.txt"]
    front.set_up(checkout, extra="dev")
    assert len(steps) == 3
    front.set_up(checkout, extra="")
    assert len(steps) == 3


@pytest.mark.parametrize("name", front.INPUTS)
def test_a_changed_file_is_installed_again_into_the_same_environment(
    checkout: Path, steps: list[list[str]], name: str
) -> None:
    front.set_up(checkout, extra="dev")
    (checkout / name).write_text("changed")
    front.set_up(checkout, extra="dev")
    assert ["venv" in step for step in steps] == [True, False, False]


def test_an_environment_without_its_python_is_made_anew(checkout: Path, steps: list[list[str]]) -> None:
    python = Path(front.set_up(checkout, extra="dev"))
    python.unlink()
    python.parent.rmdir()
    front.set_up(checkout, extra="dev")
    assert ["venv" in step for step in steps] == [True, False, True, False]


def test_a_failed_installation_is_taken_up_again(
    checkout: Path, steps: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    front.set_up(checkout, extra="dev")
    (checkout / "constraints.txt").write_text("changed")
    with monkeypatch.context() as patch:
        patch.setattr(front, "call", lambda *_, **__: 7)
        with pytest.raises(front.Stop, match="exit code 7") as stop:
            front.set_up(checkout, extra="dev")
    assert stop.value.code == 1
    # Half of the change may be installed, so also the files of before do not match what is there.
    (checkout / "constraints.txt").write_text("constraints.txt")
    front.set_up(checkout, extra="dev")
    assert len(steps) == 3


def test_a_disk_that_is_too_full_is_named_before_anything_is_made(
    checkout: Path, steps: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front, "ROOM", 10**18)
    with pytest.raises(front.Stop, match=r"GB free, and this needs 1000000000\.0 GB: make room first"):
        front.set_up(checkout, extra="")
    assert not steps


def test_a_folder_that_cannot_be_written_is_named(
    checkout: Path, steps: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # what a read-only disk answers, also to root
    with pytest.raises(front.Stop, match="cannot write in "):
        front.set_up(checkout, extra="")
    assert not steps


def test_the_stamp_tells_places_extras_and_contents_apart(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for name in front.INPUTS:
        (elsewhere / name).write_text(name)
    before = front.stamp(checkout, "dev")
    assert front.stamp(checkout, "dev") == before
    assert len({before, front.stamp(checkout, ""), front.stamp(elsewhere, "dev")}) == 3
    (checkout / "pyproject.toml").write_text("changed")
    assert front.stamp(checkout, "dev") != before


def test_commands_on_windows_and_elsewhere() -> None:
    folder = Path("checkout") / ".venv"
    assert front.venv_python(folder, windows=True).parts[-2:] == ("Scripts", "python.exe")
    assert front.venv_python(folder, windows=False).parts[-2:] == ("bin", "python")


def test_without_ensurepip_the_pip_outside_installs() -> None:
    folder = Path("checkout") / ".venv"
    python = front.venv_python(folder)
    assert "--without-pip" not in front.create_command(folder, has_ensurepip=True)
    assert "--without-pip" in front.create_command(folder, has_ensurepip=False)
    inside = front.install_command(python, "dev", has_pip=True)
    outside = front.install_command(python, "dev", has_pip=False)
    assert inside[:4] == [str(python), "-m", "pip", "install"]
    assert outside[:7] == [sys.executable, "-m", "pip", "--python", str(python), "install", "pip"]
    assert inside[4:] == outside[7:]


def test_the_exact_command_is_shown_and_its_exit_code_returned(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert front.call(tmp_path, sys.executable, "-c", "print('from the child'); raise SystemExit(7)") == 7
    shown, printed = capfd.readouterr().out.splitlines()
    assert shown.startswith("$ ")
    assert "raise SystemExit(7)" in shown
    assert printed == "from the child"


def test_paths_in_the_checkout_are_shown_as_one_types_them(
    checkout: Path, steps: list[list[str]], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    python = front.set_up(checkout, extra="")
    monkeypatch.undo()
    front.call(checkout, python, "-c", "pass")
    assert capfd.readouterr().out.splitlines()[-1].startswith(f"$ {Path(python).relative_to(checkout)} -c ")


@pytest.mark.skipif(os.name == "nt", reason="signals are sent as POSIX does")
@pytest.mark.parametrize(
    ("number", "own_session", "code"),
    [
        pytest.param(signal.SIGINT, False, 130, id="Ctrl-C"),
        pytest.param(signal.SIGTERM, False, 143, id="SIGTERM"),
        pytest.param(signal.SIGINT, True, 130, id="Ctrl-C in the set-up"),
    ],
)
def test_a_signal_lets_the_child_end_in_its_own_way(
    number: signal.Signals, own_session: bool, code: int, tmp_path: Path
) -> None:
    (tmp_path / "child.py").write_text(
        "import pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        "try:\n"
        "    pathlib.Path('started').touch()\n"
        "    time.sleep(60)\n"
        "except KeyboardInterrupt:\n"
        "    sys.exit(1)\n"
        "finally:\n"
        "    time.sleep(0.3)\n"
        "    pathlib.Path('tidied').touch()\n"
    )
    parent = (
        "import sys; from pathlib import Path; from flowerbench import __main__ as front\n"
        f"sys.exit(front.call(Path.cwd(), sys.executable, 'child.py', own_session={own_session}))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", parent],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 20
    while not (tmp_path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    if number == signal.SIGINT:  # as a terminal sends it: to all of its session in the foreground
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, complaints = process.communicate(timeout=20)
    assert process.returncode == code
    assert complaints == ""
    assert (tmp_path / "tidied").exists()


def test_the_constraints_allow_what_the_project_asks_for_and_suit_any_machine() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    versions = {canonicalize_name(name): version for name, version in pins.items()}
    wanted = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    for requirement in map(Requirement, wanted):
        if requirement.name == "flowerbench":
            continue  # one extra includes others
        assert versions[canonicalize_name(requirement.name)] in requirement.specifier, requirement
    assert not [pin for pin in pins.items() if "+" in pin[1] or pin[0].startswith("nvidia-")]
