from __future__ import annotations

import shutil
from collections import namedtuple

import numpy as np
import pytest
import torch

from flowerbench import cache
from flowerbench.data import batches as batches_module
from flowerbench.data import decoded, sources, split
from flowerbench.data.batches import Batches
from flowerbench.data.decoded import Decoded
from flowerbench.data.files import Files
from flowerbench.errors import RunError, one_line


@pytest.fixture
def data(compose_config, photo_folder):
    where = ["data=folder", f"data.root={photo_folder}", "data.stratify=false"]  # 40 photos to train on, and 10
    return compose_config(*where, "data.loader=stream", "data.workers=0").data


def made(data, photos, *, batch_size=8, eval_batch_size=8, start_method=None, seed=0, device=None):
    return Batches(
        photos,
        data,
        image_size=16,
        batch_size=batch_size,
        eval_batch_size=eval_batch_size,
        seed=seed,
        device=device,
        start_method=start_method,
    )


def epochs(data, *, epochs=(1, 2), **more):
    """All (images, labels) of the training and validation halves of some epochs."""
    photos = sources.load(data)
    parts = split.split(photos, data)
    batches = made(data, photos, **more)
    halves = []
    for epoch in epochs:
        halves += [list(batches.train(epoch, parts.train)), list(batches.val(epoch, parts.val))]
    return halves


def same(first, second):
    return all(
        len(a) == len(b) and all(torch.equal(x[0], y[0]) and torch.equal(x[1], y[1]) for x, y in zip(a, b, strict=True))
        for a, b in zip(first, second, strict=True)
    )


@pytest.mark.parametrize(
    ("workers", "start_method"),
    [(1, "fork"), (3, "fork"), (1, "spawn"), pytest.param(3, "spawn", marks=pytest.mark.long)],
)
def test_nothing_depends_on_worker_processes(data, workers, start_method):
    if start_method == "fork" and start_method not in torch.multiprocessing.get_all_start_methods():
        pytest.skip("this system has no fork")
    data.validation = "augmented"
    alone = epochs(data)
    data.workers = workers
    assert same(alone, epochs(data, start_method=start_method))


@pytest.mark.parametrize("validation", ["clean", "augmented"])
@pytest.mark.parametrize("augmentation", ["augmentation", "no augmentation"])
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_both_loaders_give_the_same_to_the_bit(data, validation, augmentation, scale):
    data.validation, data.decoded_scale = validation, scale
    if augmentation == "no augmentation":
        data.augmentation = None
    streamed = epochs(data)
    data.loader = "cached"
    assert same(streamed, epochs(data)), "decoded now"
    assert same(streamed, epochs(data)), "decoded before"


def test_nothing_depends_on_the_epochs_before(data):
    assert same(epochs(data, epochs=(1, 2))[2:], epochs(data, epochs=(2,)))


def test_a_photos_pixels_do_not_depend_on_batch_boundaries(data):
    small, large = (epochs(data, batch_size=size, eval_batch_size=size) for size in (4, 10))
    for a, b in zip(small, large, strict=True):
        assert torch.equal(torch.cat([x for x, _ in a]), torch.cat([x for x, _ in b]))


def test_epochs_and_seeds_differ_but_clean_validation_does_not(data):
    first_train, first_val, second_train, second_val = epochs(data)
    other_seed = epochs(data, seed=1)
    assert not same([first_train], [second_train])
    assert not same([first_train], [other_seed[0]])
    assert same([first_val], [second_val])


def test_batches_are_normalised_images_and_classes(data):
    data.augmentation = None
    train, val = epochs(data, epochs=(1,))
    images, labels = train[0]
    assert images.dtype == torch.float32
    assert images.shape == (8, 3, 16, 16)
    assert labels.dtype == torch.int64
    assert sum(len(labels) for _, labels in train) == 40
    assert len(np.unique(torch.cat([labels for _, labels in train]))) == 3
    whole = torch.cat([images for images, _ in train + val])
    mean, std = (torch.tensor(list(values)).view(1, 3, 1, 1) for values in (data.mean, data.std))
    bytes_ = (whole * std + mean) * 255
    assert bytes_.min() > -0.01
    assert bytes_.max() < 255.01
    assert (bytes_ - bytes_.round()).abs().max() < 1e-3, "clean photos are bytes"


def test_a_last_batch_of_one_photo_is_left_out(data):
    assert [len(labels) for _, labels in epochs(data, batch_size=13)[0]] == [13, 13, 13]
    assert [len(labels) for _, labels in epochs(data, batch_size=1)[0]] == [1] * 40


@pytest.mark.parametrize("loader", ["stream", "cached"])
def test_a_photo_that_vanishes_is_named(data, tmp_path, loader):
    copy = shutil.copytree(data.root, tmp_path / "copy")
    data.root, data.workers, data.loader = str(copy), 2, loader
    data.split_seed = 1
    photos = sources.load(data)
    (copy / "ash" / "003.png").unlink()
    shutil.rmtree(cache.decoded_folder(), ignore_errors=True)
    with pytest.raises(RunError) as raised:
        list(made(data, photos).val(1, range(len(photos))))
    assert one_line(raised.value).startswith("cannot read ash/003.png")


def source(data):
    return made(data, sources.load(data))._source


def test_auto_decodes_once_what_has_room(data, monkeypatch, caplog):
    data.loader = "auto"
    caplog.set_level("INFO")
    assert isinstance(source(data), Decoded)
    data.cached_max_gb = 0.0
    assert isinstance(source(data), Files)
    assert "Every epoch decodes its photos anew: kept they would take about 0.0 GB" in caplog.text
    data.cached_max_gb = 50.0
    Usage = namedtuple("Usage", "free")
    monkeypatch.setattr(batches_module.shutil, "disk_usage", lambda folder: Usage(free=1000))
    assert isinstance(source(data), Files)


def test_a_full_disk_is_told_and_auto_goes_on_without(data, monkeypatch, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(decoded, "_write", full)
    monkeypatch.setattr(decoded, "_whole", lambda *_: None)
    data.loader = "auto"
    assert isinstance(source(data), Files)
    assert "anew: photos cannot be decoded to" in caplog.text
    data.loader = "cached"
    with pytest.raises(RunError, match=r"No space left on device\): make room, set FLOWERBENCH_CACHE"):
        source(data)
