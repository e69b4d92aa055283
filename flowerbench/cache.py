"""The cache folder: photos made, fetched or decoded, and epochs, which `python -m flowerbench.cache` shows."""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from flowerbench import claim, errors


def folder() -> Path:
    """The cache folder: `FLOWERBENCH_CACHE` when set, else the user's cache folder. It need not exist yet."""
    chosen = os.environ.get("FLOWERBENCH_CACHE")
    return Path(chosen).expanduser().resolve() if chosen else user_cache_path("flowerbench")


def epochs_folder(chosen: str | None) -> Path:
    """Where trajectories live: in `cache.dir`, else in the cache folder."""
    return Path(chosen).expanduser().resolve() if chosen else folder() / "epochs"


def decoded_folder() -> Path:
    """Where decoded photos live, a folder for each data set and size."""
    return folder() / "decoded"


@dataclass(frozen=True)
class Entry:
    """One trajectory in the cache: its size in bytes, and when a run last used it (seconds since 1970)."""

    folder: Path
    size: int
    used: float


def entries(home: Path) -> list[Entry]:
    """All trajectories, the one not used for longest first."""
    found = []
    for path in home.iterdir() if home.is_dir() else ():
        if path.is_dir() and not path.name.startswith("."):
            try:
                files = [file.stat() for file in path.iterdir()]
                found.append(Entry(path, sum(file.st_size for file in files), path.stat().st_mtime))
            except FileNotFoundError:
                continue  # somebody else has just removed it
    return sorted(found, key=lambda entry: entry.used)


def about(trajectory: Path) -> dict[str, Any]:
    """What a trajectory's about.json says; empty where there is none yet."""
    try:
        return dict(json.loads((trajectory / "about.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def bound(home: Path, max_bytes: float, in_use: Path | None = None, newest: int = 0) -> list[Entry]:
    """Remove trajectories, those not used for longest first, until the rest fit; returns those removed.

    What a run is at work on stays. Where `in_use` alone is too large, states of its epochs go, but never that of
    the `newest`, nor one that was the best when it came: from those the run can go on.
    """
    for rubbish in home.glob(".*.tmp"):
        shutil.rmtree(rubbish, ignore_errors=True)
    found = entries(home)
    total = sum(entry.size for entry in found)
    removed: list[Entry] = []
    for entry in found:
        if total <= max_bytes:
            return removed
        if entry.folder != in_use and remove(entry.folder):
            total -= entry.size
            removed.append(entry)
    if in_use is not None:
        _thin(in_use, total - max_bytes, newest)
    return removed


def remove(trajectory: Path) -> bool:
    """Remove a trajectory unless a run is at work on it; whether it is gone."""
    try:
        with FileLock(f"{trajectory}.lock").acquire(timeout=0):
            # Renamed first, so that a removal broken off leaves no half of one.
            rubbish = trajectory.with_name(f".{trajectory.name}.{uuid.uuid4().hex[:8]}.tmp")
            trajectory.rename(rubbish)
            shutil.rmtree(rubbish, ignore_errors=True)
    except (Timeout, FileNotFoundError):
        return not trajectory.is_dir()
    return True


def _thin(trajectory: Path, surplus: float, newest: int) -> None:
    import numpy as np

    best, lowest, needless = -1.0, math.inf, []
    for number in sorted(int(file.stem) for file in trajectory.glob("[0-9]*.npz")) if surplus > 0 else ():
        try:
            with np.load(trajectory / f"{number:04}.npz") as found:
                accuracy, loss = float(found["val_accuracy"]), float(found["val_loss"])
        except Exception:  # a broken archive raises anything, and whoever takes the epoch will tell
            continue
        if accuracy > best or loss < lowest:
            best, lowest = max(accuracy, best), min(loss, lowest)
        elif number != newest:
            needless.append(trajectory / f"{number:04}.pt")
    for file in needless:
        if surplus <= 0:
            break
        if file.is_file():
            surplus -= file.stat().st_size
            file.unlink()


def _listed(home: Path) -> str:
    from flowerbench.report.blocks import Table
    from flowerbench.report.formats.markdown import pipe_table

    rows = []
    for entry in reversed(entries(home)):
        known = about(entry.folder)
        used = datetime.fromtimestamp(entry.used).isoformat(" ", "minutes")
        state = "in use" if claim.is_held(FileLock(f"{entry.folder}.lock")) else used
        settings = str(known.get("settings", "not known"))
        rows.append([entry.folder.name, settings, str(known.get("epochs", 0)), _size(entry.size), state])
    if not rows:
        return f"No epochs are kept in {home}.{_photos_listed()}"
    total = sum(entry.size for entry in entries(home))
    table = pipe_table(Table(["Trajectory", "Settings", "Epochs", "Size", "Last used"], rows))
    return f"{table}\n\n{len(rows)} trajectories, {_size(total)}, in {home}{_photos_listed()}"


def _photos_listed() -> str:
    kept = entries(decoded_folder())
    return f"\nDecoded photos: {_size(sum(entry.size for entry in kept))}, in {decoded_folder()}" if kept else ""


def _size(size: float) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `python -m flowerbench.cache`."""
    with errors.leave_politely():
        parser = errors.Parser(
            prog="python -m flowerbench.cache",
            description="List the epochs that are kept for other runs, or remove some of them.",
        )
        parser.add_argument("action", nargs="?", choices=["list", "prune"], default="list")
        parser.add_argument(
            "trajectories", nargs="*", metavar="TRAJECTORY", help="with prune: those, whatever their age"
        )
        parser.add_argument("--max-gb", type=float, metavar="GB", help="with prune: the oldest, until so much is left")
        parser.add_argument("--dir", metavar="DIR", help="cache.dir of the runs (default: the user's cache folder)")
        asked = parser.parse_args(arguments)
        home = epochs_folder(asked.dir)
        if asked.action == "prune":
            _prune(home, asked)
        print(_listed(home))


def _prune(home: Path, asked: argparse.Namespace) -> None:
    named = [home / name for name in asked.trajectories]
    if missing := [path.name for path in named if not path.is_dir()]:
        raise errors.UsageError(f"no trajectory {', '.join(missing)} in {home}: the list names them")
    if not named and asked.max_gb is None:
        raise errors.UsageError("prune what? Name trajectories, or --max-gb GB (0 = all)")
    if busy := [path.name for path in named if not remove(path)]:
        raise errors.RunError(f"a run is at work on {', '.join(busy)}: try again later")
    if asked.max_gb is not None:
        bound(home, asked.max_gb * 1e9)


if __name__ == "__main__":
    main()
