"""The end of a sweep: its tables and its report, as far as it came, one line that counts, and the exit code."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowerbench import errors, summaries
from flowerbench.drive import OVER, Drive, driven

if TYPE_CHECKING:
    from flowerbench.report.analysis import Section
    from flowerbench.report.frame import Runs


@contextmanager
def summed_up() -> Iterator[None]:
    """Whatever ends a sweep, print its tables; write its full report unless it was stopped; exits 1 after a failure."""
    try:
        yield
    except BaseException as error:
        for drive in driven:
            _sum_up(drive, "FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    for drive in driven:
        unfinished = [summary for summary in _results(drive).values() if summary.get("status") not in OVER]
        _sum_up(drive, "FAILED" if unfinished else "FINISHED")
        if unfinished:
            raise errors.Told(max(int(summary.get("exit_code") or errors.FAILED) for summary in unfinished))


def _results(drive: Drive) -> dict[str, dict[str, Any]]:
    """The summary of every point by its folder, empty for one not begun; of a search the trials of this command."""
    if drive.planned:
        return {point.folder: summaries.read(drive.folder / point.folder) for point in drive.planned}
    return summaries.written_since_begun(drive.folder)


def _sum_up(drive: Drive, status: str) -> None:
    """Print what a sweep came to before all that takes longer: its report in files, and MLflow."""
    from flowerbench import tracking
    from flowerbench.mlflow_store import without_password

    note, line, page, full, compared = "", "", None, drive.folder / "report", None
    try:
        line = counts(drive)
        with _told_where_it_fails(f"no table of {drive.folder}"):
            compared, note = _compared(drive.folder)
        _print(f"\n{note}\n{line}")
        if compared and status != "KILLED":  # who stops a sweep does not wait for its figures
            with _told_where_it_fails(f"no report in {full}"):
                _write(*compared, full)
    finally:
        try:
            page = tracking.finish_sweep(drive.config.tracking, drive.folder, f"{line}\n\n{note}", status)
        finally:
            drive.lock.release()
    uri = without_password(drive.config.tracking.uri) if drive.config.tracking.uri else "none"
    look = f"\nLook at it:   {page}" if page else ""
    report = f"\nFull report:  {full / 'report.html'}" if (full / "report.html").is_file() else ""
    _print(f"MLflow store: {uri}{look}\nRun folders:  {drive.folder}{report}")


@contextmanager
def _told_where_it_fails(what: str) -> Iterator[None]:
    """Whatever ails the report, the sweep is done: `python -m flowerbench.report` shows more of it."""
    try:
        yield
    except Exception as error:
        print(f"flowerbench: {what}: {errors.one_line(error)}", file=sys.stderr)


def _print(text: str) -> None:
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    with contextlib.suppress(OSError):  # the terminal may be gone
        print(text, flush=True)


def _compared(sweep: Path) -> tuple[tuple[Runs, list[Section]], str]:
    """The runs of a sweep, compared, and what that comes to, in Markdown."""
    from flowerbench.report import analysis, document, frame
    from flowerbench.report.formats import markdown

    runs = frame.load(sweep)
    sections = analysis.sections(runs)
    return (runs, sections), markdown.render(document.short(sections))


def _write(runs: Runs, sections: list[Section], folder: Path) -> None:
    from flowerbench.report import files

    files.write(runs, sections, folder)


def counts(drive: Drive) -> str:
    """One line on what the sweep came to: points by status, epochs asked for, trained and reused, seconds."""
    after = _results(drive)
    statuses = Counter(str(summary.get("status") or "MISSING") for summary in after.values())
    earlier = sum(drive.before.get(name, {}).get("status") in OVER for name in after)
    words = {"FINISHED": "done", "PRUNED": "pruned", "FAILED": "failed", "KILLED": "stopped", "MISSING": "not begun"}
    parts = [f"{count} {words.get(status, status.lower())}" for status, count in statuses.items() if count]
    note = f" ({earlier} of them before)" if earlier else ""

    def trained(summary: dict[str, Any]) -> int:
        return int(summary.get("epochs_done") or 0) - int(summary.get("epochs_reused") or 0)

    def reused(summary: dict[str, Any]) -> int:
        return int(summary.get("epochs_reused") or 0)

    asked = sum(int(point.config.epochs) for point in drive.planned)
    new = sum(trained(summary) - trained(drive.before.get(name, {})) for name, summary in after.items())
    taken = sum(reused(summary) - reused(drive.before.get(name, {})) for name, summary in after.items())
    epochs = f"{asked} epochs asked for, " if asked else ""
    seconds = time.monotonic() - drive.began
    total = f"{len(after)} point{'s' * (len(after) != 1)}"
    return f"{total}: {', '.join(parts)}{note}. {epochs}{new} trained, {taken} reused. {seconds:.1f} s."
