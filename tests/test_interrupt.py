from __future__ import annotations

import os
import signal
import time

import pytest

from flowerbench import interrupt


@pytest.fixture(autouse=True)
def _handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_that_was_swallowed_is_raised_again(number):
    interrupt.listen()
    interrupt.check()
    with pytest.raises(KeyboardInterrupt) as raised:
        os.kill(os.getpid(), number)
        time.sleep(1)
    assert raised.value.args == (number,)
    with pytest.raises(KeyboardInterrupt):
        interrupt.check()
    interrupt.listen()
    interrupt.check()
