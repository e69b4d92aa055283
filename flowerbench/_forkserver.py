"""The process that children are forked from, on its own: a signal to a terminal or a group is not for it."""

import contextlib
import os
import signal

with contextlib.suppress(OSError):
    os.setsid()
for _name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"):
    signal.signal(getattr(signal, _name), signal.SIG_IGN)
