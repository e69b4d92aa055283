"""The web page as a browser shows it: Chromium where there is one, from a file, without a network."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from flowerbench.report import analysis, files, frame
from flowerbench.report.blocks import Table
from flowerbench.report.formats import html
from flowerbench.report.words import decimals
from tests.report.helpers import KEPT_SWEEP

pytestmark = pytest.mark.long

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
PHONE, DESK, WIDE = (360, 800), (1280, 900), (1680, 1050)

# For every element with text of its own, outside figures: the text, its size in pixels and its contrast (WCAG 2.2).
TEXTS = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const paint = (color) => { canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); };
  const luminance = () => {
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((c) => c / 255)
      .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  return [...document.querySelectorAll("body *:not(svg, svg *, script)")]
    .filter((element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
    .filter((element) => element.checkVisibility())
    .map((element) => {
      const above = [];
      for (let at = element; at; at = at.parentElement) above.unshift(getComputedStyle(at).backgroundColor);
      above.forEach(paint);
      const ground = luminance();
      paint(getComputedStyle(element).color);
      const [dark, light] = [ground, luminance()].sort((a, b) => a - b);
      const size = parseFloat(getComputedStyle(element).fontSize);
      return { text: element.textContent.trim(), size, contrast: (light + 0.05) / (dark + 0.05) };
    });
}"""

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no browser is here ({', '.join(NAMES)})")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the report of the kept sweep."""
    folder = tmp_path_factory.mktemp("browser") / "report"
    runs = frame.load(KEPT_SWEEP)
    files.write(runs, analysis.sections(runs), folder)
    return folder


@pytest.fixture
def opened(chromium: Any, report: Path) -> Iterator[Open]:
    """Open a page of this size and color scheme; what it complains of and what it asks for is in `said`, `asked`."""
    contexts = []

    def open_page(size: tuple[int, int] = DESK, scheme: str = "light", file: Path = report / "report.html") -> Any:
        contexts.append(chromium.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme))
        page = contexts[-1].new_page()
        page.said, page.asked = [], []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(file.as_uri())
        page.wait_for_load_state("networkidle")
        return page

    yield open_page
    for context in contexts:
        context.close()


def column(table: Any, number: int) -> list[str]:
    return [row.locator("th, td").nth(number).inner_text() for row in table.locator("tbody tr").all()]


def test_the_page_loads_from_a_file_without_a_complaint_or_a_request(opened: Open, report: Path):
    page = opened()
    assert page.title() == "Sweep paper_mobilenet_v2_160px"
    assert page.asked == [(report / "report.html").as_uri()]
    assert page.said == []


def test_the_page_has_the_numbers_of_the_csv(opened: Open, report: Path):
    settings = pd.read_csv(report / "settings.csv").set_index("settings")
    table = opened().get_by_role("region", name="Settings", exact=True).locator("table")
    heads = table.locator("thead th").all_inner_texts()
    shown = {
        row[0]: row for row in (line.locator("th, td").all_inner_texts() for line in table.locator("tbody tr").all())
    }
    assert list(shown) == list(settings.index)
    for name, row in settings.iterrows():
        told = dict(zip(heads, shown[str(name)], strict=True))
        rate, counts = {16: ("0.8807", "502/570"), 32: ("0.8789", "501/570")}[row["batch_size"]]
        assert told["Best Accuracy Rate"] == decimals(row["correct"] / row["total"]) == rate
        assert told["Correct/Total"] == f"{row['correct']}/{row['total']}" == counts
        assert (told["Best Epoch"], told["Last Epoch"]) == (str(row["best_epoch"]), decimals(row["last"]))


def test_a_click_sorts_a_table_and_two_more_bring_it_back(opened: Open):
    page = opened()
    table = page.get_by_role("region", name="Cost", exact=True).locator("table")
    written = column(table, 0)
    assert column(table, 1) == ["2,860", "3,575", "1,440", "1,800"]
    header = table.locator("thead th").nth(1)
    for order, shown in (
        ("ascending", ["1,440", "1,800", "2,860", "3,575"]),
        ("descending", ["3,575", "2,860", "1,800", "1,440"]),
        ("none", ["2,860", "3,575", "1,440", "1,800"]),
    ):
        header.get_by_role("button").click()
        assert header.get_attribute("aria-sort") == order
        assert column(table, 1) == shown
    assert column(table, 0) == written


