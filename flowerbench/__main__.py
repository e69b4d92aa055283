"""`python -m flowerbench`: what the commands are, and the two that set a fresh checkout up and use it.

It runs before anything is installed, and is what says that a Python is too old. So it imports the standard
library only, and even Python 3.6 can read it: no `__future__` of annotations, those too new stand in quotes.
"""

import hashlib
import importlib.util
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from flowerbench import __version__

QUICKSTART = ("flowerbench.train", "--multirun", "experiment=quickstart", "batch_size=16,32", "epochs=4,8")

USAGE = """\
flowerbench {version}: sweeps over fine-tuning settings of image classifiers, and which differences are real

  python -m flowerbench.train       train one model, or sweep with --multirun
  python -m flowerbench.report      compare runs: which settings differ, in tables, pages and figures

Each explains itself with --help.

In a checkout, with nothing installed:

  python -m flowerbench quickstart [KEY=VALUE ...]   set up .venv here, then run a small sweep
  python -m flowerbench test [PYTEST OPTION ...]     set up .venv here with the tools for tests, then run them
"""

ROOT = Path(__file__).resolve().parent.parent
INPUTS = ("pyproject.toml", "constraints.txt")
OLDEST_PYTHON = (3, 11)
ROOM = 2_000_000_000  # bytes
USAGE_ERROR, FAILED, INTERRUPTED = 2, 1, 130


class Stop(Exception):  # noqa: N818 - carries an exit code, which Ctrl-C has as well
    """Ends the command with one line and an exit code."""

    def __init__(self, line: str, code: int) -> None:
        super().__init__(line)
        self.code = code


