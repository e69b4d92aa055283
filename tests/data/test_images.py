from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flowerbench.data import images

RED, BLUE = (220, 30, 30), (20, 40, 210)


def half_and_half(mode: str = "RGB") -> Image.Image:
    """Left half red, right half blue, 40 by 20 pixels."""
    image = Image.new("RGB", (40, 20), RED)
    image.paste(BLUE, (20, 0, 40, 20))
    return image.convert(mode)


def near(pixel, colour, tolerance=30):
    return np.abs(np.asarray(pixel, dtype=int) - np.asarray(colour)).max() <= tolerance


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tiff"])
def test_every_format_becomes_rgb(tmp_path, suffix):
    file = tmp_path / f"photo{suffix}"
    half_and_half().save(file)
    image = images.read_rgb(file)
    assert image.mode == "RGB"
    assert image.size == (40, 20)
    assert near(image.getpixel((5, 10)), RED)
    assert near(image.getpixel((35, 10)), BLUE)


def test_cmyk_becomes_rgb(tmp_path):
    half_and_half("CMYK").save(tmp_path / "photo.jpg")
    assert Image.open(tmp_path / "photo.jpg").mode == "CMYK"
    assert near(images.read_rgb(tmp_path / "photo.jpg").getpixel((5, 10)), RED)


def test_a_palette_becomes_rgb(tmp_path):
    half_and_half().quantize(4).save(tmp_path / "photo.png")
    assert near(images.read_rgb(tmp_path / "photo.png").getpixel((5, 10)), RED)


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_greys_become_rgb(tmp_path, mode):
    Image.new("L", (8, 8), 255).convert(mode).save(tmp_path / "photo.png")
    assert images.read_rgb(tmp_path / "photo.png").getpixel((3, 3)) == (255, 255, 255)


def test_sixteen_bit_grey_keeps_its_shades(tmp_path):
    Image.fromarray(np.full((8, 8), 128 * 257, dtype=np.uint16)).save(tmp_path / "photo.png")
    assert images.read_rgb(tmp_path / "photo.png").getpixel((3, 3)) == (128, 128, 128)


@pytest.mark.parametrize("scale", [1.0, 255.0])
def test_floats_keep_their_shades(tmp_path, scale):
    Image.fromarray(np.full((8, 8), 0.5 * scale, dtype=np.float32)).save(tmp_path / "photo.tiff")
    assert images.read_rgb(tmp_path / "photo.tiff").getpixel((3, 3)) == (127, 127, 127)


def test_what_is_transparent_becomes_white(tmp_path):
    image = half_and_half("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 10, 20))
    image.save(tmp_path / "alpha.png")
    opened = images.read_rgb(tmp_path / "alpha.png")
    assert opened.getpixel((5, 10)) == (255, 255, 255)
    assert near(opened.getpixel((15, 10)), RED)
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([1, 2, 3, 200, 0, 0])
    palette.save(tmp_path / "palette.png", transparency=0)
    assert images.read_rgb(tmp_path / "palette.png").getpixel((3, 3)) == (255, 255, 255)


def test_a_rotated_camera_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the top of the scene is on the right of the stored picture
    half_and_half().save(tmp_path / "photo.jpg", exif=exif)
    image = images.read_rgb(tmp_path / "photo.jpg")
    assert image.size == (20, 40)
    assert near(image.getpixel((10, 5)), RED)
    assert near(image.getpixel((10, 35)), BLUE)


@pytest.fixture
def mixed(tmp_path) -> Path:
    """Two good photos, and three that cannot be read: cut off, not an image, empty."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    for name in ("a.jpg", "b.jpg", "cut.jpg"):
        noise.save(tmp_path / name)
    whole = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.jpg").touch()
    return tmp_path


ALL = ["a.jpg", "b.jpg", "cut.jpg", "empty.jpg", "text.png"]


def test_all_unreadable_files_are_found(mixed):
    assert images.unreadable(mixed, ALL, "mixed") == ["cut.jpg", "empty.jpg", "text.png"]


def test_good_files_are_read_once_for_the_same_contents(mixed, monkeypatch):
    assert images.unreadable(mixed, ["a.jpg", "b.jpg"], "once") == []
    monkeypatch.setattr(images, "read_rgb", lambda path: pytest.fail("read again"))
    assert images.unreadable(mixed, ["a.jpg", "b.jpg"], "once") == []


def test_a_failure_is_not_remembered(mixed, monkeypatch):
    with monkeypatch.context() as away:
        away.setattr(images, "read_rgb", lambda path: Path("no network").read_bytes())
        assert images.unreadable(mixed, ["a.jpg"], "away") == ["a.jpg"]
    assert images.unreadable(mixed, ["a.jpg"], "away") == []


def test_a_cache_that_cannot_be_written_does_no_harm(mixed, monkeypatch):
    monkeypatch.setenv("FLOWERBENCH_CACHE", str(mixed / "a.jpg" / "cache"))
    assert images.unreadable(mixed, ["a.jpg"], "anything") == []
