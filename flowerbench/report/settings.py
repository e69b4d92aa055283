"""Runs folded into settings: those that agree in all but seed and fold are one, with its mean and how sure that is."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from flowerbench.report import stats
from flowerbench.report.frame import Runs
from flowerbench.report.keys import FOLD, REPEATED, comparable, is_unset
from flowerbench.report.measures import MEASURES, measures
from flowerbench.report.words import decimals, outcome, spelled_or_unset

Interval = tuple[float, float]


@dataclass(frozen=True)
class Setting:
    """A setting and what its `n` finished runs came to, each number the mean over them, NaN where it is not known.

    `repeats` names those runs by what tells them apart, the keys `apart`, such as the seed; `others` counts those that
    did not finish, by their status. `accuracy` is the share of the `total` validation photos that are right at a run's
    best epoch, `correct` and `best_epoch` are those of every run; `interval` covers 95 %, Wilson's of one run,
    Student's of the mean of several (of folds corrected), whose standard deviation is `spread`. `last` is the accuracy
    after the last epoch; the other numbers are `MEASURES`. Without a finished run the numbers are those of the one that
    has begun, and there is no interval.
    """

    label: str
    values: dict[str, Any]
    repeats: dict[str, str]
    apart: str
    n: int
    status: str
    others: dict[str, int]
    numbers: dict[str, float]
    correct: tuple[int, ...] = ()
    total: int | None = None
    best_epoch: tuple[int, ...] = ()
    interval: Interval | None = None
    test_interval: Interval | None = None

    @property
    def accuracy(self) -> float:
        return self.numbers["accuracy"]

    @property
    def spread(self) -> float:
        return self.numbers["spread"]

    @property
    def is_tested(self) -> bool:
        return not math.isnan(self.numbers["test"])


NUMBERS = ("accuracy", "spread", "last", *MEASURES[1:])
_NO_NUMBERS = dict.fromkeys(NUMBERS, math.nan)


def fold(runs: Runs, keys: Sequence[str]) -> list[Setting]:
    """The settings of these runs, in the runs' order: runs that agree in `keys` are repeats of one.

    A run that was done twice counts once: what differs in nothing, the seed included, repeats nothing.
    """
    table = _completed(runs.runs, keys).assign(last=runs.runs["last_accuracy"], **measures(runs))
    apart = [key for key in runs.varying if key not in keys]
    groups: dict[tuple[object, ...], list[str]] = {}
    told: dict[tuple[object, ...], tuple[str, ...]] = {}
    for name, *values in table[list(keys)].itertuples(name=None):
        same = tuple(map(comparable, values))
        groups.setdefault(same, []).append(name)
        told.setdefault(same, tuple(map(spelled_or_unset, values)))
    labels = _labels(keys, list(told.values()), str(runs.runs["settings"].iloc[0]) if len(table) else "")
    return [
        _setting(label, keys, apart, table.loc[names]) for label, names in zip(labels, groups.values(), strict=True)
    ]


def _completed(table: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Of a point that never began only the overrides are known: what all others agree in holds for it as well.

    So does what all agree in that chose the same experiment.
    """
    table, is_missing = table.copy(), table["status"] == "MISSING"
    begun = table[~is_missing]

    def agreed(runs: pd.DataFrame) -> dict[str, Any]:
        return {key: runs[key].iloc[0] for key in keys if len({spelled_or_unset(value) for value in runs[key]}) == 1}

    of_all, chooses = agreed(begun), "experiment" in keys
    of_each = {str(choice): agreed(runs) for choice, runs in begun.groupby("experiment")} if chooses else {}
    for name in table.index[is_missing]:
        told = of_all | (of_each.get(str(table.at[name, "experiment"]), {}) if chooses else {})
        for key, value in told.items():
            if is_unset(table.at[name, key]):
                table.at[name, key] = value
    return table


def keys_of(runs: Runs) -> list[str]:
    """The keys that a setting is told by: batch_size and epochs, and the others that vary, but not seed and fold."""
    first = [key for key in ("batch_size", "epochs") if key in runs.runs]
    return [*first, *(key for key in runs.varying if key not in (*first, *REPEATED))]


