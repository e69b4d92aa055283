"""What runs tell of the difference of two settings, and the test that fits it: by photos, by seeds, by folds."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flowerbench.report import stats
from flowerbench.report.frame import Runs
from flowerbench.report.keys import FOLD, is_number, is_unset
from flowerbench.report.measures import accuracies
from flowerbench.report.settings import Setting

_TIE = 1e-12
MCNEMAR, FISHER, CROSSED, NO_TEST = "McNemar", "Fisher, unpaired", "over repeats and photos", "none: counts unknown"
FOLDS = "over folds, corrected"


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
class Evidence:
    """What is known of runs; `predictions` and `right` of some only, an entry per photo in one order for all runs.

    `folds` has the fold of those that are of a cross-validation.
    """

    accuracy: dict[str, float]
    epochs: dict[str, NDArray[np.float64]]
    total: dict[str, int]
    predictions: dict[str, NDArray[Any]]
    right: dict[str, NDArray[np.bool_]]
    folds: dict[str, int]

    @classmethod
    def of(cls, runs: Runs, names: Sequence[str], *, is_by_test: bool = False) -> Evidence:
        """Answers count where they are of the same photos as most others', and are those of the run's numbers."""
        facts = runs.runs.loc[list(names)]
        if is_by_test:  # these chose no epoch, so it does not matter how many there were
            facts = facts.assign(correct=facts["test_correct"], total=facts["test_total"], epochs_done=0)
        answers = runs.test_predictions if is_by_test else runs.predictions
        total = {str(name): int(total) for name, total in facts["total"].dropna().items()}
        read: dict[str, tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]] = {}
        for name in names:
            told = answers(name)
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
            _epochs(facts, runs.epochs),
            total,
            {name: predictions for name, (_, predictions, _) in same.items()},
            {name: right for name, (_, _, right) in same.items()},
            _folds(facts),
        )

    def pair(self, better: Setting, worse: Setting) -> Pair:
        """The test of two settings, by the seeds that both have; one that points the other way speaks for neither."""
        common = sorted(repeat for repeat in better.repeats if repeat in worse.repeats)
        matched = [(better.repeats[repeat], worse.repeats[repeat]) for repeat in common]
        of_both = (*better.repeats.values(), *worse.repeats.values())
        has_folds = len({self.folds.get(name) for name in of_both}) > 1
        if not has_folds and len(matched) < min(2, better.n, worse.n):
            # Runs of different seeds have nothing in common, so any pairs of them are as good.
            each = [[setting.repeats[repeat] for repeat in sorted(setting.repeats)] for setting in (better, worse)]
            matched = list(zip(*each, strict=False))
        difference = better.accuracy - worse.accuracy
        if not matched:  # folds of one and other folds of the other
            return Pair(better.label, worse.label, difference, 1.0, 1.0, NO_TEST, 0, over=better.apart)
        lucky = np.array([self._luck(*both) for both in matched])
        if len({self.folds.get(first) for first, _ in matched}) > 1:
            found = self._over_folds(matched, lucky)
        else:
            found = self._over_seeds(matched, lucky) if len(matched) > 1 else self._of_two(*matched[0], lucky[0])
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

    def _over_folds(self, matched: Sequence[tuple[str, str]], lucky: NDArray[Any]) -> dict[str, Any]:
        if not all(name in self.total for both in matched for name in both):
            return {"test": NO_TEST, "p_alone": 1.0}
        # Seeds of one fold share its photos: what another fold would tell, they cannot.
        by_fold: dict[int, list[float]] = defaultdict(list)
        for (first, second), luck in zip(matched, lucky, strict=True):
            by_fold[self.folds[first]].append(self.accuracy[first] - self.accuracy[second] - luck)
        photos = sum({self.folds[first]: self.total[first] for first, _ in matched}.values())
        means = [float(np.mean(differences)) for differences in by_fold.values()]
        return {"test": FOLDS, "p_alone": stats.over_folds(means, photos)}


def _epochs(facts: pd.DataFrame, epochs: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    """The accuracy after every epoch of a run, NaN where it is not known."""
    done = {str(name): int(number) for name, number in facts["epochs_done"].fillna(0).items()}
    found = {name: np.full(number, np.nan) for name, number in done.items()}
    rows = epochs[epochs["run"].isin(found) & (epochs["epoch"] > 0)]
    for name, of_run in rows[rows["epoch"] <= rows["run"].map(done)].groupby("run"):
        found[str(name)][of_run["epoch"].to_numpy() - 1] = of_run["val_accuracy"]
    return found


def _folds(facts: pd.DataFrame) -> dict[str, int]:
    if FOLD not in facts:
        return {}
    told = facts[FOLD].items()
    return {str(name): int(fold) for name, fold in told if is_number(fold) and not is_unset(fold)}
