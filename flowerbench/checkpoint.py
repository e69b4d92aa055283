"""Checkpoints: the same state gives the same bytes, whether it was trained, resumed or taken from the cache."""

from __future__ import annotations

import io
import sys
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flowerbench import atomic


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Replace `path` by the state: tensors and plain values in dicts, lists and tuples."""
    import torch

    # In memory first: given a file's name torch writes it into the file, and it says nothing useful of a full disk.
    packed = io.BytesIO()
    torch.save(_canonical(dict(state)), packed)
    atomic.write(path, lambda temporary: temporary.write_bytes(packed.getbuffer()))


def load(path: Path) -> dict[str, Any]:
    """The state, on the CPU. Raises OSError where there is none, and ValueError where the file is broken."""
    import torch

    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except OSError:
        raise
    except Exception as error:  # unpickling a broken file raises anything
        raise ValueError(f"{path} is broken: {' '.join(str(error).split())[:200]}") from error


def _canonical(value: Any) -> Any:
    """The value with equal strings made one: pickle writes an object once, and refers to it from then on."""
    if isinstance(value, str):
        return sys.intern(value)
    if isinstance(value, OrderedDict):
        same = OrderedDict((_canonical(key), _canonical(inner)) for key, inner in value.items())
        if hasattr(value, "_metadata"):  # torch's state dicts carry the versions of their layers
            same._metadata = _canonical(value._metadata)  # type: ignore[attr-defined]
        return same
    if isinstance(value, dict):
        return {_canonical(key): _canonical(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_canonical(inner) for inner in value]
    if isinstance(value, tuple):
        return tuple(_canonical(inner) for inner in value)
    return value
