"""What the way of judging a run is called, in its summary and in reports: runs of two protocols are never compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def named(config: Mapping[str, Any]) -> str | None:
    """The protocol of a flat config: `clean`, `augmented`, `holdout`, `5-fold`, `holdout, augmented`; None if unknown.

    How photos are dealt out comes first, then how those of validation are prepared, unless that is clean.
    """
    validation = config.get("data.validation")
    if config.get("data.folds"):
        dealt_out = f"{config['data.folds']}-fold"
    elif config.get("data.test_fraction"):
        dealt_out = "holdout"
    else:
        return validation
    return f"{dealt_out}, {validation}" if validation not in ("clean", None) else dealt_out
