"""The tables of settings, of the comparison and of the cost."""

from __future__ import annotations

import pytest

from flowerbench.report import tables
from flowerbench.report.reference import load
from tests.report.helpers import record, section


def row(table: tables.Table, number: int = 0) -> dict[str, str]:
    return dict(zip(table.header, table.rows[number], strict=True))


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ({}, ["0.9000", "0.826 to 0.945", "3", "90/100", "FINISHED"]),
        ({"status": "FAILED", "reason": "no memory"}, ["–", "–", "–", "–", "FAILED: no memory (4 of 20 epochs)"]),
        ({"status": "FAILED", "epochs_done": 0, "reason": "no photos"}, ["–", "–", "–", "–", "FAILED: no photos"]),
        ({"status": "RUNNING"}, ["0.9000 (unfinished)", "–", "3", "90/100", "RUNNING (4 of 20 epochs)"]),
        ({"status": "KILLED"}, ["0.9000 (unfinished)", "–", "3", "90/100", "KILLED (4 of 20 epochs)"]),
        ({"status": "RUNNING", "correct": None, "epochs_done": 0}, ["–", "–", "–", "–", "RUNNING"]),
        ({"status": "MISSING", "correct": None, "epochs_done": 0}, ["–", "–", "–", "–", "MISSING"]),
        ({"total": None, "best_accuracy": 0.91}, ["0.9100", "–", "3", "–", "FINISHED"]),
    ],
)
def test_a_row_says_how_its_run_ended(told: dict[str, object], shown: list[str]):
    found = row(tables.settings(section(record("a", {"batch_size": 16, "epochs": 20}, **told))))
    columns = ["Best Accuracy Rate", "95 % Interval", "Best Epoch", "Correct/Total", "Status"]
    assert [found[column] for column in columns] == shown


def seeded(*correct: int, batch_size: int = 16, **facts: object) -> list[object]:
    told = {"batch_size": batch_size, "epochs": 4}
    return [record(f"{batch_size}-{s}", told | {"seed": s}, correct=c, **facts) for s, c in enumerate(correct)]


def test_seeds_are_folded_into_a_mean_with_its_spread():
    found = tables.settings(section(*seeded(90, 91, 92)))
    assert len(found.rows) == 1
    assert row(found)["Best Accuracy Rate"] == "0.9100 ± 0.0100 (n=3)"
    assert row(found)["95 % Interval"] == "0.885 to 0.935"
    assert row(found)["Correct/Total"] == "90 to 92/100"


def test_a_run_done_again_with_the_same_seed_counts_once():
    twice = record("again", {"batch_size": 16, "epochs": 4, "seed": 0}, correct=90)
    found = row(tables.settings(section(*seeded(90, 92), twice)))
    assert found["Best Accuracy Rate"] == "0.9100 ± 0.0141 (n=2)"
    assert found["Status"] == "FINISHED (1 of them with the same settings again, not counted)"


def test_another_result_of_the_same_settings_is_not_hidden():
    other = record("other", {"batch_size": 16, "epochs": 4, "seed": 0}, correct=60)
    found = row(tables.settings(section(*seeded(90, 92), other)))
    assert found["Status"] == "FINISHED (1 of them with the same settings again, not counted: 0.6000)"


def test_a_point_that_never_began_is_one_of_its_setting():
    planned = record("c", {"batch_size": 16, "seed": 2}, "MISSING", None, protocol=None, split=None, epochs_done=0)
    found = tables.settings(section(*seeded(90, 92), planned))
    assert [line[-1] for line in found.rows] == ["2 FINISHED; 1 MISSING"]


def test_what_some_seeds_came_to_stays_visible():
    failed = record("x", {"batch_size": 16, "epochs": 4, "seed": 9}, "FAILED", reason="no memory")
    found = row(tables.settings(section(*seeded(90, 92), failed)))
    assert found["Status"] == "2 FINISHED; 1 FAILED: no memory (4 epochs of 4)".replace(
        "4 epochs of 4", "4 of 4 epochs"
    )
    assert found["Best Accuracy Rate"].endswith("(n=2)")


def test_the_group_that_cannot_be_told_from_the_best_is_bold():
    told = [(8, 60), (16, 90), (32, 91), (64, 91)]
    found = tables.settings(section(*(record(str(b), {"batch_size": b, "epochs": 4}, correct=c) for b, c in told)))
    assert [row(found, i)["Against the Best"] for i in range(4)] == [
        "worse (p < 0.001)",
        "level (p = 1.00)",
        "best",
        "tied",
    ]
    assert found.bold == {(1, 1), (2, 1), (3, 1)}


def test_test_photos_are_the_number_to_trust():
    plain = tables.settings(section(*seeded(90)))
    assert "Test (trust this)" not in plain.header
    found = row(tables.settings(section(*seeded(90, test_correct=80, test_total=100))))
    assert found["Test (trust this)"] == "0.8000 (0.711 to 0.867)"
    found = row(tables.settings(section(*seeded(90, 92, test_correct=80, test_total=100))))
    assert found["Test (trust this)"] == "0.8000 (0.800 to 0.800)"


def test_the_papers_numbers_stand_beside_those_of_the_same_settings():
    made = section(
        *(record(f"{b}-{e}", {"batch_size": b, "epochs": e}, protocol="augmented") for b, e in ((16, 20), (64, 20)))
    )
    found = tables.settings(made, load("paper"))
    assert [row(found, i)["Paper"] for i in (0, 1)] == ["0.9350 (533/570)", "–"]


def test_the_papers_numbers_are_not_shown_beside_those_of_another_protocol():
    told = {"batch_size": 16, "epochs": 20, "data.validation": "clean"}
    found = tables.settings(section(record("a", told)), load("paper"))
    assert "Paper" not in found.header


def test_every_setting_is_set_against_the_best():
    found = tables.pairs(
        section(*(record(str(b), {"batch_size": b, "epochs": 4}, correct=c) for b, c in ((8, 60), (16, 90)))).comparison
    )
    assert found.rows == [["batch_size=8, epochs=4", "30 points", "–", "< 0.001", "< 0.001", "Fisher, unpaired", "1"]]


def test_the_cost_is_what_a_batch_size_changes():
    told = {"batch_size": 16, "epochs": 4, "optim.lr": 0.001}
    found = row(tables.cost(section(record("a", told, train_total=90))))
    assert (found["Optimiser Steps"], found["Learning Rate per Photo"]) == ("24", "6.25e-05")
    unknown = row(tables.cost(section(record("a", {"batch_size": 16}))))
    assert set(list(unknown.values())[1:]) == {"–"}
