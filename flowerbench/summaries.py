"""summary.json of a run folder: how the run stands, and what it is known by."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flowerbench import atomic

STOPPED = "stopped by Ctrl-C or a signal"


def read(folder: Path) -> dict[str, Any]:
    """What the summary.json of a run folder says; empty where there is none, or none that can be read."""
    try:
        content = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def written_since_begun(sweep: Path) -> dict[str, dict[str, Any]]:
    """By its folder, the summary of every run of a sweep that was written since the sweep was begun, or begun again."""
    begun = (sweep / "sweep.json").stat().st_mtime
    files = [file for file in sweep.rglob("summary.json") if file.stat().st_mtime >= begun]
    return {file.parent.relative_to(sweep).as_posix(): read(file.parent) for file in files}


def write(folder: Path, content: Mapping[str, Any]) -> None:
    """Replace the summary.json of a run folder."""
    atomic.write_text(folder / "summary.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")
