"""What a report is made of, whatever it is written in: headings, paragraphs, lists, tables, figures and photos."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing


@dataclass(frozen=True)
class Heading:
    """A heading of level 1, the title, to 4."""

    text: str
    level: int


@dataclass(frozen=True)
class Paragraph:
    """Running text; what stands between backticks is code, what between two pairs of asterisks is bold."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of sentences, written as in a paragraph."""

    items: Sequence[str]


@dataclass(frozen=True)
class Table:
    """A table of plain text; `bold` names cells by row and column, from 0, the header not counted.

    `bold_means` is what a bold cell says of its row, empty where it speaks for itself alone.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    bold: frozenset[tuple[int, int]] = frozenset()
    caption: str = ""
    bold_means: str = ""


@dataclass(frozen=True)
class Figure:
    """A figure, drawn when it is written; `name` is its file's, without the suffix. One that gives None is left out."""

    name: str
    caption: str
    draw: Callable[[], Drawing | None] = field(repr=False)


@dataclass(frozen=True)
class Photo:
    """A photo by its name, with what there is to say of it; `jpeg` is a small picture of it, or empty."""

    name: str
    detail: str = ""
    jpeg: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Gallery:
    """Groups of photos; a web page shows them, and all else lists their names."""

    groups: Sequence[Sequence[Photo]]

    def items(self) -> list[str]:
        """A sentence for each group, written as in a paragraph."""
        return [
            ", ".join(f"`{photo.name}`" + (f" ({photo.detail})" if photo.detail else "") for photo in group)
            for group in self.groups
        ]


Block = Heading | Paragraph | Bullets | Table | Figure | Gallery


def with_figures(blocks: Sequence[Block], names: Collection[str]) -> list[Block]:
    """The blocks with no other figures than these, and without the headings that nothing is left under."""
    kept: list[Block] = []
    for block in reversed(blocks):
        if isinstance(block, Figure) and block.name not in names:
            continue
        below = kept[-1] if kept else None
        if isinstance(block, Heading) and (
            below is None or (isinstance(below, Heading) and below.level <= block.level)
        ):
            continue
        kept.append(block)
    return kept[::-1]


_NUMBER = re.compile(r"(< )?[-+]?[\d,]+(\.\d+)?(e[-+]?\d+)?( ?%)?|nan|-?inf|\N{EN DASH}")


def numeric_columns(table: Table) -> list[bool]:
    """Of each column, whether it has nothing but numbers and dashes, which are to stand one under the other."""
    return [
        all(_NUMBER.fullmatch(row[column]) for row in table.rows)
        and any(row[column].strip("\N{EN DASH}") for row in table.rows)
        for column in range(len(table.header))
    ]
