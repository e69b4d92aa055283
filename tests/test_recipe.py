"""What a step does beside the plain one."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from flowerbench import assembly, recipe


@pytest.fixture
def made(compose_config, photo_folder):
    def build(*overrides: str):
        common = ["data=folder", f"data.root={photo_folder}", "data.workers=0", "model=tiny", "image_size=32"]
        cfg = compose_config(*common, "batch_size=8", "epochs=2", "optim.lr=0.01", *overrides)
        return cfg, assembly.assemble(cfg)

    return build


def fitted(cfg, assembled, **more):
    return list(assembled.epochs(cfg, lambda *step: None, **more))


def test_label_smoothing_is_in_training_alone(made):
    cfg, smooth = made("regularization.label_smoothing=0.2", "optim.lr=1e-12")
    plain = fitted(*made("optim.lr=1e-12"))[0]
    softened = fitted(cfg, smooth)[0]
    assert softened.train_loss != plain.train_loss
    assert softened.val_loss == pytest.approx(plain.val_loss, rel=1e-5)
    logits, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    assert torch.equal(smooth.recipe.loss(logits, labels), F.cross_entropy(logits, labels, label_smoothing=0.2))


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_mixed_photos_have_mixed_targets_and_the_same_in_every_run(made, kind):
    setting = f"regularization.{kind}=1.0"
    _, assembled = made(setting)
    torch.manual_seed(0)
    images, labels = torch.rand(8, 3, 32, 32), torch.arange(8) % 3
    mixed, targets = assembled.recipe.mixed(images, labels)
    assert targets.shape == (8, 3)
    assert targets.sum(1) == pytest.approx(torch.ones(8))
    assert not torch.equal(mixed, images)
    first, second = fitted(*made(setting)), fitted(*made(setting))
    assert [epoch.train_loss for epoch in first] == [epoch.train_loss for epoch in second]
    assert first[0].train_loss != fitted(*made())[0].train_loss


def test_both_kinds_of_mixing_take_turns(made):
    _, assembled = made("regularization.mixup=1.0", "regularization.cutmix=1.0")
    torch.manual_seed(0)
    labels = torch.arange(8) % 3
    flat = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 3, 8, 8).contiguous()
    kinds = set()
    for _ in range(20):
        mixed, _ = assembled.recipe.mixed(flat, labels)
        kinds.add("cut" if any(len(photo.unique()) > 1 for photo in mixed) else "up")
    assert kinds == {"cut", "up"}


def test_gradients_are_shortened_before_the_step(made):
    _, free = made()
    _, clipped = made("optim.clip_norm=0.001", "optim.momentum=0")
    for assembled in (free, clipped):
        images, labels = next(iter(assembled.stream.train(1, assembled.parts.train)))
        F.cross_entropy(assembled.network(images), labels).backward()
        assembled.recipe.step(assembled.network, assembled.optimizer)
    norms = [
        torch.cat([p.grad.flatten() for p in assembled.network.parameters()]).norm() for assembled in (free, clipped)
    ]
    assert norms[0] > 0.01
    assert norms[1] == pytest.approx(0.001, rel=1e-3)


def test_accumulated_batches_are_one_step_of_a_large_batch(made):
    norms = "model.name=alexnet"  # no batch norm, which would see the parts; dropout off
    few = ["image_size=64", "+model.kwargs={dropout: 0.0}", "epochs=1", norms]
    accumulated = fitted(*made("batch_size=8", "optim.accumulate=5", *few))[0]
    large = fitted(*made("batch_size=40", *few))[0]
    assert accumulated.train_loss == pytest.approx(large.train_loss, rel=1e-5)
    assert accumulated.val_loss == pytest.approx(large.val_loss, rel=1e-4)


def test_the_average_follows_the_weights_and_is_what_is_validated(made):
    cfg, assembled = made("model.ema=0.9")
    before = {name: value.clone() for name, value in assembled.network.state_dict().items()}
    last = fitted(cfg, assembled)[-1]
    state = assembled.state()
    mean, trained = state["model"]["0.weight"], state["trained_model"]["0.weight"]
    assert not torch.equal(mean, trained)
    assert not torch.equal(mean, before["0.weight"])
    judged = recipe.averaged(assembled.network, 0.9).module
    judged.load_state_dict(state["model"])
    judged.eval()
    images, labels = zip(*assembled.stream.val(2, assembled.parts.val), strict=True)
    logits = torch.cat([judged(batch) for batch in images])
    assert F.cross_entropy(logits, torch.cat(labels)).item() == pytest.approx(last.val_loss, rel=1e-4)
    assert last.train_loss == fitted(*made())[1].train_loss, "training is what it is without"


def test_a_run_with_an_average_goes_on_from_its_state(made):
    whole = fitted(*made("model.ema=0.9"))
    cfg, begun = made("model.ema=0.9")
    steps = begun.epochs(cfg, lambda *step: None)
    from flowerbench import checkpoint
    from flowerbench.history import row_of

    first = next(steps)
    state = checkpoint.snapshot(begun.state()).state
    cfg, again = made("model.ema=0.9")
    again.load(state)
    (second,) = fitted(cfg, again, done=[row_of(first)])
    assert (second.train_loss, second.val_loss) == (whole[1].train_loss, whole[1].val_loss)


def test_a_photo_and_its_mirror_image_are_one_answer(made):
    cfg, assembled = made("eval_flips=true", "epochs=1")
    (epoch,) = fitted(cfg, assembled)
    images = torch.cat([batch for batch, _ in assembled.stream.val(1, assembled.parts.val)])
    with torch.inference_mode():
        expected = (assembled.network(images).softmax(1) + assembled.network(images.flip(-1)).softmax(1)) / 2
    assert torch.allclose(torch.from_numpy(epoch.probabilities), expected, atol=1e-5)
    assert epoch.probabilities.sum(1) == pytest.approx(1, abs=1e-5)
