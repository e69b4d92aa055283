"""Blocks as one web page that needs nothing else: styles, script and figures are in it."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from functools import cache

from jinja2 import Environment, PackageLoader
from markupsafe import Markup, escape

from flowerbench.report.blocks import Block, Bullets, Figure, Gallery, Heading, Paragraph, Table, numeric_columns

# With fewer headings than this a page needs no table of contents.
_FEWEST_CONTENTS = 6


def render(blocks: Sequence[Block], svgs: Mapping[str, str]) -> str:
    """The blocks as a page of HTML; `svgs` has an `<svg>` element for every figure, by its name."""
    anchors = _anchors(blocks)
    contents = [(block, anchor) for block, anchor in zip(blocks[1:], anchors[1:], strict=True) if anchor]
    drawn = {
        block.name: _inlined(svgs[block.name], block.name, block.caption)
        for block in blocks
        if isinstance(block, Figure)
    }
    title = blocks[0].text if isinstance(blocks[0], Heading) else "Runs"
    shown = contents if len(contents) >= _FEWEST_CONTENTS else []
    template = _environment().get_template("report.html.j2")
    return template.render(title=title, blocks=blocks, anchors=anchors, contents=shown, svgs=drawn) + "\n"


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("flowerbench.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    for kind in (Heading, Paragraph, Bullets, Table, Figure, Gallery):
        made.tests[kind.__name__.lower()] = lambda block, kind=kind: isinstance(block, kind)
    made.filters |= {"text": _text, "numeric": numeric_columns, "breakable": _breakable}
    made.filters["base64"] = lambda data: base64.b64encode(data).decode()
    made.filters["marked"] = lambda table: {row for row, _ in table.bold}
    return made


def _anchors(blocks: Sequence[Block]) -> list[str]:
    """Of each heading a name to be linked to, of letters and digits and unlike the others'; of other blocks none."""
    made: list[str] = []
    for block in blocks:
        name = re.sub(r"\W+", "-", block.text.lower()).strip("-") or "part" if isinstance(block, Heading) else ""
        while name and name in made:
            name = f"{name}-{len(made)}"
        made.append(name)
    return made


def _text(text: str) -> Markup:
    """Running text with its code and its bold."""
    shown = re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text)))
    return Markup(re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", shown))


def _breakable(name: str) -> Markup:
    """A name of a setting that may go on in a new line within a word."""
    return Markup(re.sub(r"(?<=[=_/])(?=.)", "<wbr>", str(escape(name))))


def _inlined(svg: str, name: str, caption: str) -> Markup:
    """An SVG to stand in a page with others: its ids, which each SVG counts anew, get the figure's name."""
    prefix = f"figure-{name}"

    def apart(tag: re.Match[str]) -> str:
        return re.sub(r'(?<=\bid=")|(?<=\bhref="#)|(?<=url\(#)', f"{prefix}.", tag[0])

    width = re.search(r'\bwidth="([^"]+)"', svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub("<[^>]+>", apart, svg)
    # A style sheet of one figure holds for the whole page.
    svg = svg.replace("*{", f"#{prefix} *{{", 1)
    label = escape(caption.replace("`", ""))
    about = f'id="{prefix}" role="img" aria-label="{label}" style="--width: {width[1] if width else "100%"}"'
    return Markup(svg.replace("<svg ", f"<svg {about} ", 1))
