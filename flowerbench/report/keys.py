"""The config keys that runs are told apart by, and how their values are compared and spelled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any

import pandas as pd

from flowerbench.identity import NOT_SETTINGS, is_one_of
from flowerbench.report.record import FACTS

# What a run of a cross-validation was validated on.
FOLD = "data.fold"
# Runs that differ in these alone repeat one setting.
REPEATED = ("seed", FOLD)
# Where photos lie and how a run is carried out: nothing that a result is told apart by, unless a sweep varied it.
_NOT_SETTINGS = (
    *NOT_SETTINGS, "device", "deterministic",
    "data.root", "data.url", "data.sha256", "data.bytes", "data.on_bad_image",
)  # fmt: skip


def varying(runs: pd.DataFrame, named: Collection[str] = ()) -> list[str]:
    """The config keys that runs differ in, and of `named`, what a sweep says it varied, those that there are."""
    keys = [key for key in runs.columns if key not in FACTS]
    complete = runs[runs["status"] != "MISSING"]

    def values(key: str) -> set[object]:
        known = {comparable(value) for value in runs[key] if not is_unset(value)}
        # Of a run that never began only the overrides are known: a key that it has not, or it alone has, is no sign.
        lacking = {is_unset(value) for value in complete[key]} == {True, False}
        return known | ({None} if lacking else set())

    def follows_epochs(key: str) -> bool:
        """True for the length of a schedule that is tied to the number of epochs."""
        if not key.startswith("schedule.") or "epochs" not in runs:
            return False
        pairs = runs.loc[~runs[key].map(is_unset) & ~runs["epochs"].map(is_unset), [key, "epochs"]]
        return all(comparable(a) == comparable(b) for a, b in pairs.itertuples(index=False))

    def follows_group(key: str) -> bool:
        """True for what the choice of a config group settles, such as `optim.lr` of `optim=sgd`.

        Where a run does not say what it chose, the keys must tell.
        """
        own, _, _ = key.partition(".")
        others = [name for name in map(str, runs) if name != key]
        groups = [name for name in others if name in (own, "experiment") or name.startswith(f"{own}/")]
        return any(settles(name, key) for name in groups)

    def settles(group: str, key: str) -> bool:
        # Of a point that never began, only the choice may be known.
        is_known = (runs["status"] != "MISSING") | ~runs[key].map(is_unset)
        known = runs.loc[is_known, [group, key]]
        if known[group].map(is_unset).any():
            return False
        pairs = {(comparable(a), comparable(b)) for a, b in known.itertuples(index=False)}
        return len(pairs) == len({choice for choice, _ in pairs})

    def is_setting(key: str) -> bool:
        if key not in REPEATED and (follows_epochs(key) or follows_group(key)):
            return False
        return not is_one_of(key, _NOT_SETTINGS)

    differing = [key for key in keys if is_setting(key) and len(values(key)) > 1]
    return [key for key in keys if key in differing or key in named]


def labels(runs: pd.DataFrame, named: Collection[str]) -> list[str]:
    """What tells each run from the others, `batch_size=16, epochs=20, optim=adamw`; else its name."""
    first = [key for key in ("batch_size", "epochs") if key in runs]
    keys = [*first, *(key for key in varying(runs, named) if key not in first)]
    told = []
    for name, run in runs.iterrows():
        parts = [f"{key.removesuffix('._target_')}={spelled(run[key])}" for key in keys if not is_unset(run[key])]
        told.append(", ".join(parts) or str(name))
    count = Counter(told)
    return [f"{label} ({name})" if count[label] > 1 else label for label, name in zip(told, runs.index, strict=True)]


def is_unset(value: Any) -> bool:
    """True for NaN, a key that a run has not; None is a value, null."""
    return isinstance(value, float) and value != value


def is_number(value: Any) -> bool:
    """True for a number, which a truth value is not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def comparable(value: Any) -> object:
    """What is equal, and hashed alike, for equal settings: 1 is 1.0, within lists too, but neither true nor '1'."""
    if is_unset(value) or is_number(value):
        return None if is_unset(value) else value
    if isinstance(value, list):
        return tuple(map(comparable, value))
    if isinstance(value, dict):
        return frozenset((key, comparable(inner)) for key, inner in value.items())
    return repr(value)


def spelled(value: Any) -> str:
    """A value as one writes it on the command line; a class without its module."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = str(value)
    return text.rpartition(".")[2] if text.startswith("torch.optim.") else text
