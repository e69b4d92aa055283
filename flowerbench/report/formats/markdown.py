"""Blocks as Markdown, as GitHub and MLflow show it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from flowerbench.report.blocks import Block, Bullets, Figure, Gallery, Heading, Paragraph, Table, with_figures


def render(blocks: Sequence[Block], figures: str | None = None) -> str:
    """The blocks in Markdown; figures are those of the folder `figures`, as SVG, and left out without one."""
    shown = blocks if figures is not None else with_figures(blocks, ())
    return "\n\n".join(_block(block, figures or "") for block in shown) + "\n"


def _block(block: Block, figures: str) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {text}"
        case Paragraph(text):
            return text
        case Bullets(items):
            return "\n".join(f"- {item}" for item in items)
        case Gallery():
            return _block(Bullets(block.items()), figures)
        case Table():
            return (f"{block.caption}\n\n" if block.caption else "") + pipe_table(block)
        case Figure(name, caption):
            return f"![{caption}]({figures}/{name}.svg)\n\n*{caption}*"


def pipe_table(table: Table) -> str:
    """The table with its columns aligned; what would break a cell is escaped."""
    rows = [
        [f"**{_escaped(cell)}**" if (i, j) in table.bold else _escaped(cell) for j, cell in enumerate(row)]
        for i, row in enumerate(table.rows)
    ]
    lines = [[_escaped(cell) for cell in table.header], *rows]
    widths = [max(3, *(len(line[column]) for line in lines)) for column in range(len(table.header))]
    lines.insert(1, ["-" * width for width in widths])
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def _escaped(cell: str) -> str:
    """A cell in one line, such that neither Markdown nor HTML takes a part of it for its own."""
    return re.sub(r"([|*`]|<(?=[\w/!]))", r"\\\1", " ".join(cell.split()))
