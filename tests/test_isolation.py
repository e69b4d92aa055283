from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flowerbench import interrupt, isolation

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


def double(number: int) -> int:
    return 2 * number


def leave(code: int) -> None:
    sys.exit(code)


def die(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(10)


def surroundings() -> tuple[str | None, int, str]:
    import multiprocessing

    import torch

    return os.environ.get("OMP_NUM_THREADS"), torch.get_num_threads(), multiprocessing.get_start_method()


def linger(mark: str) -> None:
    with interrupt.listening():
        Path(mark).write_text(str(os.getpid()))
        try:
            time.sleep(60)
        except KeyboardInterrupt as stopped:
            Path(mark).write_text(f"stopped by {stopped.args[0]}")
            raise


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()


def test_what_a_child_returns_comes_back():
    assert isolation.call(double, 21) == isolation.Outcome(42, 0)


def test_an_exit_code_comes_back():
    outcome = isolation.call(leave, 3)
    assert (outcome.value, outcome.exit_code, outcome.killed_by) == (None, 3, None)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_child_that_is_killed_does_no_harm(number):
    assert isolation.call(die, number).killed_by == signal.Signals(number).name
    assert isolation.call(double, 1).value == 2


def test_a_child_has_the_variables_and_threads_of_its_parent(monkeypatch):
    import multiprocessing

    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert isolation.call(surroundings).value == ("3", 3, multiprocessing.get_start_method())


def test_a_signal_stops_the_child_first(tmp_path):
    import threading

    mark = tmp_path / "mark"

    def send() -> None:
        deadline = time.monotonic() + 30
        while not mark.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=send).start()
    with interrupt.listening(), pytest.raises(KeyboardInterrupt) as stopped:
        isolation.call(linger, str(mark))
    assert stopped.value.args == (signal.SIGTERM,)
    assert mark.read_text() == "stopped by 15"


def test_a_child_never_outlives_its_parent(tmp_path):
    mark = tmp_path / "mark"
    code = "import sys; from flowerbench import isolation; from tests.test_isolation import linger; "
    code += "isolation.call(linger, sys.argv[1])"
    root = Path(__file__).parents[1]
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(mark)], cwd=root, env=os.environ | {"PYTHONPATH": str(root)}
    )
    try:
        deadline = time.monotonic() + 60
        while not (mark.exists() and mark.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        child = int(mark.read_text())
        assert is_alive(child)
    finally:
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 5
    while is_alive(child):
        assert time.monotonic() < deadline, "it is still there"
        time.sleep(0.05)


def test_of_two_reasons_to_end_the_first_counts(monkeypatch):
    """As on SLURM, where a launcher's handler ends the process and SIGTERM follows while the child is stopped."""
    stop = isolation._stop

    def asked_to_leave(*_: object, **__: object):
        raise SystemExit(255)

    def interrupted(child):
        stop(child)
        raise KeyboardInterrupt

    monkeypatch.setattr(isolation, "wait", asked_to_leave)
    monkeypatch.setattr(isolation, "_stop", interrupted)
    with pytest.raises(SystemExit) as ended:
        isolation.call(time.sleep, 60)
    assert ended.value.code == 255


def test_an_end_that_a_signal_overtakes_counts(monkeypatch):
    def overtaken(*_: object, **__: object):
        try:
            raise SystemExit(255)
        finally:
            raise KeyboardInterrupt

    monkeypatch.setattr(isolation, "wait", overtaken)
    with pytest.raises(SystemExit) as ended:
        isolation.call(time.sleep, 60)
    assert ended.value.code == 255
