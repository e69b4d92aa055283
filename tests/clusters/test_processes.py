"""A sweep in several processes of this machine, one of which is killed."""

from __future__ import annotations

import json

import psutil
import pytest

from flowerbench import launchers
from tests.clusters.conftest import is_whole

pytestmark = [pytest.mark.long, pytest.mark.alone, pytest.mark.timeout(400)]

PROCESSES = ["hydra/launcher=processes", "hydra.launcher.n_jobs=2", "tracking=none"]
EPOCHS = 100


def workers(driver: int) -> list[psutil.Process]:
    """The processes that joblib runs points in."""
    below = psutil.Process(driver).children(recursive=True)
    return [process for process in below if any("popen_loky_posix" in word for word in process.cmdline())]


def test_points_run_together_and_come_to_what_they_would_alone(sweep, photos, alone):
    running = sweep(*PROCESSES, *photos, f"epochs={EPOCHS}", "seed=0,1,2,3")
    running.wait_for("two points are under way", lambda: len(running.under_way()) == 2)
    code, output, errors = running.finish()
    assert code == 0, output + errors
    assert running.statuses() == {f"seed-{seed}": "FINISHED" for seed in range(4)}
    assert all(is_whole(running, name, EPOCHS) for name in running.runs())
    assert running.numbers("seed-1") == alone(f"epochs={EPOCHS}", "seed=1")


def test_a_killed_worker_does_not_end_the_sweep(sweep, photos):
    running = sweep(*PROCESSES, *photos, f"epochs={EPOCHS}", "seed=0,1,2,3")
    running.wait_for("two points are under way", lambda: len(running.under_way()) == 2)
    before = {name: running.epochs(name) for name in running.under_way()}
    workers(running.process.pid)[0].kill()
    code, output, errors = running.finish()
    assert code == 0, output + errors
    assert running.statuses() == {f"seed-{seed}": "FINISHED" for seed in range(4)}
    assert all(is_whole(running, name, EPOCHS) for name in running.runs())
    # The seconds of every epoch stand in its row, so these epochs were not trained again.
    assert {name: running.epochs(name)[: len(rows)] for name, rows in before.items()} == before


# An optimiser that writes down what its point has of the machine, once two points are there.
SPY = """
import json, os, time
from pathlib import Path
import torch
from flowerbench import launchers

class Sgd(torch.optim.SGD):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        seen = [os.environ["CUDA_VISIBLE_DEVICES"], torch.get_num_threads(), launchers.cores()]
        Path(f"seen-{os.getpid()}.json").write_text(json.dumps(seen))
        deadline = time.monotonic() + 100
        while len(list(Path().glob("seen-*.json"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
"""


def test_points_that_run_together_share_the_cores_and_have_a_gpu_each(sweep, photos, tmp_path, monkeypatch):
    (tmp_path / "spy.py").write_text(SPY)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    running = sweep(*PROCESSES, *photos, "epochs=1", "seed=0,1", "optim._target_=spy.Sgd", "device=cpu")
    code, output, errors = running.finish()
    assert code == 0, output + errors
    seen = [json.loads(file.read_text()) for file in tmp_path.glob("seen-*.json")]
    assert sorted(gpu for gpu, _, _ in seen) == ["4", "7"]
    share = max(1, launchers.machine_cores() // 2)
    assert {(threads, cores) for _, threads, cores in seen} == {(share, share)}
