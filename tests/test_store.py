from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from flowerbench import atomic, checkpoint, claim, store, summaries
from flowerbench.data.sources import Photos
from flowerbench.data.split import Split
from flowerbench.engine import Epoch
from flowerbench.errors import Pruned, RunError, UsageError
from flowerbench.history import row_of

PHOTOS = Photos(Path(), ("ash", "beech"), ("ash/1.png", "ash/2.png", "beech/1.png"), (0, 0, 1), ("x",) * 3, (None,) * 3)
PARTS = Split((0,), (1, 2), "f")


def epoch(number: int, correct: int) -> Epoch:
    probabilities = np.array([[0.75, 0.25], [0.125, 0.875]], dtype=np.float32)
    return Epoch(number, 0.1, 1 / 3, 0.5, 0.25, correct / 2, 1.5, correct, probabilities)


def state(number: int) -> dict:
    return {"model": {"w": torch.full((2,), float(number))}, "optimizer": {"lr": 0.1}, "scheduler": {}, "epoch": number}


def record(folder: store.RunFolder, epoch: Epoch, state: dict) -> None:
    folder.record(epoch, checkpoint.snapshot(state), PHOTOS, PARTS)


def summary(path: Path) -> dict:
    return json.loads((path / "summary.json").read_text(encoding="utf-8"))


def test_what_is_recorded_can_be_read_back(tmp_path):
    with store.RunFolder(tmp_path / "run", {"name": "a"}) as folder:
        assert summary(folder.path)["status"] == "RUNNING"
        folder.know(classes={"ash": 2, "beech": 1}, val_total=2)
        for number, correct in enumerate([0, 2, 2, 1], start=1):
            record(folder, epoch(number, correct), state(number))
    with (folder.path / "history.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert float(rows[0]["train_loss"]) == 1 / 3, "to the last digit"
    ended = summary(folder.path)
    assert (ended["status"], ended["best_epoch"], ended["best_val_correct"]) == ("FINISHED", 2, 2), (
        "the first of equals"
    )
    assert (ended["name"], ended["val_total"], ended["epochs_done"]) == ("a", 2, 4)
    best = torch.load(folder.path / "best.pt", weights_only=True)
    last = torch.load(folder.path / "last.pt", weights_only=True)
    assert (best["epoch"], last["epoch"]) == (2, 4)
    assert best["model"]["w"].tolist() == [2, 2]
    assert "optimizer" in last
    assert "optimizer" not in best
    lines = (folder.path / "val_predictions.csv").read_text(encoding="utf-8").splitlines()
    assert lines == [
        "photo,label,prediction,p(ash),p(beech)",
        "ash/2.png,ash,ash,0.750000,0.250000",
        "beech/1.png,beech,beech,0.125000,0.875000",
    ]
    leftovers = {path.name for path in folder.path.iterdir()} - {".lock"}
    assert leftovers == {"history.csv", "summary.json", "best.pt", "last.pt", "val_predictions.csv"}


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (RunError("epoch 2: the loss became nan"), "FAILED", "epoch 2: the loss became nan"),
        (ValueError("two\nlines"), "FAILED", "two lines"),
        (KeyboardInterrupt(), "KILLED", "stopped by Ctrl-C or a signal"),
        (Pruned("pruned after epoch 1"), "PRUNED", "pruned after epoch 1"),
    ],
)
def test_however_it_ends_the_summary_says_so(tmp_path, error, status, reason):
    with pytest.raises(type(error)), store.RunFolder(tmp_path, {}) as folder:
        record(folder, epoch(1, 1), state(1))
        raise error
    ended = summary(tmp_path)
    assert (ended["status"], ended["reason"], ended["epochs_done"], ended["best_epoch"]) == (status, reason, 1, 1)


def test_an_epoch_is_in_the_history_only_when_its_model_is_on_disk(tmp_path, monkeypatch):
    def disk_is_full(state, file):
        file.write(b"half")
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"), store.RunFolder(tmp_path, {}) as folder:
        record(folder, epoch(1, 1), state(1))
        monkeypatch.setattr(torch, "save", disk_is_full)
        record(folder, epoch(2, 2), state(2))
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 2
    assert torch.load(tmp_path / "last.pt", weights_only=True)["epoch"] == 1
    assert summary(tmp_path)["status"] == "FAILED"


def test_a_folder_belongs_to_one_run_at_a_time(tmp_path):
    with (
        claim.alone_in(tmp_path),
        pytest.raises(UsageError, match="in use by another run"),
        claim.alone_in(tmp_path),
    ):
        pass
    assert not claim.is_at_work(tmp_path)


