from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from flowerbench import cache, checkpoint, trajectory
from flowerbench.engine import Epoch
from flowerbench.trajectory import Trajectory


def epoch(number: int, accuracy: float) -> Epoch:
    return Epoch(number, 0.1, 1 / 3, 0.5, 0.25, accuracy, 1.5, int(10 * accuracy), np.eye(2, dtype=np.float32))


def state(number: int, size: int = 2) -> checkpoint.Snapshot:
    return checkpoint.snapshot({"model": {"w": torch.full((size,), float(number))}, "epoch": number})


def kept(folder: Path, accuracies: list[float], max_gb: float = 1, size: int = 2) -> Trajectory:
    made = Trajectory(folder, max_gb=max_gb, extends=True)
    for number, accuracy in enumerate(accuracies, start=1):
        made.append(epoch(number, accuracy), state(number, size), {"settings": "x"})
    return made


def test_what_is_kept_comes_back_to_the_last_bit(tmp_path):
    made = kept(tmp_path / "t", [0.1, 0.7, 0.7, 0.3])
    assert [made.usable(n) for n in (0, 1, 3, 4, 9)] == [0, 1, 3, 4, 4]
    found = made.epochs(4)
    assert [e.val_accuracy for e in found] == [0.1, 0.7, 0.7, 0.3]
    assert found[0].train_loss == 1 / 3
    assert (type(found[0].epoch), type(found[0].val_correct)) == (int, int)
    assert found[0].probabilities.dtype == np.float32
    assert (found[0].probabilities == np.eye(2)).all()
    last, best = made.states(found) or ({}, {})
    assert last["model"]["w"].tolist() == [4, 4]
    assert best["epoch"] == 2, "of equals the first"
    assert cache.about(tmp_path / "t") == {"settings": "x", "epochs": 4, "seconds": 6.0}


@pytest.mark.parametrize(
    ("lost", "usable"),
    [("0004.pt", 3), ("0003.npz", 2), ("0001.npz", 0), ("0002.pt", 1), ("0003.pt", 4), ("0001.pt", 4)],
)
def test_an_epoch_counts_when_a_run_could_go_on_from_it(tmp_path, lost, usable):
    made = kept(tmp_path / "t", [0.1, 0.7, 0.7, 0.3])
    (tmp_path / "t" / lost).unlink()
    assert made.usable(4) == usable


def test_a_broken_epoch_is_trained_again(tmp_path, caplog):
    made = kept(tmp_path / "t", [0.1, 0.7, 0.8])
    (tmp_path / "t" / "0003.npz").write_bytes(b"half")
    assert made.usable(3) == 2
    assert "broken epoch 3" in caplog.text


def test_a_broken_state_counts_no_more(tmp_path, caplog):
    made = kept(tmp_path / "t", [0.1, 0.7, 0.3])
    (tmp_path / "t" / "0003.pt").write_bytes(b"half")
    assert made.usable(3) == 3
    assert made.states(made.epochs(3)) is None
    assert "0003.pt is broken" in caplog.text
    assert made.usable(3) == 2
    assert made.states(made.epochs(2)) is not None


def test_epochs_that_no_run_could_take_are_not_kept(tmp_path):
    Trajectory(tmp_path / "t", max_gb=1, extends=True).append(epoch(2, 0.5), state(2), {})
    assert not (tmp_path / "t").exists()


def test_epochs_whose_states_had_gone_count_once_in_what_they_took(tmp_path):
    made = kept(tmp_path / "t", [0.1, 0.7, 0.3])
    made.append(epoch(2, 0.7), state(2), {"settings": "x"})
    assert cache.about(tmp_path / "t") == {"settings": "x", "epochs": 3, "seconds": 4.5}


