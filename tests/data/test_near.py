from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from flowerbench.data import images, near

# Rows of few different bits, so that pairs within a small distance, and chains of them, are frequent.
few_bits = st.lists(st.lists(st.integers(0, 15), min_size=2, max_size=2), max_size=40)
distances = st.integers(0, 4)


def rows_of(numbers: list[list[int]]) -> near.Hashes:
    return np.array(numbers, dtype=np.uint64).reshape(-1, 2)


def brute_force(hashes: near.Hashes, max_distance: int) -> list[list[int]]:
    """The groups by the whole table of distances, joined until nothing changes."""
    group = list(range(len(hashes)))
    distance = [[sum(int(x ^ y).bit_count() for x, y in zip(a, b, strict=True)) for b in hashes] for a in hashes]
    changed = True
    while changed:
        changed = False
        for i in range(len(group)):
            for j in range(len(group)):
                if distance[i][j] <= max_distance and group[i] != group[j]:
                    group[i] = group[j] = min(group[i], group[j])
                    changed = True
    found = [[i for i, its in enumerate(group) if its == number] for number in sorted(set(group))]
    return sorted(members for members in found if len(members) > 1)


@given(few_bits, distances, st.sampled_from([1, 7, 2**19]))
def test_groups_are_those_of_brute_force_whatever_is_compared_at_once(numbers, max_distance, at_once):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near, "_AT_ONCE", at_once)
        hashes = rows_of(numbers)
        assert near.joined(hashes, max_distance) == brute_force(hashes, max_distance)


@given(few_bits, distances, st.randoms())
def test_the_order_of_photos_does_not_matter(numbers, max_distance, random):
    order = list(range(len(numbers)))
    random.shuffle(order)
    hashes = rows_of(numbers)
    shuffled = near.joined(hashes[order], max_distance)
    assert sorted(sorted(order[i] for i in group) for group in shuffled) == near.joined(hashes, max_distance)


@given(few_bits, distances)
def test_a_greater_distance_only_joins_more(numbers, max_distance):
    hashes = rows_of(numbers)
    wider = [set(group) for group in near.joined(hashes, max_distance + 1)]
    assert all(any(set(group) <= other for other in wider) for group in near.joined(hashes, max_distance))


def test_many_photos_take_little_memory():
    import tracemalloc

    hashes = np.random.default_rng(0).integers(0, 2**63, (6000, near.BITS // 64), dtype=np.uint64)
    hashes[4000] = hashes[17]
    tracemalloc.start()
    assert near.joined(hashes, near.NEAR) == [[17, 4000]]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6000 * 6000  # of a table of them, a byte for each pair


def scene(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Soft patches of colour, as unlike another seed's as two photos are."""
    coarse = np.random.default_rng(seed).integers(0, 255, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def album(tmp_path) -> tuple[Path, list[str]]:
    """Six scenes; of the first also one copy, one smaller, one of low quality and one darker; and two broken ones."""
    for seed in range(6):
        scene(seed).save(tmp_path / f"{seed}.jpg", quality=95)
    (tmp_path / "copy.jpg").write_bytes((tmp_path / "0.jpg").read_bytes())
    scene(0).resize((160, 120)).save(tmp_path / "small.png")
    scene(0).save(tmp_path / "low.jpg", quality=40)
    ImageEnhance.Brightness(scene(0)).enhance(0.9).save(tmp_path / "darker.webp")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "0.jpg").read_bytes()[:3000])
    (tmp_path / "text.jpg").write_text("no photo")
    return tmp_path, sorted(file.name for file in tmp_path.iterdir())


def test_what_looks_the_same_is_found_and_broken_files_are_passed_over(album):
    root, names = album
    (group,) = near.groups(root, names, "album", near.NEAR)
    assert [names[i] for i in group] == ["0.jpg", "copy.jpg", "darker.webp", "low.jpg", "small.png"]


def test_broken_files_are_told_by_the_same_look(album, monkeypatch):
    root, names = album
    assert near.unreadable(root, names, "broken") == ["cut.jpg", "text.jpg"]
    whole = [name for name in names if name not in ("cut.jpg", "text.jpg")]
    assert near.unreadable(root, whole, "whole") == []
    monkeypatch.setattr(images, "read_rgb", lambda path: pytest.fail("read again"))
    assert len(near.groups(root, whole, "whole", near.NEAR)) == 1


def test_blank_photos_are_the_same_only_in_the_same_colour(tmp_path):
    names = []
    for number, colour in enumerate(["white", "black", "red", "red", (250, 250, 250), "blue"]):
        names.append(f"{number}.png")
        Image.new("RGB", (30 + number, 30), colour).save(tmp_path / names[-1])
    assert near.groups(tmp_path, names, "blank", near.NEAR) == [[2, 3]]


def test_at_distance_0_identical_files_are_together(album):
    root, names = album
    (group,) = near.groups(root, names, "album", 0)
    assert {"0.jpg", "copy.jpg"} <= {names[i] for i in group}


def test_photos_are_looked_at_once_for_the_same_contents(album, monkeypatch):
    root, names = album
    names = [name for name in names if name not in ("cut.jpg", "text.jpg")]
    found = near.groups(root, names, "once", near.NEAR)
    with monkeypatch.context() as patch:
        patch.setattr(images, "read_rgb", lambda path: pytest.fail("read again"))
        assert near.groups(root, names, "once", near.NEAR) == found
        (kept,) = (Path(near.cache.folder()) / "looks").glob("once_*.npy")
    kept.write_bytes(b"broken")
    assert near.groups(root, names, "once", near.NEAR) == found


def test_a_failure_is_not_remembered(album, monkeypatch):
    root, _ = album
    with monkeypatch.context() as away:
        away.setattr(images, "read_rgb", lambda path: Path("no network").read_bytes())
        assert near.groups(root, ["0.jpg", "copy.jpg"], "away", 0) == []
    assert near.groups(root, ["0.jpg", "copy.jpg"], "away", 0) == [[0, 1]]


def test_no_photo_is_in_no_group(tmp_path):
    assert near.groups(tmp_path, [], "none", 4) == []


def test_torch_is_not_imported():
    code = "import sys, flowerbench.data.near, flowerbench.data.looks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
