"""A sweep on a real SLURM: a job that is cancelled, and one that has to make room."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.clusters.conftest import is_whole

pytestmark = [pytest.mark.long, pytest.mark.alone, pytest.mark.timeout(600)]

SLURM = ["hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1", "tracking=none"]
EPOCHS = 100


def jobs() -> dict[str, str]:
    """The running jobs: the number of each point, and the name by which SLURM knows its job."""
    asked = ["squeue", "--noheader", "--states=RUNNING", "--Format=ArrayTaskID:20,ArrayJobID:20"]
    lines = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split("\n")
    return {number: f"{array}_{number}" for number, array in (line.split() for line in lines if line.strip())}


def test_a_cancelled_job_is_one_point_lost_which_the_same_command_finishes(slurm, sweep, photos, alone):
    command = [*SLURM, *photos, f"epochs={EPOCHS}", "seed=0,1,2,3"]
    first = sweep(*command)
    first.wait_for("the second point is under way", lambda: "seed-1" in first.under_way())
    subprocess.run(["scancel", jobs()["1"]], check=True)
    code, output, errors = first.finish()
    assert code == 1, output + errors
    assert first.statuses() == {"seed-0": "FINISHED", "seed-1": "KILLED", "seed-2": "FINISHED", "seed-3": "FINISHED"}
    # Four seeds are one row of the table.
    assert re.search(r"^\|.*\(n=3\).*\| 3 FINISHED; 1 KILLED[^|]*\|$", output, re.MULTILINE), output
    before = first.epochs("seed-1")
    assert 3 <= len(before) < EPOCHS
    written = {name: (run / "history.csv").stat().st_mtime_ns for name, run in first.runs().items()}

    second = sweep(*command)
    code, output, errors = second.finish()
    assert code == 0, output + errors
    assert set(second.statuses().values()) == {"FINISHED"}
    assert len(second.runs()) == 4
    # The seconds of every epoch stand in its row, so these epochs were not trained again.
    assert second.epochs("seed-1")[: len(before)] == before
    assert is_whole(second, "seed-1", EPOCHS)
    assert second.numbers("seed-1") == alone(f"epochs={EPOCHS}", "seed=1")
    for name in ("seed-0", "seed-2", "seed-3"):
        assert (second.runs()[name] / "history.csv").stat().st_mtime_ns == written[name]


def test_a_job_that_is_told_to_make_room_goes_on_later_by_itself(slurm, sweep, photos):
    running = sweep(*SLURM, *photos, f"epochs={EPOCHS}", "seed=0,1")
    running.wait_for("the first point is under way", lambda: "seed-0" in running.under_way())
    before = running.epochs("seed-0")
    # What SLURM sends before a time limit and at a pre-emption, as hydra.launcher.signal_delay_s asks it to.
    subprocess.run(["scancel", "--signal=USR2", jobs()["0"]], check=True)
    code, output, errors = running.finish(within=400)
    assert code == 0, output + errors
    assert set(running.statuses().values()) == {"FINISHED"}
    assert running.epochs("seed-0")[: len(before)] == before
    assert is_whole(running, "seed-0", EPOCHS)
