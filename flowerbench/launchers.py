"""What Hydra's launchers leave to the points: a share each of the cores and GPUs of the machine that they are on."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

CORES = "FLOWERBENCH_CORES"
FOLDER = "FLOWERBENCH_FOLDER"
GPUS = "CUDA_VISIBLE_DEVICES"
# What brings each launcher that is not Hydra's own.
EXTRAS = {"joblib": "joblib", "submitit_slurm": "slurm", "submitit_local": "slurm", "ray": "ray"}


@contextmanager
def share(launcher: Mapping[str, Any], folder: Path, environ: MutableMapping[str, str] = os.environ) -> Iterator[None]:
    """Take the share of one point of the sweep in `folder`, as `hydra.launcher` has it, for as long as the point runs.

    Enter it in the point's own process or in the one that starts it, before torch is imported and a GPU used: torch
    and the processes that prepare photos read what this writes into `environ`.
    """
    before = dict(environ)
    here = machine_cores()
    with _place(folder) as place:
        if (own := cores_of_a_point(launcher, here)) < here:  # else torch knows better, which counts no core twice
            environ.update(own_cores(environ, own))
        if points_at_a_time(launcher) > 1:
            environ.update(own_gpu(place, visible_gpus(environ)))
        try:
            yield
        finally:
            environ.clear()
            environ.update(before)


def own_cores(environ: Mapping[str, str], cores: int) -> dict[str, str]:
    """The variables that limit a point to so many `cores`; a number of threads that was given before stays."""
    return {CORES: str(cores), "OMP_NUM_THREADS": environ.get("OMP_NUM_THREADS", str(cores))}


def threads(launcher: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> int | None:
    """The threads that a point will have, where its launcher limits them; None = as many as a single run."""
    here = machine_cores()
    own = cores_of_a_point(launcher, here)
    return given_threads(own_cores(environ, own)) if own < here else None


def given_threads(environ: Mapping[str, str]) -> int | None:
    """The threads that OMP_NUM_THREADS asks for, by its first number; None where it does not, or makes no sense."""
    first = environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) > 0 else None


def own_gpu(place: int, gpus: Sequence[str]) -> dict[str, str]:
    """The variable that shows the point at `place`, of those that run together, one GPU alone."""
    return {GPUS: gpus[place % len(gpus)]} if gpus else {}


def is_serial(launcher: Mapping[str, Any]) -> bool:
    """Whether points run one after another, in front of the user."""
    return str(launcher["_target_"]).endswith(".BasicLauncher")


def points_at_a_time(launcher: Mapping[str, Any]) -> int:
    """How many points share one machine; 1 where a cluster's scheduler gives each what is its own."""
    if not _is(launcher, "joblib"):
        return 1
    import joblib

    return int(joblib.effective_n_jobs(launcher["n_jobs"]))


def cores_of_a_point(launcher: Mapping[str, Any], here: int) -> int:
    """The share of one point in the `here` cores of its machine; the whole where the launcher limits nothing."""
    if _is(launcher, "submitit"):
        given = launcher.get("cpus_per_task")
    elif _is(launcher, "ray"):
        given = launcher["ray"]["remote"].get("num_cpus")
    else:
        given = here // points_at_a_time(launcher)
    return max(1, min(here, int(given))) if given is not None else here


def cores(environ: Mapping[str, str] = os.environ) -> int:
    """The cores that are there for this process: the share of its point, else those that the system grants."""
    return int(environ.get(CORES) or machine_cores())


def machine_cores() -> int:
    """The cores that the system grants this process: schedulers such as SLURM's may hold some back."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus(environ: Mapping[str, str]) -> list[str]:
    """The GPUs to share out, as CUDA_VISIBLE_DEVICES names them.

    Where it does not, they are counted by a process of its own: one that counts may have no other choice of them after.
    """
    if GPUS in environ:
        return [name for name in environ[GPUS].split(",") if name.strip()]
    from flowerbench import isolation

    return [str(number) for number in range(isolation.call(count_gpus).value or 0)]


def count_gpus() -> int:
    """How many GPUs torch sees."""
    import torch

    return torch.cuda.device_count()


def _is(launcher: Mapping[str, Any], kind: str) -> bool:
    return f"hydra_{kind}_launcher" in launcher["_target_"]


@contextmanager
def _place(folder: Path) -> Iterator[int]:
    """The first number that no other running point of the sweep holds; the system gives a dead one's back."""
    for number in itertools.count():
        lock = FileLock(folder / f".place-{number}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        try:
            yield number
        finally:
            lock.release()
        return


def environment(folder: str) -> dict[str, str]:
    """The variables that a process on another machine needs, to work as one that was started here, in `folder`."""
    ours = {name: value for name, value in os.environ.items() if name.startswith(("FLOWERBENCH_", "MLFLOW_"))}
    return ours | {FOLDER: folder}


def enter_folder() -> None:
    """Go where the sweep was started; Ray calls it in every process, which it starts in a folder of its own."""
    os.chdir(os.environ[FOLDER])
