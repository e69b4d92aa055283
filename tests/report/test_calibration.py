"""How often a report errs: measured on sweeps of known truth, 1,000 a row, from the runs to the verdict.

`python -m tests.report.test_calibration` measures all of it and prints the tables of docs/statistics.md; the long tests
measure the rows that matter most again, and hold the page to them.
"""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.report.calibration import SWEEPS, Coverage, Null, Power, reported
from tests.report.scenarios import EPOCHS, INSIDE, NOT_KNOWN, ONE_RUN, OTHERS, POWERS, SEEDS, STUDENT, WILSON, equal

# All rows would take the checks half an hour.
CHECKED = {
    *(("4 settings, one run each", column) for column in ("one epoch", "best of 25")),
    ("8 settings, one run each", "best of 25"),
    ("2 settings, 2 seeds", "luck 1"),
    ("2 settings, 3 seeds", "luck 1, suited"),
    ("4 settings, 3 seeds", "luck 1, suited"),
    *(("best of 5 and of 25 epochs", column) for column in ("one run", "5 seeds")),
    *(("Wilson's, 570 photos", f"{right} % right") for right in (60, 70, 80, 88, 93, 98)),
    *((f"Student's, {seeds} seeds, one epoch, luck 1, on these photos", INSIDE) for seeds in (3, 5, 10)),
    ("Wilson's, best of 25", INSIDE),
    *((row, "") for row in ("one run, 5 points", "3 seeds, 5 points, luck 1")),
    ("one run, the smallest that can be counted on", ""),
}
DOCS = Path(__file__).parents[2] / "docs" / "statistics.md"


def test_of_settings_that_are_equal_none_is_called_better_and_of_others_the_better_one():
    same = equal(4)
    told = [section for section, _ in reported(same, number=20)]
    assert not any(Null("", "", same).errs(section) for section in told)
    assert all(len(section.comparison.level) == 4 and "indistinguishable" in section.conclusion[1] for section in told)
    for section, _ in reported(replace(same, accuracies=(0.8, 0.88, 0.96, 0.88)), number=8):
        assert section.comparison.best is not None
        assert section.comparison.level == [section.comparison.best.label] == ["batch_size=16, epochs=25, setting=2"]


def documented(row: str) -> dict[str, float]:
    """The numbers of the rows of this name in docs/statistics.md, by column."""
    lines = DOCS.read_text(encoding="utf-8").splitlines()
    header, found = [""], dict[str, float]()
    for before, line in zip(["", *lines], lines, strict=False):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        header = header if before.startswith("|") else cells
        if cells[0] == row:
            shares = zip(header[1:], cells[1:], strict=True)
            found |= {column: float(cell.removesuffix("%")) / 100 for column, cell in shares if cell.endswith("%")}
    return found


def check_documented(row: str, measured: dict[str, float]) -> None:
    told = documented(row)
    assert {column: told.get(column) for column in measured} == pytest.approx(measured, abs=0.002)


def checked(*scenarios: Null | Power | Coverage) -> list[Null | Power | Coverage]:
    return [scenario for scenario in scenarios if (scenario.row, getattr(scenario, "column", "")) in CHECKED]


def test_the_rows_that_are_checked_are_there():
    assert len(checked(*(scenario for rows in TABLES.values() for scenario in rows))) == len(CHECKED)


Measured = Callable[[Null | Power | Coverage], dict[str, float]]


@pytest.fixture(scope="module")
def measured_by_all_cores(request: pytest.FixtureRequest) -> Iterator[Measured]:
    """What the rows of the chosen tests come to; from the first test on they are measured side by side."""
    items = [
        item for item in request.session.items if isinstance(item, pytest.Function) and item.module is request.module
    ]
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        rows = {
            id(row): pool.submit(row.measured)
            for item in items
            if hasattr(item, "callspec")
            for row in item.callspec.params.values()
        }
        yield lambda row: rows[id(row)].result()


@pytest.mark.long
@pytest.mark.parametrize("null", checked(*ONE_RUN, *SEEDS, *EPOCHS), ids=lambda x: f"{x.row}, {x.column}")
def test_no_difference_is_declared_where_there_is_none(null: Null, measured_by_all_cores: Measured):
    measured = measured_by_all_cores(null)
    assert null.most is None or measured[null.column] <= null.most
    check_documented(null.row, measured)


@pytest.mark.long
@pytest.mark.parametrize("power", checked(*POWERS), ids=lambda power: power.row)
def test_a_true_difference_is_found_as_often_as_stated(power: Power, measured_by_all_cores: Measured):
    measured = measured_by_all_cores(power)
    said, found = measured["stated"], measured["found"]
    assert abs(found - said) <= 3 * math.sqrt(said * (1 - said) / SWEEPS) + power.most_off
    check_documented(power.row, measured)


@pytest.mark.long
@pytest.mark.parametrize("coverage", checked(*WILSON, *STUDENT), ids=lambda x: f"{x.row}, {x.column}")
def test_intervals_hold_what_they_say(coverage: Coverage, measured_by_all_cores: Measured):
    measured = measured_by_all_cores(coverage)
    assert not coverage.must or 0.93 <= measured[coverage.column] <= 0.97
    check_documented(coverage.row, measured)


TABLES: dict[str, Sequence[Null | Power | Coverage]] = {
    "equally good settings": ONE_RUN,
    "equally good settings, best of 25 epochs": SEEDS,
    "2 equally good settings, restless; seeds with luck 0.5": EPOCHS,
    "equally good settings in other worlds": OTHERS,
    "2 or more equally good settings": NOT_KNOWN,
    "a first setting that is better": POWERS,
    "interval of one run, one epoch": WILSON,
    "interval": STUDENT,
}


def table(title: str, rows: Sequence[tuple[str, dict[str, float]]]) -> str:
    """A Markdown table of shares; numbers of the same row stand in one."""
    joined: dict[str, dict[str, float]] = {}
    for row, measured in rows:
        joined.setdefault(row, {}).update(measured)
    columns = list(dict.fromkeys(column for _, measured in rows for column in measured))
    lines = [[title, *columns], ["---", *("---:" for _ in columns)]]
    for row, told in joined.items():
        lines.append([row, *(f"{100 * told[column]:.1f} %" if column in told else "" for column in columns)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def measure(scenario: Null | Power | Coverage) -> tuple[str, dict[str, float]]:
    return scenario.row, scenario.measured()


if __name__ == "__main__":
    with ProcessPoolExecutor() as pool:
        made = {title: [pool.submit(measure, scenario) for scenario in rows] for title, rows in TABLES.items()}
        for title, futures in made.items():
            print(table(title, [future.result() for future in futures]), end="\n\n", flush=True)
