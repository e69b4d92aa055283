"""Photos decoded once: the same for all, whole or made anew, and never more of them in memory than a batch."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from flowerbench import cache
from flowerbench._torchvision import torchvision
from flowerbench.data import decoded, images, sources
from flowerbench.data.sizes import Sizes
from tests.conftest import write_photos

T = torchvision.transforms
SIZES = Sizes(image_size=16, center_crop=0.875, shorter=18)


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("FLOWERBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "decoded"


@pytest.fixture
def photos(compose_config, home, tmp_path):
    root = write_photos(tmp_path / "photos", {"ash": 6, "beech": 5}, size=(40, 30))
    write_photos(root, {"cedar": 4}, size=(12, 15))
    return sources.load(compose_config("data=folder", f"data.root={root}").data)


def opened(photos, **more):
    return decoded.opened(photos, SIZES, max_gb=more.pop("max_gb", 1.0), **more)


def read(store, photos, is_clean):
    (batch,) = store.batches([range(len(photos))], is_clean=is_clean)
    return batch


def sets(home: Path) -> list[Path]:
    """The folders of decoded photos."""
    return [path for path in home.iterdir() if path.is_dir()]


def break_the_first(home: Path, is_clean: bool) -> None:
    """Change a byte of the first photo of the one set."""
    (folder,) = sets(home)
    file = folder / ("squares.bin" if is_clean else "photos.bin")
    broken = bytearray(file.read_bytes())
    broken[5] ^= 255
    file.write_bytes(broken)


def expected(photos, index, is_clean):
    image = images.read_rgb(photos.root / photos.paths[index])
    if is_clean:
        return np.asarray(T.Compose([T.Resize(18), T.CenterCrop(16)])(image))
    return np.asarray(T.Resize(18)(image) if min(image.size) > 18 else image)


@pytest.mark.parametrize("is_clean", [False, True])
def test_photos_are_as_torchvision_resizes_them(photos, is_clean):
    for batch in (read(opened(photos), photos, is_clean), read(opened(photos), photos, is_clean)):
        for index, (pixels, size) in enumerate(batch):
            assert pixels.dtype == torch.uint8
            assert (pixels.numpy() == expected(photos, index, is_clean)).all()
            assert size == ((30, 40) if index < 11 else (15, 12))


def test_they_are_decoded_once(photos, home, monkeypatch):
    opened(photos)
    monkeypatch.setattr(images, "read_rgb", None)
    opened(photos)
    assert len(sets(home)) == 1


def test_the_cache_command_says_what_they_take(photos, capsys):
    opened(photos)
    cache.main(["list"])
    assert "Decoded photos: 0.0 MB, in " in capsys.readouterr().out


def test_other_photos_and_other_sizes_are_others(photos, home, compose_config):
    opened(photos)
    decoded.opened(photos, Sizes(16, 1.0, 18), max_gb=1)
    (photos.root / "ash" / "000.png").write_bytes((photos.root / "beech" / "000.png").read_bytes())
    opened(sources.load(compose_config("data=folder", f"data.root={photos.root}").data))
    assert len(sets(home)) == 3


def test_those_not_used_for_longest_make_room(photos, home):
    opened(photos)
    (first,) = sets(home)
    os.utime(first, (0, 0))
    decoded.opened(photos, Sizes(16, 1.0, 18), max_gb=0)
    (left,) = sets(home)
    assert left != first, "and what is in use stays, however large"


@pytest.mark.parametrize("is_clean", [False, True])
def test_a_photo_that_is_not_as_it_was_written_is_decoded_anew(photos, home, caplog, is_clean):
    opened(photos)
    break_the_first(home, is_clean)
    pixels, _ = read(opened(photos), photos, is_clean)[0]
    assert (pixels.numpy() == expected(photos, 0, is_clean)).all()
    assert "ash/000.png is broken" in caplog.text


@pytest.mark.parametrize("name", ["photos.bin", "squares.bin", "index.npz"])
@pytest.mark.parametrize("damage", ["cut", "gone", "empty"])
def test_what_is_not_whole_is_made_anew(photos, home, name, damage):
    opened(photos)
    (folder,) = sets(home)
    file = folder / name
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-10] if damage == "cut" else b"")
    assert (read(opened(photos), photos, False)[0][0].numpy() == expected(photos, 0, False)).all()


def test_a_decoding_that_was_broken_off_leaves_nothing(photos, home, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(decoded, "track", _stop)
        opened(photos)
    assert sets(home) == []
    assert len(read(opened(photos), photos, False)) == 15


def _stop(*_, **__):
    raise KeyboardInterrupt


def test_what_a_killed_process_left_is_cleared_and_what_another_writes_is_not(photos, home, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(decoded.shutil, "rmtree", lambda *_, **__: None)  # as a kill leaves it: nothing is removed
        patch.setattr(decoded, "track", _stop)
        opened(photos)
    (left,) = home.glob(".*.part")
    decoded.opened(photos, Sizes(16, 1.0, 18), max_gb=0)
    assert left.is_dir(), "photos of another size may be written at this moment"
    opened(photos)
    assert not list(home.glob(".*.part"))


def test_no_more_photos_are_decoded_ahead_than_memory_is_to_hold(photos, home, monkeypatch):
    begun: list[int] = []
    read_one = sources.Photos.read

    def counted(self, index):
        begun.append(index)
        return read_one(self, index)

    def watched(done, *_, **__):
        for number, one in enumerate(done):
            assert len(begun) <= (number // 4 + 1) * 4
            yield one

    monkeypatch.setattr(sources.Photos, "read", counted)
    monkeypatch.setattr(decoded, "_AHEAD", 4)
    monkeypatch.setattr(decoded, "track", watched)
    opened(photos)
    assert sorted(begun) == list(range(15))


def test_two_at_once_decode_once(photos, home):
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(lambda _: opened(photos), range(4)))
    assert len(sets(home)) == 1
    for store in stores:
        assert (read(store, photos, True)[3][0].numpy() == expected(photos, 3, True)).all()


@pytest.mark.parametrize("is_clean", [False, True])
def test_on_a_device_with_room_they_are_the_same(photos, home, caplog, monkeypatch, is_clean):
    opened(photos)
    break_the_first(home, is_clean)
    monkeypatch.setattr(decoded._Pixels, "fits", lambda self, device: True)
    store = opened(photos, device=torch.device("cpu"))
    for index, (pixels, _) in enumerate(read(store, photos, is_clean)):
        assert (pixels.numpy() == expected(photos, index, is_clean)).all()
    resident = store._kinds["squares" if is_clean else "photos"]._on_device
    assert resident is not None
    again, _ = read(store, photos, is_clean)[1]
    assert again.untyped_storage().data_ptr() == resident.untyped_storage().data_ptr(), "a view, no copy"


_PASSES = """
import sys, psutil
from flowerbench.config import Data
from flowerbench.data import decoded, sources
from flowerbench.data.sizes import Sizes
from hydra import compose, initialize_config_dir
from flowerbench import config
config.register()
with initialize_config_dir(str(config.folder()), version_base="1.3"):
    cfg = compose("config", ["data=folder", "data.root=" + sys.argv[1]])
photos = sources.load(cfg.data)
store = decoded.opened(photos, Sizes(16, 0.875, 2000), max_gb=10)
memory = psutil.Process().memory_info
list(store.batches([[0]], is_clean=False))
before = most = memory().rss
for _ in range(2):
    for batch in store.batches([[index] for index in range(len(photos))], is_clean=False):
        most = max(most, memory().rss)
print((most - before) / 1e6)
"""


@pytest.mark.long
@pytest.mark.skipif(not hasattr(psutil.Process(), "memory_maps"), reason="this system does not tell")
def test_a_pass_over_many_photos_needs_the_memory_of_a_batch(tmp_path, home):
    root = write_photos(tmp_path / "large", {"ash": 30, "beech": 30}, size=(1200, 1000))
    done = subprocess.run(
        [sys.executable, "-c", _PASSES, str(root)], capture_output=True, text=True, env=os.environ, check=False
    )
    assert done.returncode == 0, done.stderr
    size = sum(file.stat().st_size for file in home.rglob("photos.bin")) / 1e6
    assert size > 200
    assert float(done.stdout) < 40, "megabytes more than with one photo"