def table(settings: Sequence[Setting]) -> pd.DataFrame:
    """The settings as a tidy frame, a row each, indexed by label: their keys, and what they came to.

    Counts and epochs of several runs stand in one cell, with blanks between them.
    """
    rows = []
    for setting in settings:
        low, high = setting.interval or (math.nan, math.nan)
        test_low, test_high = setting.test_interval or (math.nan, math.nan)
        rows.append(
            setting.values
            | {"n": setting.n, "status": setting.status, **setting.numbers}
            | {"low": low, "high": high, "test_low": test_low, "test_high": test_high, "total": setting.total}
            | {"correct": _joined(setting.correct), "best_epoch": _joined(setting.best_epoch)}
        )
    made = pd.DataFrame(rows, index=pd.Index([setting.label for setting in settings], name="settings", dtype=object))
    # Whole numbers stay whole where another setting has none.
    keys = {key: pd.Series([s.values[key] for s in settings], made.index, object) for key in settings[0].values}
    return made.assign(**keys).astype({"total": "Int64"})


def _joined(numbers: Sequence[int]) -> str:
    return " ".join(map(str, numbers))


def _labels(keys: Sequence[str], groups: Sequence[tuple[str, ...]], otherwise: str) -> list[str]:
    """What tells the settings apart, `batch_size=16, epochs=20`; where nothing does, `otherwise`, and a number."""
    labels = []
    for group in groups:
        told = zip(keys, group, strict=True)
        parts = [f"{key.removesuffix('._target_')}={value}" for key, value in told if value != "not set"]
        labels.append(", ".join(parts) or otherwise)
    count = Counter(labels)
    return [f"{label} ({i})" if count[label] > 1 else label for i, label in enumerate(labels, start=1)]


def _setting(label: str, keys: Sequence[str], apart: Sequence[str], runs: pd.DataFrame) -> Setting:
    finished = runs[(runs["status"] == "FINISHED") & runs["accuracy"].notna()]
    repeats: dict[str, str] = {}
    for name, *values in finished[list(apart)].itertuples(name=None):
        told = zip(apart, values, strict=True)
        repeats.setdefault(", ".join(f"{key}={spelled_or_unset(value)}" for key, value in told), name)
    counted = runs.loc[list(repeats.values())]
    shared = {key: runs.iloc[0][key] for key in keys}
    others = dict(Counter(map(str, runs.drop(finished.index)["status"])))
    status = _status(runs, finished.drop(counted.index)["accuracy"], counted["accuracy"])
    known = Setting(label, shared, repeats, ", ".join(apart), len(counted), status, others, _NO_NUMBERS)
    if not counted.empty:
        return _with_intervals(_with_numbers(known, counted), counted)
    begun = runs[(runs["status"] != "FAILED") & runs["accuracy"].notna()]
    return _with_numbers(known, begun) if len(begun) == 1 else known


def _with_numbers(setting: Setting, runs: pd.DataFrame) -> Setting:
    means = {name: float(runs[name].mean(skipna=False)) for name in NUMBERS if name != "spread"}
    spread = float(runs["accuracy"].std()) if len(runs) > 1 else math.nan
    correct, totals = runs["correct"].dropna(), set(runs["total"].dropna())
    is_counted = len(correct) == len(runs) and len(totals) == 1
    return replace(
        setting,
        numbers={**means, "spread": spread},
        correct=tuple(map(int, correct)) if is_counted else (),
        total=int(totals.pop()) if is_counted else None,
        best_epoch=tuple(map(int, runs["best_epoch"].dropna())),
    )


def _with_intervals(setting: Setting, runs: pd.DataFrame) -> Setting:
    if setting.n > 1:
        test = stats.mean_interval(runs["test"].tolist()) if setting.is_tested else None
        by_fold = runs.groupby(FOLD)["accuracy"].mean().tolist() if FOLD in runs else []
        if len(by_fold) > 1:
            return replace(setting, interval=stats.mean_interval(by_fold, are_folds=True), test_interval=test)
        return replace(setting, interval=stats.mean_interval(runs["accuracy"].tolist()), test_interval=test)
    run = runs.iloc[0]
    return replace(
        setting,
        interval=stats.wilson(setting.correct[0], setting.total) if setting.total else None,
        test_interval=stats.wilson(int(run["test_correct"]), int(run["test_total"])) if setting.is_tested else None,
    )


def _status(runs: pd.DataFrame, again: pd.Series[Any], counted: pd.Series[Any]) -> str:
    """How the runs of a setting ended: what all did, or how many did what, with the reasons of those that failed.

    Runs that differ in nothing from those that count are told, and what they came to where that is something else.
    """
    words = Counter(outcome(run) for _, run in runs.iterrows())
    is_plain = len(runs) == 1 or set(words) == {"FINISHED"}
    told = "; ".join(word if is_plain else f"{count} {word}" for word, count in words.items())
    if again.empty:
        return told
    other = [decimals(accuracy) for accuracy in again if not (counted - accuracy).abs().lt(1e-12).any()]
    came_to = f": {', '.join(other)}" if other else ""
    return f"{told} ({len(again)} of them with the same settings again, not counted{came_to})"
