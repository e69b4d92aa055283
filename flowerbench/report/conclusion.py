"""What the comparison comes to in plain sentences: what could be seen, who is best, and what would tell more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from flowerbench.report import power, stats
from flowerbench.report.comparison import Comparison
from flowerbench.report.evidence import FOLDS, Pair
from flowerbench.report.settings import Setting
from flowerbench.report.words import counted, listed, p_value, percent, points


def sentences(comparison: Comparison) -> list[str]:
    """The conclusion of one section, a few sentences, each computed from the tests.

    The smallest difference that can be seen, and how many photos or seeds would show a smaller one, are those found
    with 80 % chance, at the level that Holm's correction leaves to the first of the tests (`stats`).
    """
    best, pairs = comparison.best, comparison.pairs
    if best is None:
        return ["No run has finished, so there is nothing to compare."]
    if not pairs and len(comparison.settings) > 1:
        return ["It is not known which photos these runs were judged on, so they are not compared."]
    if not pairs:
        return [f"One setting has finished, {listed([best.label])}: there is nothing to compare it with."]
    level = set(comparison.level)
    alike = [pair for pair in pairs if {pair.better, pair.worse} <= level]
    said = [
        _seen(best, alike, pairs, "test" if comparison.is_by_test else "validation"),
        _verdict(best, pairs),
        _luck(comparison),
        *_ties(comparison),
        _more(comparison, best),
    ]
    return [sentence for sentence in said if sentence]


def _ties(comparison: Comparison) -> list[str]:
    """A sentence for every group of compared settings that have the very same accuracy."""
    groups: list[set[str]] = []
    tied = [pair for pair in comparison.pairs if pair.is_tie]
    for pair in tied:
        both = {pair.better, pair.worse}
        groups = [group for group in groups if not group & both] + [both.union(*(g for g in groups if g & both))]
    settings = {setting.label: setting for setting in comparison.settings}
    told = []
    for group in groups:
        names = [label for label in settings if label in group]
        first = settings[names[0]]
        is_one_run = {(settings[name].correct, settings[name].total) for name in names} == {
            (first.correct, first.total)
        }
        is_one_run = is_one_run and len(first.correct) == 1
        result = f"{first.correct[0]} of {first.total} photos" if is_one_run else f"a mean of {first.accuracy:.4f}"
        is_same = all(pair.is_same for pair in tied if pair.better in group)
        answers = ", with the same answer to every photo" if is_same else ""
        told.append(f"A tie: {listed(names)} have the same result, {result}{answers}.")
    return told


def _seen(best: Setting, alike: Sequence[Pair], pairs: Sequence[Pair], part: str) -> str | None:
    """How small a difference could be seen at all: by the photos, and by the seeds where there are several.

    `alike` are the pairs of settings that are about as good: they tell best how often models disagree, and how much
    seeds change them.
    """
    if best.total is None or any(pair.test == FOLDS for pair in pairs):
        return None
    tests = len(pairs)
    level = stats.LEVEL / tests
    what = counted(best.total, f"{part} photo")
    # Two runs that share all their epochs do not tell how often models disagree.
    seeded, disagreements = _known(alike)
    if not seeded and not disagreements:
        seeded, disagreements = _known(pairs)
    smallest: float | None
    if seeded:
        seeds = min(pair.repeats for pair in seeded)
        what += f" and {seeds} {_repeats(pairs)}"
        spread, photo_error, answer_error = _errors(seeded)
        smallest = power.detectable_over_seeds(seeds, spread, photo_error, level, answer_error)
    elif disagreements:
        disagreement = median(disagreements)
        what += f", on {percent(disagreement)} of which two models disagree"
        smallest = power.detectable(best.total, disagreement, level)
    elif all(math.isnan(pair.disagreement) for pair in pairs):
        what += ", whose single answers are not known"
        smallest = power.detectable_unpaired(best.total, best.accuracy, level)
    elif all(pair.is_same for pair in pairs):
        return f"All models give the same answers to the {what}."
    else:
        return f"All models are right on the same of the {what}."
    if smallest is None:
        return f"With {what}, no difference can be seen."
    corrected = f", corrected for {tests} comparisons" if tests > 1 else ""
    return (
        f"With {what}, a difference under about {points(smallest)} cannot be counted on to show "
        f"(80 % chance at the 5 % level{corrected})."
    )


def _known(pairs: Sequence[Pair]) -> tuple[list[Pair], list[float]]:
    """The pairs that tell of the seeds, and how often models disagree, where they do."""
    return [p for p in pairs if not math.isnan(p.seed_error)], [p.disagreement for p in pairs if p.disagreement > 0]


def _repeats(pairs: Sequence[Pair]) -> str:
    """What the runs of a setting are repeats by."""
    return "seeds" if all(pair.over == "seed" for pair in pairs if pair.repeats > 1) else "repeats"


def _errors(pairs: Sequence[Pair]) -> tuple[float, float, float]:
    """Of one seed the spread, of endless seeds the error of the photos, and of one seed that of the single answers."""
    return (
        median(pair.seed_error * math.sqrt(pair.repeats) for pair in pairs),
        median(math.sqrt(max(pair.photo_error**2 - pair.answer_error**2, 0.0)) for pair in pairs),
        median(pair.answer_error * math.sqrt(pair.repeats) for pair in pairs),
    )


def _verdict(best: Setting, pairs: Sequence[Pair]) -> str | None:
    """Who is best, who is level with it, and who is not; None where all are tied, which `_ties` says."""
    against = [pair for pair in pairs if pair.better == best.label]
    if all(pair.is_tie for pair in against):
        return None
    level = [pair.worse for pair in against if pair.p > stats.LEVEL]
    worse = sorted((pair for pair in against if pair.p <= stats.LEVEL), key=lambda pair: pair.difference)
    if not worse:
        smallest = min(pair.p for pair in against)
        shown = p_value(smallest) if len(level) == 1 else f"smallest {p_value(smallest)}"
        return f"{listed([best.label, *level])} are indistinguishable ({shown})."
    names = listed([pair.worse for pair in worse])
    by = f"by {points(worse[0].difference)}"
    if len(worse) == 1:
        than = f"{names} {by} ({p_value(worse[0].p)})"
    else:
        than = f"{names}, {by} or more (largest {p_value(max(pair.p for pair in worse))})"
    end = f"; {listed(level)} cannot be told from it" if level else ""
    if all(pair.repeats > 1 for pair in worse):
        return f"`{best.label}` ({best.accuracy:.4f}) is better than {than}{end}."
    return f"The model of `{best.label}` ({best.accuracy:.4f}) is better than that of {than}{end}."


def _luck(comparison: Comparison) -> str | None:
    """Why a difference may be large and yet not tell: the best had more epochs to be lucky in."""
    than = [label for label, pair in comparison.with_best.items() if pair.luck > 0]
    if not than or comparison.best is None:
        return None
    return (
        f"`{comparison.best.label}` had more epochs than {listed(than)}, each one more chance of a lucky best: against "
        f"{'it' if len(than) == 1 else 'them'} only as many of its last ones count."
    )


def _more(comparison: Comparison, best: Setting) -> str | None:
    """What seeds are lacking, and what would show the largest difference among those that cannot be seen."""
    once, level = _once(comparison.settings), stats.LEVEL / len(comparison.pairs)
    unseen = [pair for pair in comparison.with_best.values() if pair.p > stats.LEVEL and pair.tested > 0]
    widest = max(unseen, key=lambda pair: pair.tested, default=None)
    if widest is None or (math.isnan(widest.seed_error) and math.isnan(widest.disagreement)):
        return f"{once}." if once else None
    size = f"a difference of {points(widest.tested)}" + (", the largest among them" if len(unseen) > 1 else "")
    if math.isnan(widest.seed_error):
        photos = power.photos_needed(widest.disagreement, widest.tested, level)
        needed = f"about {photos:,} photos" if photos else "more than a million photos"
        return f"{once}; {needed} would be needed to see {size}."
    begin = f"{once}. " if once else ""
    spread, photo_error, answer_error = _errors([widest])
    seeds = power.seeds_needed(widest.tested, spread, photo_error, level, answer_error)
    if seeds is None:
        return f"{begin}More {_repeats([widest])} would not show {size}: these photos are too few for it."
    return f"{begin}More {_repeats([widest])} would help: about {seeds} would be needed to see {size}."


def _once(settings: Sequence[Setting]) -> str:
    """A warning, without its full stop, where settings were run once; empty where none was."""
    once = [setting.label for setting in settings if setting.n == 1]
    if not once:
        return ""
    if len(once) == len(settings):
        who, tests = "Each setting was", "the tests"
    else:
        who = f"{listed(once)} {'was' if len(once) == 1 else 'were'}"
        tests = f"the tests with {'it' if len(once) == 1 else 'them'}"
    return (
        f"{who} run once, so what another seed would do is not known: {tests} are of these models, "
        "and repeats=5 would test the settings"
    )
