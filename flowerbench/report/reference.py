"""Published numbers to stand beside ours: the paper's, or those of a file of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from flowerbench.errors import UsageError
from flowerbench.identity import flat
from flowerbench.report.words import spelled_or_unset

_FOLDER = Path(__file__).parent / "references"
_PROTOCOL = "data.validation"
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
        return all(key != _PROTOCOL for key, _ in self._differences(runs))

    def remarks(self, runs: pd.DataFrame) -> list[str]:
        """What to know when its numbers stand beside those of these runs."""
        differences = dict(self._differences(runs))
        if not self.is_comparable(runs):
            here, there = differences[_PROTOCOL], self.config[_PROTOCOL]
            return [f"{self.title}: not shown, for it validates on {there} photos, and these runs on {here} ones."]
        if not differences:
            return [f"{self.title}: {self.source}."]
        theirs = ", ".join(f"{key}={spelled_or_unset(self.config[key])}" for key in differences)
        ours = ", ".join(differences.values())
        return [f"{self.title}: {self.source}. It is of other settings than these runs: {theirs}; here {ours}."]

    def _differences(self, runs: pd.DataFrame) -> list[tuple[str, str]]:
        found = []
        for key, value in self.config.items():
            # Of the protocol a run says more than its config, which may be lost.
            column = "protocol" if key == _PROTOCOL and "protocol" in runs else key
            here = list(dict.fromkeys(runs[column].dropna().map(spelled_or_unset))) if column in runs else []
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
    if not isinstance(content, dict) or not isinstance(content.get("title"), str):
        raise ValueError("it must be a mapping with title, source, config, settings and epochs")
    config, settings, epochs = content.get("config") or {}, content.get("settings") or [], content.get("epochs") or []
    if not isinstance(config, dict) or not all(isinstance(rows, list) for rows in (settings, epochs)):
        raise ValueError("config must be a mapping, settings and epochs must be lists")
    if not all(isinstance(row, dict) and set(row) - set(_RESULTS) for row in (*settings, *epochs)):
        raise ValueError("each of its settings and epochs must be a mapping that names keys of the config")
    if not all(_is_share(row.get("accuracy")) for row in settings):
        raise ValueError("each of its settings must have an accuracy, a share such as 0.93")
    tables = [table.get("rows") for table in epochs]
    rows = [row for table in tables for row in (table if isinstance(table, list) and table else [None])]
    if not all(isinstance(r, dict) and isinstance(r.get("epoch"), int) and _is_share(r.get("accuracy")) for r in rows):
        raise ValueError("each row of its epochs must have an epoch and an accuracy, a share such as 0.93")
    return Reference(
        content["title"], str(content.get("source", "")), flat(config), [*map(flat, settings)], [*map(flat, epochs)]
    )


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _match(rows: Sequence[Mapping[str, Any]], values: Mapping[Any, Any]) -> Mapping[str, Any] | None:
    for row in rows:
        keys = [key for key in row if key not in _RESULTS]
        if all(key in values and spelled_or_unset(values[key]) == spelled_or_unset(row[key]) for key in keys):
            return row
    return None
