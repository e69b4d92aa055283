"""Which runs satisfy conditions such as `batch_size=16 and epochs>=20`."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from flowerbench.errors import UsageError
from flowerbench.report.keys import comparable, is_number, is_unset
from flowerbench.report.record import FACTS

_CONDITION = re.compile(
    r"""(?P<key>[^\s=!<>'"]+)\s*(?P<operator>==|!=|<=|>=|=|<|>)\s*"""
    r"""(?P<value>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\[[^]]*]|{[^}]*}|[^\s'"]+)(?=\s|$)"""
)
_JOINT = re.compile(r"\s+(and|or)\s+")


@dataclass(frozen=True)
class _Condition:
    key: str
    operator: str
    value: Any
    text: str

    def holds(self, cell: Any) -> bool:
        is_equal, order = self._equals(cell), self._order(cell)
        if self.operator == "!=":
            return not is_equal
        by_sign = {"=": is_equal, "<": order < 0, ">": order > 0}
        return any(by_sign[sign] for sign in self.operator)

    def _equals(self, cell: Any) -> bool:
        if is_unset(cell):
            return False
        if isinstance(cell, str):
            is_class = self.key.endswith("_target_") and cell.rpartition(".")[2] == self.text
            return is_class or cell == self.text
        return comparable(cell) == comparable(self.value)

    def _order(self, cell: Any) -> int:
        """Negative where the cell is less, positive where it is more; 0 where it is neither, or not to be compared."""
        if isinstance(cell, str):
            return (cell > self.text) - (cell < self.text)
        if is_number(cell) and is_number(self.value):
            return int(cell > self.value) - int(cell < self.value)
        return 0


def matches(runs: pd.DataFrame, text: str) -> pd.Series[bool]:
    """For each row of `Runs.runs`, whether it satisfies the conditions KEY OP VALUE, joined by `and` and `or`.

    KEY is a config key or one of `FACTS`, OP one of `= == != < <= > >=`, VALUE as on the command line; `and` binds
    tighter. A class is meant by its last part as well, as in `optim=SGD`. What is null, or not set, is neither less
    nor more than anything. Raises UsageError for what cannot be read, and for a key that no run has.
    """
    groups = _parse(text)
    if runs.empty:
        return pd.Series(False, index=runs.index, dtype=bool)

    def fits(condition: _Condition) -> list[bool]:
        meant = replace(condition, key=_column(runs, condition.key))
        return [meant.holds(cell) for cell in _cells(runs, meant.key)]

    found = np.any([np.all([fits(condition) for condition in group], axis=0) for group in groups], axis=0)
    return pd.Series(found, index=runs.index, dtype=bool)


def _column(runs: pd.DataFrame, key: str) -> str:
    for name in (key, f"{key}._target_"):
        if name in runs:
            return name
    near = difflib.get_close_matches(key, map(str, runs.columns), n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"the keys are {', '.join(map(str, runs.columns))}"
    raise UsageError(f"--where: no run has the key {key}: {hint}")


def _cells(runs: pd.DataFrame, key: str) -> list[Any]:
    """The values of a column; a fact that is not known is null."""
    cells = runs[key].tolist()
    return [None if pd.isna(cell) else cell for cell in cells] if key in FACTS else cells


def _parse(text: str) -> list[list[_Condition]]:
    """The conditions, those that `and` joins in one list."""
    text = text.strip()
    groups: list[list[_Condition]] = [[]]
    position = 0
    while True:
        found = _CONDITION.match(text, position)
        if found is None:
            raise _unreadable(text[position:])
        groups[-1].append(_condition(found))
        position = found.end()
        if position == len(text):
            return groups
        joint = _JOINT.match(text, position)
        if joint is None:
            raise _unreadable(text[position:])
        if joint[1] == "or":
            groups.append([])
        position = joint.end()


def _condition(found: re.Match[str]) -> _Condition:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    written = found["value"]
    try:
        override = OverridesParser.create().parse_override(f"key={written}")
    except HydraException:
        raise _unreadable(found[0]) from None
    if override.is_sweep_override():
        raise UsageError(f"--where: {found[0]} is several values: join a condition for each by `or`")
    value = override.value()
    text = str(value) if written[0] in "'\"" else written
    return _Condition(found["key"], found["operator"], value, text)


def _unreadable(text: str) -> UsageError:
    return UsageError(
        f"--where cannot be read from {text!r} on: write KEY OP VALUE, joined by `and` or `or`, "
        "such as batch_size=16 and epochs>=20 ('quote' a value with spaces)"
    )
