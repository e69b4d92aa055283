"""Published numbers to stand beside ours: the paper's, or those of a file of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from flowerbench.errors import UsageError
from flowerbench.report.words import spelled_or_unset

_FOLDER = Path(__file__).parent / "references"
_RESULTS = ("accuracy", "correct", "total", "rows")


@dataclass(frozen=True)
class Reference:
    """Numbers as published: `settings` and `epochs` are rows of config keys, with `accuracy` or the `rows` of epochs.

    `config` is what all its runs had in common, `title` what a column of them is headed by.
    """

    title: str
    source: str
    config: Mapping[str, Any]
    settings: Sequence[Mapping[str, Any]]
    epochs: Sequence[Mapping[str, Any]]

    def accuracy(self, values: Mapping[Any, Any]) -> str | None:
        """The accuracy of the setting with these values, as published, with its count where that is known."""
        found = _match(self.settings, values)
        if found is None:
            return None
        counts = f" ({found['correct']}/{found['total']})" if {"correct", "total"} <= set(found) else ""
        return f"{found['accuracy']:.4f}{counts}"

    def accuracies_of_epochs(self, values: Mapping[Any, Any]) -> dict[int, str]:
        """The accuracy at each epoch of the setting with these values, as far as it is published."""
        found = _match(self.epochs, values)
        return {int(row["epoch"]): f"{row['accuracy']:.4f}" for row in found["rows"]} if found else {}

    def is_comparable(self, runs: pd.DataFrame) -> bool:
        """Whether these runs validate as its runs did."""
        return not any(key.startswith("data.validation") for key, _ in self._differences(runs))

    def remarks(self, runs: pd.DataFrame) -> list[str]:
        """What to know when its numbers stand beside those of these runs."""
        differences = dict(self._differences(runs))
        if not self.is_comparable(runs):
            here = differences["data.validation"]
            there = self.config["data.validation"]
            return [f"{self.title}: not shown, for it validates on {there} photos, and these runs on {here} ones."]
        if not differences:
            return [f"{self.title}: {self.source}."]
        theirs = ", ".join(f"{key}={spelled_or_unset(self.config[key])}" for key in differences)
        ours = ", ".join(differences.values())
        return [f"{self.title}: {self.source}. It is of other settings than these runs: {theirs}; here {ours}."]

    def _differences(self, runs: pd.DataFrame) -> list[tuple[str, str]]:
        found = []
        for key, value in self.config.items():
            here = list(dict.fromkeys(runs[key].dropna().map(spelled_or_unset))) if key in runs else []
            if here and here != [spelled_or_unset(value)]:
                found.append((key, " and ".join(here)))
        return found


def load(name: str) -> Reference:
    """The reference `paper`, or that of a YAML file. Raises UsageError for one that cannot be used."""
    from yaml import YAMLError, safe_load

    file = Path(name) if Path(name).suffix in (".yaml", ".yml") else _FOLDER / f"{name}.yaml"
    known = ", ".join(sorted(path.stem for path in _FOLDER.glob("*.yaml")))
    try:
        content = safe_load(file.read_text(encoding="utf-8"))
        return _checked(content)
    except FileNotFoundError:
        raise UsageError(f"--reference {name} is neither one of ours ({known}) nor a .yaml file") from None
    except (OSError, YAMLError, ValueError) as error:
        raise UsageError(f"--reference {name} cannot be read ({' '.join(str(error).split())})") from None


def _checked(content: Any) -> Reference:
    if not isinstance(content, dict) or "title" not in content:
        raise ValueError("it must be a mapping with title, source, config, settings and epochs")
    settings, epochs = content.get("settings") or [], content.get("epochs") or []
    if any(not isinstance(row.get("accuracy"), float) for row in settings):
        raise ValueError("each of its settings must have an accuracy, a share such as 0.93")
    rows = [row for table in epochs for row in table.get("rows") or [{}]]
    if any("epoch" not in row or not isinstance(row.get("accuracy"), float) for row in rows):
        raise ValueError("each row of its epochs must have an epoch and an accuracy, a share such as 0.93")
    return Reference(content["title"], content.get("source", ""), content.get("config") or {}, settings, epochs)


def _match(rows: Sequence[Mapping[str, Any]], values: Mapping[Any, Any]) -> Mapping[str, Any] | None:
    for row in rows:
        keys = [key for key in row if key not in _RESULTS]
        if all(key in values and spelled_or_unset(values[key]) == spelled_or_unset(row[key]) for key in keys):
            return row
    return None
