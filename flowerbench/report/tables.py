"""The tables of a report: every number with how sure it is, and no run left out."""

from __future__ import annotations

import math
from collections.abc import Sequence

from flowerbench.report import stats
from flowerbench.report.analysis import Section
from flowerbench.report.blocks import Table
from flowerbench.report.comparison import Comparison
from flowerbench.report.measures import LAST_EPOCHS
from flowerbench.report.reference import Reference
from flowerbench.report.settings import Setting
from flowerbench.report.words import NONE, decimals, interval, p_value, percent, points, share


def settings(section: Section, reference: Reference | None = None, is_short: bool = False) -> Table:
    """The paper's Table 2, a row per setting, with what stands behind each number; those level with the best are bold.

    The short one has the columns that a terminal has room for.
    """
    beside: list[str] = []
    if reference and reference.is_comparable(section.runs.runs):
        beside = [reference.accuracy(setting.values) or NONE for setting in section.settings]
    is_tested = any(setting.is_tested for setting in section.settings)
    columns: dict[str, list[str]] = {
        "Settings": [setting.label for setting in section.settings],
        "Best Accuracy Rate": [accuracy(setting) for setting in section.settings],
    }
    if reference and any(shown != NONE for shown in beside):
        columns[reference.title] = beside
    columns["95 % Interval"] = [interval(setting.interval) for setting in section.settings]
    columns["Best Epoch"] = [_range(setting.best_epoch) for setting in section.settings]
    columns["Correct/Total"] = [_counts(setting) for setting in section.settings]
    if not is_short:
        columns["Last Epoch"] = [_number(setting.numbers["last"]) for setting in section.settings]
        columns[f"Mean of Last {LAST_EPOCHS}"] = [_number(setting.numbers["mean_last"]) for setting in section.settings]
    if is_tested:
        columns["Test (trust this)"] = [_test(setting) for setting in section.settings]
    level = section.comparison.level if section.comparison.pairs else []
    if level:
        columns["Against the Best"] = [_against(setting, section.comparison) for setting in section.settings]
    columns["Status"] = [setting.status for setting in section.settings]
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    judged = list(columns).index("Test (trust this)") if section.comparison.is_by_test else 1
    bold = frozenset((i, judged) for i, setting in enumerate(section.settings) if setting.label in level)
    return Table(list(columns), rows, bold, bold_means="Cannot be told from the best")


def accuracy(setting: Setting) -> str:
    """The accuracy at the best epoch: of several runs with its standard deviation and their number."""
    if math.isnan(setting.accuracy):
        return NONE
    if setting.n > 1:
        return f"{decimals(setting.accuracy)} ± {decimals(setting.spread)} (n={setting.n})"
    shown = share(setting.correct[0], setting.total) if setting.total else decimals(setting.accuracy)
    return shown if setting.n else f"{shown} (unfinished)"


def _number(number: float) -> str:
    return NONE if math.isnan(number) else decimals(number)


def _range(numbers: Sequence[int]) -> str:
    if not numbers:
        return NONE
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


def _counts(setting: Setting) -> str:
    return f"{_range(setting.correct)}/{setting.total}" if setting.total else NONE


def _test(setting: Setting) -> str:
    if not setting.is_tested:
        return NONE
    return f"{decimals(setting.numbers['test'])} ({interval(setting.test_interval)})"


def _against(setting: Setting, comparison: Comparison) -> str:
    """How a setting compares with the best: `best`, `tied`, `level (p = 0.75)`, `worse (p = 0.003)`."""
    if comparison.best is not None and setting.label == comparison.best.label:
        return "best"
    pair = comparison.with_best.get(setting.label)
    if pair is None:
        return NONE
    if pair.is_tie:
        return "tied"
    return f"{'worse' if pair.p <= stats.LEVEL else 'level'} ({p_value(pair.p)})"


def pairs(comparison: Comparison) -> Table:
    """Every setting against the best: by how much it is behind, on how many photos they disagree, and the test."""
    header = ["Settings", "Behind the Best by", "Photos Disagreed on", "p, Corrected", "p, Alone", "Test", "Runs Each"]
    rows = [
        [
            pair.worse,
            "0" if pair.is_tie else points(pair.difference),
            NONE if math.isnan(pair.disagreement) else percent(pair.disagreement),
            _bare(pair.p),
            _bare(pair.p_alone),
            pair.test,
            str(pair.repeats),
        ]
        for pair in comparison.with_best.values()
    ]
    return Table(header, rows)


def _bare(p: float) -> str:
    return p_value(p).removeprefix("p = ").removeprefix("p ")


def cost(section: Section) -> Table:
    """What the settings cost, and what a batch size changes beside itself: steps, rate per photo, seconds."""
    header = ["Settings", "Optimiser Steps", "Learning Rate per Photo", "Seconds", "Photos/s"]
    rows = [
        [
            setting.label,
            _whole(setting.numbers["steps"]),
            NONE if math.isnan(rate := setting.numbers["lr_per_photo"]) else f"{rate:.3g}",
            NONE if math.isnan(seconds := setting.numbers["train_seconds"]) else f"{seconds:,.1f}",
            _whole(setting.numbers["photos_per_second"]),
        ]
        for setting in section.settings
        if not math.isnan(setting.accuracy)
    ]
    return Table(header, rows)


def _whole(number: float) -> str:
    return NONE if math.isnan(number) else f"{number:,.0f}"
