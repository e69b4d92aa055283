"""How the cores and GPUs of a machine are shared out among the points of a sweep."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowerbench import isolation, launchers

JOBLIB = {"_target_": "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher", "n_jobs": 2}
SLURM = {"_target_": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher", "cpus_per_task": 4}
RAY = {"_target_": "hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher", "ray": {"remote": {"num_cpus": 3}}}
BASIC = {"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher"}


@pytest.mark.parametrize(("launcher", "share"), [(JOBLIB, 8), (SLURM, 4), (RAY, 3), (BASIC, 16)])
def test_a_point_gets_the_cores_that_its_launcher_gives_it(launcher, share):
    assert launchers.cores_of_a_point(launcher, 16) == share


@given(n_jobs=st.integers(1, 300), here=st.integers(1, 200))
def test_points_of_one_machine_get_one_core_at_least_and_no_more_than_there_are(n_jobs, here):
    share = launchers.cores_of_a_point(JOBLIB | {"n_jobs": n_jobs}, here)
    assert share >= 1
    assert share == 1 or share * n_jobs <= here


def test_as_many_jobs_as_cores_are_counted():
    assert launchers.points_at_a_time(JOBLIB | {"n_jobs": -1}) >= 1
    assert (
        launchers.points_at_a_time(SLURM) == launchers.points_at_a_time(RAY) == launchers.points_at_a_time(BASIC) == 1
    )


@given(gpus=st.integers(1, 8), points=st.integers(1, 40))
def test_gpus_are_dealt_out_one_by_one(gpus, points):
    names = [f"GPU-{number}" for number in range(gpus)]
    dealt = [launchers.own_gpu(place, names)["CUDA_VISIBLE_DEVICES"] for place in range(points)]
    counts = [dealt.count(name) for name in names]
    assert max(counts) - min(counts) <= 1


def test_a_machine_without_a_gpu_deals_out_none():
    assert launchers.own_gpu(0, []) == {}


def test_gpus_that_no_variable_names_are_counted_in_a_process_of_its_own(tmp_path, monkeypatch):
    """CUDA takes no more notice of the variable once a process has asked it, so what trains must not have asked."""
    asked = []
    monkeypatch.setattr(isolation, "call", lambda function: asked.append(function) or isolation.Outcome(3, 0))
    monkeypatch.setattr("torch.cuda.device_count", lambda: pytest.fail("asked here"))
    first, second = dict[str, str](), dict[str, str]()
    with launchers.share(JOBLIB, tmp_path, first), launchers.share(JOBLIB, tmp_path, second):
        assert (first["CUDA_VISIBLE_DEVICES"], second["CUDA_VISIBLE_DEVICES"]) == ("0", "1")
    assert asked == [launchers.count_gpus] * 2


def test_a_machine_that_has_none_shows_none(tmp_path, monkeypatch):
    monkeypatch.setattr(isolation, "call", lambda function: isolation.Outcome(0, 0))
    environ = dict[str, str]()
    with launchers.share(JOBLIB, tmp_path, environ):
        assert "CUDA_VISIBLE_DEVICES" not in environ


def test_a_number_of_threads_that_the_user_chose_stays():
    assert launchers.own_cores({"OMP_NUM_THREADS": "3"}, 8)["OMP_NUM_THREADS"] == "3"
    assert launchers.own_cores({}, 8)["OMP_NUM_THREADS"] == "8"


def test_points_that_run_together_have_each_a_place_and_give_it_back(tmp_path):
    first, second, third = ({"CUDA_VISIBLE_DEVICES": "4,7"} for _ in range(3))
    with launchers.share(JOBLIB, tmp_path, first):
        with launchers.share(JOBLIB, tmp_path, second):
            assert (first["CUDA_VISIBLE_DEVICES"], second["CUDA_VISIBLE_DEVICES"]) == ("4", "7")
        with launchers.share(JOBLIB, tmp_path, third):
            assert third["CUDA_VISIBLE_DEVICES"] == "7"
    assert first == second == third == {"CUDA_VISIBLE_DEVICES": "4,7"}


def test_an_error_of_the_point_gives_the_place_back(tmp_path):
    with pytest.raises(TimeoutError), launchers.share(JOBLIB, tmp_path, {"CUDA_VISIBLE_DEVICES": "4,7"}):
        raise TimeoutError
    after = {"CUDA_VISIBLE_DEVICES": "4,7"}
    with launchers.share(JOBLIB, tmp_path, after):
        assert after["CUDA_VISIBLE_DEVICES"] == "4"


def test_a_scheduler_gives_gpus_itself(tmp_path):
    environ = {"CUDA_VISIBLE_DEVICES": "4,7"}
    with launchers.share(SLURM, tmp_path, environ):
        assert environ["CUDA_VISIBLE_DEVICES"] == "4,7"


def test_the_place_of_a_killed_process_is_free_again(tmp_path):
    code = f"""
import sys
from pathlib import Path
from flowerbench import launchers
with launchers.share({JOBLIB!r}, Path({str(tmp_path)!r}), {{"CUDA_VISIBLE_DEVICES": "4,7"}}):
    print("in", flush=True)
    sys.stdin.read()
"""
    holder = subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout.readline() == "in\n"
        while_held = {"CUDA_VISIBLE_DEVICES": "4,7"}
        with launchers.share(JOBLIB, tmp_path, while_held):
            assert while_held["CUDA_VISIBLE_DEVICES"] == "7"
    finally:
        holder.kill()
        holder.wait(timeout=30)
    afterwards = {"CUDA_VISIBLE_DEVICES": "4,7"}
    with launchers.share(JOBLIB, tmp_path, afterwards):
        assert afterwards["CUDA_VISIBLE_DEVICES"] == "4"


def test_torch_and_the_processes_that_prepare_photos_keep_to_the_share(tmp_path):
    code = "import torch; from flowerbench import launchers; print(torch.get_num_threads(), launchers.cores())"
    environ = {key: value for key, value in os.environ.items() if key not in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    environ["PYTHONPATH"] = str(Path(__file__).parents[1])
    whole = launchers.machine_cores()
    with launchers.share(JOBLIB | {"n_jobs": max(2, whole)}, tmp_path, environ):
        done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1"]
    assert launchers.cores({}) == whole


def test_a_point_on_another_machine_works_in_the_folder_and_with_the_store_of_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    monkeypatch.setenv("UNRELATED", "here alone")
    given = launchers.environment(str(tmp_path))
    assert given["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:5000"
    assert "UNRELATED" not in given
    code = "from flowerbench import launchers; launchers.enter_folder(); import os; print(os.getcwd())"
    environ = os.environ | given | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()) == tmp_path


def test_a_launcher_that_is_not_installed_is_named_with_its_extra():
    from hydra.errors import MissingConfigException

    from flowerbench.errors import one_line

    error = MissingConfigException("In 'hydra/launcher/slurm': Could not load 'hydra/launcher/submitit_slurm'.\n")
    assert one_line(error) == "this launcher is not installed: in the checkout, pip install '.[slurm]'"
