"""Checkpoints: the same state gives the same bytes, whether it was trained, resumed or taken from the cache."""

from __future__ import annotations

import io
import sys
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from flowerbench import atomic


@dataclass(frozen=True)
class Snapshot:
    """A state as it was at one moment; its bytes are made once, when they are first needed."""

    state: Mapping[str, Any]

    @cached_property
    def packed(self) -> memoryview:
        """The bytes of a checkpoint of it."""
        import torch

        # In memory: given a file's name torch writes it into the file, and it says nothing useful of a full disk.
        buffer = io.BytesIO()
        torch.save(self.state, buffer)
        return buffer.getbuffer()

    def without(self, *keys: str) -> Snapshot:
        """The rest of it."""
        return Snapshot({key: value for key, value in self.state.items() if key not in keys})


def snapshot(state: Mapping[str, Any]) -> Snapshot:
    """The state, tensors and plain values in dicts, lists and tuples, as it is now: a copy, on the CPU."""
    return Snapshot(_copied(dict(state)))


def save(path: Path, snapshot: Snapshot) -> None:
    """Replace `path` by the checkpoint of the state."""
    atomic.write(path, lambda temporary: temporary.write_bytes(snapshot.packed))


def load(path: Path) -> dict[str, Any]:
    """The state, on the CPU. Raises OSError where there is none, and ValueError where the file is broken."""
    import torch

    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except OSError:
        raise
    except Exception as error:  # unpickling a broken file raises anything
        raise ValueError(f"{path} is broken: {' '.join(str(error).split())[:200]}") from error


def _copied(value: Any) -> Any:
    """The value with equal strings made one: pickle writes an object once, and refers to it from then on."""
    import torch

    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, str):
        return sys.intern(value)
    if isinstance(value, OrderedDict):
        same = OrderedDict((_copied(key), _copied(inner)) for key, inner in value.items())
        if hasattr(value, "_metadata"):  # torch's state dicts carry the versions of their layers
            same._metadata = _copied(value._metadata)  # type: ignore[attr-defined]
        return same
    if isinstance(value, dict):
        return {_copied(key): _copied(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_copied(inner) for inner in value]
    if isinstance(value, tuple):
        return tuple(_copied(inner) for inner in value)
    return value
