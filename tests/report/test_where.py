"""Conditions on runs: what they mean, the laws they keep, and how a mistake in one is told."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowerbench.errors import UsageError
from flowerbench.points import quoted
from flowerbench.report import frame, keys
from flowerbench.report.record import Record
from flowerbench.report.where import matches
from tests.report.helpers import config, half_failed_sweep, steps, write_run

SGD, ADAMW = "torch.optim.SGD", "torch.optim.AdamW"


def runs(*configs: dict[str, object], **facts: object) -> pd.DataFrame:
    known = {"status": "FINISHED", "folder": "x"} | facts
    records = [Record(str(i), str(i), None, told, known, []) for i, told in enumerate(configs)]
    return frame.tabulate(records).runs


@pytest.fixture(scope="module")
def four() -> pd.DataFrame:
    return runs(
        {"batch_size": 16, "optim.lr": 0.001, "optim._target_": SGD, "optim.momentum": 0.9, "data.mean": [0.5, 1.0]},
        {"batch_size": 32, "optim.lr": 1, "optim._target_": ADAMW, "model.weights": None, "deterministic": True},
        {"batch_size": 16.0, "optim.lr": 0.1, "optim._target_": SGD, "model.weights": "a b.pth"},
        {"batch_size": 8, "optim.lr": None, "optim._target_": "my.SGD", "model.weights": "it's"},
    )


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("batch_size=16", "02"),
        ("batch_size == 16.0", "02"),
        ("  batch_size>=16  ", "012"),
        ("batch_size<16", "3"),
        ("optim.lr=1e-3", "0"),
        ("optim.lr=1.0", "1"),
        ("optim.lr<=0.1", "02"),
        ("optim.lr=null", "3"),
        ("optim.lr!=null", "012"),
        ("model.weights=null", "1"),
        ("optim.momentum!=0.9", "123"),
        ("optim.momentum=0.9", "0"),
        ("deterministic=true", "1"),
        ("deterministic=1", ""),
        ("optim._target_=SGD", "023"),
        ("optim=SGD", "023"),
        ("optim=torch.optim.SGD", "02"),
        ("optim!=AdamW", "023"),
        ("model.weights='a b.pth'", "2"),
        ('model.weights="it\'s"', "3"),
        (r"model.weights='it\'s'", "3"),
        ("model.weights=pth", ""),
        ("data.mean=[0.5, 1]", "0"),
        ("status=FINISHED", "0123"),
        ("reason=null", "0123"),
        ("test_total=null", "0123"),
        ("test_total>0", ""),
        ("batch_size=16 and optim.lr<0.01 or batch_size=8", "03"),
        ("batch_size=8 or batch_size=16 and optim.lr<0.01", "03"),
        ("batch_size=16 and optim=SGD and optim.lr=0.1", "2"),
        ("batch_size>null", ""),
    ],
)
def test_conditions_pick_runs(four: pd.DataFrame, text: str, kept: str):
    found = matches(four, text)
    assert found.dtype == bool
    assert "".join(four.index[found]) == kept


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("batch_sise=16", "no run has the key batch_sise: did you mean batch_size?"),
        ("zzz=16", "no run has the key zzz: the keys are batch_size, optim.lr"),
        ("", "cannot be read from '' on"),
        ("batch_size", "cannot be read from 'batch_size' on"),
        ("batch_size=", "cannot be read from 'batch_size=' on"),
        ("batch_size=>16", "cannot be read from 'batch_size=>16' on"),
        ("batch_size=16 optim.lr=1", "cannot be read from ' optim.lr=1' on"),
        ("batch_size=16 and", "cannot be read from ' and' on"),
        ("batch_size=16 and or optim.lr=1", "cannot be read from 'or optim.lr=1' on"),
        ("(batch_size=16)", "cannot be read from '(batch_size=16)' on"),
        ("model.weights=a b.pth", "cannot be read from ' b.pth' on"),
        ("model.weights='a b.pth", 'cannot be read from "model.weights=\'a b.pth" on'),
        ("batch_size=16,32", "batch_size=16,32 is several values: join a condition for each by `or`"),
        ("batch_size=16 and\nzzz\n", "cannot be read from 'zzz' on"),
    ],
)
def test_a_mistake_is_one_line(four: pd.DataFrame, text: str, told: str):
    with pytest.raises(UsageError) as error:
        matches(four, text)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


NUMBERS = st.one_of(st.integers(-(10**12), 10**12), st.floats(allow_nan=False))
TEXTS = st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S", "Zs")), max_size=8)
CELLS = st.one_of(NUMBERS, TEXTS, st.booleans(), st.none(), st.just(float("nan")))


def written(value: object) -> str:
    return quoted(value) if isinstance(value, str) else keys.spelled(value)


@settings(deadline=None, max_examples=200)
@given(st.lists(CELLS, min_size=1, max_size=6), CELLS)
def test_comparisons_are_one_order(cells: list[object], value: object):
    told = pd.DataFrame({"x": pd.Series(cells, dtype=object), "status": "FINISHED"})
    found = {sign: matches(told, f"x{sign}{written(value)}").tolist() for sign in ("=", "!=", "<", "<=", ">", ">=")}
    for cell, equal, other, less, less_or_equal, more, more_or_equal in zip(cells, *found.values(), strict=True):
        assert other != equal
        assert less_or_equal == (less or equal)
        assert more_or_equal == (more or equal)
        assert less + equal + more <= 1
        if keys.is_number(cell) and keys.is_number(value) and not keys.is_unset(cell) and not keys.is_unset(value):
            assert (less, equal, more) == (cell < value, cell == value, cell > value)
        if cell is None or keys.is_unset(cell):
            assert not less
            assert not more


@settings(deadline=None, max_examples=200)
@given(CELLS.filter(lambda cell: not keys.is_unset(cell)))
def test_a_value_is_found_as_it_is_written(value: object):
    assert matches(pd.DataFrame({"x": pd.Series([value], dtype=object)}), f"x={written(value)}").all()


CONDITIONS = st.builds(
    "{}{}{}".format, st.sampled_from("ab"), st.sampled_from(["=", "!=", "<", ">="]), st.integers(0, 3)
)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.lists(CONDITIONS, min_size=1, max_size=3), min_size=1, max_size=3))
def test_and_binds_tighter_than_or(groups: list[list[str]]):
    grid = runs(*({"a": a, "b": b} for a in range(4) for b in range(4)))
    found = matches(grid, " or ".join(" and ".join(group) for group in groups))
    alone = {condition: matches(grid, condition) for group in groups for condition in group}
    expected = [any(all(alone[c].loc[name] for c in group) for group in groups) for name in grid.index]
    assert found.tolist() == expected


def test_a_table_without_runs_has_none_that_match():
    assert matches(frame.tabulate([]).runs, "batch_size=16").empty


def test_only_matching_runs_are_loaded(tmp_path: Path):
    write_run(tmp_path / "other", config(8, 3), steps([1]))
    half_failed_sweep(tmp_path / "sweep")
    runs = frame.load(tmp_path, where="batch_size=16 and epochs>3")
    assert list(runs.runs["settings"]) == ["batch_size=16, epochs=4", "batch_size=16, epochs=8"]
    assert set(runs.epochs["run"]) == set(runs.runs.index)
    with pytest.raises(UsageError, match="none of the 5 runs satisfies --where 'epochs=5'"):
        frame.load(tmp_path, where="epochs=5")