def test_another_process_may_be_waited_for(tmp_path):
    import threading
    import time

    entered = threading.Event()

    def hold():
        with claim.alone_in(tmp_path):
            entered.set()
            time.sleep(0.3)

    holder = threading.Thread(target=hold)
    holder.start()
    entered.wait()
    assert claim.is_at_work(tmp_path)
    with claim.alone_in(tmp_path, waits=True):
        assert not holder.is_alive() or not holder.join()


def test_results_of_other_settings_are_refused_and_not_touched(tmp_path, compose_config):
    with store.RunFolder(tmp_path, {"settings": "those of another command"}) as folder:
        record(folder, epoch(1, 2), state(1))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UsageError, match="holds a run already"):
        store.refuse_other_settings(tmp_path, compose_config())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


FACTS = {"identity": "i", "trajectory": "t"}


def began_with(tmp_path, number):
    with store.RunFolder(tmp_path, {}) as folder:
        folder.resume(FACTS)
        for n in range(1, number + 1):
            record(folder, epoch(n, n % 2), numbered(n))


def numbered(n):
    return {**state(n), "numbers": {k: v for k, v in row_of(epoch(n, n % 2)).items() if k != "seconds"}}


def test_a_run_goes_on_from_the_last_epoch_that_has_a_model(tmp_path):
    began_with(tmp_path, 3)
    with store.RunFolder(tmp_path, {}) as folder:
        found = folder.resume(FACTS)
        assert found is not None
        assert (found["epoch"], folder.epochs_done, folder.best["epoch"]) == (3, 3, 1)
        assert summary(tmp_path)["epochs_resumed"] == 3
        record(folder, epoch(4, 2), numbered(4))
    assert [line.split(",")[0] for line in (tmp_path / "history.csv").read_text().splitlines()[1:]] == list("1234")
    assert summary(tmp_path)["best_epoch"] == 4


def test_epochs_of_another_computation_do_not_count(tmp_path, caplog):
    caplog.set_level("INFO")
    began_with(tmp_path, 2)
    with store.RunFolder(tmp_path, {}) as folder:
        assert folder.resume(FACTS | {"trajectory": "another"}) is None
        assert folder.epochs_done == 0
        assert not (tmp_path / "history.csv").exists()
    assert "beginning again" in caplog.text


def test_a_line_that_was_not_written_comes_from_the_checkpoint(tmp_path):
    began_with(tmp_path, 2)
    file = tmp_path / "history.csv"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:-1], "2,0.1,0.3"]))
    with store.RunFolder(tmp_path, {}) as folder:
        assert folder.resume(FACTS)["epoch"] == 2
    after = file.read_text().splitlines()
    assert after[2].rpartition(",")[0] == lines[2].rpartition(",")[0]
    assert after[2].endswith(",nan")


def test_seconds_add_up_over_the_processes_of_a_run(tmp_path):
    began_with(tmp_path, 1)
    summaries.write(tmp_path, summaries.read(tmp_path) | {"seconds": 100.0})
    with store.RunFolder(tmp_path, {}) as folder:
        folder.resume(FACTS)
    assert 100 <= summary(tmp_path)["seconds"] < 110


def test_taken_epochs_are_as_if_they_had_been_recorded(tmp_path):
    began_with(tmp_path / "one", 3)
    with store.RunFolder(tmp_path / "other", {}) as folder:
        folder.resume(FACTS)
        folder.take([epoch(n, n % 2) for n in (1, 2, 3)], numbered(3), numbered(1), PHOTOS, PARTS)
    for name in ("best.pt", "last.pt", "val_predictions.csv", "history.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes(), name
    assert summary(tmp_path / "other")["epochs_reused"] == 3


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    atomic.write_text(tmp_path / "a", "old\n")
    with pytest.raises(ZeroDivisionError):
        atomic.write(tmp_path / "a", lambda path: (path.write_text("half"), 1 / 0))
    assert (tmp_path / "a").read_bytes() == b"old\n"
    atomic.write_text(tmp_path / "a", "new\n")
    assert (tmp_path / "a").read_bytes() == b"new\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_numbers_keep_every_digit(tmp_path):
    with store.RunFolder(tmp_path, {}) as folder:
        odd = Epoch(1, 0.1 * 3, math.pi, 0.1, 1e-17, 0.5, 1.0, 1, np.full((2, 2), 0.5, dtype=np.float32))
        record(folder, odd, state(1))
    row = (tmp_path / "history.csv").read_text().splitlines()[1].split(",")
    assert [float(row[1]), float(row[2]), float(row[4])] == [0.1 * 3, math.pi, 1e-17]
