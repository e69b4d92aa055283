"""Tables and notes in Markdown, from the frames of `frame`: pure functions, every number with its meaning."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pandas as pd

from flowerbench.errors import UsageError
from flowerbench.report.frame import is_unset, spelled
from flowerbench.report.record import FACTS

NONE = "\N{EN DASH}"
# With more changes of the learning rate than this, it is no staircase whose steps are worth a row each.
_MOST_STEPS = 6
_PROTOCOLS = {
    "clean": "Validation photos are clean: resized and cropped, never augmented.",
    "augmented": "Validation photos are augmented as the training photos are, so a new draw would give new numbers.",
}


def pipe_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with its columns aligned; what would break a cell is escaped."""
    lines = [[" ".join(cell.split()).replace("|", r"\|") for cell in line] for line in (header, *rows)]
    widths = [max(3, *(len(line[column]) for line in lines)) for column in range(len(header))]
    lines.insert(1, ["-" * width for width in widths])
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def epochs_table(epochs: pd.DataFrame) -> str:
    """The paper's Table 1 of one run: its first and last epoch, the first at each learning rate, the best in bold.

    `epochs` are the rows of one run. Where the rate hardly ever stands still, evenly chosen epochs stand for the steps.
    """
    rows = epochs.sort_values("epoch").reset_index(drop=True)
    if rows.empty:
        return "No epoch was completed."
    accuracies = rows["val_accuracy"].tolist()
    finite = [i for i, accuracy in enumerate(accuracies) if math.isfinite(accuracy)]
    best = max(finite, key=accuracies.__getitem__, default=0)
    rates = rows["lr"].tolist()
    steps = [i for i in range(1, len(rows)) if rates[i] != rates[i - 1]]
    note = ""
    if len(steps) > _MOST_STEPS:
        note = f"\n\nThe learning rate changed {len(steps)} times: shown are evenly chosen epochs and the best."
        steps = [round(i * (len(rows) - 1) / (_MOST_STEPS - 1)) for i in range(_MOST_STEPS)]
    cells = []
    for position in sorted({0, *steps, best, len(rows) - 1}):
        row = rows.iloc[position]
        shown = decimals(row["val_accuracy"])
        losses = [decimals(row["train_loss"]), decimals(row["val_loss"])]
        number, rate = str(int(row["epoch"])), learning_rate(row["lr"])
        cells.append([number, rate, *losses, f"**{shown}**" if finite and position == best else shown])
    return pipe_table(["Epoch", "Learning Rate", "Train Loss", "Val Loss", "Accuracy Rate"], cells) + note


def settings_table(runs: pd.DataFrame) -> str:
    """The paper's Table 2, a row per run in the order of `runs`, with what stands behind each number."""
    header = ["Settings", "Best Accuracy Rate", "Best Epoch", "Correct/Total", "Status"]
    return pipe_table(header, [_settings_row(run) for _, run in runs.iterrows()])


def _settings_row(run: pd.Series[Any]) -> list[str]:
    if not _has_number(run):
        return [run["settings"], NONE, NONE, NONE, status(run)]
    accuracy = _best(run) + ("" if run["status"] == "FINISHED" else " (unfinished)")
    counts = NONE if pd.isna(run["correct"]) or pd.isna(run["total"]) else f"{run['correct']}/{run['total']}"
    epoch = NONE if pd.isna(run["best_epoch"]) else str(run["best_epoch"])
    return [run["settings"], accuracy, epoch, counts, status(run)]


def status(run: pd.Series[Any]) -> str:
    """How a run ended or how far it came: `FINISHED`, `FAILED: reason`, `MISSING`, `RUNNING (7 of 20 epochs)`."""
    word = str(run["status"])
    if word == "FINISHED":
        return f"{word}, but {run['reason']}" if run["reason"] else word
    planned, done = run.get("epochs"), int(run["epochs_done"])
    reason = f": {run['reason']}" if run["reason"] and word not in ("KILLED", "PRUNED") else ""
    if done == 0:
        return word + reason
    of = f"{done} epochs" if is_unset(planned) or planned is None else f"{done} of {planned} epochs"
    return f"{word}{reason} ({of})"


def pivot(runs: pd.DataFrame, rows: str = "batch_size", columns: str = "epochs") -> str:
    """The best accuracy for each value of the keys `rows` and `columns`: of several runs the mean, and of how many.

    Only finished runs count; others are named. Raises UsageError for a key that no run has, and ValueError for
    runs of several protocols or splits, whose mean would mean nothing.
    """
    if len(sections(runs)) > 1:
        raise ValueError("runs of several protocols or splits: make a table of each section")
    keys = [key for key in runs.columns if key not in FACTS]
    for key in (rows, columns):
        if key not in keys:
            raise UsageError(f"no run has the key {key}: the keys are {', '.join(keys)}")
    down, across = _axis(runs[rows]), _axis(runs[columns])
    at = [(spelled_or_unset(a), spelled_or_unset(b)) for a, b in zip(runs[rows], runs[columns], strict=True)]
    table = [[a, *(_cell(runs[[place == (a, b) for place in at]]) for b in across)] for a in down]
    return pipe_table([rows, *(f"{columns}={b}" for b in across)], table)


