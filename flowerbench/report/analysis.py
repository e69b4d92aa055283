"""Runs → sections that may be compared within, each with its settings, their comparison and what it comes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from flowerbench.errors import UsageError
from flowerbench.report import comparison, conclusion, settings
from flowerbench.report.comparison import Comparison
from flowerbench.report.frame import Runs
from flowerbench.report.record import FACTS
from flowerbench.report.settings import Setting

_PAPER = ("batch_size", "epochs")


@dataclass(frozen=True)
class Section:
    """Runs of one validation protocol and one split, folded into settings and compared.

    `axes` are the keys of the table of accuracies, rows and columns, or None where it would say nothing more.
    """

    title: str
    protocol: str | None
    split: str | None
    runs: Runs
    settings: list[Setting]
    comparison: Comparison
    axes: tuple[str, str] | None

    @cached_property
    def conclusion(self) -> list[str]:
        """What the comparison comes to, in sentences."""
        return conclusion.sentences(self.comparison)

    @cached_property
    def table(self) -> pd.DataFrame:
        """The settings as a tidy frame: `settings.table`, and how each compares with the best.

        `is_best`, `is_level` (cannot be told from the best), `behind` (the best accuracy minus this one, on the photos
        that they are compared by), `p`.
        """
        made, found = settings.table(self.settings), self.comparison
        best = found.best
        against = found.with_best
        made["is_best"] = [best is not None and label == best.label for label in made.index]
        made["is_level"] = made.index.isin(found.level)
        made["behind"] = pd.Series({label: pair.difference for label, pair in against.items()}, dtype="float64")
        made["p"] = pd.Series({label: pair.p for label, pair in against.items()}, dtype="float64")
        return made


def sections(
    runs: Runs, group_by: Sequence[str] | None = None, rows: str | None = None, columns: str | None = None
) -> list[Section]:
    """The runs in sections, never compared with each other: one validation protocol, one split of the photos.

    `group_by` are the keys that make a setting, by default those that vary, but for seed and fold. `rows` and `columns`
    are the keys of the table of accuracies, by default batch_size and epochs, or the two keys that vary. Raises
    UsageError for a key that no run has.
    """
    for key in (*(group_by or ()), *filter(None, (rows, columns))):
        _check(key, runs.runs)
    made = []
    for (protocol, split), names in _parts(runs.runs).items():
        part = runs.only(names)
        keys = dict.fromkeys([*(group_by or settings.keys_of(part)), *filter(None, (rows, columns))])
        folded = settings.fold(part, list(keys))
        # Of which photos nothing is known, nothing can be compared.
        compared = comparison.compare(folded, part, is_tested=bool(protocol and split))
        title = f"Validation {protocol or 'not known'}, split {split or 'not known'}"
        made.append(Section(title, protocol, split, part, folded, compared, _axes(part, list(keys), rows, columns)))
    return made


def _check(key: str, runs: pd.DataFrame) -> None:
    keys = [name for name in runs.columns if name not in FACTS]
    if key not in keys:
        raise UsageError(f"no run has the key {key}: the keys are {', '.join(keys)}")


def _axes(runs: Runs, made_by: Sequence[str], rows: str | None, columns: str | None) -> tuple[str, str] | None:
    """The keys of the table of accuracies; None where it would say what the settings say already."""
    if rows or columns:
        return rows or _PAPER[0], columns or _PAPER[1]
    differing = {key for key in runs.varying if runs.runs[key].map(str).nunique() > 1}
    keys = [key for key in made_by if key in differing]
    if set(_PAPER) <= set(keys):
        return _PAPER
    return (keys[0], keys[1]) if len(keys) == 2 else None


def _parts(runs: pd.DataFrame) -> dict[tuple[str | None, str | None], list[str]]:
    """The names of the runs by validation protocol and split.

    A run that has not finished, maybe before its split was known, belongs to the only part that it can belong to.
    """
    pairs = [
        (None if pd.isna(p) else p, None if pd.isna(s) else s[:8])
        for p, s in zip(runs["protocol"], runs["split"], strict=True)
    ]
    known = list(dict.fromkeys((p, s) for p, s in pairs if p and s))
    groups: dict[tuple[str | None, str | None], list[str]] = {}
    for name, status, (protocol, split) in zip(runs.index, runs["status"], pairs, strict=True):
        fits = [(p, s) for p, s in known if status != "FINISHED" and protocol in (p, None) and split in (s, None)]
        groups.setdefault(fits[0] if len(fits) == 1 else (protocol, split), []).append(name)
    return groups
