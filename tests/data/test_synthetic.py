from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from flowerbench.data import synthetic
from flowerbench.data.synthetic import SPECIES, draw, root
from flowerbench.errors import UsageError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLOWERBENCH_CACHE", str(tmp_path))
    return tmp_path


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(SPECIES), st.integers(0, 2**32), st.integers(0, 10**6), st.integers(16, 80))
def test_a_picture_is_a_function_of_its_arguments(species: str, seed: int, number: int, size: int) -> None:
    picture = draw(species, seed, number, size)
    assert picture.mode == "RGB"
    assert max(picture.size) == size
    assert min(picture.size) >= size // 2
    assert picture.tobytes() == draw(species, seed, number, size).tobytes()


def test_pictures_differ_by_species_seed_and_number() -> None:
    pictures = {draw(s, seed, number, 48).tobytes() for s in SPECIES for seed in (0, 1) for number in (1, 2, 3)}
    assert len(pictures) == len(SPECIES) * 2 * 3


@pytest.mark.usefixtures("cache")
def test_root_holds_the_photos_asked_for() -> None:
    folder = root(count=13, size=40, seed=5)
    assert [len(list((folder / species).iterdir())) for species in SPECIES] == [3, 3, 3, 2, 2]
    shapes = set()
    for path in folder.rglob("*.jpg"):
        with Image.open(path) as photo:
            photo.load()
            assert (photo.format, photo.mode, max(photo.size)) == ("JPEG", "RGB", 40)
            shapes.add(photo.size)
    assert len(shapes) > 3
    assert (folder / "daisy" / "daisy_00001.jpg").is_file()


@pytest.mark.usefixtures("cache")
def test_more_photos_keep_the_first_ones() -> None:
    few, many = digests(root(5, 32, 0)), digests(root(15, 32, 0))
    assert few.items() < many.items()
    assert not few.items() & digests(root(5, 32, 1)).items()


def test_a_made_root_is_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root(5, 32, 0)
    assert folder.is_relative_to(cache)
    (folder / "tulip" / "tulip_00001.jpg").write_bytes(b"kept")
    assert root(5, 32, 0) == folder
    assert (folder / "tulip" / "tulip_00001.jpg").read_bytes() == b"kept"
    monkeypatch.setattr(synthetic, "DRAWING_VERSION", synthetic.DRAWING_VERSION + 1)
    assert root(5, 32, 0) != folder


def test_processes_that_make_the_same_root_at_once_share_it(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "from flowerbench.data.synthetic import root; print(root(60, 64, 3))"
    makers = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = [maker.communicate(timeout=60) for maker in makers]
    assert [maker.returncode for maker in makers] == [0, 0], answers
    folders = {Path(out.strip()) for out, _ in answers}
    assert len(folders) == 1
    found = digests(folders.pop())
    assert len(found) == 60
    assert not list(cache.rglob("*.part"))
    monkeypatch.setenv("FLOWERBENCH_CACHE", str(cache / "alone"))
    assert digests(root(60, 64, 3)) == found


# Killed as no handler can see it, and stopped from the keyboard.
@pytest.mark.parametrize("ending", ["os._exit(9)", "signal.raise_signal(signal.SIGINT)"])
def test_what_an_ended_process_left_is_not_the_result(cache: Path, ending: str) -> None:
    code = f"""
import os, signal
from flowerbench.data import synthetic
draw = synthetic.draw
def end_in_the_middle(species, seed, number, size):
    if species == "rose":
        {ending}
    return draw(species, seed, number, size)
synthetic.draw = end_in_the_middle
synthetic.root(10, 32, 0)
"""
    assert subprocess.run([sys.executable, "-c", code], stderr=subprocess.DEVNULL, timeout=60).returncode != 0
    killed = "_exit" in ending
    assert len(list(cache.rglob("*.jpg"))) == (4 if killed else 0)
    # A stray file of an older process would show if the leftover were built upon.
    for part in cache.rglob("*.part"):
        (part / "daisy" / "stray.jpg").touch()
    assert len(digests(root(10, 32, 0))) == 10
    assert not list(cache.rglob("*.part"))


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(("count", "size", "seed"), [(4, 32, 0), (10, 8, 0), (10, 32, -1)])
def test_numbers_that_make_no_data_set_are_refused(count: int, size: int, seed: int) -> None:
    with pytest.raises(UsageError, match=f"count={count}, size={size}, seed={seed}"):
        root(count, size, seed)


def test_a_cache_that_cannot_be_written_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache / "file").touch()
    monkeypatch.setenv("FLOWERBENCH_CACHE", str(cache / "file"))
    with pytest.raises(UsageError, match="FLOWERBENCH_CACHE"):
        root(5, 32, 0)


def test_mean_colour_does_not_tell_the_species() -> None:
    """The nearest centroid of mean colours gets some photos right, far from all: shape has to be learned."""
    colours = np.array([[np.asarray(draw(s, 0, k, 32)).mean(axis=(0, 1)) for k in range(50)] for s in SPECIES])
    centroids = colours[:, :30].mean(axis=1)
    distances = np.linalg.norm(colours[:, 30:, None] - centroids, axis=-1)
    accuracy = (distances.argmin(axis=-1) == np.arange(len(SPECIES))[:, None]).mean()
    assert 0.1 < accuracy < 0.5
