"""Whole reports, compared with golden files to the letter."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowerbench import report
from flowerbench.report import frame
from tests.report.helpers import (
    cells,
    check_golden,
    config,
    half_failed_sweep,
    paper_sweep,
    steps,
    write_plan,
    write_run,
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Golden reports name folders relative to where the command runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_papers_tables_come_back():
    text = report.markdown(frame.load(paper_sweep(Path("paper"))))
    check_golden("paper", text)
    settings, last = text.split("## Settings")[1].split("## Best")[0], text.split("### batch_size=16, epochs=25")[1]
    assert [row[7] for row in cells(settings)[1:]] == ["level (p = 1.00)", "best", "tied"]
    assert [row[:2] for row in cells(settings)[1:]] == [
        ["batch_size=32, epochs=25", "**0.9316**"],
        ["batch_size=16, epochs=20", "**0.9351**"],
        ["batch_size=16, epochs=25", "**0.9351**"],
    ]
    assert cells(last) == [
        ["Epoch", "Learning Rate", "Train Loss", "Val Loss", "Accuracy Rate"],
        ["1", "0.001000", "0.7551", "0.4084", "0.8333"],
        ["8", "0.000100", "0.2416", "0.2580", "0.9140"],
        ["16", "0.000010", "0.2223", "0.1904", "0.9246"],
        ["23", "0.000001", "0.2271", "0.1981", "**0.9351**"],
        ["25", "0.000001", "0.2138", "0.2031", "0.9263"],
    ]
    assert "`batch_size=16, epochs=20` and `batch_size=16, epochs=25` have the same result, 533 of 570 photos" in text


def test_what_failed_or_never_began_stays_visible():
    runs = frame.load(half_failed_sweep(Path("sweep")))
    check_golden("half_failed", report.markdown(runs))
    check_golden("half_failed_summary", report.summary(runs))


def test_a_single_run():
    folder = write_run(Path("outputs/2026-11-24/02-10-11"), config(), steps([80, 92, 92, 91]), total=100)
    check_golden("single", report.markdown(frame.load(folder)))


def test_a_cosine_schedule_shows_few_epochs():
    epochs = [(i, 0.01 * (1 - i / 25), 1 / i, 1 / i, 400 + 3 * i - (i // 20) * 40) for i in range(1, 26)]
    check_golden("cosine", report.markdown(frame.load(write_run(Path("day/cosine"), config(16, 25), epochs))))


def test_protocols_and_splits_are_kept_apart():
    home = Path("mixed")
    points = []
    for protocol, split in (("clean", "aaaa0000aaaa"), ("augmented", "aaaa0000aaaa"), ("clean", "bbbb1111bbbb")):
        for batch in (16, 32):
            folder = home / f"data.validation-{protocol}_batch_size-{batch}_{split[:1]}"
            told = config(batch, 4, data={"validation": protocol})
            write_run(folder, told, steps([90, batch + 60]), total=100, protocol=protocol, split=split)
    points = [["data.validation=augmented", "batch_size=64", "epochs=4"], ["data.validation=clean", "batch_size=64"]]
    write_plan(home, ["data.validation", "batch_size"], points)
    runs = frame.load(home)
    text = report.markdown(runs)
    check_golden("mixed", text)
    why = "by different validation protocols (augmented, clean) and on different photos (splits aaaa0000, "
    assert f"**Not compared: these runs were judged {why}" in text
    assert "**Not compared:" in report.summary(runs)


def test_a_sweep_of_which_nothing_began():
    sweep = write_plan(Path("sweep"), ["batch_size"], [["batch_size=16"], ["batch_size=32"]])
    text = report.markdown(frame.load(sweep))
    assert text.startswith("# Sweep today\n\n2 runs: 2 MISSING.\n")
    assert cells(report.summary(frame.load(sweep)))[1:] == [
        [f"batch_size={batch_size}", "–", "–", "–", "–", "MISSING"] for batch_size in (16, 32)
    ]


def test_a_sweep_without_a_plan_that_never_began():
    runs = frame.load(write_plan(Path("sweep"), ["batch_size"], []))
    assert report.markdown(runs) == report.summary(runs) == "No run has begun.\n"


def test_other_axes_can_be_asked_for():
    home = Path("sweep")
    for lr in (0.1, 0.01):
        for seed in (0, 1):
            write_run(home / f"{lr}-{seed}", config(optim={"lr": lr}) | {"seed": seed}, steps([90 + seed]), total=100)
    runs = frame.load(home)
    assert "## Best accuracy by" not in report.markdown(runs)
    text = report.markdown(runs, rows="optim.lr")
    table = text.split("## Best accuracy by optim.lr and epochs")[1].split("##")[0]
    assert cells(table) == [
        ["optim.lr", "epochs=4"],
        ["0.01", "**0.9050 ± 0.0071 (n=2)**"],
        ["0.1", "**0.9050 ± 0.0071 (n=2)**"],
    ]
