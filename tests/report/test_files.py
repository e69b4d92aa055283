"""A report in files: all formats, the same bytes for the same runs, and no figure can lose the rest."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.figure import Figure as Drawing

from flowerbench.errors import UsageError
from flowerbench.report import analysis, files, frame, plots
from flowerbench.report.blocks import Block, Bullets, Figure, Heading, Paragraph, with_figures
from tests.report.helpers import config, steps, write_plan, write_run

ALWAYS = {
    "report.md",
    "report.html",
    "report.tex",
    "report.json",
    "settings.csv",
    "pairs.csv",
    "runs.csv",
    "epochs.csv",
}
FIGURES = {"settings", "pivot", "seconds", "confusion", "classes", "run-1", "run-2", "run-3", "run-4"}


def sweep(folder: Path, classes: tuple[str, str] = ("ash", "beech")) -> Path:
    """Two by two, with the answers of every run to ten photos."""
    points = [[f"batch_size={batch}", f"epochs={epochs}"] for batch in (16, 32) for epochs in (4, 8)]
    write_plan(folder, ["batch_size", "epochs"], points)
    for number, point in enumerate(points):
        batch, epochs = (int(override.partition("=")[2]) for override in point)
        name = "_".join(point).replace("=", "-")
        run = write_run(folder / name, config(batch, epochs), steps([4, 5 + number]), total=10, train_total=40)
        with (run / "val_predictions.csv").open("w", encoding="utf-8", newline="") as file:
            answers = csv.writer(file)
            answers.writerow(["photo", "label", "prediction"])
            answers.writerows([f"{i}.jpg", classes[i % 2], classes[i % 2 ^ (i >= 5 + number)]] for i in range(10))
    return folder


def write(source: Path, out: Path) -> None:
    runs = frame.load(source)
    files.write(runs, analysis.sections(runs), out)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sweep in `sweep`, and its whole report in `report`."""
    home = tmp_path_factory.mktemp("home")
    sweep(home / "sweep")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        write(Path("sweep"), Path("report"))
    return home


