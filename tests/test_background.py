from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from flowerbench import background, interrupt


def test_jobs_end_in_their_order_one_behind():
    done: list[int] = []
    may_end = threading.Event()

    def job(number: int) -> None:
        if number == 1:
            may_end.wait(5)
        done.append(number)

    with background.Writer() as writer:
        writer.submit(job, 1)
        assert done == [], "nobody waits for it"
        may_end.set()
        writer.submit(job, 2)
        assert done[0] == 1
    assert done == [1, 2]


def failing() -> None:
    raise OSError(28, "No space left on device")


def test_an_error_is_raised_once_where_one_asks():
    with background.Writer() as writer:
        writer.submit(failing)
        deadline = time.monotonic() + 5
        with pytest.raises(OSError, match="No space"):
            while time.monotonic() < deadline:
                writer.check()
        writer.check()


def test_after_an_error_no_job_is_begun():
    done: list[int] = []
    with pytest.raises(OSError, match="No space"), background.Writer() as writer:
        writer.submit(failing)
        writer.submit(done.append, 2)
    assert done == []


def test_the_error_of_the_last_job_is_not_lost():
    with pytest.raises(OSError, match="No space"), background.Writer() as writer:
        writer.submit(failing)


def test_what_went_wrong_first_is_told():
    with pytest.raises(OSError, match="No space"), background.Writer() as writer:
        writer.submit(failing)
        raise ValueError("the loss became nan")


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_signal_waits_for_the_write_in_hand(monkeypatch):
    monkeypatch.setattr(interrupt, "_last", -interrupt._ECHO)
    done: list[str] = []

    def slow() -> None:
        with interrupt.held():
            time.sleep(0.5)
            done.append("written")

    with interrupt.listening(), pytest.raises(KeyboardInterrupt), background.Writer() as writer:
        writer.submit(slow)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert done == ["written"]
