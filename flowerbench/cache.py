"""Where photos that flowerbench made or fetched are kept between runs."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path


def folder() -> Path:
    """The cache folder: `FLOWERBENCH_CACHE` when set, else the user's cache folder. It need not exist yet."""
    chosen = os.environ.get("FLOWERBENCH_CACHE")
    return Path(chosen).expanduser().resolve() if chosen else user_cache_path("flowerbench")
