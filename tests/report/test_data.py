"""CSV and JSON: the numbers come back to the last bit, and what is not known is not made up."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowerbench.history import HISTORY
from flowerbench.report import analysis, frame
from flowerbench.report.formats import data
from tests.report.helpers import KEPT_SWEEP, config, half_failed_sweep, record, steps, write_run

NUMBERS = st.floats(allow_nan=True, allow_infinity=False)


def read_csv(text: str) -> pd.DataFrame:
    """As pandas reads it; of its engines, the one in Python always keeps the last bit."""
    return pd.read_csv(io.StringIO(text), engine="python")


def read_json(text: str) -> Any:
    """Fails for NaN and Infinity, which Python reads but no other program does."""

    def refuse(constant: str) -> NoReturn:
        raise AssertionError(constant)

    return json.loads(text, parse_constant=refuse)


def made(*records: Any) -> tuple[frame.Runs, list[analysis.Section]]:
    runs = frame.tabulate(records)
    return runs, analysis.sections(runs)


def same(ours: float, theirs: float | None) -> bool:
    return ours == theirs or (math.isnan(ours) and (theirs is None or math.isnan(theirs)))


@settings(deadline=None, max_examples=10)
@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=40))
def test_numbers_come_back_to_the_last_bit(losses: list[tuple[float, float]]):
    rows = [dict.fromkeys(HISTORY, 0.5) | {"epoch": i, "lr": a, "val_loss": b} for i, (a, b) in enumerate(losses, 1)]
    found = record("a", config(), epochs_done=len(losses))
    runs, sections = made(type(found)(**{**vars(found), "history": rows}))
    epochs = read_csv(data.csv(data.tables(runs, sections)["epochs"]))
    told = read_json(data.as_json(runs, sections))["epochs"]
    for (lr, loss), row, line in zip(losses, epochs.to_dict("records"), told, strict=True):
        assert same(lr, row["lr"])
        assert same(loss, row["val_loss"])
        assert same(lr, line["lr"])
        assert same(loss, line["val_loss"])


def test_null_and_lists_stay_apart_from_what_is_not_known():
    told = config() | {"data.mean": [0.485, None, 1e-300], "model.weights": None, "data.stratify": True}
    runs, sections = made(record("a", told), record("b", config() | {"seed": 1}, reason=None))
    lines = data.csv(data.tables(runs, sections)["runs"]).splitlines()
    table = pd.read_csv(io.StringIO("\n".join(lines)), dtype=str, keep_default_na=False).set_index("run")
    keys = ["data.mean", "model.weights", "data.stratify", "reason"]
    assert table.loc["a", keys].tolist() == ["[0.485, null, 1e-300]", "null", "true", ""]
    assert table.loc["b", keys].tolist() == ["", "", "", ""]
    first, second = read_json(data.as_json(runs, sections))["runs"]
    assert [first[key] for key in keys] == [[0.485, None, 1e-300], None, True, None]
    assert [second[key] for key in keys] == [None] * 4


def test_names_of_any_characters_come_back():
    name = 'a, "b"\nc|d \N{EN DASH} 玫瑰'
    runs, sections = made(record(name, config() | {"model.name": name}), record("b", config(batch_size=32)))
    assert read_csv(data.csv(data.tables(runs, sections)["runs"])).loc[0, ["run", "model.name"]].tolist() == [name] * 2
    assert read_json(data.as_json(runs, sections))["runs"][0]["run"] == name


def test_whole_numbers_stay_whole_where_others_have_none():
    told = {"batch_size": 32, "epochs": None, "optim.lr": 0.1}
    runs, sections = made(record("a", config(16, 4)), record("b", told, "MISSING", None))
    settings_csv, runs_csv = (data.csv(data.tables(runs, sections)[name]) for name in ("settings", "runs"))
    for text in (settings_csv, runs_csv):
        table = pd.read_csv(io.StringIO(text), dtype=str)
        assert table["epochs"].tolist()[0] == "4"
        assert table["total"].tolist()[0] == "100"
    assert read_json(data.as_json(runs, sections))["settings"][0]["epochs"] == 4


def test_a_pandas_user_gets_numbers_counts_and_truth_values():
    runs = frame.load(KEPT_SWEEP)
    sections = analysis.sections(runs)
    table = read_csv(data.csv(data.tables(runs, sections)["settings"])).set_index("settings")
    ours = sections[0].table
    pd.testing.assert_series_equal(table["accuracy"], ours["accuracy"], check_exact=True, check_index_type=False)
    assert (table["correct"] / table["total"]).tolist() == [502 / 570, 502 / 570, 501 / 570, 501 / 570]
    assert {name: table[name].dtype.kind for name in ("n", "total", "best_epoch", "batch_size")} == {
        "n": "i", "total": "i", "best_epoch": "i", "batch_size": "i",
    }  # fmt: skip
    assert table["is_best"].sum() == 1
    assert table["is_level"].all()
    assert set(table["section"]) == {sections[0].title}


def test_json_has_every_table_and_the_conclusions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    runs = frame.load(half_failed_sweep(Path("sweep")))
    sections = analysis.sections(runs)
    told = read_json(data.as_json(runs, sections))
    tables = data.tables(runs, sections)
    assert list(told) == ["sections", "settings", "pairs", "runs", "epochs"]
    assert {name: len(told[name]) for name in tables} == {name: len(table) for name, table in tables.items()}
    assert [run["status"] for run in told["runs"]] == ["FINISHED", "RUNNING", "FAILED", "MISSING"]
    assert told["sections"][0]["conclusion"] == sections[0].conclusion


def test_the_pairs_say_how_settings_compare(tmp_path: Path):
    for batch, correct in ((16, 95), (32, 60), (64, 94)):
        write_run(tmp_path / str(batch), config(batch), steps([50, correct]), total=100)
    runs = frame.load(tmp_path)
    pairs = read_csv(data.csv(data.tables(runs, analysis.sections(runs))["pairs"]))
    assert len(pairs) == 3
    first = pairs.iloc[0]
    assert (first["better"], first["worse"]) == ("batch_size=16, epochs=4", "batch_size=64, epochs=4")
    assert first["difference"] == pytest.approx(0.01)
    assert pairs["disagreement"].isna().all()


def test_nothing_at_all_is_still_csv_and_json():
    runs = frame.tabulate([])
    for name, table in data.tables(runs, []).items():
        assert isinstance(data.csv(table), str), name
    assert read_json(data.as_json(runs, []))["runs"] == []
