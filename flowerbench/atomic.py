"""Replace files whole: a reader, or a crash, sees the old file or the new one, never a part."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path


def write(path: Path, save: Callable[[Path], object]) -> None:
    """Let `save` write a temporary file beside `path`, make it durable, and rename it to `path`."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        save(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text`, in UTF-8 with Unix line ends."""
    write(path, lambda temporary: temporary.write_text(text, encoding="utf-8", newline="\n"))
