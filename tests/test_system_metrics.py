"""How busy the machine is: measured for real, into a real store."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from flowerbench import checks, identity, mlflow_store, tracking
from flowerbench.config import Tracking
from flowerbench.errors import UsageError
from tests.test_delivery import Line, line  # noqa: F401 - a fixture
from tests.test_tracking import epoch, fetched, history

CPU = "system/cpu_utilization_percentage"


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Tracking:
    uri = f"sqlite:///{tmp_path_factory.mktemp('store').as_posix()}/mlflow.db"
    mlflow_store.create_store(uri, "busy")
    return Tracking(uri=uri, experiment="busy", system_metrics=True)


def run(store: Tracking, folder: Path, *epochs: int) -> str | None:
    with tracking.run(store, params={}, name="x", folder=folder) as tracker:
        for number in epochs:
            time.sleep(0.12)
            tracker.log(epoch(number))
    return tracker.run_id


def measuring() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "system metrics"]


def test_a_run_has_the_use_of_its_machine_in_a_section_of_its_own(store: Tracking, tmp_path: Path):
    run_id = run(store, tmp_path, 1, 2)
    metrics = fetched(store, run_id).data.metrics
    assert {CPU, "system/system_memory_usage_percentage", "system/disk_usage_percentage"} <= set(metrics)
    samples = history(store, run_id, CPU)
    assert [step for step, _ in samples] == list(range(len(samples)))
    assert len(samples) >= 3
    assert all(0 <= value <= 100 for _, value in samples)
    assert 0 < metrics["system/system_memory_usage_percentage"] < 100
    assert [step for step, _ in history(store, run_id, "val/accuracy")] == [1, 2]
    assert not measuring(), "it ends with the run"


def test_a_run_shorter_than_the_time_between_samples_has_one(
    store: Tracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "100")
    began = time.monotonic()
    assert len(history(store, run(store, tmp_path, 1), CPU)) == 1
    assert time.monotonic() - began < 10


def test_a_run_that_goes_on_has_no_step_twice(store: Tracking, tmp_path: Path):
    first = run(store, tmp_path, 1)
    before = len(history(store, first, CPU))
    assert run(store, tmp_path, 1, 2) == first
    steps = [step for step, _ in history(store, first, CPU)]
    assert len(steps) > before
    assert steps == list(range(len(steps)))


def test_samples_that_the_store_missed_arrive_later(store: Tracking, tmp_path: Path, line: Line):  # noqa: F811
    with tracking.run(store, params={}, name="x", folder=tmp_path) as tracker:
        line.is_cut = True
        for number in (1, 2):
            time.sleep(0.12)
            began = time.monotonic()
            tracker.log(epoch(number))
            assert time.monotonic() - began < 2
        line.is_cut = False
        assert history(store, tracker.run_id, CPU) == []
    samples = history(store, tracker.run_id, CPU)
    assert [step for step, _ in samples] == list(range(len(samples)))
    assert len(samples) >= 3


def test_what_cannot_be_measured_costs_a_line_and_no_run(
    store: Tracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor

    def fail(self: Any) -> None:
        raise PermissionError("no disk for you")

    monkeypatch.setattr(DiskMonitor, "collect_metrics", fail)
    run_id = run(store, tmp_path, 1)
    assert fetched(store, run_id).info.status == "FINISHED"
    assert [record.getMessage() for record in caplog.records] == ["No system metrics from here on: no disk for you"]


def test_nothing_is_measured_unless_asked_for(store: Tracking, tmp_path: Path):
    quiet = Tracking(uri=store.uri, experiment=store.experiment, system_metrics=False)
    with tracking.run(quiet, params={}, name="x", folder=tmp_path / "a") as tracker:
        assert not measuring()
    assert CPU not in fetched(store, tracker.run_id).data.metrics
    with tracking.run(Tracking(None, "busy", True), params={}, name="x", folder=tmp_path / "b"):
        assert not measuring()


def test_without_psutil_it_is_refused_in_one_line(compose_config: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    with pytest.raises(UsageError, match=r"^tracking\.system_metrics=true needs psutil: .*install '\.\[system\]'$"):
        checks.check(compose_config("experiment=quickstart", "tracking.system_metrics=true"))
    checks.check(compose_config("experiment=quickstart"))


def test_it_is_no_setting_of_a_run(compose_config: Any):
    plain, busy = compose_config(), compose_config("tracking.system_metrics=true")
    assert identity.settings(plain) == identity.settings(busy)
    assert identity.trajectory(plain, {}) == identity.trajectory(busy, {})
