from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowerbench.messages import Message, message
from flowerbench.outbox import JOURNAL, STATE, Outbox


def start(key: str = "k", uri: str = "sqlite:////x.db") -> Message:
    return message("start", uri=uri, experiment="flowers", name="x", key=key, sweep=None, tags={})


@pytest.fixture
def box(tmp_path: Path) -> Outbox:
    box = Outbox(tmp_path)
    box.begin(start(), message("params", params={"ä": "1"}))
    return box


def said(box: Outbox) -> list[str]:
    return [line["do"] for line in box.messages]


def test_what_was_added_is_there_for_the_next_process(box: Outbox, tmp_path: Path):
    box.add(message("tags", tags={"b": "ü\n"}), message("end", status="FINISHED"))
    assert Outbox(tmp_path).messages == box.messages
    assert Outbox(tmp_path).is_ended


def test_a_journal_cut_anywhere_keeps_its_whole_lines_and_goes_on(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("cut")
    box = Outbox(folder)
    box.begin(start())
    box.add(*(message("epoch", step=step, metrics={"lr": float("nan"), "ä": 0.1}) for step in (1, 2, 3)))
    whole = (folder / JOURNAL).read_bytes()
    ends = [index + 1 for index, byte in enumerate(whole) if byte == ord("\n")]

    @given(st.integers(min_value=ends[0], max_value=len(whole)), st.sampled_from([b"", b"\0\0\n", b"{}"]))
    def law(cut: int, tail: bytes) -> None:
        (folder / JOURNAL).write_bytes(whole[:cut] + (tail if cut in ends else b""))
        again = Outbox(folder)
        kept = sum(end <= cut for end in ends)
        assert len(again.messages) == kept
        again.add(message("end", status="KILLED"))
        lines = (folder / JOURNAL).read_bytes().splitlines()
        assert [json.loads(line)["do"] for line in lines] == ["start", *["epoch"] * (kept - 1), "end"]

    law()


def test_one_process_at_a_time_owns_it_and_the_rest_may_read(box: Outbox, tmp_path: Path):
    assert box.own(timeout=0)
    other = Outbox(tmp_path)
    assert not other.own(timeout=0)
    assert said(other) == ["start", "params"]
    box.add(message("tags", tags={}))
    box.release()
    assert other.own(timeout=0)
    assert said(other) == ["start", "params", "tags"], "read anew: it has grown in between"
    other.release()


def test_it_knows_how_far_it_came(box: Outbox, tmp_path: Path):
    assert box.run_id is None
    box.acknowledge("r1")
    box.save()
    again = Outbox(tmp_path)
    assert (again.run_id, again.next) == ("r1", box.messages[1])
    again.acknowledge()
    again.save()
    assert Outbox(tmp_path).next is None
    assert json.loads((tmp_path / STATE).read_text()) == {"run_id": "r1", "acknowledged": 2}


def test_the_id_of_a_run_that_was_left_is_not_its_successors(box: Outbox):
    box.acknowledge("r1")
    box.acknowledge()
    box.add(message("end", status="KILLED"), start("k2"), message("params", params={}))
    assert box.run_id is None
    box.acknowledge()
    assert (box.run_id, box.addressee) == (None, "r1")
    box.acknowledge("r2")
    assert box.run_id == box.addressee == "r2"
    box.rewind()
    assert (box.run_id, box.next and box.next.get("key")) == (None, "k2")


@pytest.mark.parametrize("broken", ["", "{", '{"acknowledged": 1}', '{"run_id": "r", "acknowledged": 99}'])
def test_a_state_that_is_lost_or_wrong_does_not_lose_a_message(box: Outbox, tmp_path: Path, broken: str):
    (tmp_path / STATE).write_text(broken)
    assert len(Outbox(tmp_path).waiting) == (0 if "99" in broken else 2)


def test_a_state_that_nobody_changed_is_not_written(box: Outbox, tmp_path: Path):
    """Or it would undo what another process wrote, which was first to make a sweep's run."""
    other = Outbox(tmp_path)
    other.acknowledge("made by another")
    other.save()
    box.save()
    assert Outbox(tmp_path).run_id == "made by another"


def test_a_journal_is_of_one_store_and_experiment(box: Outbox, tmp_path: Path):
    assert box.is_for("sqlite:////x.db", "flowers")
    assert not box.is_for("sqlite:////y.db", "flowers")
    assert not box.is_for("sqlite:////x.db", "trees")
    box.acknowledge("r1")
    box.save()
    box.begin(start(uri="sqlite:////y.db"))
    assert (box.run_id, said(Outbox(tmp_path))) == (None, ["start"])
    box.discard()
    assert not list(tmp_path.glob("mlflow*"))


def test_a_run_that_was_opened_again_has_no_end(box: Outbox):
    assert not box.is_ended
    box.add(message("end", status="KILLED"), message("files", traceback=None))
    assert box.is_ended
    box.add(message("reopened"), message("tags", tags={}))
    assert not box.is_ended
