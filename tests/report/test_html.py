"""The web page: it stands alone, every name in it is only text, and its figures do not get in each other's way."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flowerbench.report import analysis, files, frame
from flowerbench.report.blocks import Block, Bullets, Figure, Heading, Paragraph, Table, numeric_columns
from flowerbench.report.formats import html
from tests.report.helpers import paper_sweep

HOSTILE = "<script>alert(1)</script> \"'><img src=x onerror=alert(1)> &amp; {{ 7 * 7 }} {% raw %}"
DRAWN = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="72pt" viewBox="0 0 72 72"><metadata>m</metadata>'
    '<defs><style type="text/css">*{stroke-linejoin: round}</style><clipPath id="p1"><path id="m1"/></clipPath></defs>'
    '<g clip-path="url(#p1)"><use xlink:href="#m1"/></g><text>id="x" url(#p1)</text></svg>'
)


class Page(HTMLParser):
    """What a page holds: its tags with their attributes in order, and the text of each heading, cell and so on."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[int] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("title", "h1", "h2", "h3", "p", "li", "th", "td", "figcaption", "text", "code", "strong"):
            self._open.append(len(self.texts))
            self.texts.append((tag, ""))

    def handle_endtag(self, tag: str) -> None:
        if self._open and self.texts[self._open[-1]][0] == tag:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        for i in self._open:
            self.texts[i] = (self.texts[i][0], self.texts[i][1] + data)

    def all(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page(*blocks: Block, svgs: Sequence[str] = ()) -> Page:
    return Page(html.render(blocks, dict.fromkeys(svgs, DRAWN)))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a whole report, with its figures."""
    folder = tmp_path_factory.mktemp("page")
    runs = frame.load(paper_sweep(folder / "paper"))
    files.write(runs, analysis.sections(runs), folder / "report.html")
    return (folder / "report.html").read_text(encoding="utf-8")


def test_the_page_needs_nothing_else(report: str):
    read = Page(report)
    for _, attributes in read.tags:
        for name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))
    assert not {"link", "iframe", "object", "embed"} & {tag for tag, _ in read.tags}
    assert not re.search(r"@import|url\((?!#)", report)
    (policy,) = [a for a in read.attributes("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert (policy["content"] or "").startswith("default-src 'none'; ")


def test_the_page_says_what_it_is(report: str):
    read = Page(report)
    assert read.attributes("html") == [{"lang": "en"}]
    assert read.all("title") == read.all("h1") == ["Sweep paper"]
    levels = [int(tag[1]) for tag, _ in read.tags if re.fullmatch("h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert {"light dark"} == {a["content"] for a in read.attributes("meta") if a.get("name") == "color-scheme"}


def test_no_two_things_have_one_name_and_every_reference_finds_its_own(report: str):
    read = Page(report)
    names = Counter(attributes["id"] for _, attributes in read.tags if "id" in attributes)
    assert len(read.attributes("svg")) > 3
    assert set(names.values()) == {1}
    asked = re.findall(r'(?:href="#|url\(#)([^")]+)', report)
    assert asked
    assert set(asked) <= set(names)


def test_every_figure_has_a_name_for_those_who_do_not_see_it(report: str):
    read = Page(report)
    captions = read.all("figcaption")
    assert [a["aria-label"] for a in read.attributes("svg")] == captions
    assert {a["role"] for a in read.attributes("svg")} == {"img"}
    assert all(captions)


def test_figures_are_kept_apart_and_their_words_left_alone():
    read = page(Figure("1-a", "One", lambda: None), Figure("b", '`Two` & "three"', lambda: None), svgs=("1-a", "b"))
    assert [a["id"] for a in read.attributes("svg")] == ["figure-1-a", "figure-b"]
    assert [a["id"] for a in read.attributes("path")] == ["figure-1-a.m1", "figure-b.m1"]
    assert [a["xlink:href"] for a in read.attributes("use")] == ["#figure-1-a.m1", "#figure-b.m1"]
    assert [a["clip-path"] for a in read.attributes("g")] == ["url(#figure-1-a.p1)", "url(#figure-b.p1)"]
    assert read.all("text") == ['id="x" url(#p1)'] * 2
    assert read.attributes("svg")[1]["aria-label"] == 'Two & "three"'
    text = html.render([Figure("b", "Two", lambda: None)], {"b": DRAWN})
    assert "#figure-b *{stroke-linejoin: round}" in text
    assert "<metadata" not in text


@settings(deadline=None, max_examples=30)
@given(st.text(st.characters(exclude_characters="\r`*", exclude_categories=["Cs"])))
@example(HOSTILE)
def test_whatever_a_name_is_it_is_only_text(name: str):
    blocks: list[Block] = [Heading(name, 1), Heading(name, 2), Paragraph(name), Bullets([name])]
    blocks += [Table([name, name], [[name, name]], frozenset({(0, 1)}), name or "x", name)]
    plain = page(*[Heading("a", 1), Heading("a", 2), Paragraph("a"), Bullets(["a"]), Table(["a", "a"], [["a", "a"]])])
    read = page(*blocks)
    for tag, count in (("h1", 1), ("h2", 1), ("li", 1), ("th", 3), ("td", 1)):
        assert read.all(tag) == [name] * count, tag
    assert read.all("p")[0] == name
    kinds = {tag for tag, _ in read.tags} - {"p", "strong", "wbr"}
    assert kinds <= {tag for tag, _ in plain.tags}
    assert len(read.attributes("script")) == 1


def test_code_and_bold_text():
    read = page(Paragraph("See `a<b` and **half `c` bold**."), Bullets(["A tie: `x`."]))
    assert read.all("code") == ["a<b", "c", "x"]
    assert read.all("strong") == ["half c bold"]


def test_bold_cells_mark_their_rows_and_a_legend_says_what_for():
    rows = [["a", "1"], ["b", "2"], ["c", "3"]]
    meant = page(Table(["x", "y"], rows, frozenset({(0, 1), (2, 1)}), bold_means="Level with the best"))
    assert [a.get("class") for a in meant.attributes("tr")] == [None, "marked", None, "marked"]
    assert meant.all("strong") == ["1", "3"]
    assert meant.all("p") == ["Level with the best"]
    matrix = page(Table(["x", "y"], rows, frozenset({(0, 1)})))
    assert [a.get("class") for a in matrix.attributes("tr")] == [None] * 4
    assert matrix.all("p") == []
    alone = page(Table(["x", "y"], rows[:1], frozenset({(0, 1)}), bold_means="Level with the best"))
    assert [a.get("class") for a in alone.attributes("tr")] == [None, None]
    assert alone.all("p") == []


def test_a_table_can_be_read_by_its_headers():
    read = page(Table(["Settings", "Steps"], [["a", "1,440"], ["b", "\N{EN DASH}"]], caption="Some"))
    assert [a.get("scope") for a in read.attributes("th")] == ["col", "col", "row", "row"]
    assert read.all("p") == ["Some"]
    assert [a.get("class") for a in read.attributes("td")] == ["number", "number"]
    assert page(Table(["Epoch"], [], caption="No epoch was completed.")).attributes("table") == []


def test_only_long_reports_have_contents_and_their_links_lead_somewhere(report: str):
    assert page(Heading("Run", 1), Heading("Settings", 2), Paragraph("x")).attributes("nav") == []
    read = page(Heading("Run", 1), *[Heading(text, 2) for text in ("a 2", "a", "a", "?", "??", "a-2", "a")])
    links = [a["href"] for a in read.attributes("a")]
    assert len(set(links)) == len(links) == 7
    assert links == [f"#{a['id']}" for a in read.attributes("h2")]
    assert "#conclusion" in [a["href"] for a in Page(report).attributes("a")]


@pytest.mark.parametrize(
    ("cells", "is_numeric"),
    [
        (["1,440", "2,860"], True),
        (["6.25e-05", "\N{EN DASH}", "nan", "-0.5", "< 0.001"], True),
        (["7.0 %", "12%"], True),
        (["\N{EN DASH}", "\N{EN DASH}"], False),
        (["0.8772 ± 0.0040 (n=3)"], False),
        (["500/570"], False),
        (["0.5", "MISSING"], False),
        (["", "1"], False),
    ],
)
def test_columns_of_numbers_stand_one_under_the_other(cells: list[str], is_numeric: bool):
    assert numeric_columns(Table(["a"], [[cell] for cell in cells])) == [is_numeric]


def test_the_styles_and_the_script_are_in_the_page():
    folder = Path(html.__file__).parents[1] / "templates"
    text = html.render([Paragraph("x")], {})
    for name in ("report.css", "report.js"):
        assert (folder / name).read_text(encoding="utf-8").strip() in text
