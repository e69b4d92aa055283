"""The process that children are forked from, on its own: a signal to a terminal or a group is not for it."""

import contextlib
import gc
import os
import signal

from flowerbench import interrupt

with contextlib.suppress(OSError):
    os.setsid()
gc.set_threshold(50_000)  # as in train.main
for _number in interrupt.STOPS:
    signal.signal(_number, signal.SIG_IGN)
