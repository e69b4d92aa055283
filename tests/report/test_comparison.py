"""Which settings are compared, by which test, and what does not matter to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from flowerbench.report import comparison, frame, stats
from flowerbench.report.analysis import sections
from flowerbench.report.comparison import Comparison
from flowerbench.report.evidence import CROSSED, FISHER, MCNEMAR, NO_TEST, Pair
from flowerbench.report.record import Record
from tests.report.helpers import paper_sweep, record, section
from tests.report.simulation import Answers, predictions, simulated


def first(correct: int, photos: int = 100) -> Answers:
    """The first so many photos are right."""
    return np.arange(photos) < correct


def run(setting: str, right: Answers, seed: int = 0, **facts: Any) -> Record:
    """A run by its answers after one epoch, or after each of several; `facts` replaces what is known of it."""
    right = np.atleast_2d(right)
    made = simulated({"setting": setting, "epochs": len(right), "seed": seed}, right)
    return replace(made, facts={**made.facts, **facts})


def answering(record: Record, read: Callable[[], pd.DataFrame | None] | None) -> Record:
    return replace(record, predictions=read)


def compared(*records: Record) -> Comparison:
    return section(*records, group_by=["setting"]).comparison


def pair(*records: Record) -> Pair:
    (only,) = compared(*records).pairs
    return only


def test_one_run_each_is_mcnemars_test_on_the_same_photos():
    found = pair(run("a", first(80)), run("b", ~first(8)))
    assert (found.better, found.worse, found.test, found.repeats) == ("setting=b", "setting=a", MCNEMAR, 1)
    assert found.difference == pytest.approx(0.12)
    assert found.disagreement == pytest.approx(0.28)
    assert found.p == found.p_alone == stats.mcnemar(20, 8)
    assert math.isnan(found.seed_error)


def other_photos(right: Answers) -> pd.DataFrame:
    return predictions(right).assign(photo=[f"other_{number}.jpg" for number in range(right.size)])


@pytest.mark.parametrize(
    "read",
    [
        None,
        lambda: None,
        lambda: predictions(first(79)),  # of another epoch than the summary
        lambda: predictions(first(80, 99)),
        lambda: other_photos(first(80)),
    ],
)
def test_answers_that_are_missing_or_do_not_fit_leave_the_counts(read: Callable[[], pd.DataFrame | None] | None):
    odd = answering(run("a", first(80)), read)
    found = compared(odd, run("b", first(70)), run("c", first(95)), run("d", first(60)))
    tests = {frozenset({told.better[-1], told.worse[-1]}): told.test for told in found.pairs}
    assert {both for both, test in tests.items() if test == FISHER} == {frozenset({"a", x}) for x in "bcd"}
    assert set(tests.values()) == {FISHER, MCNEMAR}
    (told,) = (told for told in found.pairs if (told.better, told.worse) == ("setting=a", "setting=b"))
    assert told.p_alone == pytest.approx(stats.unpaired((80, 70), (100, 100)))
    assert math.isnan(told.disagreement)


def test_one_file_on_other_photos_does_not_silence_the_rest():
    # Whichever run is asked first.
    odd = answering(run("a", first(99)), lambda: other_photos(first(99)))
    assert [told.test for told in compared(odd, run("b", first(80)), run("c", first(70))).pairs].count(MCNEMAR) == 1


def test_photos_may_stand_in_any_order():
    shuffled = answering(run("a", first(80)), lambda: predictions(first(80)).sample(frac=1, random_state=0))
    assert pair(shuffled, run("b", first(70))) == pair(run("a", first(80)), run("b", first(70)))


@pytest.mark.parametrize("facts", [{"total": None}, {"total": None, "correct": None}])
def test_without_a_count_there_is_no_test(facts: dict[str, Any]):
    found = pair(run("a", first(99), **facts), run("b", first(10)))
    assert (found.test, found.p, found.difference) == (NO_TEST, 1.0, pytest.approx(0.89))


def seeded(setting: str, seeds: Sequence[int], correct: Sequence[int]) -> list[Record]:
    return [run(setting, first(count), seed) for seed, count in zip(seeds, correct, strict=True)]


def test_seeds_that_both_have_are_tested_together():
    found = pair(*seeded("a", (0, 1, 2, 5), (80, 81, 83, 10)), *seeded("b", (3, 2, 1, 0), (99, 73, 72, 70)))
    by_seed = np.array([[first(a).astype(int) - first(b)] for a, b in ((80, 70), (81, 72), (83, 73))])[:, 0]
    expected = stats.crossed(by_seed)
    assert (found.better, found.test, found.repeats) == ("setting=b", CROSSED, 3)
    # The mean over all seeds says b, those that both have say a: no difference either way.
    assert found.p_alone == 1.0
    assert (found.seed_error, found.photo_error, found.answer_error) == pytest.approx(
        (expected.seed_error, expected.photo_error, expected.answer_error)
    )
    alike = pair(*seeded("a", (0, 1, 2), (80, 81, 83)), *seeded("b", (2, 1, 0), (73, 72, 70)))
    assert alike.p_alone == pytest.approx(expected.p)
    assert alike.disagreement == pytest.approx((10 + 9 + 10) / 300)


def test_runs_of_different_seeds_are_all_compared():
    found = pair(*seeded("a", (0, 1, 2), (80, 81, 83)), *seeded("b", (3, 4, 5), (70, 72, 73)))
    same = pair(*seeded("a", (0, 1, 2), (80, 81, 83)), *seeded("b", (0, 1, 2), (70, 72, 73)))
    assert (found.test, found.repeats, found.p) == (CROSSED, 3, same.p)
    # One run against several is a test of two models.
    assert pair(run("a", first(80), 7), *seeded("b", (3, 4), (70, 72))).test == MCNEMAR


def test_seeds_whose_answers_are_not_known_are_tested_by_their_counts():
    runs = [*seeded("a", (0, 1, 2), (90, 91, 92)), *seeded("b", (0, 1, 2), (60, 62, 61))]
    found = pair(answering(runs[0], None), *runs[1:])
    assert (found.test, found.repeats) == (CROSSED, 3)
    assert found.photo_error == pytest.approx(stats.share_error(0.91, 0.61, 100))
    assert found.p < stats.LEVEL
    assert math.isnan(found.disagreement)
    uncounted = [replace(told, facts={**told.facts, "total": None}) for told in runs]
    assert pair(*uncounted).test == NO_TEST


def test_a_run_done_twice_with_the_same_seed_counts_once():
    runs = [*seeded("a", (0, 1), (80, 83)), *seeded("b", (0, 1), (70, 71))]
    again = replace(runs[0], key="again", name="again")
    assert pair(*runs, again, again) == pair(*runs)


def test_equal_results_are_a_tie_and_equal_answers_are_told():
    assert pair(run("a", first(80)), run("b", first(80))).is_same
    found = pair(run("a", first(80)), run("b", ~first(20)))
    assert (found.is_tie, found.is_same, found.p, found.disagreement) == (True, False, 1.0, pytest.approx(0.4))
    # Equal means, whatever the seeds that both have say.
    assert pair(*seeded("a", (0, 1, 2), (90, 90, 0)), *seeded("b", (0, 1), (59, 61))).p == 1.0


def epochs(*correct: int) -> Answers:
    return np.stack([first(count, 1000) for count in correct])


@pytest.mark.parametrize("read", [True, False])
def test_more_epochs_are_no_better_chance(read: bool):
    def told(*records: Record) -> Pair:
        return pair(*(records if read else (answering(record, None) for record in records)))

    lucky, steady = run("a", epochs(860, 905, 870, 872)), run("b", epochs(866, 870))
    # Of four epochs the last two count against two: 872 of 1000, two more, where it was 35.
    assert told(lucky, steady).difference == pytest.approx(0.035)
    assert told(lucky, steady).p > 0.5
    # What the last ones reach as well is no luck, and with as many epochs there is none to take away.
    better = told(run("a", epochs(860, 870, 872, 905)), steady)
    assert better.p == told(run("a", epochs(860, 905)), steady).p < 0.02
    # It is the longer run that may owe it to luck.
    assert told(run("a", epochs(905)), steady).p == better.p


def test_more_epochs_are_no_better_chance_over_seeds_either():
    steady = [run("b", epochs(866 + seed, 870 + seed), seed) for seed in range(3)]
    lucky = [run("a", epochs(905 + 2 * seed, 871 + 2 * seed, 873 - seed), seed) for seed in range(3)]
    assert pair(*lucky, *steady).p > 0.1
    late = [run("a", epochs(871, 873, 905 + 2 * seed), seed) for seed in range(3)]
    assert pair(*late, *steady).p < 0.01


def test_epochs_that_are_not_known_take_nothing_away():
    known = run("a", epochs(905, 860, 872))
    unknown = replace(known, history=[])
    assert pair(unknown, run("b", epochs(870))).p < pair(known, run("b", epochs(870))).p


def test_of_many_settings_the_hundred_best_are_compared():
    found = compared(*(run(str(i), first(300 + i, 500)) for i in range(150)))
    assert [setting.label for setting in found.settings] == [f"setting={i}" for i in range(149, 49, -1)]
    assert len(found.pairs) == 100 * 99 / 2
    assert len(found.with_best) == 99
    # 32 photos that only the best has right are enough for one of 4,950 pairs, 10 are not.
    assert "setting=117" not in found.level
    assert "setting=139" in found.level


def test_what_has_no_accuracy_is_not_compared():
    odd = [
        run("a", first(90), status="FAILED"),
        record("b", {"setting": "b"}, "FINISHED", None, split="0" * 16),
        record("c", {"setting": "c"}, "MISSING", None, split="0" * 16),
        run("d", first(90), best_accuracy=math.nan, correct=None),
    ]
    found = section(*odd, group_by=["setting"])
    assert found.comparison == Comparison([], [])
    assert found.comparison.best is None
    assert found.comparison.level == []
    assert found.conclusion == ["No run has finished, so there is nothing to compare."]
    alone = compared(*odd, run("e", first(90)))
    assert ([setting.label for setting in alone.settings], alone.pairs) == (["setting=e"], [])
    assert alone.level == ["setting=e"]


def test_the_papers_table_shows_no_difference(tmp_path: Path):
    (made,) = sections(frame.load(paper_sweep(tmp_path)))
    assert len(made.comparison.level) == 3
    assert all(pair.p == 1.0 for pair in made.comparison.pairs)
    tied = "`batch_size=16, epochs=20` and `batch_size=16, epochs=25` have the same result, 533 of 570 photos."
    assert f"A tie: {tied}" in made.conclusion


def test_pairs_are_a_tidy_table():
    found = compared(*(run(str(i), first(60 + i)) for i in range(3)))
    table = comparison.table(found.pairs)
    assert table[["better", "worse"]].to_numpy().tolist() == [
        ["setting=2", "setting=1"],
        ["setting=2", "setting=0"],
        ["setting=1", "setting=0"],
    ]
    assert table["p"].tolist() == [pair.p for pair in found.pairs]
    assert list(comparison.table([])) == list(table)


# Settings, seeds, photos.
ANSWERS = st.tuples(st.integers(2, 4), st.integers(1, 3), st.just(12)).flatmap(lambda shape: arrays(np.bool_, shape))


def p_values(found: Comparison) -> dict[frozenset[str], tuple[float, float, str, int]]:
    return {
        frozenset({pair.better, pair.worse}): (round(pair.p_alone, 9), round(pair.p, 9), pair.test, pair.repeats)
        for pair in found.pairs
    }


@settings(max_examples=12)
@given(ANSWERS, st.randoms(use_true_random=False), st.booleans())
def test_no_order_of_runs_settings_or_photos_matters(answers: Answers, random: Any, same_seeds: bool):
    """Nor which of two settings is named first, and the best is always level with itself."""
    runs = [
        run(str(i), right, seed if same_seeds else 10 * i + seed)
        for i, setting in enumerate(answers)
        for seed, right in enumerate(setting)
    ]
    found = compared(*runs)
    order = random.sample(range(12), 12)
    other = [run(told.config["setting"], answers[tuple_of(told)][order], told.config["seed"]) for told in runs]
    random.shuffle(other)
    assert p_values(compared(*other)) == p_values(found)
    assert all(0 <= pair.p_alone <= pair.p <= 1 for pair in found.pairs)
    assert found.best is not None
    assert found.best.label in found.level
    assert found.best.accuracy == max(setting.accuracy for setting in found.settings)


def tuple_of(record: Record) -> tuple[int, int]:
    """Its setting and the number of its seed."""
    return int(record.config["setting"]), record.config["seed"] % 10
