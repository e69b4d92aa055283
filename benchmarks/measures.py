"""Measured values of several sides: medians, spread, and how they compare to the first side."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from flowerbench.report.blocks import Block, Heading, Paragraph, Table

Better = Literal["more", "less", ""]


@dataclass(frozen=True)
class Row:
    """A measure: its values on each side, and which of more and less is better, empty where that is no question."""

    name: str
    values: Mapping[str, Sequence[float]]
    better: Better = ""
    digits: int | None = None

    def median(self, side: str) -> float | None:
        """The median of a side's values, None where it has none."""
        return statistics.median(self.values[side]) if self.values.get(side) else None

    def ratio(self, side: str, base: str) -> float | None:
        """How many times better a side's median is than that of `base`, None where nothing is better."""
        ours, theirs = self.median(side), self.median(base)
        if not self.better or not ours or not theirs:
            return None
        return ours / theirs if self.better == "more" else theirs / ours

    def cell(self, side: str) -> str:
        """A side's median, and from where to where its values lie if there are several."""
        middle = self.median(side)
        if middle is None:
            return "\N{EN DASH}"
        values = self.values[side]
        spread = f" ({self._shown(min(values))} to {self._shown(max(values))})" if len(values) > 1 else ""
        return self._shown(middle) + spread

    def _shown(self, value: float) -> str:
        size = abs(value)
        digits = self.digits if self.digits is not None else 0 if size >= 100 else 1 if size >= 10 else 2
        return f"{value:,.{digits}f}"


@dataclass(frozen=True)
class Section:
    """Rows on one question, and the runs that they come from. The first side is what the others are compared to."""

    name: str
    title: str
    note: str
    sides: Sequence[str]
    rows: Sequence[Row]
    runs: Sequence[Mapping[str, Any]] = field(default=(), repr=False)

    def blocks(self) -> list[Block]:
        """The section, to be written."""
        base, *others = self.sides
        header = ["", base, *(text for side in others for text in (side, "times better"))]
        lines = [
            [row.name, row.cell(base), *(text for side in others for text in (row.cell(side), _ratio(row, side, base)))]
            for row in self.rows
        ]
        return [Heading(self.title, 2), Paragraph(self.note), Table(header, lines)]

    def content(self) -> dict[str, Any]:
        """The section as JSON: medians, spread, all values, and the runs as they were."""
        return {
            "name": self.name,
            "title": self.title,
            "note": self.note,
            "rows": [self._content(row) for row in self.rows],
            "runs": list(self.runs),
        }

    def _content(self, row: Row) -> dict[str, Any]:
        measured = [side for side in self.sides if row.values.get(side)]
        sides = {
            side: {
                "median": row.median(side),
                "min": min(row.values[side]),
                "max": max(row.values[side]),
                "values": list(row.values[side]),
                "times_better": row.ratio(side, self.sides[0]) if side != self.sides[0] else None,
            }
            for side in measured
        }
        return {"measure": row.name, "better": row.better, "sides": sides}


def _ratio(row: Row, side: str, base: str) -> str:
    ratio = row.ratio(side, base)
    return "\N{EN DASH}" if ratio is None else f"{ratio:.2f}"
