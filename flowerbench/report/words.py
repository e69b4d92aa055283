"""Numbers and outcomes in words: the same in every table, sentence and format."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pandas as pd

from flowerbench.report.keys import is_unset, spelled
from flowerbench.report.stats import LEVEL
from flowerbench.summaries import STOPPED

NONE = "\N{EN DASH}"


def spelled_or_unset(value: Any) -> str:
    """A value as on the command line, or `not set` where the run has no such key."""
    return "not set" if is_unset(value) else spelled(value)


def decimals(number: float | Decimal) -> str:
    """Four decimals, a half rounded up as in print; `nan` and `inf` stay visible."""
    exact = number if isinstance(number, Decimal) else Decimal(repr(float(number)))
    if not exact.is_finite():
        return str(float(exact))
    return f"{exact.quantize(Decimal('0.0001'), ROUND_HALF_UP):f}" if abs(exact) < 10**12 else f"{exact:.4e}"


def share(correct: int, total: int) -> str:
    """A share of photos in four decimals, a half rounded up."""
    return decimals(Decimal(correct) / Decimal(total))


def learning_rate(rate: float) -> str:
    """Six decimals as in the paper, and more where three digits would not be seen; tiny ones with an exponent."""
    if not math.isfinite(rate) or rate <= 0:
        return f"{rate:.6f}"
    if rate < 1e-12:
        return f"{rate:.3g}"
    text = f"{rate:.{max(6, 2 - math.floor(math.log10(rate)))}f}"
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction[:6]}{fraction[6:].rstrip('0')}"


def percent(share: float, digits: int = 1) -> str:
    """`7.0 %`."""
    return f"{100 * share:.{digits}f} %"


def points(difference: float) -> str:
    """A difference of two shares in percentage points: `2.4 points`, `1 point`, `0.02 points`."""
    size = abs(100 * difference)
    shown = f"{size:.1f}" if size >= 0.095 else f"{size:.2g}"
    shown = shown.removesuffix(".0")
    return f"{shown} point{'s' * (shown != '1')}"


def p_value(p: float) -> str:
    """`p = 0.75`, `p = 0.004`, `p < 0.001`; never rounded across the level of 5 %."""
    if p < 0.001:
        return "p < 0.001"
    digits = 3 if p < 0.01 else 2
    while (float(f"{p:.{digits}f}") <= LEVEL) != (p <= LEVEL):
        digits += 1
    return f"p = {p:.{digits}f}"


def interval(bounds: tuple[float, float] | None) -> str:
    """`0.912 to 0.952`, or a dash."""
    return NONE if bounds is None else f"{bounds[0]:.3f} to {bounds[1]:.3f}"


def listed(names: Sequence[str], most: int = 6) -> str:
    """Names in a sentence: `a`, `b` and `c`; of many the first, and how many more."""
    shown = [f"`{name}`" for name in names[:most]]
    if len(names) > most:
        return f"{', '.join(shown)} and {len(names) - most} more"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def counted(number: int, noun: str) -> str:
    """`1 run`, `3 runs`, `1,200 runs`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def outcome(run: pd.Series[Any]) -> str:
    """How a run ended or how far it came: `FINISHED`, `FAILED: reason`, `MISSING`, `RUNNING (7 of 20 epochs)`."""
    word = str(run["status"])
    planned, done = run.get("epochs"), int(run["epochs_done"])
    if word == "FINISHED":
        reason = run["reason"] or ("its accuracy is not known" if pd.isna(run["best_accuracy"]) else None)
        patience = run.get("patience")
        if not reason and planned and patience is not None and not is_unset(patience) and 0 < done < int(planned):
            return f"{word} early ({done} of {planned} epochs)"
        return f"{word}, but {reason}" if reason else word
    # That a run was stopped or pruned, its status says already.
    reason = f": {run['reason']}" if run["reason"] and run["reason"] != STOPPED and word != "PRUNED" else ""
    if done == 0:
        return word + reason
    of = f"{done} epochs" if is_unset(planned) or planned is None else f"{done} of {planned} epochs"
    return f"{word}{reason} ({of})"
