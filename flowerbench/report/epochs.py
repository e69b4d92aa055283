"""The epochs of one run, as the paper prints them in its Table 1."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from flowerbench.errors import UsageError
from flowerbench.report.blocks import Table
from flowerbench.report.words import NONE, decimals, learning_rate

# What may be asked for by name.
NAMED = ("first", "lr-change", "best", "last")
# With more changes of the learning rate than this, it is no staircase whose steps are worth a row each.
_MOST_STEPS = 6


def selection(text: str) -> list[str]:
    """What `--epochs first,best,20` asks for. Raises UsageError for what is neither a name nor a number of an epoch."""
    asked = [part.strip() for part in text.split(",") if part.strip()]
    for part in asked:
        if part not in NAMED and not (part.isdecimal() and int(part) > 0):
            raise UsageError(f"--epochs {part} is neither an epoch such as 20 nor one of {', '.join(NAMED)}")
    if not asked:
        raise UsageError(f"--epochs names no epoch: it takes numbers, and {', '.join(NAMED)}")
    return asked


def table(
    epochs: pd.DataFrame, asked: Sequence[str] = NAMED, title: str = "", published: Mapping[int, str] | None = None
) -> Table:
    """The epochs asked for, of one run, the best in bold; `published` accuracies stand beside them, headed by `title`.

    `epochs` are rows of `Runs.epochs`. Where the learning rate hardly ever stands still, evenly chosen epochs stand
    for its changes, and the caption says so. The learning rate is that used in the epoch.
    """
    rows = epochs.sort_values("epoch").reset_index(drop=True)
    if rows.empty:
        return Table(["Epoch"], [], caption="No epoch was completed.")
    accuracies = rows["val_accuracy"].tolist()
    finite = [i for i, accuracy in enumerate(accuracies) if math.isfinite(accuracy)]
    best = max(finite, key=accuracies.__getitem__, default=0)
    changes, caption = _changes(rows["lr"].tolist()), ""
    if len(changes) > _MOST_STEPS and "lr-change" in asked:
        caption = f"The learning rate changed {len(changes)} times: shown are evenly chosen epochs and the best."
        changes = [round(i * (len(rows) - 1) / (_MOST_STEPS - 1)) for i in range(_MOST_STEPS)]
    named = {"first": [0], "lr-change": changes, "best": [best], "last": [len(rows) - 1]}
    numbers = {int(number): i for i, number in enumerate(rows["epoch"])}
    chosen = {i for part in asked for i in named.get(part, [numbers[int(part)]] if _is_among(part, numbers) else [])}
    chosen |= {numbers[epoch] for epoch in published or {} if epoch in numbers}
    cells, bold = [], set()
    for line, i in enumerate(sorted(chosen)):
        row = rows.iloc[i]
        losses = [decimals(row["train_loss"]), decimals(row["val_loss"])]
        cells.append([str(int(row["epoch"])), learning_rate(row["lr"]), *losses, decimals(row["val_accuracy"])])
        if published:
            cells[-1].append(published.get(int(row["epoch"]), NONE))
        if finite and i == best:
            bold.add((line, 4))
    header = ["Epoch", "Learning Rate", "Train Loss", "Val Loss", "Accuracy Rate", *([title] if published else [])]
    return Table(header, cells, frozenset(bold), caption, "The epoch with the highest accuracy")


def _changes(rates: Sequence[float]) -> list[int]:
    return [i for i in range(1, len(rates)) if rates[i] != rates[i - 1] and math.isfinite(rates[i])]


def _is_among(part: str, numbers: Mapping[int, int]) -> bool:
    return part.isdecimal() and int(part) in numbers
