"""What becomes of a run that meets trouble, in this process; sweeps of such runs are in test_sweep.py."""

from __future__ import annotations

import json

import pytest
import torch

from flowerbench import engine, guard, placement, sweep
from flowerbench.train import train


@pytest.fixture
def attempt(compose_config, photo_folder, tmp_path):
    """Run a config as the command does, but in this process: the accuracy, the exit code and the summary."""

    def attempted(*overrides: str, name: str = "run") -> tuple[float | None, int, dict]:
        base = ["data=folder", f"data.root={photo_folder}", "model=tiny", "image_size=16", "data.workers=0"]
        more = ["tracking=none", f"cache.dir={tmp_path / 'cache'}", "epochs=2", "batch_size=16"]
        value, code = guard.guarded(train, compose_config(*base, *more, *overrides), sweep.Run(tmp_path / name, name))
        file = tmp_path / name / "summary.json"
        return value, code, json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}

    return attempted


@pytest.fixture
def small_memory(monkeypatch):
    """A device that runs out of memory when more than so many photos go through the model at once."""

    def limited_to(photos: int) -> list[int]:
        sizes: list[int] = []
        forward = torch.nn.Sequential.forward  # the tiny model is one

        def limited(self, images):
            sizes.append(len(images))
            if len(images) > photos:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return forward(self, images)

        monkeypatch.setattr(torch.nn.Sequential, "forward", limited)
        return sizes

    return limited_to


def test_when_memory_runs_out_batches_go_through_in_parts(attempt, small_memory, caplog):
    sizes = small_memory(5)
    value, code, summary = attempt("min_micro_batch=2")
    assert code == 0
    assert value == summary["best_val_accuracy"]
    assert (summary["status"], summary["micro_batch"]) == ("FINISHED", 4)
    assert sizes[:2] == [16, 8]
    assert max(sizes[2:]) == 4
    assert "batches of 16 in parts of 4 photos whose gradients add up" in caplog.text
    assert "batch norm sees the smaller parts" in caplog.text


def test_memory_that_is_too_small_for_any_part_is_one_line(attempt, small_memory, caplog):
    small_memory(5)
    _, code, summary = attempt("min_micro_batch=6")
    assert (code, summary["status"]) == (1, "FAILED")
    assert "try a smaller image_size or model" in caplog.records[-1].getMessage()


def test_parts_give_the_same_step_without_batch_norm():
    """Gradients of the parts add up to those of the batch, also where the last part is smaller."""
    torch.manual_seed(0)
    images, labels = torch.randn(10, 3, 16, 16), torch.arange(10) % 3
    losses, weights = [], []
    for micro_batch in (None, 4):
        torch.manual_seed(1)
        layers = (torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(4 * 14 * 14, 3))
        network = torch.nn.Sequential(*layers)
        placed = placement.place(network, torch.device("cpu"), "fp32")
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        losses.append(engine.train_epoch(network, [(images, labels)], optimizer, placed, micro_batch=micro_batch))
        weights.append([parameter.detach().clone() for parameter in network.parameters()])
    assert losses[0][0] == pytest.approx(losses[1][0], rel=1e-6)
    assert losses[0][1] == losses[1][1]
    for one, other in zip(*weights, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_a_failed_run_is_tried_again_in_its_folder(attempt, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setattr(engine, "evaluate", lambda *args, **kwargs: 1 / 0)
        _, code, summary = attempt()
    assert (code, summary["status"], summary["reason"]) == (1, "FAILED", "division by zero")
    _, code, summary = attempt()
    assert (code, summary["status"], summary["reason"]) == (0, "FINISHED", None)


def test_the_log_file_has_the_traceback_of_an_expected_failure(attempt, tmp_path):
    import logging

    handler = logging.FileHandler(tmp_path / "train.log")
    logging.getLogger().addHandler(handler)
    try:
        _, code, summary = attempt("optim.lr=1e30")
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
    assert (code, summary["status"]) == (1, "FAILED")
    assert "Traceback" in (tmp_path / "train.log").read_text()
