"""Which settings differ: every pair tested on the same photos, corrected by Holm; and what is level with the best."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flowerbench.report import stats
from flowerbench.report.frame import Runs
from flowerbench.report.measures import accuracies
from flowerbench.report.settings import Setting

# More settings are not all compared: pairs grow with the square. What is left out is never called different.
MOST = 100
_TIE = 1e-12
MCNEMAR, FISHER, CROSSED, NO_TEST = "McNemar", "Fisher, unpaired", "over repeats and photos", "none: counts unknown"


@dataclass(frozen=True)
class Pair:
    """Two settings: `better` has the higher mean accuracy, by `difference`; `p` is corrected, `p_alone` is not.

    `test` names the test, `repeats` says how many pairs of runs are behind it. `disagreement` is the share of photos
    that one of two runs gets right and the other wrong, NaN where it is not known; `seed_error`, `photo_error` and
    `answer_error` are standard errors of the difference of several seeds (`stats.Crossed`). `luck` is the part of the
    difference that is not tested, as only more epochs gave the chance of it. `is_same` is true of runs that give every
    photo the same class, `over` names the keys that the runs of a setting differ in.
    """

    better: str
    worse: str
    difference: float
    p_alone: float
    p: float
    test: str
    repeats: int
    disagreement: float = math.nan
    seed_error: float = math.nan
    photo_error: float = math.nan
    answer_error: float = math.nan
    luck: float = 0.0
    is_same: bool = False
    over: str = ""

    @property
    def is_tie(self) -> bool:
        """Whether both have the very same mean accuracy."""
        return abs(self.difference) < _TIE

    @property
    def tested(self) -> float:
        """The part of the difference that is tested; 0 where luck alone may have made it."""
        left = self.difference - self.luck
        return left if left > _TIE else 0.0


@dataclass(frozen=True)
class Comparison:
    """The compared settings, best first, and all their pairs."""

    settings: list[Setting]
    pairs: list[Pair]

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
    runs or more of both are `stats.crossed`, by the seeds that both have. All runs must be of one protocol and one
    split. A run is tested by the best of as many of its last epochs as the other has: each more is one more chance of
    a lucky best.
    """
    finished = sorted((s for s in settings if s.n), key=lambda setting: -setting.accuracy)[:MOST]
    if not is_tested:
        return Comparison(finished, [])
    evidence = _Evidence.of(runs, [name for setting in finished for name in setting.repeats.values()])
    pairs = [evidence.pair(better, worse) for better, worse in combinations(finished, 2)]
    corrected = stats.holm(np.array([pair.p_alone for pair in pairs]))
    pairs = [replace(pair, p=float(p)) for pair, p in zip(pairs, corrected, strict=True)]
    return Comparison(finished, pairs)


def table(pairs: Sequence[Pair]) -> pd.DataFrame:
    """The pairs as a tidy frame, the fields of `Pair` as columns."""
    return pd.DataFrame([asdict(pair) for pair in pairs], columns=[column.name for column in fields(Pair)])


