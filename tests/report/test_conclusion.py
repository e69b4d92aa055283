"""The sentences of a conclusion say what the tests say, and no more."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from flowerbench.report import power, stats
from flowerbench.report.record import Record
from flowerbench.report.words import points
from tests.report.helpers import section
from tests.report.simulation import Answers
from tests.report.test_comparison import answering, epochs, first, run, seeded

ONCE = "Each setting was run once, so what another seed would do is not known: the tests are of these models, "


def concluded(*records: Record) -> list[str]:
    return section(*records, group_by=["setting"]).conclusion


def test_one_setting_has_nothing_to_be_compared_with():
    assert concluded(run("a", first(80))) == [
        "One setting has finished, `setting=a`: there is nothing to compare it with."
    ]


def test_models_that_differ_are_not_called_settings_that_differ():
    seen, verdict, once = concluded(run("a", first(80)), run("b", first(95)))
    smallest = power.detectable(100, 0.15)
    assert smallest is not None
    assert seen == (
        f"With 100 validation photos, on 15.0 % of which two models disagree, a difference under about "
        f"{points(smallest)} cannot be counted on to show (80 % chance at the 5 % level)."
    )
    assert verdict == "The model of `setting=b` (0.9500) is better than that of `setting=a` by 15 points (p < 0.001)."
    assert once == f"{ONCE}and repeats=5 would test the settings."


def test_a_difference_that_does_not_show_says_how_many_photos_would():
    _, verdict, more = concluded(run("a", first(90)), run("b", first(93)))
    assert verdict == "`setting=b` and `setting=a` are indistinguishable (p = 0.25)."
    photos = power.photos_needed(0.03, 0.03)
    assert more == (
        f"{ONCE}and repeats=5 would test the settings; "
        f"about {photos} photos would be needed to see a difference of 3 points."
    )


def test_some_are_better_and_some_are_level():
    seen, verdict, more = concluded(
        *(run(s, first(count)) for s, count in (("a", 60), ("b", 90), ("c", 92), ("d", 40)))
    )
    assert ", corrected for 6 comparisons)" in seen
    assert verdict == (
        "The model of `setting=c` (0.9200) is better than that of `setting=a` and `setting=d`, by 32 points or more "
        "(largest p < 0.001); `setting=b` cannot be told from it."
    )
    photos = power.photos_needed(0.02, 0.02, stats.LEVEL / 6)
    assert more.endswith(f"; about {photos} photos would be needed to see a difference of 2 points.")


def test_of_seeds_settings_are_spoken_of():
    seen, verdict = concluded(*seeded("a", (0, 1, 2), (80, 81, 83)), *seeded("b", (0, 1, 2), (70, 72, 73)))
    assert seen.startswith("With 100 validation photos and 3 seeds, a difference under about ")
    assert verdict == "`setting=a` (0.8133) is better than `setting=b` by 9.7 points (p = 0.001)."


def sizes(sentences: list[str]) -> list[str]:
    return [size for sentence in sentences for size in re.findall(r"about ([\d,.]+) (?:points|would)", sentence)]


def spread_out(seeds: int) -> list[Record]:
    """Two settings two points apart, on other photos for each seed."""
    rng = np.random.default_rng(0)

    def answers(correct: int) -> Answers:
        return rng.permutation(first(correct, 500))

    return [run(s, answers(c + seed % 2), seed) for s, c in (("a", 450), ("b", 440)) for seed in range(seeds)]


def test_the_sizes_that_are_named_are_those_of_the_statistics():
    made = section(*spread_out(3), group_by=["setting"])
    (pair,) = made.comparison.pairs
    spread, answer_error = pair.seed_error * 3**0.5, pair.answer_error * 3**0.5
    photo_error = max(pair.photo_error**2 - pair.answer_error**2, 0) ** 0.5
    seen = power.detectable_over_seeds(3, spread, photo_error, answer_error=answer_error)
    seeds = power.seeds_needed(pair.difference, spread, photo_error, answer_error=answer_error)
    assert seen is not None
    assert sizes(made.conclusion) == [points(seen).split()[0], str(seeds)]
    assert made.conclusion[-1].startswith("More seeds would help: ")


def test_where_the_photos_decide_more_seeds_do_not_help():
    # The same photos every time, so it is these that may be unlike others.
    same = [run(s, right, seed) for s, right in (("a", first(90)), ("b", ~first(12))) for seed in range(3)]
    assert concluded(*same)[-1] == (
        "More seeds would not show a difference of 2 points: these photos are too few for it."
    )


@pytest.mark.parametrize(
    ("once", "names", "of"), [("c", "`setting=c` was", "it"), ("cd", "`setting=d` and `setting=c` were", "them")]
)
def test_settings_that_were_run_once_beside_others_are_named(once: str, names: str, of: str):
    runs = [*seeded("a", (0, 1, 2), (80, 81, 83)), *(run(s, first(40 + i)) for i, s in enumerate(once))]
    _, verdict, more = concluded(*runs)
    assert verdict.startswith("The model of `setting=a` (0.8133) is better than that of ")
    assert more == (
        f"{names} run once, so what another seed would do is not known: the tests with {of} are of these models, "
        "and repeats=5 would test the settings."
    )


def test_settings_of_seeds_that_differ_are_settings_though_another_was_run_once():
    runs = [*seeded("a", (0, 1, 2), (80, 81, 83)), *seeded("b", (0, 1, 2), (50, 52, 51)), run("c", first(80))]
    verdict = concluded(*runs)[1]
    assert verdict.startswith("`setting=a` (0.8133) is better than `setting=b` by 30.3 points (p = 0.00")
    assert verdict.endswith("); `setting=c` cannot be told from it.")


def test_what_the_chances_of_more_epochs_give_is_told():
    made = concluded(run("a", epochs(860, 905, 870, 872)), run("b", epochs(866, 870)))
    assert made[1].startswith("`setting=a` and `setting=b` are indistinguishable (p = 0.8")
    assert made[2] == (
        "`setting=a` had more epochs than `setting=b`, each one more chance of a lucky best: "
        "against it only as many of its last ones count."
    )
    assert made[3].endswith("to see a difference of 0.2 points.")
    as_many = concluded(run("a", epochs(860, 905)), run("b", epochs(866, 870)))
    assert not any("lucky" in sentence for sentence in as_many)


def test_a_tie_is_told_once_for_all_of_it():
    seen, tie, more = concluded(*(run(s, first(80)) for s in "abc"))
    assert seen == "All models give the same answers to the 100 validation photos."
    assert tie == (
        "A tie: `setting=a`, `setting=b` and `setting=c` have the same result, 80 of 100 photos, with the same answer "
        "to every photo."
    )
    assert more.startswith(ONCE)
    other = concluded(run("a", first(80)), run("b", ~first(20)), run("c", first(70)))
    assert "A tie: `setting=a` and `setting=b` have the same result, 80 of 100 photos." in other


def test_equal_means_of_seeds_are_a_tie():
    told = concluded(*seeded("a", (0, 1), (80, 82)), *seeded("b", (0, 1), (82, 80)))
    assert "A tie: `setting=a` and `setting=b` have the same result, a mean of 0.8100." in told


def test_counts_alone_show_larger_differences_only():
    seen, verdict, _ = concluded(*(answering(run(s, first(c)), None) for s, c in (("a", 80), ("b", 70))))
    assert "100 validation photos, whose single answers are not known, a difference under about 17.8 points" in seen
    assert verdict == "`setting=a` and `setting=b` are indistinguishable (p = 0.14)."


@pytest.mark.parametrize("facts", [{"total": None}, {"total": None, "correct": None}])
@pytest.mark.parametrize("seeds", [1, 2])
def test_without_counts_nothing_is_said_of_sizes(facts: dict[str, Any], seeds: int):
    runs = [run(s, first(count + seed), seed, **facts) for s, count in (("a", 80), ("b", 70)) for seed in range(seeds)]
    told = concluded(*runs)
    assert told[0] == "`setting=a` and `setting=b` are indistinguishable (p = 1.00)."
    assert sizes(told) == []


def test_hardly_any_photos_show_nothing():
    told = concluded(run("a", first(3, 4)), run("b", first(2, 4)))
    assert told[0] == "With 4 validation photos, on 25.0 % of which two models disagree, no difference can be seen."


def test_what_two_equal_models_say_is_not_said_of_all():
    found = concluded(run("a", first(90)), run("b", first(90)), run("c", first(50)))
    assert not any(sentence.startswith("All models") for sentence in found)
    assert "on 40.0 % of which two models disagree" in found[0]
