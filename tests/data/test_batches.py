from __future__ import annotations

import numpy as np
import pytest
import torch

from flowerbench.data import sources, split
from flowerbench.data.batches import Batches


@pytest.fixture
def data(compose_config, photo_folder):
    return compose_config("data=folder", f"data.root={photo_folder}").data


def epochs(data, *, workers, batch_size=8, start_method=None, seed=0, epochs=(1, 2)):
    """All (images, labels) of the training and validation halves of some epochs."""
    data.workers = workers
    photos = sources.load(data)
    parts = split.split(photos, data)
    batches = Batches(photos, data, image_size=16, batch_size=batch_size, seed=seed, start_method=start_method)
    halves = []
    for epoch in epochs:
        halves += [list(batches.train(epoch, parts.train)), list(batches.val(epoch, parts.val))]
    return halves


def same(first, second):
    return all(
        len(a) == len(b) and all(torch.equal(x[0], y[0]) and torch.equal(x[1], y[1]) for x, y in zip(a, b, strict=True))
        for a, b in zip(first, second, strict=True)
    )


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
@pytest.mark.parametrize("workers", [1, 3])
def test_nothing_depends_on_worker_processes(data, workers, start_method):
    if start_method == "fork" and start_method not in torch.multiprocessing.get_all_start_methods():
        pytest.skip("this system has no fork")
    data.validation = "augmented"
    assert same(epochs(data, workers=0), epochs(data, workers=workers, start_method=start_method))


def test_nothing_depends_on_the_epochs_before(data):
    assert same(epochs(data, workers=0, epochs=(1, 2))[2:], epochs(data, workers=0, epochs=(2,)))


def test_a_photos_pixels_do_not_depend_on_batch_boundaries(data):
    small, large = epochs(data, workers=0, batch_size=4), epochs(data, workers=0, batch_size=10)
    for a, b in zip(small, large, strict=True):
        assert torch.equal(torch.cat([x for x, _ in a]), torch.cat([x for x, _ in b]))


def test_epochs_and_seeds_differ_but_clean_validation_does_not(data):
    first_train, first_val, second_train, second_val = epochs(data, workers=0)
    other_seed = epochs(data, workers=0, seed=1)
    assert not same([first_train], [second_train])
    assert not same([first_train], [other_seed[0]])
    assert same([first_val], [second_val])


def test_batches_are_bytes_and_classes(data):
    train, *_ = epochs(data, workers=0)
    images, labels = train[0]
    assert images.dtype == torch.uint8
    assert images.shape == (8, 3, 16, 16)
    assert labels.dtype == torch.int64
    assert sum(len(labels) for _, labels in train) == 40
    assert len(np.unique(torch.cat([labels for _, labels in train]))) == 3


def test_a_last_batch_of_one_photo_is_left_out(data):
    assert [len(labels) for _, labels in epochs(data, workers=0, batch_size=13)[0]] == [13, 13, 13]
    assert [len(labels) for _, labels in epochs(data, workers=0, batch_size=1)[0]] == [1] * 40


def test_a_photo_that_vanishes_is_named(data, tmp_path):
    import shutil

    from flowerbench.errors import RunError, one_line

    copy = shutil.copytree(data.root, tmp_path / "copy")
    data.root, data.workers = str(copy), 2
    photos = sources.load(data)
    batches = Batches(photos, data, image_size=16, batch_size=8, seed=0)
    (copy / "ash" / "003.png").unlink()
    with pytest.raises(RunError) as raised:
        list(batches.val(1, range(len(photos))))
    assert one_line(raised.value).startswith("cannot read ash/003.png")
