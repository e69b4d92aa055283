"""Compare runs: `markdown` is the whole report, `summary` the short form that a sweep prints at its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowerbench.report.frame import Runs


def markdown(runs: Runs, rows: str | None = None, columns: str | None = None) -> str:
    """The report in Markdown: the conclusion, the settings, how to read them, and the epochs behind them.

    `rows` and `columns` are config keys for the table of accuracies; without them it has the keys that vary, if
    they are two. Raises UsageError for a key that no run has.
    """
    from flowerbench.report import analysis, document
    from flowerbench.report.formats import markdown

    return markdown.render(document.full(runs, analysis.sections(runs, rows=rows, columns=columns)))


def summary(runs: Runs, group_by: Sequence[str] | None = None) -> str:
    """The table of settings and what it comes to, in Markdown; `group_by` as in analysis.sections."""
    from flowerbench.report import analysis, document
    from flowerbench.report.formats import markdown

    return markdown.render(document.short(analysis.sections(runs, group_by)))
