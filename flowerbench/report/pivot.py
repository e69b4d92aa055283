"""The accuracies by two keys: batch size against epochs, or any others."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from flowerbench.report.analysis import Section
from flowerbench.report.blocks import Table
from flowerbench.report.settings import Setting
from flowerbench.report.tables import accuracy
from flowerbench.report.words import NONE, decimals, spelled_or_unset


def table(section: Section, rows: str, columns: str) -> Table:
    """The accuracy at the best epoch for each value of two keys; others than finished settings by their status.

    Where several settings meet it is their mean. Those level with the best are bold.
    """
    places = _places(section.settings, rows, columns)
    down, across = (_axis(_values(section.settings, key)) for key in (rows, columns))
    cells = [[a, *(_cell(places.get((a, b), [])) for b in across)] for a in down]
    bold = frozenset(
        (i, j)
        for i, a in enumerate(down)
        for j, b in enumerate(across, start=1)
        if section.comparison.pairs
        and len(here := places.get((a, b), [])) == 1
        and here[0].label in section.comparison.level
    )
    return Table([rows, *(f"{columns}={b}" for b in across)], cells, bold)


def values(section: Section, rows: str, columns: str) -> pd.DataFrame:
    """The same of the finished settings as a frame of numbers, NaN where there is none."""
    finished = [setting for setting in section.settings if setting.n]
    places = _places(finished, rows, columns)
    down, across = (_axis(_values(finished, key)) for key in (rows, columns))
    means = [[_mean(places.get((a, b), [])) for b in across] for a in down]
    return pd.DataFrame(means, index=down, columns=across, dtype="float64")


def _places(settings: Sequence[Setting], rows: str, columns: str) -> Mapping[tuple[str, str], list[Setting]]:
    places: dict[tuple[str, str], list[Setting]] = {}
    for setting, a, b in zip(settings, _values(settings, rows), _values(settings, columns), strict=True):
        places.setdefault((spelled_or_unset(a), spelled_or_unset(b)), []).append(setting)
    return places


def _values(settings: Sequence[Setting], key: str) -> list[Any]:
    return [setting.values.get(key, math.nan) for setting in settings]


def _axis(values: Sequence[Any]) -> list[str]:
    def order(value: Any) -> tuple[bool, bool, float, str]:
        is_set = spelled_or_unset(value) != "not set"
        is_number = isinstance(value, int | float) and is_set
        return not is_set, not is_number, float(value) if is_number else 0.0, str(value)

    return list(dict.fromkeys(spelled_or_unset(value) for value in sorted(values, key=order)))


def _mean(settings: Sequence[Setting]) -> float:
    return math.fsum(setting.accuracy for setting in settings) / len(settings) if settings else math.nan


def _cell(settings: Sequence[Setting]) -> str:
    finished = [setting for setting in settings if setting.n]
    others = sum((Counter(setting.others) for setting in settings), Counter[str]())
    if not settings:
        return NONE
    if not finished and others.total() == 1:
        so_far = "" if math.isnan(settings[0].accuracy) else f" ({decimals(settings[0].accuracy)} so far)"
        return f"{next(iter(others))}{so_far}"
    ended = ", ".join(f"{count} {word}" for word, count in others.items())
    if not finished:
        return ended
    one = len(finished) == 1
    shown = accuracy(finished[0]) if one else f"{decimals(_mean(finished))} (mean of {len(finished)} settings)"
    return f"{shown}, {ended}" if ended else shown
