"""A sweep in several processes of this machine, one of which is killed."""

from __future__ import annotations

import psutil
import pytest

from tests.clusters.conftest import is_whole

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]

PROCESSES = ["hydra/launcher=processes", "hydra.launcher.n_jobs=2", "tracking=none"]
EPOCHS = 100


def workers(driver: int) -> list[psutil.Process]:
    """The processes that joblib runs points in."""
    below = psutil.Process(driver).children(recursive=True)
    return [process for process in below if any("popen_loky_posix" in word for word in process.cmdline())]


def test_points_run_together_and_all_finish(sweep, photos):
    running = sweep(*PROCESSES, *photos, f"epochs={EPOCHS}", "seed=0,1,2,3")
    running.wait_for("two points are under way", lambda: len(running.under_way()) == 2)
    code, output, errors = running.finish()
    assert code == 0, output + errors
    assert running.statuses() == {f"seed-{seed}": "FINISHED" for seed in range(4)}
    assert all(is_whole(running, name, EPOCHS) for name in running.runs())


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
