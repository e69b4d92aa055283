"""Photos that runs got wrong: which, how often, and a sheet of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from flowerbench.report import plots
from tests.report.plots.helpers import ODD_NAMES, render, written


def run(**answers: str) -> pd.DataFrame:
    """What a run answered, `photo="label prediction"`."""
    rows = [(photo, *answer.split()) for photo, answer in answers.items()]
    return pd.DataFrame(rows, columns=["photo", "label", "prediction"])


def mistakes(photos: list[str], label: str = "daisy", prediction: str = "rose") -> pd.DataFrame:
    return pd.DataFrame({"photo": photos, "label": label, "prediction": prediction, "wrong": 3, "runs": 4})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """`red.png`, wide; `blue.jpg`, on its side by EXIF; `broken.jpg`; `grey.png`, of 16 bits."""
    Image.new("RGB", (80, 40), (220, 0, 0)).save(tmp_path / "red.png")
    half = Image.new("RGB", (80, 40), (0, 0, 220))
    half.paste((0, 220, 0), (0, 0, 40, 40))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    half.save(tmp_path / "blue.jpg", exif=exif)
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    Image.fromarray(np.full((20, 20), 40_000, dtype=np.uint16)).save(tmp_path / "grey.png")
    return tmp_path


def test_mistakes_are_counted_over_runs():
    found = plots.mistakes([
        run(a="daisy rose", b="tulip tulip", c="tulip rose"),
        run(a="daisy tulip", b="tulip rose", c="tulip tulip"),
        run(a="daisy tulip", b="tulip tulip"),
    ])  # fmt: skip
    assert found.to_dict("records") == [
        {"photo": "a", "label": "daisy", "prediction": "tulip", "wrong": 3, "runs": 3},
        {"photo": "b", "label": "tulip", "prediction": "rose", "wrong": 1, "runs": 3},
        {"photo": "c", "label": "tulip", "prediction": "rose", "wrong": 1, "runs": 2},
    ]


def test_of_photos_equally_often_wrong_classes_take_turns():
    wrong = run(d1="daisy rose", d2="daisy rose", d3="daisy rose", t1="tulip rose", r1="rose tulip", r2="rose tulip")
    assert plots.mistakes([wrong])["photo"].tolist() == ["d1", "r1", "t1", "d2", "r2", "d3"]
    assert plots.mistakes([wrong[::-1]]).equals(plots.mistakes([wrong]))


def test_no_mistakes():
    columns = ["photo", "label", "prediction", "wrong", "runs"]
    for runs in ([], [run(a="daisy daisy")]):
        found = plots.mistakes(runs)
        assert found.empty
        assert found.columns.tolist() == columns
        assert plots.wrong_photos(found, Path()) is None


def test_the_sheet_shows_photos_upright_with_captions_and_leaves_out_what_cannot_be_read(root: Path):
    figure = plots.wrong_photos(mistakes(["red.png", "broken.jpg", "blue.jpg", "missing.jpg", "grey.png"]), root)
    assert figure is not None
    image = np.asarray(render(figure).convert("RGB")).astype(int)
    assert written(figure.axes[0]) == ["daisy → rose", "wrong in 3 of 4"] * 3 + ["3 of 5 photos that a run got wrong"]
    first, second, third = (12, 12), (160, 12), (308, 12)

    def at(corner: tuple[int, int], x: int, y: int) -> list[int]:
        return image[corner[1] + y, corner[0] + x].tolist()

    assert at(first, 68, 68) == pytest.approx([220, 0, 0], abs=3)
    assert at(first, 68, 10) == pytest.approx([232, 232, 232], abs=3)
    # The left half, green, is up once it is turned.
    assert at(second, 68, 20) == pytest.approx([0, 220, 0], abs=12)
    assert at(second, 68, 115) == pytest.approx([0, 0, 220], abs=12)
    assert at(second, 10, 68) == pytest.approx([232, 232, 232], abs=3)
    assert at(third, 68, 68) == pytest.approx([156, 156, 156], abs=3)


def test_photos_that_lie_elsewhere(tmp_path: Path):
    assert plots.wrong_photos(mistakes(["red.png"]), tmp_path / "away") is None


def test_a_sheet_holds_twenty_four_photos(root: Path):
    figure = plots.wrong_photos(mistakes(["red.png"] * 30), root)
    assert figure is not None
    assert render(figure).width == 900
    assert written(figure.axes[0]).count("daisy → rose") == 24
    assert written(figure.axes[0])[-1] == "24 of 30 photos that a run got wrong"


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_fit_below_a_photo(root: Path, name: str):
    figure = plots.wrong_photos(mistakes(["red.png"], name, name), root)
    assert figure is not None
    render(figure)
    extents = [text.get_window_extent() for text in figure.axes[0].texts if text.get_text()]
    assert all(extent.width < 160 and extent.y0 > 0 for extent in extents)
    assert extents[0].y0 >= extents[1].y1 - 2
    assert plots.svg(figure).count("<image") == 1


def test_the_worst_photos_have_their_probabilities(root: Path):
    worst = mistakes(["red.png", "broken.jpg", "grey.png"]).assign(p_label=0.034, p_prediction=[0.9, 0.9, 0.5])
    figure = plots.worst_photos(worst, root)
    assert figure is not None
    assert written(figure.axes[0]) == ["daisy → rose", "3.4 % → 90.0 %", "daisy → rose", "3.4 % → 50.0 %"]