@pytest.fixture
def here(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(home)
    return home


def test_a_folder_gets_all_formats_tables_and_figures(home: Path):
    drawn = {f"figures/{name}{suffix}" for name in FIGURES for suffix in (".svg", ".pdf")}
    found = contents(home / "report")
    assert set(found) == ALWAYS | drawn
    for name in FIGURES:
        assert found[f"figures/{name}.svg"].startswith(b"<svg ")
        assert found[f"figures/{name}.pdf"].startswith(b"%PDF")
        assert f"](figures/{name}.svg)".encode() in found["report.md"]
        assert f"{{figures/{name}.pdf}}".encode() in found["report.tex"]
        assert f'id="figure-{name}"'.encode() in found["report.html"]


def test_the_same_runs_give_the_same_bytes(home: Path):
    command = [sys.executable, "-m", "flowerbench.report", "sweep", "--out", "again"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert contents(home / "again") == contents(home / "report")


@pytest.mark.parametrize("name", ["one.md", "one.html", "one.tex", "one.csv", "one.json", "ONE.HTML"])
def test_a_file_stands_alone(here: Path, tmp_path: Path, name: str):
    write(Path("sweep"), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    text = (tmp_path / name).read_text(encoding="utf-8")
    whole = {path.suffix: path.read_text(encoding="utf-8") for path in (here / "report").glob("report.*")}
    whole[".csv"] = (here / "report" / "settings.csv").read_text(encoding="utf-8")
    suffix = Path(name).suffix.lower()
    if suffix in (".md", ".tex"):
        assert "figures/" not in text
        assert "Mistakes" not in text
        assert "Mistakes" in whole[suffix]
    else:
        assert text == whole[suffix]


def broken(*_: object) -> Drawing:
    raise ZeroDivisionError("no\nway")


def nothing(*_: object) -> None:
    return None


def test_a_figure_that_cannot_be_drawn_is_left_out_with_a_warning(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(plots, "confusion_matrix", broken)
    write(Path("sweep"), tmp_path / "report")
    assert [record.getMessage() for record in caplog.records] == [
        "flowerbench: figure confusion is left out: it cannot be drawn (no way)"
    ]
    found, whole = contents(tmp_path / "report"), contents(here / "report")
    assert set(whole) - set(found) == {"figures/confusion.svg", "figures/confusion.pdf"}
    for name in ("report.md", "report.html", "report.tex"):
        assert b"confusion" in whole[name]
        assert b"confusion" not in found[name]
        assert b"Mistakes" in found[name]


def test_a_figure_that_cannot_be_written_as_svg_or_pdf_is_left_out_too(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def unwritable(*_: object) -> Drawing:
        drawing = Drawing()
        drawing.text(0.5, 0.5, r"$\nonsense$")
        return drawing

    monkeypatch.setattr(plots, "heat_map", unwritable)
    write(Path("sweep"), tmp_path / "report")
    assert len(caplog.records) == 1
    assert "pivot" in caplog.text
    assert {path.stem for path in (tmp_path / "report" / "figures").iterdir()} == FIGURES - {"pivot"}


def test_a_heading_without_its_figures_is_left_out(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("confusion_matrix", "per_class", "wrong_photos"):
        monkeypatch.setattr(plots, name, nothing)
    write(Path("sweep"), tmp_path / "report")
    for name in ("report.md", "report.html", "report.tex"):
        assert "Mistakes" not in (tmp_path / "report" / name).read_text(encoding="utf-8")


def test_headings_stay_above_what_is_below_them():
    def figure(name: str) -> Figure:
        return Figure(name, "", lambda: None)

    blocks: list[Block] = [
        Heading("Runs", 1), Heading("All", 2), figure("a"), Heading("Some", 2), Heading("One", 3), figure("b"),
        Heading("Two", 3), figure("c"), Heading("Rest", 2), Paragraph("x"), Heading("End", 2), Bullets(["y"]),
    ]  # fmt: skip
    left = [block.text for block in with_figures(blocks, {"c"}) if isinstance(block, Heading)]
    assert left == ["Runs", "Some", "Two", "Rest", "End"]
    assert with_figures(blocks, {"a", "b", "c"}) == blocks
    assert with_figures([Heading("Runs", 1), figure("a")], ()) == []


def test_old_figures_go_and_what_is_not_ours_stays(here: Path, tmp_path: Path):
    out = tmp_path / "report"
    write(Path("sweep"), out)
    (out / "figures" / "mine.svg").write_text("<svg/>")
    (out / "figures" / "settings.png").write_text("mine, too")
    (out / "notes.md").write_text("![mine](figures/mine.svg)")
    write(Path("sweep") / "batch_size-16_epochs-4", out)
    left = {path.name for path in (out / "figures").iterdir()}
    drawn = {f"{name}{suffix}" for name in ("confusion", "classes", "run-1") for suffix in (".svg", ".pdf")}
    assert left == drawn | {"mine.svg", "settings.png"}
    assert set(re.findall(r"figures/([\w-]+)\.svg", (out / "report.md").read_text())) == {
        "confusion",
        "classes",
        "run-1",
    }
    write(Path("sweep"), out)
    assert set(contents(out)) - set(contents(here / "report")) == {
        "figures/mine.svg",
        "figures/settings.png",
        "notes.md",
    }


def test_letters_that_matplotlib_cannot_draw_are_no_reason_to_warn(tmp_path: Path):
    source = sweep(tmp_path / "sweep", ("玫瑰", "ورد"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        write(source, tmp_path / "report")
    assert {path.stem for path in (tmp_path / "report" / "figures").iterdir()} == FIGURES
    assert "玫瑰" in (tmp_path / "report" / "figures" / "confusion.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("out", "error"),
    [("no/such/report.md", FileNotFoundError), ("file/report", NotADirectoryError), ("file", NotADirectoryError)],
)
def test_what_cannot_be_written_is_an_os_error(here: Path, tmp_path: Path, out: str, error: type[OSError]):
    (tmp_path / "file").write_text("")
    with pytest.raises(error):
        write(Path("sweep"), tmp_path / out)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_suffix_of_no_format_is_no_folder(here: Path, tmp_path: Path):
    with pytest.raises(UsageError, match=r"^report\.pdf is of no format of a report: \.md, \.html, \.tex"):
        write(Path("sweep"), tmp_path / "report.pdf")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "report.old").mkdir()
    for name in ("report.old", "2026.11"):
        write(Path("sweep"), tmp_path / name)
        assert (tmp_path / name / "report.html").is_file()


def test_a_report_of_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(write_plan(tmp_path / "sweep", ["batch_size"], []), tmp_path / "report")
    assert set(contents(tmp_path / "report")) == ALWAYS
    assert (tmp_path / "report" / "report.md").read_text() == "No run has begun.\n"


def test_a_write_that_fails_leaves_the_report_of_before(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out = tmp_path / "report"
    write(Path("sweep"), out)
    before = contents(out)
    original: Callable[..., None] = files.atomic.write_text

    def full(path: Path, text: str) -> None:
        if path.suffix == ".html":
            raise OSError(28, "No space left on device")
        original(path, text)

    monkeypatch.setattr(files.atomic, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        write(Path("sweep") / "batch_size-16_epochs-4", out)
    after = contents(out)
    assert set(after) == set(before)
    assert after["report.md"] == before["report.md"]