@pytest.fixture
def read_only(tmp_path):
    """A folder on a disk that can be made read-only, also for root; and what makes it so."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.name == "nt" or os.geteuid() != 0:
        pytest.skip("only root can mount a disk")
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    yield folder, lambda: subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("mode", ["read", "on"])
def test_a_cache_that_cannot_be_written_is_read(read_only, compose_config, mode, capsys):
    folder, lock = read_only
    kept(folder / "t", [0.1, 0.7])
    lock()
    with trajectory.shared("t", compose_config(f"cache.dir={folder}", f"reuse={mode}", "epochs=3")) as found:
        assert found.usable(3) == 2
        found.append(epoch(3, 0.5), state(3), {})
    assert found.usable(3) == 2
    cache.main(["--dir", str(folder)])
    assert "1 trajectories" in capsys.readouterr().out


def test_a_disk_that_is_full_is_one_warning(read_only, caplog):
    folder, _ = read_only
    kept(folder / "t", [0.1] * 30, size=100_000)
    assert sum("No space left on device" in record.getMessage() for record in caplog.records) == 1


def test_nobody_waits_for_epochs_that_are_there(tmp_path, compose_config):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        kept(tmp_path / "t", [0.1, 0.2])
        began = time.monotonic()
        with trajectory.shared("t", compose_config(f"cache.dir={tmp_path}", "epochs=2")) as found:
            assert found.usable(2) == 2
        assert time.monotonic() - began < 5
        threading.Timer(1, lambda: kept(tmp_path / "t", [0.1, 0.2, 0.3])).start()
        with trajectory.shared("t", compose_config(f"cache.dir={tmp_path}", "epochs=3")) as found:
            assert found.usable(3) == 3, "it is let go as soon as its epochs are there"
        assert holder.poll() is None
    finally:
        holder.kill()
        holder.wait()


def test_reading_alone_adds_nothing(tmp_path):
    Trajectory(tmp_path / "t").append(epoch(1, 0.5), state(1), {})
    assert not (tmp_path / "t").exists()


def test_the_least_recently_used_go_first_and_never_the_one_in_use(tmp_path, compose_config):
    for number, name in enumerate("abc"):
        kept(tmp_path / name, [0.1], size=1000)
        os.utime(tmp_path / name, (1000 + number, 1000 + number))
    size = cache.entries(tmp_path)[0].size
    cfg = compose_config(f"cache.dir={tmp_path}")
    with trajectory.shared("a", cfg):  # the oldest, but a run is at work on it
        assert cache.entries(tmp_path)[-1].folder.name == "a", "use makes it the newest"
        os.utime(tmp_path / "a", (1, 1))
        removed = cache.bound(tmp_path, 2.5 * size)
    assert [entry.folder.name for entry in removed] == ["b"]
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"a", "c"}
    kept(tmp_path / "d", [0.1], max_gb=1.5 * size / 1e9, size=1000)
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"d"}


def test_a_trajectory_too_large_by_itself_keeps_what_a_run_can_go_on_from(tmp_path):
    one = kept(tmp_path / "one", [0.1], size=10_000)
    size = cache.entries(tmp_path)[0].size
    made = kept(tmp_path / "t", [0.3, 0.2, 0.5, 0.1, 0.4], max_gb=3.5 * size / 1e9, size=10_000)
    assert not (tmp_path / "one").exists()
    assert one.usable(1) == 0
    assert {file.name for file in (tmp_path / "t").glob("*.pt")} == {"0001.pt", "0003.pt", "0005.pt"}
    assert (made.usable(5), made.usable(4), made.usable(3)) == (5, 3, 3)


HOLD = (
    "import sys, time\n"
    "from hydra import compose, initialize_config_dir\n"
    "from flowerbench import config, trajectory\n"
    "config.register()\n"
    "with initialize_config_dir(str(config.folder()), version_base='1.3'):\n"
    "    cfg = compose('config', [f'cache.dir={sys.argv[1]}'])\n"
    "with trajectory.shared('t', cfg):\n"
    "    print('held', flush=True); time.sleep(60)\n"
)


def test_a_dead_holder_has_let_go(tmp_path, compose_config):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        waited: list[float] = []

        def wait() -> None:
            with trajectory.shared("t", compose_config(f"cache.dir={tmp_path}")):
                waited.append(time.monotonic())

        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(1)
        assert not waited, "it waits for whoever holds it"
    finally:
        killed = time.monotonic()
        holder.kill()
        holder.wait()
    waiting.join(timeout=10)
    assert waited
    assert waited[0] - killed < 3


def test_the_command_lists_and_prunes(tmp_path, capsys):
    kept(tmp_path / "aaaa", [0.1, 0.2])
    kept(tmp_path / "bbbb", [0.1])
    cache.main(["--dir", str(tmp_path)])
    listed = capsys.readouterr().out
    assert "| aaaa " in listed
    assert "| bbbb " in listed
    assert "2 trajectories" in listed
    cache.main(["prune", "aaaa", "--dir", str(tmp_path)])
    assert "aaaa" not in capsys.readouterr().out
    cache.main(["prune", "--max-gb", "0", "--dir", str(tmp_path)])
    assert "No epochs are kept" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["prune"], 2, "prune what?"),
        (["prune", "cccc"], 2, "no trajectory cccc"),
        (["erase"], 2, "invalid choice"),
        (["prune", "aaaa"], 1, "a run is at work on aaaa"),
    ],
)
def test_the_command_refuses_in_one_line(tmp_path, capsys, compose_config, arguments, code, told):
    kept(tmp_path / "aaaa", [0.1])
    with trajectory.shared("aaaa", compose_config(f"cache.dir={tmp_path}")), pytest.raises(SystemExit) as left:
        cache.main([*arguments, "--dir", str(tmp_path)])
    assert left.value.code == code
    assert told in capsys.readouterr().err
