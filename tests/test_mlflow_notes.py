from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowerbench import messages, mlflow_notes


def epoch(step: int, accuracy: float) -> messages.Message:
    return messages.message("epoch", step=step, metrics={"val/accuracy": accuracy})


DATA = messages.message("data", name="flowers", split="f00d", train={"daisy": 30}, val={"daisy": 4, "rose": 28})


def lines(*journal: messages.Message, status: str = "FINISHED", reason: str | None = None, trace: str | None = None):
    return mlflow_notes.of_run(journal, Path("outputs/x"), status, reason, trace).split("\n\n")


def test_a_finished_run_says_what_it_came_to():
    said = lines(DATA, epoch(1, 0.25), epoch(2, 17 / 32), epoch(3, 17 / 32))
    assert said == ["Best accuracy 0.5313 (17/32) in epoch 2.", "Folder: `outputs/x`"]


def test_a_run_whose_photos_are_not_known_gives_its_accuracy_alone():
    assert lines(epoch(1, 0.53125))[0] == "Best accuracy 0.5313 in epoch 1."


def test_a_run_that_ended_early_says_why_first():
    said = lines(DATA, epoch(1, 0.5), status="FAILED", reason="the loss is\nnot finite.")
    assert said[:2] == ["Failed: the loss is not finite.", "Before that: Best accuracy 0.5000 (16/32) in epoch 1."]
    assert lines(status="KILLED")[0] == "Stopped."
    assert lines(epoch(1, float("nan")), status="KILLED", reason="SIGTERM") == ["Stopped: SIGTERM.", said[-1]]


def test_a_traceback_is_shown_from_a_whole_line_on_to_its_end():
    trace = "".join(f"line {number}\n" for number in range(1000)) + "ValueError: x\n"
    shown = lines(status="FAILED", reason="x", trace=trace)[-1].splitlines()
    assert (shown[0], shown[-2:]) == ("```", ["ValueError: x", "```"])
    assert set(shown[1:-2]) < set(trace.splitlines())
    assert len("\n".join(shown)) < 2100


def test_passwords_are_not_in_a_note():
    assert "secret" not in "".join(lines(status="FAILED", reason="no postgresql://me:secret@host/db"))


def test_a_long_reason_leaves_room():
    assert len(lines(status="FAILED", reason="x" * 10_000)[0]) < 600


@given(st.lists(st.text("ab| ", max_size=300), min_size=1, max_size=10), st.integers(1, 100))
def test_a_long_note_is_cut_between_lines_and_says_so(some: list[str], times: int):
    rows = some * times
    text = "\n".join(rows)
    kept = mlflow_notes.fitting(text, "*The rest is elsewhere.*")
    assert len(kept) <= 7000
    if len(text) <= 7000:
        assert kept == text
    else:
        *whole, empty, last = kept.split("\n")
        assert (empty, last) == ("", "*The rest is elsewhere.*")
        assert whole == rows[: len(whole)]
        assert len(kept) + len(rows[len(whole)]) >= 7000 - 2, "no line is left out that had room"


@pytest.mark.parametrize("length", [6999, 7000, 7001])
def test_a_note_of_one_long_line_is_there_or_it_is_not(length: int):
    kept = mlflow_notes.fitting("x" * length, "rest")
    assert kept == ("x" * length if length <= 7000 else "\nrest")
