"""Tables in LaTeX that fit their page: in a smaller type, with long cells in several lines, and going on over pages."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from flowerbench.report.blocks import Table, numeric_columns
from flowerbench.report.formats.latex_text import ems, plain

# Points: a little less than the width of the text, the size of tables, and that from which on long cells are broken.
_LINE, _LARGEST, _SMALL = 487.0, 10.0, 7.5
# Multiples of the size: the room between columns, the narrowest column of broken cells, and the longest unbroken word.
_GAP, _NARROWEST, _LONGEST = 0.9, 4.0, 11.0
# A table of no more lines stays on one page.
_FEW_LINES = 30


@dataclass(frozen=True)
class _Column:
    """A column with the lines of its head; widths are in multiples of the size of the type."""

    head: Sequence[str]
    cells: Sequence[str]
    widths: Sequence[float]
    side: str

    @property
    def natural(self) -> float:
        return max(*map(ems, self.head), *self.widths)

    @property
    def narrowest(self) -> float:
        """With every word in a line of its own, but for the very long ones."""
        words = [word for text in (*self.head, *self.cells) for word in text.split()]
        return min(1.15 * max(map(ems, words), default=0.0), _LONGEST)


def tabular(table: Table) -> str:
    """A table that has rows, with booktabs' rules, in a type so small that it is no wider than the text."""
    columns = [
        _column(name, [row[i] for row in table.rows], {row for row, column in table.bold if column == i}, is_number)
        for i, (name, is_number) in enumerate(zip(table.header, numeric_columns(table), strict=True))
    ]
    size, widths = _fitted(columns)
    is_broken = [width < column.natural for column, width in zip(columns, widths, strict=True)]
    layout, heads = "", []
    for column, width, broken in zip(columns, widths, is_broken, strict=True):
        layout += rf">{{\raggedright\arraybackslash}}p{{{width * size:.1f}pt}}" if broken else column.side
        stack = r"\\".join(map(plain, column.head))
        heads.append(plain(" ".join(column.head)) if broken else rf"\shortstack[{column.side}]{{{stack}}}")
    head = rf"\toprule {' & '.join(heads)} \\ \midrule"
    rows = [
        " & ".join(rf"\textbf{{{plain(cell)}}}" if (i, j) in table.bold else plain(cell) for j, cell in enumerate(row))
        for i, row in enumerate(table.rows)
    ]
    body = (" \\\\ \\addlinespace\n" if any(is_broken) else " \\\\\n").join(rows) + r" \\"
    is_long = _lines(columns, widths) > _FEW_LINES
    kind = "longtable" if is_long else "tabular"
    lines = [head, r"\endhead \bottomrule \endfoot", body] if is_long else [head, body, r"\bottomrule"]
    font = rf"\fontsize{{{size:.2f}}}{{{1.2 * size:.2f}}}\selectfont\setlength{{\tabcolsep}}{{{_GAP / 2 * size:.2f}pt}}"
    return "\n".join([rf"{{{font}", rf"\begin{{{kind}}}{{@{{}}{layout}@{{}}}}", *lines, rf"\end{{{kind}}}", r"\par}"])


def _column(name: str, cells: Sequence[str], bold: set[int], is_number: bool) -> _Column:
    """A column whose head is in lines no wider than its cells, or than the longest of its own words."""
    room = max(1, *map(len, [*cells, *name.split()]))
    head = textwrap.wrap(name, room, break_long_words=False) or [""]
    widths = [ems(cell, row in bold) for row, cell in enumerate(cells)]
    return _Column(head, cells, widths, "r" if is_number else "l")


def _fitted(columns: Sequence[_Column]) -> tuple[float, list[float]]:
    """The size of the type in points, and the width that each column gets in it."""
    most = max(column.natural for column in columns)
    while True:
        widths = [min(column.natural, max(column.narrowest, most)) for column in columns]
        size = _LINE / (sum(widths) + _GAP * (len(widths) - 1))
        # The smaller the type, the wider are its letters for their height.
        size *= min(1.0, size / 8) ** 0.5
        if size >= _SMALL or most <= _NARROWEST:
            return min(size, _LARGEST), widths
        most = max(most - 0.25, _NARROWEST)


def _lines(columns: Sequence[_Column], widths: Sequence[float]) -> int:
    """About how many lines all rows have together."""
    rows = zip(*(column.widths for column in columns), strict=True)
    return sum(
        max(1, *(math.ceil(cell / width) for cell, width in zip(row, widths, strict=True) if width)) for row in rows
    )
