"""What is compared with what: sections of one protocol and one split, settings by their keys."""

from __future__ import annotations

import pytest

from flowerbench.errors import UsageError
from flowerbench.report import notes
from flowerbench.report.analysis import sections
from flowerbench.report.frame import tabulate
from tests.report.helpers import record, section


def test_a_run_of_unknown_split_goes_where_alone_it_can():
    failed = record("b", {}, "FAILED", None, split=None)
    missing = record("c", {}, "MISSING", None, protocol=None, split=None)
    told = [record("a", {}), failed, missing]
    assert [len(part.runs.runs) for part in sections(tabulate(told))] == [3]
    both = [*told, record("d", {}, protocol="augmented")]
    assert [sorted(part.runs.runs.index) for part in sections(tabulate(both))] == [["a", "b"], ["c"], ["d"]]


@pytest.mark.parametrize("unknown", [{"split": None}, {"split": None, "protocol": None}])
def test_finished_runs_of_an_unknown_split_are_not_compared(unknown: dict[str, None]):
    runs = [record(str(b), {"batch_size": b}, correct=c) for b, c in ((8, 90), (16, 91))]
    runs += [record(str(b), {"batch_size": b}, correct=c, **unknown) for b, c in ((32, 10), (64, 20))]
    known, other = sections(tabulate(runs))
    assert len(known.comparison.pairs) == 1
    assert other.comparison.pairs == []
    assert other.conclusion == ["It is not known which photos these runs were judged on, so they are not compared."]


@pytest.mark.parametrize("other", [{"protocol": "augmented"}, {"split": "cd"}])
def test_runs_of_another_protocol_or_split_are_never_compared(other: dict[str, str]):
    runs = [record("a", {"batch_size": 8}, correct=10), record("b", {"batch_size": 16}, correct=99, **other)]
    parts = sections(tabulate(runs))
    assert len(parts) == 2
    assert [part.comparison.pairs for part in parts] == [[], []]


def test_keys_that_make_a_setting_can_be_named():
    told = [(16, 4, 90), (16, 8, 92), (32, 4, 80)]
    runs = [record(f"{b}-{e}", {"batch_size": b, "epochs": e}, correct=c) for b, e, c in told]
    assert [setting.label for setting in section(*runs).settings] == [f"batch_size={b}, epochs={e}" for b, e, _ in told]
    by_batch = section(*runs, group_by=["batch_size"]).settings
    assert [(setting.label, setting.n) for setting in by_batch] == [("batch_size=16", 2), ("batch_size=32", 1)]
    assert by_batch[0].repeats == {"epochs=4": "16-4", "epochs=8": "16-8"}
    assert section(*runs, group_by=["batch_size"]).axes is None


def test_repeats_that_are_no_seeds_are_not_called_so():
    told = [(lr, batch, 60 + 30 * (lr > 0.1) + batch // 16) for lr in (0.1, 0.9) for batch in (16, 32, 64)]
    runs = [record(f"{lr}-{b}", {"batch_size": b, "optim.lr": lr}, correct=c) for lr, b, c in told]
    folded = section(*runs, group_by=["optim.lr"])
    assert "and 3 repeats" in folded.conclusion[0]
    assert "As asked for, runs that differ in batch_size count as repeats of one setting." in notes.notes(folded)
    seeds = [record(f"{b}-{s}", {"batch_size": b, "seed": s}, correct=b + s) for b in (16, 64) for s in range(3)]
    assert "and 3 seeds" in section(*seeds).conclusion[0]


def test_a_key_that_no_run_has_is_refused():
    with pytest.raises(UsageError, match="no run has the key batch: the keys are batch_size"):
        section(record("a", {"batch_size": 8}), group_by=["batch"])


def test_the_axes_are_those_of_the_paper_or_the_two_that_vary():
    def axes(*configs: dict[str, object]) -> object:
        return section(*(record(str(i), told) for i, told in enumerate(configs))).axes

    assert axes({"batch_size": 8, "epochs": 4, "x": 1}, {"batch_size": 16, "epochs": 8, "x": 2}) == (
        "batch_size",
        "epochs",
    )
    assert axes({"x": 1, "y": 1}, {"x": 2, "y": 2}) == ("x", "y")
    assert axes({"x": 1, "seed": 1}, {"x": 2, "seed": 2}) is None


def test_the_table_says_how_each_setting_compares_with_the_best():
    made = section(*(record(str(b), {"batch_size": b}, correct=c) for b, c in ((8, 60), (16, 91), (32, 90))))
    table = made.table
    assert table["is_best"].tolist() == [False, True, False]
    assert table["is_level"].tolist() == [False, True, True]
    assert table["behind"].round(2).tolist()[::2] == [0.31, 0.01]
    assert table["p"].isna().tolist() == [False, True, False]