def _axis(values: pd.Series[Any]) -> list[str]:
    def order(value: Any) -> tuple[bool, bool, float, str]:
        is_number = isinstance(value, int | float) and not is_unset(value)
        return is_unset(value), not is_number, float(value) if is_number else 0.0, str(value)

    return list(dict.fromkeys(spelled_or_unset(value) for value in sorted(values, key=order)))


def spelled_or_unset(value: Any) -> str:
    """A value as on the command line, or `not set` where the run has no such key."""
    return "not set" if is_unset(value) else spelled(value)


def _cell(runs: pd.DataFrame) -> str:
    if runs.empty:
        return NONE
    finished = [run for _, run in runs.iterrows() if run["status"] == "FINISHED" and _has_number(run)]
    others = runs[[name not in {run.name for run in finished} for name in runs.index]]
    if not finished and len(others) == 1:
        run = others.iloc[0]
        so_far = f" ({_best(run)} so far)" if _has_number(run) else ""
        return str(run["status"]) + so_far
    ended = [f"{count} {word}" for word, count in Counter(others["status"]).items()]
    if not finished:
        return ", ".join(ended)
    mean = decimals(math.fsum(float(run["best_accuracy"]) for run in finished) / len(finished))
    shown = mean if len(finished) > 1 else _best(finished[0])
    notes = ([f"mean of {len(finished)}"] if len(finished) > 1 else []) + ended
    return f"{shown} ({'; '.join(notes)})" if notes else shown


def sections(runs: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The runs in groups that may be compared, each with its title: one validation protocol, one split.

    A run that ended before its split was known belongs to the only group that it can belong to, if there is one.
    """
    known = list(dict.fromkeys((p, s) for p, s in zip(runs["protocol"], runs["split"], strict=True) if p and s))

    def group(protocol: str | None, split: str | None) -> tuple[str | None, str | None]:
        fits = [(p, s) for p, s in known if protocol in (p, None) and split in (s, None)]
        return fits[0] if len(fits) == 1 else (protocol, split)

    groups = [group(p, s) for p, s in zip(runs["protocol"], runs["split"], strict=True)]
    return [
        (f"Validation {p or 'not known'}, split {s[:8] if s else 'not known'}", runs[[g == (p, s) for g in groups]])
        for p, s in dict.fromkeys(groups)
    ]


def notes(runs: pd.DataFrame) -> str:
    """How to read the numbers of one section, as a list: protocol, what a photo is worth, which settings are tied."""
    protocols = [p for p in dict.fromkeys(runs["protocol"]) if p]
    lines = [_PROTOCOLS.get(p, f"The validation protocol is {p}.") for p in protocols]
    lines = lines or ["Which validation protocol the numbers come from is not known."]
    lines.append("Each number is the best of its run's epochs, on the very photos it is chosen on: it flatters.")
    for total in dict.fromkeys(runs["total"].dropna()):
        if total > 0:
            lines.append(f"One photo of {total} is {1 / total:.2g}.")
    lines += ties(runs)
    if (runs["status"] == "RUNNING").any():
        lines.append("RUNNING may also be a run that was killed so hard that nothing could note it.")
    return "\n".join(f"- {line}" for line in lines)


def ties(runs: pd.DataFrame) -> list[str]:
    """A sentence for each number of correct photos that several finished runs share."""
    finished = runs[(runs["status"] == "FINISHED") & runs["correct"].notna() & runs["total"].notna()]
    same: dict[tuple[int, int], list[str]] = {}
    for settings, correct, total in finished[["settings", "correct", "total"]].itertuples(index=False):
        same.setdefault((total, correct), []).append(f"`{settings}`")
    return [
        f"A tie: {', '.join(names[:-1])} and {names[-1]} have the same result, {correct} of {total} photos."
        for (total, correct), names in sorted(same.items(), reverse=True)
        if len(names) > 1
    ]


def _has_number(run: pd.Series[Any]) -> bool:
    """Whether a run has an accuracy to show; of one that failed none counts."""
    return run["status"] != "FAILED" and not pd.isna(run["best_accuracy"])


def _best(run: pd.Series[Any]) -> str:
    if pd.isna(run["correct"]) or pd.isna(run["total"]):
        return decimals(run["best_accuracy"])
    return decimals(Decimal(int(run["correct"])) / Decimal(int(run["total"])))


def decimals(number: float | Decimal) -> str:
    """Four decimals, a half rounded up as in print; `nan` and `inf` stay visible."""
    exact = number if isinstance(number, Decimal) else Decimal(repr(float(number)))
    if not exact.is_finite():
        return str(float(exact))
    return f"{exact.quantize(Decimal('0.0001'), ROUND_HALF_UP):f}" if abs(exact) < 10**12 else f"{exact:.4e}"


def learning_rate(rate: float) -> str:
    """Six decimals as in the paper, and more where three digits would not be seen; tiny ones with an exponent."""
    if not math.isfinite(rate) or rate <= 0:
        return f"{rate:.6f}"
    if rate < 1e-12:
        return f"{rate:.3g}"
    text = f"{rate:.{max(6, 2 - math.floor(math.log10(rate)))}f}"
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction[:6]}{fraction[6:].rstrip('0')}"
