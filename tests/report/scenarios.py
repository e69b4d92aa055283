"""The worlds that the report is calibrated in."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from scipy import stats as scipy_stats

from flowerbench.report import power, stats
from tests.report.calibration import SWEEPS, Coverage, Null, Power, errors, first_once, of_other_seeds, without_answers
from tests.report.simulation import World

# Where a test errs in 5 % exactly, a thousand sweeps show no more than this in 99 of 100 cases.
UPPER = float(scipy_stats.binom.ppf(0.99, SWEEPS, stats.LEVEL)) / SWEEPS


def equal(settings: int, seeds: int = 1, epochs: int = 25, **more: Any) -> World:
    return World((0.88,) * settings, (epochs,) * settings, seeds, **more)


SUITED: dict[str, Any] = {"of_setting": 0.05}
# Epochs differ as late ones of multirun/paper_mobilenet_v2_160px do, with a standard deviation of 5 of 570 photos.
RESTLESS = equal(2, of_epoch=0.15)
# Beside three that are equal.
ONE_WORSE = World((0.80, 0.88, 0.88, 0.88), (1,) * 4)
TOLD_APART = "told apart"

ONE_RUN = [
    Null(f"{n} settings, one run each", column, equal(n, epochs=epochs, luck=luck), None if luck else stats.LEVEL)
    for n, column, epochs, luck in (
        *((n, column, epochs, 0.0) for n in (2, 4, 8) for column, epochs in (("one epoch", 1), ("best of 25", 25))),
        *((2, f"one epoch, luck {luck:g}", 1, luck / 100) for luck in (0.5, 1)),
        (4, "one epoch, luck 1", 1, 0.01),
    )
]
SEEDS = [
    *(
        Null(f"{n} settings, {seeds} seeds", column, equal(n, seeds, **more))
        for n, counts in ((2, (2, 3, 5)), (4, (2, 3, 5)))
        for seeds in counts
        for column, more in (
            ("no luck", dict[str, Any]()),
            ("luck 1", {"luck": 0.01}),
            ("luck 1, suited", {"luck": 0.01, **SUITED}),
        )
    ),
    *(
        Null(f"2 settings, {seeds} seeds", "one epoch, luck 3", equal(2, seeds, 1, luck=0.03), UPPER)
        for seeds in (2, 3, 5)
    ),
]
EPOCHS = [
    Null(
        f"best of {a} and of 25 epochs",
        "one run" if seeds == 1 else f"{seeds} seeds",
        replace(RESTLESS, seeds=seeds, epochs=(a, 25), luck=0.005 if seeds > 1 else 0.0),
    )
    for a, seeds in ((20, 1), (5, 1), (5, 5))
]
REUSED = replace(RESTLESS, epochs=(25, 5), reuse=True)
OTHERS = [
    Null("one run: best of 25 epochs and of the first 5 of them", TOLD_APART, REUSED),
    Null("one run, one epoch, 98 % right", TOLD_APART, World((0.98, 0.98), (1, 1))),
    Null("one run, one epoch, answers not known", TOLD_APART, equal(2, epochs=1), altered=without_answers),
    Null("one run, one epoch, 3 equal settings beside one 8 points worse", TOLD_APART, ONE_WORSE),
    Null(
        "3 seeds, luck 0.5, 3 equal settings beside one 8 points worse",
        TOLD_APART,
        replace(ONE_WORSE, seeds=3, luck=0.005),
    ),
    Null("3 seeds each, none in common, luck 1", TOLD_APART, equal(2, 3, luck=0.01), altered=of_other_seeds),
]
NOT_KNOWN = [
    Null("3 settings of 5 seeds beside one run once, luck 1", TOLD_APART, equal(4, 5, luck=0.01), None, first_once),
    *(
        Null(f"{runs}, one setting more restless", TOLD_APART, equal(2, seeds, of_epoch=(0.02, 0.15)), None)
        for seeds, runs in ((1, "one run"), (3, "3 seeds"), (5, "5 seeds"), (10, "10 seeds"))
    ),
]


def apart(difference: float, **more: Any) -> World:
    return World((0.88 + difference / 2, 0.88 - difference / 2), (1, 1), **more)


def detectable(**more: Any) -> World:
    """The smallest difference that is stated to be seen with 80 % chance."""
    world = apart(0.05, **more)
    # How often two models disagree depends a little on how far apart they are.
    for _ in range(3):
        if world.seeds == 1:
            seen = power.detectable(world.photos, world.disagreement)
        else:
            spread, photo_error, answer_error = errors(world)
            seen = power.detectable_over_seeds(world.seeds, spread, photo_error, answer_error=answer_error)
        assert seen is not None
        world = apart(seen, **more)
    return world


def by_counts() -> World:
    """The smallest drop from 88 % that counts of 570 photos are said to show with 80 % chance."""
    return World((0.88, 0.88 - power.detectable_unpaired(570, 0.88)), (1, 1))


def enough_photos(difference: float) -> World:
    photos = power.photos_needed(apart(difference).disagreement, difference)
    assert photos is not None
    return apart(difference, photos=photos)


def enough_seeds(difference: float, **more: Any) -> World:
    """As many seeds as a sweep of three is told to need."""
    spread, photo_error, answer_error = errors(apart(difference, seeds=3, **more))
    seeds = power.seeds_needed(difference, spread, photo_error, answer_error=answer_error)
    assert seeds is not None
    return apart(difference, seeds=seeds, **more)


POWERS = [
    Power("one run, 5 points", partial(apart, 0.05)),
    Power("one run, 2 points", partial(apart, 0.02)),
    Power("one run, the smallest that can be counted on", detectable),
    Power("one run, 2 points, as many photos as needed", partial(enough_photos, 0.02)),
    Power("one run, answers not known, the smallest that can be counted on", by_counts, 0.2, without_answers),
    *(
        Power(row, made, most_off=0.02)
        for row, made in (
            ("3 seeds, 5 points, luck 1", partial(apart, 0.05, seeds=3, luck=0.01)),
            ("5 seeds, 2 points, suited", partial(apart, 0.02, seeds=5, **SUITED)),
            ("5 seeds, luck 1, the smallest that can be counted on", partial(detectable, seeds=5, luck=0.01)),
            ("2 points, luck 1, as many seeds as needed", partial(enough_seeds, 0.02, luck=0.01)),
        )
    ),
]
INSIDE = "truth inside"
WILSON = [
    Coverage(f"Wilson's, {photos} photos", f"{100 * right:.0f} % right", World((right,), (1,), photos=photos), False)
    for photos in (570, 200)
    for right in (0.6, 0.7, 0.8, 0.88, 0.93, 0.98)
]
STUDENT = [
    *(
        Coverage(
            f"Student's, {seeds} seeds, one epoch, luck 1, on these photos", INSIDE, equal(1, seeds, 1, luck=0.01), True
        )
        for seeds in (3, 5, 10)
    ),
    Coverage("the same of 5 seeds, on all photos", INSIDE, equal(1, 5, 1, luck=0.01), False, must=False),
    Coverage(
        "Student's, 5 seeds, best of 25, luck 1, on these photos", INSIDE, equal(1, 5, luck=0.01), True, must=False
    ),
    Coverage("Wilson's, best of 25", INSIDE, equal(1), False, must=False),
    Coverage("Wilson's, best of 25 more restless epochs", INSIDE, equal(1, of_epoch=0.15), False, must=False),
]
