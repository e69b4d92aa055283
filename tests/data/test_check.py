from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flowerbench.data import findings, looks, near, sources
from flowerbench.data.__main__ import main
from tests.data.test_near import scene

Done = subprocess.CompletedProcess[str]


@pytest.fixture
def check(capsys) -> Callable[..., tuple[int, str, str]]:
    """Run the check in this process: its exit code, and what it printed to stdout and stderr."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        try:
            main(["check", *map(str, arguments)])
            code = 0
        except SystemExit as error:
            code = error.code
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def write_scenes(root: Path, counts: dict[str, int], first: int = 0) -> Path:
    """`root/<class>/<n>.jpg`, all unlike each other."""
    seed = first
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            scene(seed, (64, 48)).save(root / name / f"{number}.jpg", quality=95)
            seed += 1
    return root


@pytest.fixture
def good(tmp_path) -> Path:
    return write_scenes(tmp_path / "good", {"ash": 8, "beech": 6})


def section(page: str, title: str) -> list[str]:
    """The list below a heading."""
    found = re.search(rf"^## {re.escape(title)}\n\n.*?\n\n((?:- .*\n)+)", page, re.MULTILINE)
    return found[1].splitlines() if found else []


def test_nothing_is_wrong_with_good_photos(check, good):
    code, page, errors = check(good)
    assert (code, errors) == (0, "")
    assert "**Nothing is wrong.**" in page
    assert "14 photos of 2 classes" in page
    assert re.search(r"\| ash +\| 8 +\| 64 × 48 +\| 64 × 48 +\| 64 × 48 +\| JPEG 8 +\|", page)
    assert "keeps identical photos in one part" in page
    assert "The classes are even: 6 to 8 photos each" in page
    assert "Wrong" not in page
    assert "Worth a look" not in page


def test_unreadable_files_are_wrong(check, good):
    (good / "ash" / "text.png").write_text("no photo")
    whole = (good / "ash" / "0.jpg").read_bytes()
    (good / "beech" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (good / "beech" / "empty.jpg").touch()
    code, page, _ = check(good)
    assert code == 1
    assert "**Wrong: Unreadable files**, 3 photos" in page
    named = section(page, "Unreadable files")
    assert [line.split("`")[1] for line in named] == ["ash/text.png", "beech/cut.jpg", "beech/empty.jpg"]
    assert str(good) not in "".join(named)


def test_identical_photos_under_two_classes_are_wrong(check, good):
    shutil.copy(good / "ash" / "2.jpg", good / "beech" / "again.jpg")
    code, page, _ = check(good)
    assert code == 1
    assert section(page, "Identical photos under two classes") == ["- `ash/2.jpg`, `beech/again.jpg`"]
    assert section(page, "Identical photos") == []


def test_identical_photos_in_one_class_are_only_noted(check, good):
    shutil.copy(good / "ash" / "2.jpg", good / "ash" / "again.jpg")
    code, page, _ = check(good)
    assert code == 0
    assert section(page, "Identical photos") == ["- `ash/2.jpg`, `ash/again.jpg`"]
    assert section(page, "Nearly identical photos") == []


def test_nearly_identical_photos_are_noted_with_their_identical_ones(check, good):
    scene(2, (32, 24)).save(good / "ash" / "small.png")
    shutil.copy(good / "ash" / "2.jpg", good / "ash" / "again.jpg")
    code, page, _ = check(good)
    assert code == 0
    assert section(page, "Nearly identical photos") == ["- `ash/2.jpg`, `ash/again.jpg`, `ash/small.png`"]


def test_a_distance_of_0_finds_less(check, good):
    Image.open(good / "ash" / "2.jpg").rotate(1).save(good / "ash" / "turned.jpg")
    distance = np.bitwise_count(
        near.look(Image.open(good / "ash" / "2.jpg")) ^ near.look(Image.open(good / "ash" / "turned.jpg"))
    ).sum()
    assert section(check(good, "--near", str(distance - 1))[1], "Nearly identical photos") == []
    assert section(check(good, "--near", str(distance))[1], "Nearly identical photos") == [
        "- `ash/2.jpg`, `ash/turned.jpg`"
    ]


@pytest.mark.parametrize(("part", "other"), [("train", "val"), ("train", "test"), ("val", "test")])
def test_photos_of_one_part_in_another_are_wrong(check, tmp_path, part, other):
    for number, name in enumerate(("train", "val", "test")):
        write_scenes(tmp_path / name, {"ash": 2, "beech": 2}, first=10 * number)
    assert check(tmp_path)[0] == 0
    shutil.copy(tmp_path / part / "ash" / "1.jpg", tmp_path / other / "ash" / "again.jpg")
    Image.open(tmp_path / part / "beech" / "1.jpg").save(tmp_path / other / "beech" / "saved.jpg", quality=60)
    code, page, _ = check(tmp_path)
    assert code == 1
    same = sorted([f"`{part}/ash/1.jpg`", f"`{other}/ash/again.jpg`"])
    alike = sorted([f"`{part}/beech/1.jpg`", f"`{other}/beech/saved.jpg`"])
    assert section(page, "Identical photos in two parts") == [f"- {', '.join(same)}"]
    assert section(page, "Nearly identical photos in two parts") == [f"- {', '.join(alike)}"]
    assert re.search(r"\| Class +\| Photos +\| train +\| val +\| test +\|", page)
    assert "draws the split" not in page


def test_grey_photos_are_noted_whatever_their_mode(check, good):
    scene(50).convert("L").save(good / "ash" / "grey.png")
    scene(51).convert("L").convert("RGB").save(good / "ash" / "rgb.jpg")
    code, page, _ = check(good)
    assert code == 0
    assert section(page, "Grey photos") == ["- `ash/grey.png`", "- `ash/rgb.jpg`"]


def test_where_all_are_grey_none_is_noted(check, tmp_path):
    for number in range(6):
        (tmp_path / "ab"[number % 2]).mkdir(exist_ok=True)
        scene(number, (64, 48)).convert("L").save(tmp_path / "ab"[number % 2] / f"{number}.png")
    assert "Grey" not in check(tmp_path)[1].partition("## How")[0]


def test_unusual_photos_are_noted_the_farthest_first(check, good):
    scene(60, (8, 6)).save(good / "ash" / "icon.png")
    scene(61, (3200, 2400)).save(good / "ash" / "huge.jpg")
    scene(62, (300, 10)).save(good / "beech" / "strip.png")
    Image.new("RGB", (64, 48), (200, 210, 190)).save(good / "beech" / "empty.png")
    code, page, _ = check(good)
    assert code == 0
    assert section(page, "Unusual sizes") == ["- `ash/huge.jpg` (3200 × 2400)", "- `ash/icon.png` (8 × 6)"]
    assert section(page, "Unusual shapes") == ["- `beech/strip.png` (300 × 10)"]
    assert section(page, "Almost uniform photos") == ["- `beech/empty.png` (contrast 0.0)"]


def test_uneven_classes_are_noted(check, tmp_path):
    code, page, _ = check(write_scenes(tmp_path, {"ash": 6, "beech": 3}))
    assert code == 0
    assert "Worth a look: ash has 2.0 times as many photos as beech" in page


def test_outliers_do_not_hide_each_other():
    values = np.array([1.0, 1.1, 0.9, 1.05, 0.95, 50, 60, 70])
    assert (np.abs(findings.z_scores(values)) > 3.5).tolist() == [False] * 5 + [True] * 3
    assert findings.z_scores(np.array([2.0, 2.0, 2.0])).tolist() == [0, 0, 0]
    assert np.abs(findings.z_scores(np.array([2.0] * 20 + [9.0])))[-1] > 3.5
    assert len(findings.z_scores(np.array([]))) == 0


def test_the_page_shows_the_photos_and_needs_nothing_else(check, good, tmp_path):
    shutil.copy(good / "ash" / "2.jpg", good / "beech" / "<again>.jpg")
    (good / "ash" / "text.png").write_text("no photo")
    page = tmp_path / "page.html"
    assert check(good, "--html", page)[0] == 1
    html = page.read_text(encoding="utf-8")
    assert html.count("data:image/jpeg;base64,") == 2
    assert "&lt;again&gt;.jpg" in html
    assert "<again>" not in html
    assert not re.findall(r'(?:src|href)="(?!data:|#)', html)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "is not a folder"),
        (["good", "--near", "-1"], "--near -1: a whole number from 0, below 256"),
        (["good", "--near", "few"], "--near"),
        (["good", "--html", "no/such/page.html"], "cannot be written"),
        ([], "ROOT"),
    ],
)
def test_mistakes_are_told_in_a_line(check, good, monkeypatch, arguments, said):
    monkeypatch.chdir(good.parent)
    code, _, errors = check(*arguments)
    assert code == 2
    assert said in errors
    assert errors.count("\n") == 1


def test_the_default_distance_is_the_one_that_help_tells(capsys):
    with pytest.raises(SystemExit):
        main(["check", "--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert f"their {near.BITS}-bit hashes differ (default: {near.NEAR})" in printed


def test_the_real_command(flowerbench, good):
    done: Done = flowerbench("data", "check", str(good))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("# Photos in good\n")
    (good / "ash" / "text.png").write_text("no photo")
    done = flowerbench("data", "check", str(good))
    assert (done.returncode, done.stderr) == (1, "")


def test_neither_torch_nor_pandas_is_imported(good):
    code = (
        "import sys; from flowerbench.data.__main__ import main; main(sys.argv[1:]); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'pandas', 'mlflow')))"
    )
    done = subprocess.run([sys.executable, "-c", code, "check", str(good)], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.long
def test_the_real_photos_have_their_four_identical_pairs(real_photos):
    photos = sources.in_folder(real_photos)
    found = {finding.title: finding for finding in findings.found(photos, looks.of(photos), near.NEAR)}
    twice = {tuple(photos.paths[i] for i in group) for group in found["Identical photos under two classes"].groups}
    assert twice == {
        (f"rose/{name}", f"tulip/{name}")
        for name in (
            "17291930305_79deae6a90_n.jpg",
            "17104364030_ee31ee279b_n.jpg",
            "17291451621_0e39f08b9e_n.jpg",
        )
    }
    (once,) = found["Identical photos"].groups
    assert [photos.paths[i] for i in once] == [
        "sunflower/14889392928_9742aed45b_m.jpg",
        "sunflower/15066430311_fb57fa92b0_m.jpg",
    ]
    assert [title for title, finding in found.items() if finding.is_wrong] == ["Identical photos under two classes"]
