"""The numbers of a report for other programs: tidy tables as CSV, and all of them as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from flowerbench.report import comparison
from flowerbench.report.analysis import Section
from flowerbench.report.frame import Runs
from flowerbench.report.measures import measures
from flowerbench.report.record import FACTS


def tables(runs: Runs, sections: Sequence[Section]) -> dict[str, pd.DataFrame]:
    """The tidy tables by name: `settings`, `pairs`, `runs` and `epochs`; the first two have a column `section`."""
    settings = [section.table.reset_index().assign(section=section.title) for section in sections]
    pairs = [comparison.table(section.comparison.pairs).assign(section=section.title) for section in sections]
    # None is null among the config keys, but nothing among the facts.
    facts = {name: runs.runs[name].where(runs.runs[name].notna()) for name in FACTS}
    return {
        "settings": pd.concat(settings, ignore_index=True) if settings else pd.DataFrame(),
        "pairs": pd.concat(pairs, ignore_index=True) if pairs else pd.DataFrame(),
        "runs": pd.concat([runs.runs.assign(**facts), measures(runs)], axis=1).copy().reset_index(),
        "epochs": runs.epochs,
    }


def csv(table: pd.DataFrame) -> str:
    """One of the tables as CSV: numbers to the last bit, lists as in JSON, null and true as on the command line.

    What is not known is an empty cell.
    """
    cells = {name: pd.Series(map(_spelled, table[name].tolist()), dtype=object) for name in table}
    return str(pd.DataFrame(cells).to_csv(index=False, lineterminator="\n"))


def _spelled(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if value is None or isinstance(value, bool | list | dict) else value


def as_json(runs: Runs, sections: Sequence[Section]) -> str:
    """All tables, a list of records each, and the conclusion of each section. What is no number is null."""
    content: dict[str, Any] = {
        "sections": [
            {"title": section.title, "protocol": section.protocol, "conclusion": section.conclusion}
            for section in sections
        ]
    }
    for name, table in tables(runs, sections).items():
        content[name] = [{str(key): _plain(value) for key, value in row.items()} for row in table.to_dict("records")]
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False, default=str) + "\n"


def _plain(value: Any) -> Any:
    """Without what JSON has not: NaN, infinity, and pandas' own nothing."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return None if value is pd.NA or (isinstance(value, float) and not math.isfinite(value)) else value