@dataclass(frozen=True)
class _Evidence:
    """What is known of runs; `predictions` and `right` of some only, an entry per photo in one order for all runs."""

    accuracy: dict[str, float]
    epochs: dict[str, NDArray[np.float64]]
    total: dict[str, int]
    predictions: dict[str, NDArray[Any]]
    right: dict[str, NDArray[np.bool_]]

    @classmethod
    def of(cls, runs: Runs, names: Sequence[str]) -> _Evidence:
        """Answers count where they are of the same photos as most others', and are those of the run's numbers."""
        facts = runs.runs.loc[list(names)]
        total = {str(name): int(total) for name, total in facts["total"].dropna().items()}
        read: dict[str, tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]] = {}
        for name in names:
            told = runs.predictions(name)
            if told is None or name not in total:
                continue
            ordered = told.sort_values("photo")
            photos, predictions = ordered["photo"].to_numpy(), ordered["prediction"].to_numpy()
            right = predictions == ordered["label"].to_numpy()
            if (len(right), int(right.sum())) == (total[name], facts.loc[name, "correct"]):
                read[name] = photos, predictions, right
        count = Counter(tuple(photos) for photos, _, _ in read.values())
        most = count.most_common(1)[0][0] if count else ()
        same = {name: told for name, told in read.items() if tuple(told[0]) == most}
        return cls(
            {str(name): float(value) for name, value in accuracies(facts).items()},
            _epochs(runs, names),
            total,
            {name: predictions for name, (_, predictions, _) in same.items()},
            {name: right for name, (_, _, right) in same.items()},
        )

    def pair(self, better: Setting, worse: Setting) -> Pair:
        """The test of two settings, by the seeds that both have; one that points the other way speaks for neither."""
        common = sorted(repeat for repeat in better.repeats if repeat in worse.repeats)
        matched = [(better.repeats[repeat], worse.repeats[repeat]) for repeat in common]
        if len(matched) < min(2, better.n, worse.n):
            # Runs of different seeds have nothing in common, so any pairs of them are as good.
            each = [[setting.repeats[repeat] for repeat in sorted(setting.repeats)] for setting in (better, worse)]
            matched = list(zip(*each, strict=False))
        lucky = np.array([self._luck(*both) for both in matched])
        found = self._over_seeds(matched, lucky) if len(matched) > 1 else self._of_two(*matched[0], lucky[0])
        difference = better.accuracy - worse.accuracy
        ahead = math.fsum(self.accuracy[first] - self.accuracy[second] for first, second in matched) - lucky.sum()
        if min(difference, ahead) < _TIE:
            found["p_alone"] = 1.0
        told = {"repeats": len(matched), "over": better.apart, "luck": float(lucky.mean()), **found}
        return Pair(better.label, worse.label, difference, p=found["p_alone"], **told)

    def _luck(self, first: str, second: str) -> float:
        """By how much the first's best epoch is above the best of as many of its last ones as the second has."""
        chances = len(self.epochs[second])
        last = self.epochs[first][-chances:]
        if not 0 < chances < len(self.epochs[first]) or np.isnan(last).all():
            return 0.0
        return max(self.accuracy[first] - float(np.nanmax(last)), 0.0)

    def _of_two(self, first: str, second: str, lucky: float) -> dict[str, Any]:
        photos = round(lucky * self.total.get(first, 0))
        if first in self.right and second in self.right:
            a, b = self.right[first], self.right[second]
            # As many photos disagreed on, of which so many fewer are the first's alone.
            only_first, only_second = int((a & ~b).sum()) - (photos + 1) // 2, int((~a & b).sum()) + photos // 2
            return {
                "test": MCNEMAR,
                "p_alone": float(stats.mcnemar(max(only_first, 0), only_second)),
                "disagreement": float((a != b).mean()),
                "is_same": bool(np.array_equal(self.predictions[first], self.predictions[second])),
            }
        if first in self.total and second in self.total:
            totals = self.total[first], self.total[second]
            correct = round(self.accuracy[first] * totals[0]) - photos, round(self.accuracy[second] * totals[1])
            return {"test": FISHER, "p_alone": stats.unpaired(correct, totals)}
        return {"test": NO_TEST, "p_alone": 1.0}

    def _over_seeds(self, matched: Sequence[tuple[str, str]], lucky: NDArray[Any]) -> dict[str, Any]:
        names = [name for both in matched for name in both]
        if all(name in self.right for name in names):
            answers = np.array([[self.right[first], self.right[second]] for first, second in matched], dtype=np.int8)
            found = stats.crossed(answers[:, 0] - answers[:, 1] - lucky[:, None])
            disagreement = float((answers[:, 0] != answers[:, 1]).mean())
            is_same = all(np.array_equal(self.predictions[a], self.predictions[b]) for a, b in matched)
        elif all(name in self.total for name in names):
            sides = np.array([[self.accuracy[first], self.accuracy[second]] for first, second in matched])
            first, second = sides.mean(axis=0)
            error = stats.share_error(first, second, min(self.total[name] for name in names))
            found = stats.crossed((sides[:, 0] - sides[:, 1] - lucky)[:, None], error)
            disagreement, is_same = math.nan, False
        else:
            return {"test": NO_TEST, "p_alone": 1.0}
        return {
            "test": CROSSED,
            "p_alone": found.p,
            "disagreement": disagreement,
            "seed_error": found.seed_error,
            "photo_error": found.photo_error,
            "answer_error": found.answer_error,
            "is_same": is_same,
        }


def _epochs(runs: Runs, names: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """The accuracy after every epoch of a run, NaN where it is not known."""
    done = {str(name): int(epochs) for name, epochs in runs.runs["epochs_done"].fillna(0).items()}
    found = {name: np.full(done[name], np.nan) for name in names}
    rows = runs.epochs[runs.epochs["run"].isin(found) & (runs.epochs["epoch"] > 0)]
    for name, epochs in rows[rows["epoch"] <= rows["run"].map(done)].groupby("run"):
        found[str(name)][epochs["epoch"].to_numpy() - 1] = epochs["val_accuracy"]
    return found
