"""A history that can be cut at any byte, and what is read off it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowerbench import history

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


def rows_of(columns: list[list[float]]) -> list[history.Row]:
    return [
        dict(zip(history.HISTORY, [epoch, *numbers], strict=True)) for epoch, numbers in enumerate(columns, start=1)
    ]


ROWS = st.lists(st.lists(NUMBERS, min_size=6, max_size=6), min_size=1, max_size=5).map(rows_of)
SAME_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def of_accuracies(*accuracies: float) -> list[history.Row]:
    return rows_of([[0.1, 1.0, 0.5, 1.0 - accuracy, accuracy, 1.0] for accuracy in accuracies])


@SAME_FOLDER
@given(ROWS)
def test_appended_or_written_at_once_it_reads_back_to_the_last_digit(tmp_path: Path, rows: list[history.Row]):
    appended, written = tmp_path / "appended.csv", tmp_path / "written.csv"
    appended.unlink(missing_ok=True)
    for row in rows:
        history.append_row(appended, row)
    history.write_history(written, rows)
    assert appended.read_bytes() == written.read_bytes()
    assert history.read_history(appended) == rows
    history.write_history(written, [])
    assert not written.exists()
    assert history.read_history(written) == []


@SAME_FOLDER
@given(ROWS, st.data())
def test_cut_at_any_byte_it_holds_the_epochs_before(tmp_path: Path, rows: list[history.Row], data: st.DataObject):
    file = tmp_path / "history.csv"
    history.write_history(file, rows)
    whole = file.read_bytes()
    at = data.draw(st.integers(0, len(whole)))
    file.write_bytes(whole[:at])
    done = max(whole[:at].count(b"\n") - 1, 0)
    assert history.read_history(file) == rows[:done]


def test_the_best_epoch_is_the_first_of_equals_and_never_one_that_is_no_number():
    rows = of_accuracies(0.5, 0.75, 0.75)
    assert history.best_row(rows) is rows[1]
    assert history.best_row(rows, "loss") is rows[1]
    rows[1]["val_accuracy"] = math.nan
    assert history.best_row(rows) is rows[2]
    assert history.best_row([]) is None


@pytest.mark.parametrize(("patience", "end"), [(None, None), (1, 3), (2, 4), (3, 8), (4, None)])
def test_a_run_ends_after_so_many_epochs_that_were_not_its_best(patience: int | None, end: int | None):
    rows = of_accuracies(0.5, 0.6, 0.6, 0.5, 0.7, 0.1, 0.2, 0.3)
    assert history.last_epoch(rows, "accuracy", patience) == end
