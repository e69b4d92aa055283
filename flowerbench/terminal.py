"""What commands print: in UTF-8 on every system, and without a complaint when the reader has had enough."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def output() -> Iterator[None]:
    """Within, print; a file's name that is no UTF-8 comes out as it is."""
    for stream in (sys.stdin, sys.stdout):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader, such as `head`, has had enough; without this, Python would complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def progress(*, is_shown: bool) -> Progress:
    """A bar on stderr, gone at its end; none where that is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    shown = is_shown and sys.stderr.isatty()
    # Else rich would take what is printed to stdout for its own, and send it to stderr.
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=not shown, redirect_stdout=False)
