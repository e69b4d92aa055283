"""What is counted in a thousand sweeps of known truth: errors, differences found, and truths inside intervals."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from flowerbench.report import power, stats
from flowerbench.report.analysis import Section, sections
from flowerbench.report.frame import Runs
from tests.report.simulation import Numbers, World, answers, expected, strengths, sweep

SWEEPS = 1000


def as_they_are(runs: Runs) -> Runs:
    return runs


def without_answers(runs: Runs) -> Runs:
    return Runs(runs.runs, runs.epochs, runs.varied)


def of_other_seeds(runs: Runs) -> Runs:
    """No seed of one setting is another's."""
    return replace(runs, runs=runs.runs.assign(seed=10 * runs.runs["setting"] + runs.runs["seed"]))


def first_once(runs: Runs) -> Runs:
    """All settings but the first have several seeds."""
    return runs.only((runs.runs["setting"] > 0) | (runs.runs["seed"] == 0))


def reported(
    world: World, altered: Callable[[Runs], Runs] = as_they_are, number: int = SWEEPS
) -> Iterator[tuple[Section, Numbers]]:
    """What the report says of so many sweeps, and the accuracies on these photos that are true of an epoch."""
    rng = np.random.default_rng(0)
    # statsmodels collects garbage at every correction, which is slow among the many objects of a test session.
    gc.freeze()
    try:
        for _ in range(number):
            photos = strengths(world, rng)
            (section,) = sections(altered(sweep(world, rng, photos)))
            yield section, expected(world, photos)
    finally:
        gc.unfreeze()


@dataclass(frozen=True)
class Null:
    """Settings of which some are equally good: how often are two of those told apart?

    `row` and `column` are its place in a table; `most` is how often is right, None where it is stated alone.
    """

    row: str
    column: str
    world: World
    most: float | None = stats.LEVEL
    altered: Callable[[Runs], Runs] = as_they_are

    def errs(self, section: Section) -> bool:
        truth = {setting.label: self.world.accuracies[int(setting.values["setting"])] for setting in section.settings}
        apart = [pair for pair in section.comparison.pairs if pair.p <= stats.LEVEL]
        return any(truth[pair.better] == truth[pair.worse] for pair in apart)

    def measured(self) -> dict[str, float]:
        rate = np.mean([self.errs(section) for section, _ in reported(self.world, self.altered)])
        return {self.column: float(rate)}


@dataclass(frozen=True)
class Power:
    """A first setting that is better: the chance that the report finds it so, as `stats` states it and as it is.

    `most_off` is how far apart these may be, beside what chance does in a thousand sweeps.
    """

    row: str
    made: Callable[[], World]
    most_off: float = 0.0
    altered: Callable[[Runs], Runs] = as_they_are

    def measured(self) -> dict[str, float]:
        world = self.made()
        pairs = [section.comparison.pairs[0] for section, _ in reported(world, self.altered)]
        found = np.mean([pair.p <= stats.LEVEL and "setting=0" in pair.better for pair in pairs])
        return {"stated": power.POWER if self.altered is without_answers else stated(world), "found": float(found)}


def stated(world: World) -> float:
    difference = world.accuracies[0] - world.accuracies[1]
    if world.seeds == 1:
        return power.on_photos(world.photos, world.disagreement, difference)
    spread, photo_error, answer_error = errors(world)
    return power.over_seeds(world.seeds, spread, photo_error, difference, answer_error=answer_error)


def errors(world: World) -> tuple[float, float, float]:
    """What `power.over_seeds` has to be told of a world: what 2,000 sweeps show in the mean."""
    rng, shown = np.random.default_rng(1), []
    for _ in range(2000):
        first, second = answers(world, strengths(world, rng), rng)
        found = stats.crossed(first[:, 0].astype(int) - second[:, 0])
        shown.append((found.seed_error**2, found.photo_error**2 - found.answer_error**2, found.answer_error**2))
    by_seed, by_photo, by_answer = np.mean(shown, axis=0)
    return math.sqrt(by_seed * world.seeds), math.sqrt(max(by_photo, 0)), math.sqrt(by_answer * world.seeds)


@dataclass(frozen=True)
class Coverage:
    """One setting: how often its interval holds the true accuracy of an epoch, on all photos there are or on these."""

    row: str
    column: str
    world: World
    on_these: bool
    must: bool = True

    def measured(self) -> dict[str, float]:
        inside = []
        for section, on_these in reported(self.world):
            low, high = section.settings[0].interval or (math.nan, math.nan)
            inside.append(low <= (on_these[0] if self.on_these else self.world.accuracies[0]) <= high)
        return {self.column: float(np.mean(inside))}
