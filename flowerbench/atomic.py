"""Replace files whole: a reader, or a crash, sees the old file or the new one, never a part."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path


def write(path: Path, save: Callable[[Path], object]) -> None:
    """Let `save` write a temporary file beside `path`, make it durable, and rename it to `path`."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        save(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        _replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _replace(temporary: Path, path: Path) -> None:
    for attempt in range(20):
        try:
            temporary.replace(path)
            break
        except PermissionError:
            # On Windows a file cannot be replaced while somebody reads it, which is soon over.
            if os.name != "nt" or attempt == 19:
                raise
            time.sleep(0.1)
    if os.name != "nt":
        # The new name, too, must survive a power failure.
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text`, in UTF-8 with Unix line ends."""
    write(path, lambda temporary: temporary.write_text(text, encoding="utf-8", newline="\n"))
