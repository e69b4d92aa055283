"""Names as they stand, and figures as SVG."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from PIL import Image

from flowerbench.report.plots import style


@pytest.mark.parametrize(
    ("name", "most", "shown"),
    [
        ("daisy", 10, "daisy"),
        ("a$b$", 10, r"a\$b\$"),
        ("bell\x07 and half\udce4", 20, "bell\N{REPLACEMENT CHARACTER} and half\N{REPLACEMENT CHARACTER}"),
        ("0123456789", 10, "0123456789"),
        ("0123456789x", 10, "01234…789x"),
        (16, 10, "16"),
    ],
)
def test_plain(name: object, most: int, shown: str):
    assert style.plain(name, most) == shown
    assert len(style.plain("x" * 50, most)) == most


def test_wrapped_breaks_at_spaces_and_keeps_the_end():
    assert style.wrapped("batch_size=16, epochs=20", 15) == "batch_size=16,\nepochs=20"
    assert style.wrapped("a, b, c, d, e", 2) == "a,\nb,\n… e"
    assert style.wrapped("x" * 30 + ", b", 10) == "xxxxx…xxx,\nb"
    assert style.wrapped("", 10) == ""


def test_finite_is_a_gap_where_it_is_not():
    assert np.array_equal(style.finite([1, np.inf, -np.inf, np.nan, None]), [1, *[np.nan] * 4], equal_nan=True)


def note(text: str) -> str:
    figure = style.new_figure(2, 2)
    style.note(style.add_axes(figure, 0.5, 0.5, 0.5, 0.5), style.plain(text), (0, 0), (0, 0))
    return style.svg(figure)


def test_svg_holds_text_as_text_and_is_the_same_every_time():
    before = dict(matplotlib.rcParams)
    svg = note("a$b_花<&")
    assert svg == note("a$b_花<&")
    texts = [element.text for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert "a$b_花<&" in texts
    assert svg.startswith("<svg ")
    assert "<dc:date>" not in svg
    assert dict(matplotlib.rcParams) == before


def picture(pixels: np.ndarray) -> str:
    figure = style.new_figure(2, 2)
    figure.add_axes((0, 0, 1, 1)).imshow(pixels, interpolation="none")
    return style.svg(figure)


def test_photos_are_small_in_an_svg():
    # Slow waves with a little noise: what JPEG is made for, as photos are.
    random, wave = np.random.default_rng(0), np.sin(np.linspace(0, 6, 300))
    pixels = 120 + 90 * wave[:, None, None] * wave[None, :, None] * [1, 0.7, 0.4] + random.normal(0, 4, (300, 300, 3))
    svg = picture(pixels.astype(np.uint8))
    (found,) = re.findall(r"data:image/jpeg;base64,([^\"]+)", svg)
    with Image.open(io.BytesIO(base64.b64decode(found))) as image:
        assert image.size == (300, 300)
        assert abs(np.asarray(image, dtype=float) - pixels).mean() < 8
    assert "pixelated" not in svg


def test_cells_stay_sharp_in_an_svg():
    svg = picture(np.random.default_rng(0).integers(0, 255, (5, 5, 3), dtype=np.uint8))
    assert "data:image/png" in svg
    assert "pixelated" in svg


def test_drawing_needs_neither_pyplot_nor_torch():
    code = (
        "import sys, flowerbench.report.plots as p; print(*{'matplotlib.pyplot', 'torch', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
