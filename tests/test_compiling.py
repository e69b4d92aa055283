"""What compile=auto decides, and that it decides alike ever after."""

from __future__ import annotations

import json
import logging
import shutil

import pytest
import torch
from filelock import FileLock, Timeout
from hypothesis import given
from hypothesis import strategies as st

from flowerbench import assembly, compiling, placement, provenance
from flowerbench.compiling import Trial

CPU = torch.device("cpu")
GAIN, LOSS = Trial(0.2, 0.1, 30.0), Trial(0.1, 0.1, 30.0)


@pytest.fixture
def auto(compose_config, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("FLOWERBENCH_CACHE", str(tmp_path / "cache"))
    caplog.set_level(logging.INFO)
    return lambda *overrides: compose_config("experiment=quickstart", "compile=auto", "epochs=10", *overrides)


def refuse(*given, **named):
    pytest.fail("tried")


times = st.floats(0.001, 10)


@given(times, times, times, st.integers(1, 10**6))
def test_compiling_pays_from_some_number_of_steps_on_or_never(plain, compiled, compiling_, steps):
    trial = Trial(plain, compiled, compiling_)
    if trial.saved(steps) > 0:
        assert compiled < plain
        assert trial.saved(steps + 1) > trial.saved(steps)
    assert trial.saved(0) == -compiling_


def test_a_gain_within_the_noise_is_none():
    assert Trial(0.1, 0.094, 1.0).pays(10_000)
    assert not Trial(0.1, 0.096, 1.0).pays(10_000)
    assert Trial(0.1, 0.096, 1.0).saved(10_000) > 0


@pytest.mark.parametrize(("trial", "is_compiled"), [(GAIN, True), (LOSS, False)])
def test_a_trial_decides_and_is_made_once(auto, monkeypatch, caplog, trial, is_compiled):
    cfg = auto()
    monkeypatch.setattr(compiling, "_tried", lambda *given: trial)
    assert compiling.decided(cfg, 5, 1600, CPU) is is_compiled
    said = f"70 s saved in {10 * 1600 // 16:,} steps" if is_compiled else "30 s lost in 1,000 steps"
    assert said in caplog.text
    monkeypatch.setattr(compiling, "_tried", refuse)
    assert compiling.decided(cfg, 5, 1600, CPU) is is_compiled
    assert compiling.decided(cfg, 5, 1600, CPU, may_try=False) is is_compiled


def test_points_that_begin_together_wait_for_one_trial(auto, monkeypatch):
    def alone(cfg, classes, device, steps):
        with pytest.raises(Timeout):
            FileLock(f"{compiling._file(cfg, device)}.lock").acquire(timeout=0)
        return GAIN

    monkeypatch.setattr(compiling, "_tried", alone)
    assert compiling.decided(auto(), 5, 1600, CPU)
    with FileLock(f"{compiling._file(auto(), CPU)}.lock").acquire(timeout=0):
        pass  # given back


def test_other_settings_need_a_trial_of_their_own(auto, monkeypatch):
    monkeypatch.setattr(compiling, "_tried", lambda *given: GAIN)
    assert compiling.decided(auto(), 5, 1600, CPU)
    monkeypatch.setattr(compiling, "_tried", lambda *given: None)
    for override in ("batch_size=8", "image_size=24", "model.freeze=1", "precision=bf16"):
        assert not compiling.decided(auto(override), 5, 1600, CPU), override
    assert not compiling.decided(auto("batch_size=8"), 5, 1600, CPU, may_try=False)


def test_a_short_run_is_not_tried(auto, monkeypatch, caplog):
    assert not compiling.decided(auto(), 5, 1600, CPU)
    assert "compile=auto: not compiled, since the run takes less than 10 minutes" in caplog.text


def test_without_a_compiler_nothing_is_compiled(auto, monkeypatch, caplog):
    monkeypatch.setattr(compiling, "_SHORT", 0.0)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert not compiling.decided(auto(), 5, 1600, CPU)
    assert "not compiled, since compile=true needs a C++ compiler on the CPU" in caplog.text


def test_what_torch_cannot_compile_is_trained_all_the_same(auto, monkeypatch, caplog):
    monkeypatch.setattr(compiling, "_SHORT", 0.0)
    monkeypatch.setattr(shutil, "which", lambda name: name)

    def broken(*given, **named):
        raise RuntimeError("no such backend\nand more")

    monkeypatch.setattr(torch, "compile", broken)
    assert not compiling.decided(auto(), 5, 1600, CPU)
    assert "not compiled, since torch.compile fails here (no such backend)" in caplog.text


def test_true_and_false_are_not_asked_about(auto, monkeypatch):
    monkeypatch.setattr(compiling, "_tried", refuse)
    assert compiling.decided(auto("compile=true"), 5, 1600, CPU)
    assert not compiling.decided(auto("compile=false"), 5, 1600, CPU)


def test_its_epochs_are_those_of_a_run_that_was_told(auto):
    asked, told = auto(), auto("compile=false")
    assert provenance.trajectory(asked, {}, False) == provenance.trajectory(told, {}, False)
    assert provenance.trajectory(asked, {}, True) == provenance.trajectory(auto("compile=true"), {}, True)
    assert provenance.trajectory(asked, {}, True) != provenance.trajectory(asked, {}, False)


def test_a_trial_changes_no_number(auto, monkeypatch, photo_folder):
    monkeypatch.setattr(compiling, "_SHORT", 0.0)
    monkeypatch.setattr(placement, "_COMPILERS", ())  # so far it goes, and no farther
    photos = ["data=folder", f"data.root={photo_folder}", "data.workers=0"]

    def loss(*overrides):
        made = assembly.assemble(cfg := auto(*photos, *overrides))
        assert not made.is_compiled
        return next(made.epochs(cfg, lambda *step: None)).train_loss

    assert loss() == loss("compile=false")


@pytest.mark.long
@pytest.mark.skipif(not any(map(shutil.which, placement._COMPILERS)), reason="there is no C++ compiler")
def test_a_real_trial(auto, monkeypatch, tmp_path):
    monkeypatch.setattr(compiling, "_SHORT", 0.0)
    compiling.decided(auto(), 5, 1600, CPU)
    (file,) = (tmp_path / "cache" / "compile").glob("*.json")
    kept = json.loads(file.read_text())
    assert min(kept["plain"], kept["compiled"]) > 0
    assert kept["compiling"] > kept["compiled"]