def main(arguments: "list[str]") -> int:
    """Run the command that `arguments` name; returns its exit code."""
    try:
        require_python(sys.version_info[:2])
        if not arguments or arguments[0] in ("-h", "--help", "help") or arguments[1:] == ["--help"]:
            print(USAGE.format(version=__version__))
            return 0
        if arguments == ["--version"]:
            print(__version__)
            return 0
        command, *rest = arguments
        if command == "quickstart":
            return call(ROOT, set_up(ROOT, extra=""), "-m", *QUICKSTART, *rest)
        if command == "test":
            return call(ROOT, set_up(ROOT, extra="dev"), "-m", "pytest", *rest)
        raise Stop(f"{command} is not a command: see python -m flowerbench", USAGE_ERROR)
    except Stop as stop:
        print(f"flowerbench: {stop}", file=sys.stderr)
        return stop.code
    except OSError as error:
        print(f"flowerbench: {error.strerror}: {error.filename or ROOT}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def require_python(version: "tuple[int, ...]") -> None:
    """Raises Stop where `version` is older than the project admits."""
    if version < OLDEST_PYTHON:
        here, needed = (".".join(map(str, v)) for v in (version, OLDEST_PYTHON))
        raise Stop(f"needs Python {needed} or newer, and this is {here}: use a newer one", USAGE_ERROR)


def set_up(root: Path, extra: str) -> str:
    """Install the project in `.venv` of the checkout `root`, unless that was done; returns the Python there.

    The stamp goes first and comes last, so that an interrupted installation is taken up again.
    """
    if not all((root / name).is_file() for name in INPUTS):
        raise Stop(
            "quickstart and test are for a checkout, and this is an installed package: "
            "use python -m flowerbench.train --help, or flowerbench.report",
            USAGE_ERROR,
        )
    folder = root / ".venv"
    python, stamp_file = venv_python(folder), folder / "flowerbench.stamp"
    # The tools for tests do not disturb the quick start.
    enough = {stamp(root, extra), stamp(root, "dev")}
    if python.is_file() and stamp_file.is_file() and stamp_file.read_text() in enough:
        return str(python)
    print(f"flowerbench: setting up {folder} (once; torch is large, so this takes minutes)")
    if stamp_file.is_file():
        stamp_file.unlink()
    if not is_usable(python):
        require_room(root)
        step(root, *create_command(folder, has_ensurepip=importlib.util.find_spec("ensurepip") is not None))
    step(root, *install_command(python, extra, has_pip=succeeds(python, "import pip")))
    stamp_file.write_text(stamp(root, extra))
    return str(python)


def require_room(root: Path) -> None:
    """Raises Stop where `root` is read-only, or its disk too full for torch on a CPU (on a GPU it is larger)."""
    if not os.access(str(root), os.W_OK):
        raise Stop(f"cannot write in {root}: use a checkout of your own", FAILED)
    free = shutil.disk_usage(str(root)).free
    if free < ROOM:
        here, needed = (f"{size / 1e9:.1f} GB" for size in (free, ROOM))
        raise Stop(f"the disk of {root} has {here} free, and this needs {needed}: make room first", FAILED)


def stamp(root: Path, extra: str) -> str:
    """A hash of what decides the installation: the place, Python's version, the extra and two files."""
    parts = [str(root).encode(), repr(sys.version_info[:2]).encode(), extra.encode()]
    return hashlib.sha256(b"\0".join(parts + [(root / name).read_bytes() for name in INPUTS])).hexdigest()


def venv_python(folder: Path, windows: bool = os.name == "nt") -> Path:
    """Where an environment keeps its Python."""
    return folder / "Scripts" / "python.exe" if windows else folder / "bin" / "python"


def create_command(folder: Path, has_ensurepip: bool) -> "list[str]":
    """Make the environment anew. Debian's Python cannot put pip into it before python3-venv is installed."""
    options = ["--clear"] if has_ensurepip else ["--clear", "--without-pip"]
    return [sys.executable, "-m", "venv", *options, str(folder)]


def install_command(python: Path, extra: str, has_pip: bool) -> "list[str]":
    """Install the checkout for `python`: with its own pip, or with that of this Python, which then adds one."""
    what = ["-e", f".[{extra}]" if extra else ".", "-c", "constraints.txt"]
    if has_pip:
        return [str(python), "-m", "pip", "install", *what]
    if importlib.util.find_spec("pip") is None:
        raise Stop("needs pip, which this Python lacks: install python3-venv or python3-pip first", FAILED)
    return [sys.executable, "-m", "pip", "--python", str(python), "install", "pip", *what]


def is_usable(python: Path) -> bool:
    """Whether the environment's Python runs, and is of the version that is running this."""
    return succeeds(python, f"import sys; sys.exit(sys.version_info[:2] != {tuple(sys.version_info[:2])})")


def succeeds(python: Path, code: str) -> bool:
    """Whether `python` is there and runs `code` without an error."""
    if not python.is_file():
        return False
    return subprocess.run([str(python), "-c", code], capture_output=True, check=False).returncode == 0


def step(root: Path, *command: str) -> None:
    """Run one step of the set-up; raises Stop when it fails.

    It has a session of its own where there are such, because pip and venv answer Ctrl-C with a traceback.
    """
    code = call(root, *command, own_session=os.name != "nt")
    if code == INTERRUPTED:
        raise Stop("interrupted; the same command goes on from here", INTERRUPTED)
    if code != 0:
        raise Stop(f"the step above failed (exit code {code}); the same command goes on from here", FAILED)


def call(root: Path, *command: str, own_session: bool = False) -> int:
    """Show a command as one would type it in `root`, and run it there; returns its exit code.

    Ctrl-C reaches a child of our session by itself: this waits until it has ended in its own way. SIGTERM, and
    Ctrl-C for a session of its own, is passed on as SIGTERM.
    """
    shown = [os.path.relpath(part, root) if part.startswith(str(root) + os.sep) else part for part in command]
    print("$ " + (subprocess.list2cmdline(shown) if os.name == "nt" else shlex.join(shown)), flush=True)
    child = subprocess.Popen(command, cwd=str(root), start_new_session=own_session)

    def stop() -> None:
        if own_session:
            os.killpg(child.pid, signal.SIGTERM)
        else:
            child.terminate()

    before = signal.signal(signal.SIGTERM, lambda *_: stop())
    interrupted = False
    try:
        while child.returncode is None:
            try:
                child.wait()
            except KeyboardInterrupt:
                interrupted = True
                if own_session:
                    stop()
    finally:
        signal.signal(signal.SIGTERM, before)
    if interrupted:
        return INTERRUPTED
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
