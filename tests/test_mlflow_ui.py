"""What people see of a sweep in `mlflow ui`, in a real browser."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import finish_together, start_train
from tests.test_mlflow_server import answers, wait_for

browser_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = browser_api.expect

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(os.name == "nt", reason="process groups of POSIX"),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium"),
]

NAMES = [f"batch_size={batch_size}, epochs={epochs}" for batch_size in (8, 16) for epochs in (2, 3)]
TABLE = "/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=flowerbench"
# A browser that asks nobody else for anything.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory, photo_folder: Path) -> tuple[Path, str]:
    """The folder in which a sweep of four points was trained, and what it printed."""
    folder = tmp_path_factory.mktemp("sweep")
    arguments = ["data=folder", f"data.root={photo_folder}", "model=tiny", "image_size=16", "data.workers=0"]
    arguments += ["device=cpu", "optim.lr=0.05", "batch_size=8,16", "epochs=2,3"]
    process = start_train(folder, "--multirun", *arguments)
    return folder, finish_together([process])[0]


@pytest.fixture(scope="module")
def address(sweep: tuple[Path, str]) -> Iterator[str]:
    """`mlflow ui` in that folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = sweep[0] / "ui.log"
    with log.open("wb") as file:
        command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        process = subprocess.Popen(command, cwd=sweep[0], stdout=file, stderr=file, start_new_session=True)
    try:
        wait_for(lambda: answers(f"http://127.0.0.1:{port}") or process.poll() is not None, 150)
        assert process.poll() is None, log.read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """A page of a browser that was here never before."""
    context = chromium.new_context(viewport={"width": 1700, "height": 1700})
    context.set_default_timeout(30_000)
    expect.set_options(timeout=20_000)
    yield context.new_page()
    context.close()


def lines(page: Any, metric: str) -> set[str]:
    """The colours of the lines in the chart of a metric."""
    card = page.get_by_test_id("experiment-view-compare-runs-card").filter(has_text=re.compile(f"^{metric}"))
    paths = card.locator(".scatterlayer path.js-line")
    expect(paths.first).to_be_attached()
    drawn = paths.evaluate_all("paths => paths.map(p => [p.getAttribute('d'), getComputedStyle(p).stroke])")
    return {stroke for path, stroke in drawn if path.count("L") + path.count("C") > 0}


def test_the_address_that_a_sweep_prints_leads_to_its_note_and_to_its_curves(
    sweep: tuple[Path, str], address: str, page: Any
):
    printed = re.search(r"mlflow ui, then http://127\.0\.0\.1:5000(/\S+)", sweep[1])
    assert printed, sweep[1]
    page.goto(address + printed[1])
    expect(page.get_by_role("heading", name="batch_size, epochs (")).to_be_visible()
    note = page.get_by_test_id("note-view-outer-container").first
    expect(note).to_contain_text("4 points: 4 done.")
    for name in NAMES:
        expect(note.get_by_role("cell", name=name)).to_be_attached()
    with page.context.expect_page() as opened:
        note.get_by_role("link", name="Curves of these runs").click()
    curves = opened.value
    for name in NAMES:
        expect(curves.get_by_role("link", name=name)).to_be_visible()
    for metric in ("train/loss", "val/accuracy"):
        assert len(lines(curves, metric)) == 4, f"four curves of {metric}, each with a colour of its own"


def test_the_table_has_a_sweep_with_its_runs_below_it_and_accuracies_first(address: str, page: Any):
    page.goto(address + TABLE)
    sweep = page.get_by_role("link", name="batch_size, epochs (")
    expect(sweep).to_be_visible()
    for name in NAMES:
        expect(page.get_by_role("link", name=name)).to_have_count(0)
    page.locator(".ag-row", has=sweep).get_by_role("button").first.click()
    for name in NAMES:
        text = page.get_by_text(name, exact=True)
        expect(text).to_be_visible()
        assert text.evaluate("text => text.scrollWidth <= text.clientWidth"), "no name is cut off"
    headers = page.locator(".ag-header-cell")
    left = headers.evaluate_all("cells => cells.map(c => [c.getBoundingClientRect().left, c.innerText.trim()])")
    columns = [name for _, name in sorted(left) if name]
    assert columns[:5] == ["Run Name", "Created", "best/val_accuracy", "best/epoch", "Description"]
    expect(page.get_by_text(re.compile(r"^Best accuracy [01]\.\d{4} \(\d+/11\) in epoch \d"))).to_have_count(4)


def test_four_runs_are_compared_by_their_accuracy(address: str, page: Any):
    page.goto(address + TABLE)
    sweep = page.get_by_role("link", name="batch_size, epochs (")
    page.locator(".ag-row", has=sweep).get_by_role("button").first.click()
    for name in NAMES:
        page.locator(".ag-row", has=page.get_by_role("link", name=name)).get_by_role("checkbox").check()
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("heading", name="Comparing 4 Runs")).to_be_visible()
    plot = page.locator(".parcoords, .js-plotly-plot").first
    for axis in ("batch_size", "epochs", "val/accuracy"):
        expect(plot.get_by_text(axis, exact=True)).to_be_visible()
    for name in NAMES:
        expect(page.get_by_text(name, exact=True).first).to_be_visible()
