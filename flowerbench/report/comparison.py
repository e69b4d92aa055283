"""Which settings differ: every pair tested on the same photos, corrected by Holm; and what is level with the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from itertools import combinations

import numpy as np
import pandas as pd

from flowerbench.report import stats
from flowerbench.report.evidence import Evidence, Pair
from flowerbench.report.frame import Runs
from flowerbench.report.settings import Setting

# More settings are not all compared: pairs grow with the square. What is left out is never called different.
MOST = 100


@dataclass(frozen=True)
class Comparison:
    """The compared settings, best first, and all their pairs.

    With `is_by_test` all of it is of the test photos: `accuracy`, `correct` and `total` of the settings as well.
    """

    settings: list[Setting]
    pairs: list[Pair]
    is_by_test: bool = False

    @property
    def best(self) -> Setting | None:
        return self.settings[0] if self.settings else None

    @cached_property
    def with_best(self) -> dict[str, Pair]:
        """The pairs of the best setting and each other one, by the other's label."""
        return {pair.worse: pair for pair in self.pairs if self.best and pair.better == self.best.label}

    @cached_property
    def level(self) -> list[str]:
        """The settings that cannot be told from the best, itself included."""
        equal = [label for label, pair in self.with_best.items() if pair.p > stats.LEVEL]
        return [self.best.label, *equal] if self.best else []


def compare(settings: Sequence[Setting], runs: Runs, is_tested: bool = True) -> Comparison:
    """Test every pair of the finished settings, of the 100 best at most, at 5 % over all pairs together.

    One run each is McNemar's test on the photos, or Fisher's where the answers to each photo are not known; two
    runs or more of both are `stats.crossed`, by the seeds that both have, or over folds `stats.over_folds`. All runs
    must be of one protocol and one split. A run is tested by the best of as many of its last epochs as the other has:
    each more is one more chance of a lucky best. Where all have seen test photos, which chose no epoch, those count
    instead.
    """
    finished = [setting for setting in settings if setting.n]
    is_by_test = bool(finished) and all(setting.is_tested for setting in finished)
    if is_by_test:
        finished = [_by_test(setting, runs) for setting in finished]
    finished = sorted(finished, key=lambda setting: -setting.accuracy)[:MOST]
    if not is_tested:
        return Comparison(finished, [], is_by_test)
    names = [name for setting in finished for name in setting.repeats.values()]
    evidence = Evidence.of(runs, names, is_by_test=is_by_test)
    pairs = [evidence.pair(better, worse) for better, worse in combinations(finished, 2)]
    corrected = stats.holm(np.array([pair.p_alone for pair in pairs]))
    pairs = [replace(pair, p=float(p)) for pair, p in zip(pairs, corrected, strict=True)]
    return Comparison(finished, pairs, is_by_test)


def _by_test(setting: Setting, runs: Runs) -> Setting:
    """The setting with what it came to on the test photos in place of the validation photos."""
    facts = runs.runs.loc[list(setting.repeats.values())]
    totals = set(map(int, facts["test_total"]))
    return replace(
        setting,
        numbers={**setting.numbers, "accuracy": setting.numbers["test"]},
        correct=tuple(map(int, facts["test_correct"])),
        total=totals.pop() if len(totals) == 1 else None,
    )


def table(pairs: Sequence[Pair]) -> pd.DataFrame:
    """The pairs as a tidy frame, the fields of `Pair` as columns."""
    return pd.DataFrame([asdict(pair) for pair in pairs], columns=[column.name for column in fields(Pair)])
