"""Sweeps drawn in memory, of which the truth is known: what a report says of them can be held against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special, stats

from flowerbench.history import HISTORY
from flowerbench.report.frame import Runs, tabulate
from flowerbench.report.record import Record, outcome

Answers = NDArray[np.bool_]
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """What sweeps are drawn from: each setting has an entry in `accuracies` and in `epochs`, and as many `seeds`.

    An epoch of a run has a photo right where a sum of normal deviates is above zero. One of them is of the photo alone,
    its difficulty; `of_setting`, `of_run` and `of_epoch` are the shares of the variance that every setting, run and
    epoch draws anew for each photo. Of a setting whose own `of_epoch` is smaller than another's, the rest is its runs'.
    `luck` is the standard deviation of the accuracies that runs have on all photos there are, `accuracies` are
    their means; `photos` of them are drawn for a sweep. With `reuse`, a run is the beginning of that of the first
    setting with the same seed, as flowerbench trains runs that differ in nothing but their epochs.
    """

    accuracies: tuple[float, ...] = (0.88, 0.88)
    epochs: tuple[int, ...] = (25, 25)
    seeds: int = 1
    photos: int = 570
    of_setting: float = 0.0
    of_run: float = 0.04
    of_epoch: float | tuple[float, ...] = 0.04
    luck: float = 0.0
    reuse: bool = False

    @property
    def of_epochs(self) -> Numbers:
        return np.broadcast_to(self.of_epoch, len(self.accuracies))

    @property
    def of_photo(self) -> float:
        return float(1 - self.of_setting - self.of_run - max(self.of_epochs))

    @property
    def lucky(self) -> Numbers:
        """The standard deviation that luck adds to the sum, shape (settings,)."""
        return self.luck / stats.norm.pdf(special.ndtri(np.array(self.accuracies)))

    @property
    def means(self) -> Numbers:
        """The mean of the sum over all photos and runs, shape (settings,)."""
        return special.ndtri(np.array(self.accuracies)) * np.sqrt(1 + self.lucky**2)

    @property
    def disagreement(self) -> float:
        """The share of all photos that only one of two runs, of the first and the second setting, has right."""
        covariance = np.array([[1 + self.lucky[0] ** 2, self.of_photo], [self.of_photo, 1 + self.lucky[1] ** 2]])
        both = float(stats.multivariate_normal(np.zeros(2), covariance).cdf(self.means[:2]))
        return self.accuracies[0] + self.accuracies[1] - 2 * both


def strengths(world: World, rng: np.random.Generator) -> Numbers:
    """New photos: the mean of the sum over the runs of each setting, shape (settings, photos)."""
    own = rng.standard_normal((len(world.accuracies), world.photos))
    difficulty = world.of_photo**0.5 * rng.standard_normal(world.photos)
    return world.means[:, None] + difficulty + world.of_setting**0.5 * own


def expected(world: World, photos: Numbers) -> Numbers:
    """The accuracy on these photos that an epoch of a run is expected to have, shape (settings,)."""
    spread = np.sqrt(1 - world.of_photo - world.of_setting + world.lucky**2)
    return special.ndtr(photos / spread[:, None]).mean(axis=1)


def answers(world: World, photos: Numbers, rng: np.random.Generator) -> list[Answers]:
    """Which photos the runs have right: for each setting an array of shape (seeds, epochs, photos)."""
    drawn: list[Answers] = []
    for strength, lucky, of_epoch, epochs in zip(photos, world.lucky, world.of_epochs, world.epochs, strict=True):
        if world.reuse and drawn:
            drawn.append(drawn[0][:, :epochs])
            continue
        of_run = 1 - world.of_photo - world.of_setting - of_epoch
        sums = strength + of_run**0.5 * rng.standard_normal((world.seeds, world.photos))
        sums += lucky * rng.standard_normal((world.seeds, 1))
        chance = special.ndtr(sums / of_epoch**0.5).astype(np.float32)
        drawn.append(rng.random((world.seeds, epochs, world.photos), np.float32) < chance[:, None])
    return drawn


def sweep(world: World, rng: np.random.Generator, photos: Numbers | None = None) -> Runs:
    """A sweep as a report gets it: histories, the best epoch, picked on the same photos, and its predictions."""
    drawn = answers(world, strengths(world, rng) if photos is None else photos, rng)
    return tabulate(
        [
            simulated({"batch_size": 16, "epochs": len(right), "setting": i, "seed": seed}, right)
            for i, setting in enumerate(drawn)
            for seed, right in enumerate(setting)
        ]
    )


def simulated(config: Mapping[str, Any], right: Answers) -> Record:
    """A run of this config, of which an array (epochs, photos) says what is right after each epoch."""
    epochs, photos = right.shape
    correct = right.sum(axis=1)
    best = int(correct.argmax())
    rows = [(n, 0.001, 0.4, 0.9, 0.4, count / photos, 1.0) for n, count in enumerate(correct.tolist(), start=1)]
    history = [dict(zip(HISTORY, row, strict=True)) for row in rows]
    summary: dict[str, Any] = {
        "best_epoch": best + 1,
        "best_val_accuracy": correct[best] / photos,
        "best_val_correct": int(correct[best]),
        "val_total": photos,
        "epochs_done": epochs,
    }
    name = "_".join(f"{key}-{value}" for key, value in config.items())
    return Record(
        key=name,
        name=name,
        sweep="simulated",
        config=config,
        facts={"protocol": "clean", "split": "0" * 16, "reason": None, **outcome("FINISHED", summary, history)},
        history=history,
        varying=("setting", "seed"),
        predictions=partial(predictions, right[best]),
    )


def predictions(right: Answers) -> pd.DataFrame:
    """val_predictions.csv of roses, of which those that are not right are taken for tulips."""
    photos = [f"{number:04}.jpg" for number in range(len(right))]
    return pd.DataFrame({"photo": photos, "label": "rose", "prediction": np.where(right, "rose", "tulip")})
