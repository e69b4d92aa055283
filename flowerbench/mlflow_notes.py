"""The note of a run on MLflow's pages: what it came to, or why it came to nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

from flowerbench.history import best_row
from flowerbench.messages import Message
from flowerbench.mlflow_store import without_password

NOTE = "mlflow.note.content"
# At the end of a note of ours, where nobody sees it: what people write there themselves stays.
OURS = "<!-- flowerbench -->"
# Characters. MLflow takes 8,000, and some may follow.
_NOTE, _REASON, _TRACEBACK = 7000, 500, 2000


def of_run(
    about_run: Sequence[Message], folder: Path, status: str, reason: str | None, trace: str | None = None
) -> str:
    """The note of a run from its journal, in Markdown: its best accuracy, or why it ended before, and its folder."""
    best = _best(about_run)
    lines = [line for line in (best, _test(about_run)) if line]
    if status != "FINISHED":
        word = "Failed" if status == "FAILED" else "Stopped"
        why = f"{word}: {' '.join(reason.split())[:_REASON]}" if reason else word
        lines = [f"{why.rstrip('.')}.", *(f"Before that: {line}" for line in lines)]
    here = folder.absolute()
    lines.append(f"Folder: `{(here.relative_to(Path.cwd()) if here.is_relative_to(Path.cwd()) else here).as_posix()}`")
    if trace:
        last = trace.rstrip()[-_TRACEBACK:]
        lines.append(f"```\n{last[last.find(chr(10)) + 1 :] if len(last) == _TRACEBACK else last}\n```")
    return without_password("\n\n".join(lines))


def _best(about_run: Sequence[Message]) -> str | None:
    epochs = [said for said in about_run if said["do"] == "epoch"]
    best = best_row([{"epoch": said["step"], "val_accuracy": said["metrics"]["val/accuracy"]} for said in epochs])
    if best is None:
        return None
    share, count = Decimal(repr(best["val_accuracy"])), ""
    if totals := [sum(said["val"].values()) for said in about_run if said["do"] == "data"]:
        correct = round(best["val_accuracy"] * totals[-1])
        share, count = Decimal(correct) / totals[-1], f" ({correct}/{totals[-1]})"
    return f"Best accuracy {_rounded(share)}{count} in epoch {best['epoch']}."


def _test(about_run: Sequence[Message]) -> str | None:
    told = [said["metrics"] for said in about_run if said["do"] == "test"]
    if not told:
        return None
    correct, total = int(told[-1]["test/correct"]), int(told[-1]["test/total"])
    return f"On the test photos it has {_rounded(Decimal(correct) / total)} ({correct}/{total})."


def _rounded(share: Decimal) -> Decimal:
    # As in the report.
    return share.quantize(Decimal("0.0001"), ROUND_HALF_UP)


def fitting(text: str, rest: str) -> str:
    """The text where a note holds it, else as many of its lines as fit, and `rest`, which says where the others are."""
    if len(text) <= _NOTE:
        return text
    return "\n".join([*_first_lines(text, _NOTE - len(rest) - 2), "", rest])


def _first_lines(text: str, characters: int) -> Iterator[str]:
    for line in text.splitlines():
        characters -= len(line) + 1
        if characters < 0:
            return
        yield line
