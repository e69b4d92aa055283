from __future__ import annotations

import os
import signal
import time

import pytest

from flowerbench import interrupt

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP]


@pytest.fixture(autouse=True)
def _no_echo(monkeypatch):
    monkeypatch.setattr(interrupt, "_last", -interrupt._ECHO)


@pytest.mark.parametrize("number", SIGNALS)
def test_an_interrupt_that_was_swallowed_is_raised_again(number):
    original = signal.getsignal(number)
    if number not in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # nohup, for one, has SIGHUP ignored
    before = signal.getsignal(number)
    with interrupt.listening():
        interrupt.check()
        with pytest.raises(KeyboardInterrupt) as raised:
            os.kill(os.getpid(), number)
            time.sleep(1)
        assert raised.value.args == (number,)
        with pytest.raises(KeyboardInterrupt):
            interrupt.check()
    assert signal.getsignal(number) == before
    signal.signal(number, original)
    with interrupt.listening():
        interrupt.check()


def test_what_was_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupt.listening():
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.05)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_write_in_hand_is_finished_first():
    done = []
    with interrupt.listening(), pytest.raises(KeyboardInterrupt), interrupt.held():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.05)
        done.append("written")
    assert done == ["written"]


def test_the_same_signal_from_the_terminal_and_the_parent_is_one():
    with interrupt.listening():
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.05)


def test_a_launchers_own_handler_is_called_and_stays():
    called = []

    def launchers(number, frame):
        called.append(number)

    before = signal.signal(signal.SIGUSR2, launchers)
    try:
        with interrupt.listening():
            os.kill(os.getpid(), signal.SIGUSR2)
            time.sleep(0.05)
            interrupt.check()
            assert called == [signal.SIGUSR2]
            assert signal.getsignal(signal.SIGUSR1) not in (launchers, signal.SIG_DFL)
            with interrupt.listening():  # within a sweep it is entered twice
                os.kill(os.getpid(), signal.SIGUSR2)
                time.sleep(0.05)
            assert called == [signal.SIGUSR2] * 2
        assert signal.getsignal(signal.SIGUSR2) is launchers
    finally:
        signal.signal(signal.SIGUSR2, before)


@pytest.mark.parametrize(("ends", "expected"), [(True, SystemExit), (False, KeyboardInterrupt)])
def test_no_other_signal_interrupts_a_launchers_handler(ends, expected):
    """submitit asks SLURM for a new job, which sends SIGTERM at once, and then ends the process by SystemExit."""
    done = []

    def handler(number, frame):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.05)
        done.append(number)
        if ends:
            raise SystemExit(255)

    before = signal.signal(signal.SIGUSR2, handler)
    try:
        with pytest.raises(expected), interrupt.listening():
            os.kill(os.getpid(), signal.SIGUSR2)
            time.sleep(1)
        assert done == [signal.SIGUSR2]
        assert signal.getsignal(signal.SIGUSR2) is handler
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_one_raised_where_nothing_can_be_is_not_printed_but_remembered(capsys):
    class Dying:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.05)

    with interrupt.listening(), pytest.raises(KeyboardInterrupt):
        dying = Dying()
        del dying
        assert capsys.readouterr().err == ""
        interrupt.check()