def test_the_keyboard_sorts_too_and_one_column_at_a_time(opened: Open):
    page = opened()
    table = page.get_by_role("region", name="Cost", exact=True).locator("table")
    heads = table.locator("thead th")
    heads.nth(1).get_by_role("button").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert [head.get_attribute("aria-sort") for head in heads.all()] == ["none", "none", "ascending", "none", "none"]
    assert column(table, 2) == ["3.13e-05", "3.13e-05", "6.25e-05", "6.25e-05"]


@pytest.mark.parametrize(
    ("ascending", "last"),
    [
        (["-1", "9", "10", "1,000"], ["\N{EN DASH}"]),
        (["0.45", "0.5 ± 0.1 (n=3)", "0.6"], ["nan"]),
        (["0.8", "0.9 (unfinished)"], ["MISSING"]),
        (["< 0.001", "0.002", "0.04", "1.00"], []),
        (["91/570", "99/570", "500/570"], []),
        (["a=32", "b=8", "b=16"], ["\N{EN DASH}"]),
        (["lr=1e-05", "lr=0.001", "lr=0.02", "lr=0.1"], []),
        (["best", "level (p = 0.09)", "level (p = 0.75)", "worse (p < 0.001)"], []),
    ],
)
def test_numbers_are_sorted_as_numbers_and_what_is_none_comes_last(
    opened: Open, tmp_path: Path, ascending: list[str], last: list[str]
):
    written = [*last, *ascending[1::2], *ascending[::2]]
    file = tmp_path / "page.html"
    file.write_text(html.render([Table(["a", "b"], [["x", cell] for cell in written])], {}), encoding="utf-8")
    page = opened(file=file)
    for shown in ([*ascending, *last], [*reversed(ascending), *last], written):
        page.get_by_role("button", name="b").click()
        assert column(page.locator("table"), 1) == shown


@pytest.mark.parametrize("size", [PHONE, DESK])
def test_the_page_does_not_scroll_sideways_but_its_tables_do(opened: Open, size: tuple[int, int]):
    page = opened(size)
    width = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    assert page.evaluate(width) == [size[0], size[0]]
    page.evaluate("scrollTo(500, 0)")
    assert page.evaluate("scrollX") == 0
    box = page.get_by_role("region", name="Settings", exact=True)
    first, last = box.locator("tbody tr").first.locator("th, td").first, box.locator("thead th").last
    if size == PHONE:
        before = first.bounding_box()
        box.evaluate("e => { e.scrollLeft = e.scrollWidth; }")
        assert first.bounding_box() == before
        edge = last.bounding_box()
        assert edge["x"] + edge["width"] <= size[0]
    else:
        assert box.evaluate("e => e.scrollWidth <= e.clientWidth"), "on a laptop it is there as a whole"


def test_text_on_a_phone_can_be_read(opened: Open):
    texts = opened(PHONE).evaluate(TEXTS)
    assert len(texts) > 100
    assert [text for text in texts if text["size"] < 16] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK])
def test_all_text_stands_out_from_its_background(opened: Open, size: tuple[int, int], scheme: str):
    page = opened(size, scheme)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(23, 23, 23)"}[scheme]
    texts = page.evaluate(TEXTS)
    assert len(texts) > 100
    assert [text for text in texts if text["contrast"] < 4.5] == []
    assert max(text["contrast"] for text in texts) > 12


@pytest.mark.parametrize("size", [PHONE, DESK])
def test_every_figure_is_there_to_be_seen(opened: Open, report: Path, size: tuple[int, int]):
    page = opened(size)
    drawn = sorted(path.stem for path in (report / "figures").glob("*.svg"))
    figures = page.locator("figure svg").all()
    assert sorted(figure.get_attribute("id").removeprefix("figure-") for figure in figures) == drawn
    for figure in figures:
        box = figure.bounding_box()
        assert box["width"] > 150
        assert box["height"] > 90
        words = figure.locator("text").first.bounding_box()
        assert words["width"] > 0


def test_contents_lead_to_their_headings(opened: Open):
    page = opened(WIDE)
    page.get_by_role("navigation").get_by_role("link", name="Cost").click()
    assert page.url.endswith("#cost")
    assert page.locator("h2#cost").evaluate("e => Math.abs(e.getBoundingClientRect().top) < innerHeight / 2")
    assert {opened(size).locator("nav details").get_attribute("open") for size in (PHONE, DESK)} == {None}
