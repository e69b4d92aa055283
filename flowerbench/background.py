"""Writing beside the training: one job at a time in a thread of its own, so that a slow disk or server keeps nobody."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from flowerbench import interrupt


class Writer:
    """Runs jobs in the order in which they come, each after the one before. Left, all have ended.

    The error of a job is raised where the main thread next asks, and no later job is begun.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "writer")
        self._job: Future[None] | None = None

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *error: object) -> None:
        # What is being written is finished before a signal, or an error in the training, goes on its way.
        with interrupt.held(), self._thread:
            self._wait()

    def submit(self, job: Callable[..., None], *args: Any) -> None:
        """Begin the job when the one before has ended, which is waited for: at most one is behind."""
        with interrupt.held():
            self._wait()
            self._job = self._thread.submit(job, *args)

    def check(self) -> None:
        """Raise the error of the last job, if it has ended with one."""
        if self._job is not None and self._job.done():
            self._wait()

    def _wait(self) -> None:
        job, self._job = self._job, None
        if job is not None:
            job.result()
