from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from flowerbench import assembly, engine, model, placement
from flowerbench._torchvision import torchvision
from flowerbench.data import augment, images, sources, split
from flowerbench.errors import RunError, UsageError
from flowerbench.history import row_of

transforms = torchvision.transforms


class Setting:
    """What a config is assembled to, as train.py has it."""

    def __init__(self, cfg) -> None:
        self.cfg = cfg
        self.made = assembly.assemble(cfg)
        self.photos, self.parts, self.batches = self.made.photos, self.made.parts, self.made.stream
        self.network, self.placement = self.made.network, self.made.placement

    def fit(self, on_batch=lambda *step: None, **more):
        return list(self.made.epochs(self.cfg, on_batch, **more))


@pytest.fixture
def setting(compose_config, photo_folder):
    def make(*overrides: str) -> Setting:
        common = ["data=folder", f"data.root={photo_folder}", "data.workers=0", "model=tiny", "image_size=32"]
        # 40 photos to train on: whole batches of 8.
        return Setting(compose_config(*common, "data.stratify=false", "batch_size=8", "epochs=2", *overrides))

    return make


def plain_losses(cfg, steps: int) -> list[float]:
    """The losses of a loop as a tutorial writes it: torchvision's transforms, torch's optimiser and schedule."""
    photos = sources.load(cfg.data)
    train = np.array(split.split(photos, cfg.data).train)
    prepare = transforms.Compose(
        [
            transforms.Resize(round(cfg.image_size / 0.875)),
            transforms.CenterCrop(cfg.image_size),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    torch.manual_seed(augment.model_seed(cfg.seed, 0))
    network = model.tiny(num_classes=3).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.1)
    losses: list[float] = []
    epoch = 0
    while len(losses) < steps:
        epoch += 1
        network.train()
        for indices in np.array_split(train[augment.order(cfg.seed, epoch, len(train))], len(train) // 8):
            batch = torch.stack([prepare(images.read_rgb(photos.root / photos.paths[i])) for i in indices])
            labels = torch.tensor([photos.labels[i] for i in indices])
            optimizer.zero_grad()
            loss = F.cross_entropy(network(batch.contiguous(memory_format=torch.channels_last)), labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        scheduler.step()
    return losses[:steps]


def test_each_loss_equals_that_of_a_plain_loop(setting, monkeypatch):
    ours = setting("data.augmentation=null", "epochs=10", "optim.lr=0.01", "schedule.step_size=3")
    losses: list[float] = []

    def recording(logits, labels, **more):
        loss = cross_entropy(logits, labels, **more)
        if torch.is_grad_enabled():
            losses.append(loss.item())
        return loss

    cross_entropy = F.cross_entropy
    monkeypatch.setattr(engine.F, "cross_entropy", recording)
    ours.fit()
    monkeypatch.undo()
    assert len(losses) == 50
    assert losses[-1] < 0.9 * losses[0], "it learned something, so the comparison means something"
    np.testing.assert_allclose(losses, plain_losses(ours.cfg, 50), rtol=1e-6)


def test_an_epoch_says_what_happened_in_it(setting):
    ours = setting("epochs=4", "schedule.step_size=2", "optim.lr=0.01")
    epochs = ours.fit()
    assert [epoch.epoch for epoch in epochs] == [1, 2, 3, 4]
    assert [epoch.lr for epoch in epochs] == pytest.approx([0.01, 0.01, 0.001, 0.001]), "the rate used in the epoch"
    last = epochs[-1]
    assert last.probabilities.shape == (10, 3)
    assert last.probabilities.sum(axis=1) == pytest.approx(np.ones(10), abs=1e-5)
    labels = np.array([ours.photos.labels[i] for i in ours.parts.val])
    assert last.val_correct == (last.probabilities.argmax(axis=1) == labels).sum()
    assert last.val_accuracy == last.val_correct / 10
    expected = -np.log(last.probabilities[np.arange(10), labels]).mean()
    assert last.val_loss == pytest.approx(expected, rel=1e-5)


def test_the_same_config_gives_the_same_numbers_to_the_last_digit(setting):
    first, second = setting().fit(), setting().fit()
    for a, b in zip(first, second, strict=True):
        assert (a.train_loss, a.train_accuracy, a.val_loss) == (b.train_loss, b.train_accuracy, b.val_loss)
        assert (a.probabilities == b.probabilities).all()
    assert setting("seed=1").fit()[0].train_loss != first[0].train_loss


def test_dropout_does_not_depend_on_what_ran_before(setting):
    def second_epoch(noise: int) -> float:
        ours = setting("model.name=mobilenet_v2", "+model.kwargs.width_mult=0.25", "image_size=32")
        torch.rand(noise)
        return ours.fit(on_batch=lambda *_: torch.rand(noise) if _[1] == _[2] else None)[1].train_loss

    assert second_epoch(1) == second_epoch(7)


def test_evaluation_changes_nothing(setting):
    ours = setting()
    before = {name: value.clone() for name, value in ours.network.state_dict().items()}
    engine.evaluate(ours.network, ours.batches.val(1, ours.parts.val), ours.placement)
    assert all(torch.equal(value, before[name]) for name, value in ours.network.state_dict().items())


@pytest.mark.parametrize("optim", ["sgd", "adamw"])
@pytest.mark.parametrize("schedule", ["step", "onecycle"])
def test_it_learns_what_is_easy(setting, optim, schedule):
    ours = setting(f"optim={optim}", f"schedule={schedule}", "optim.lr=0.01", "epochs=8", "data.augmentation=null")
    epochs = ours.fit()
    assert epochs[-1].train_accuracy > 0.8
    assert all(parameter.grad is not None for parameter in ours.network.parameters()), "all layers train"


def test_a_schedule_that_watches_the_validation_loss_is_fed_it(setting):
    plateau = "schedule={_target_: torch.optim.lr_scheduler.ReduceLROnPlateau, patience: 0, "
    plateau += "threshold_mode: abs, threshold: 99}"
    ours = setting("~schedule", f"+{plateau}", "epochs=4", "optim.lr=0.01")
    assert [epoch.lr for epoch in ours.fit()] == pytest.approx([0.01, 0.01, 0.001, 0.0001])


def test_a_run_ends_when_it_has_not_been_better_for_a_while(setting):
    worse_and_worse = setting("epochs=9", "optim.lr=1e-9", "patience=2", "data.augmentation=null", "seed=3")
    losses = setting("epochs=9", "optim.lr=0.01", "patience=2", "best_by=loss", "schedule=constant")
    assert len(worse_and_worse.fit()) == 3, "its first epoch was the best"
    history = [row_of(epoch) for epoch in losses.fit()]
    best = min(history, key=lambda row: row["val_loss"])
    assert len(history) == min(best["epoch"] + 2, 9)


@given(st.integers(1, 300), st.integers(1, 40))
def test_parts_of_a_batch_are_as_long_as_one_another(photos, size):
    lengths = [len(part) for part in engine._parts(torch.arange(photos), size)]
    assert sum(lengths) == photos
    assert max(lengths) <= size
    assert max(lengths) - min(lengths) <= 1


def test_a_run_that_had_no_patience_left_trains_no_more(setting):
    done = [row_of(epoch) for epoch in setting("epochs=3", "optim.lr=1e-9").fit()]
    assert setting("epochs=9", "patience=1").fit(done=done) == []


def test_bf16_stays_near_fp32(setting):
    exact, mixed = setting("optim.lr=0.01").fit(), setting("optim.lr=0.01", "precision=bf16").fit()
    assert mixed[-1].train_loss != exact[-1].train_loss
    assert mixed[-1].train_loss == pytest.approx(exact[-1].train_loss, rel=0.05)


def test_a_loss_that_is_not_finite_stops_the_run_and_says_where(setting):
    with pytest.raises(RunError, match=r"^epoch [12]: the (training|validation) loss became (nan|inf).*optim\.lr"):
        setting("optim.lr=1e30").fit()


def test_progress_counts_the_photos(setting):
    seen: list[tuple[str, int, int]] = []
    setting("epochs=1", "eval_batch_size=8").fit(on_batch=lambda *step: seen.append(step))
    assert [s for s in seen if s[0] == "train"] == [("train", done, 40) for done in (8, 16, 24, 32, 40)]
    assert [s for s in seen if s[0] == "val"] == [("val", 8, 10), ("val", 10, 10)]


@pytest.mark.long
@pytest.mark.skipif(not any(map(shutil.which, placement._COMPILERS)), reason="there is no C++ compiler")
def test_a_compiled_model_differs_by_rounding(setting):
    plain, compiled = setting("optim.lr=0.001"), setting("optim.lr=0.001", "compile=true")
    assert list(plain.network.state_dict()) == list(compiled.network.state_dict())
    frames = torch._dynamo.utils.counters["frames"]
    before = frames["ok"]
    for a, b in zip(plain.fit(), compiled.fit(), strict=True):
        assert a.train_loss == pytest.approx(b.train_loss, rel=1e-4)
        assert a.val_loss == pytest.approx(b.val_loss, rel=1e-4)
        np.testing.assert_allclose(a.probabilities, b.probabilities, atol=1e-3)
    assert frames["ok"] > before, "it was compiled"


def test_compile_without_a_compiler_is_refused(setting, monkeypatch):
    monkeypatch.setattr(placement.shutil, "which", lambda name: None)
    with pytest.raises(UsageError, match=r"compile=true needs a C\+\+ compiler"):
        setting("compile=true")


_FAULTS = """
import resource, sys, torch
from flowerbench import placement
if sys.argv[1] == "kept":
    placement.pick_device("cpu")
layers = torch.nn.Sequential(*(torch.nn.Conv2d(64, 64, 1) for _ in range(3)), torch.nn.ReLU())
photos = torch.ones(8, 64, 160, 160)  # 52 MB
for step in range(6):
    if step == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    layers(photos).sum().backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="only glibc is told")
def test_memory_is_kept_between_steps():
    """What a step frees is not asked of the system again: hardly a page of the next step's tensors is faulted in."""

    def faults(how: str) -> int:
        environment = os.environ | {"OMP_NUM_THREADS": "2"}
        command = [sys.executable, "-c", _FAULTS, how]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert faults("kept") < 0.2 * faults("given back")


def test_auto_picks_a_device_and_a_missing_one_is_refused():
    assert placement.pick_device("cpu") == torch.device("cpu")
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert placement.pick_device("auto").type == expected
    with pytest.raises(UsageError, match="device=cuda:99 cannot be used here"):
        placement.pick_device("cuda:99")


def test_channels_last_is_the_layout(setting):
    ours = setting()
    for batches in (ours.batches.train(1, ours.parts.train), ours.batches.val(1, ours.parts.val)):
        assert all(images.is_contiguous(memory_format=torch.channels_last) for images, _ in batches)
    weights = [m.weight for m in ours.network.modules() if isinstance(m, nn.Conv2d)]
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in weights)
