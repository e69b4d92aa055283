"""A frozen backbone looks at each photo once."""

from __future__ import annotations

import pytest
import torch

from flowerbench import assembly
from flowerbench.history import row_of

PROBE = ("model.freeze=backbone", "data.augmentation=null")


@pytest.fixture
def made(compose_config, photo_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("FLOWERBENCH_CACHE", str(tmp_path / "cache"))

    def build(*overrides: str):
        common = ["data=folder", f"data.root={photo_folder}", "data.workers=0", "model=mobilenet_v2"]
        small = ["model.weights=null", "model.kwargs.width_mult=0.1", "image_size=32", "batch_size=8", "epochs=3"]
        cfg = compose_config(*common, *small, "optim.lr=0.1", *PROBE, *overrides)
        return cfg, assembly.assemble(cfg)

    return build


def refuse(*given):
    raise RuntimeError("computed again")


def fitted(cfg, assembled):
    return [row_of(epoch) | {"seconds": 0} for epoch in assembled.epochs(cfg, lambda *step: None)]


def test_the_head_learns_the_same_as_with_the_whole_model_in_every_epoch(made, monkeypatch):
    cfg, probe = made()
    assert probe.learner is probe.network.classifier[1]
    rows = fitted(cfg, probe)
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    monkeypatch.setattr(assembly.features, "are_enough", lambda *given: False)
    cfg, whole = made()
    assert whole.learner is whole.network
    for own, expected in zip(rows, fitted(cfg, whole), strict=True):
        assert own == pytest.approx(expected, rel=1e-4)
    own, expected = (assembled.state()["model"]["classifier.1.weight"] for assembled in (probe, whole))
    assert torch.allclose(own, expected, atol=1e-5)


def test_features_are_computed_once(made, monkeypatch):
    first = fitted(*made())
    monkeypatch.setattr(assembly.features, "_computed", refuse)
    assert fitted(*made()) == first
    fitted(*made("optim.lr=0.05", "batch_size=16", "seed=0"))


def test_other_weights_have_other_features(made, monkeypatch):
    fitted(*made())
    monkeypatch.setattr(assembly.features, "_computed", refuse)
    with pytest.raises(RuntimeError, match="computed again"):
        made("seed=1")


@pytest.mark.parametrize("more", ["model.ema=0.9", "eval_flips=true", "regularization.mixup=0.2"])
def test_where_photos_change_or_more_than_the_head_learns_they_are_no_use(made, more):
    _, assembled = made(more)
    assert assembled.learner is assembled.network


def test_dropout_of_the_head_is_drawn_in_training(made):
    dropped, plain = fitted(*made("model.dropout=0.5")), fitted(*made())
    assert dropped[0]["train_loss"] != plain[0]["train_loss"]


def test_a_broken_file_of_features_is_computed_again(made, tmp_path):
    first = fitted(*made())
    (file,) = (tmp_path / "cache").rglob("features.npy")
    file.write_bytes(file.read_bytes()[:100])
    assert fitted(*made()) == first


def test_no_more_photos_are_in_the_network_than_there_is_memory_for(made, monkeypatch):
    sizes: list[int] = []
    computed = assembly.features._computed

    def watched(batches, count, network, *rest):
        with network.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0]))):
            return computed(batches, count, network, *rest)

    monkeypatch.setattr(assembly.features, "_computed", watched)
    cfg, whole = made("eval_batch_size=16")
    assert max(sizes) == 16
    sizes.clear()
    assembled = assembly.assemble(cfg, micro_batch=3)
    assert (max(sizes), sum(sizes)) == (3, 50)
    for own, expected in zip(fitted(cfg, assembled), fitted(cfg, whole), strict=True):
        assert own == pytest.approx(expected, rel=1e-4)
