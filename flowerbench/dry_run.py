"""What a command would do: its points, the epochs left to train after reuse, and how long that may take."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from flowerbench import cache as caches
from flowerbench import compiling, config, drive, provenance, summaries
from flowerbench.data import sources, split
from flowerbench.history import last_epoch, row_of
from flowerbench.placement import pick_device
from flowerbench.points import Point
from flowerbench.report.blocks import Table
from flowerbench.report.formats.markdown import pipe_table
from flowerbench.trajectory import Trajectory


@dataclass(frozen=True)
class Work:
    """What is left of one point: a word on how far it is, epochs to train, and seconds, None where nothing can tell."""

    state: str
    to_train: int
    seconds: float | None


def text(planned: Sequence[Point], earlier: Path | None, threads: int | None = None) -> str:
    """The plan as a table in Markdown, in the order in which the points would run, and a line of totals.

    `earlier` is the folder of the sweep, or of the run, that the command would go on with, if there is one; `threads`
    are those of a point where its launcher limits them.
    """
    work = plan(planned, earlier, threads)
    rows = [
        [
            point.folder or " ".join(point.overrides) or "defaults",
            str(point.config.epochs),
            str(left.to_train),
            left.state,
            "–" if not left.to_train else "not known" if left.seconds is None else duration(left.seconds),  # noqa: RUF001
        ]
        for point, left in work
    ]
    asked, to_train = sum(int(point.config.epochs) for point, _ in work), sum(left.to_train for _, left in work)
    known = [left.seconds for _, left in work if left.to_train and left.seconds is not None]
    unknown = sum(left.to_train > 0 and left.seconds is None for _, left in work)
    estimate = f", about {duration(sum(known))} one after another" if known else ""
    estimate += f" without {unknown} points of which no earlier epoch can tell" if unknown and known else ""
    where = f" It goes on with {earlier}." if earlier else ""
    table = pipe_table(Table(["Point", "Epochs", "To train", "State", "Time"], rows))
    return f"{table}\n\n{len(work)} points, {asked} epochs asked for, {to_train} to train{estimate}.{where}"


def plan(planned: Sequence[Point], earlier: Path | None, threads: int | None = None) -> list[tuple[Point, Work]]:
    """Each point with what is left of it, in the order in which they would run."""
    reached: dict[str, int] = {}  # epochs of each trajectory that earlier points of the plan will have made
    read: dict[str, tuple[sources.Photos, split.Split]] = {}

    def loaded(cfg: config.Config) -> tuple[sources.Photos, split.Split]:
        key = str(cfg.data)
        if key not in read:
            photos = sources.load(cfg.data)
            read[key] = photos, split.split(photos, cfg.data)
        return read[key]

    return [(point, _work(point, earlier, threads, reached, loaded)) for point in drive.in_order(planned)]


def _work(
    point: Point,
    earlier: Path | None,
    threads: int | None,
    reached: dict[str, int],
    loaded: Callable[[config.Config], tuple[sources.Photos, split.Split]],
) -> Work:
    cfg = cast(config.Config, point.config)
    before = summaries.read(earlier / point.folder) if earlier else {}
    if before.get("status") in drive.OVER:
        return Work("done", 0, None)
    photos, parts = loaded(cfg)
    known = provenance.fingerprints(cfg, photos, parts)
    device = pick_device(cfg.device)
    computed = provenance.computation(cfg, device, None, threads)
    is_compiled = compiling.decided(cfg, len(photos.classes), len(parts.train), device, may_try=False)
    key = provenance.trajectory(cfg, known | computed, is_compiled)
    home = caches.epochs_folder(cfg.cache.dir)
    there = Trajectory(home / key, takes=cfg.reuse != "off", best_by=cfg.best_by).epochs(cfg.epochs)
    has_ended = last_epoch([row_of(epoch) for epoch in there], cfg.best_by, cfg.patience) is not None
    kept = cfg.epochs if has_ended else len(there)
    shared = reached.get(key, 0) if cfg.reuse == "on" else 0
    own = int(before.get("epochs_done") or 0) if before.get("trajectory") == key else 0
    have = min(max(kept, shared, own), cfg.epochs)
    reached[key] = max(shared, cfg.epochs)
    state = "new"
    if own and own == have:
        state = f"goes on from epoch {own}"
    elif have:
        state = f"{have} epochs reused"
    to_train = cfg.epochs - have
    estimate = _estimate(home, provenance.about(cfg, known | computed))
    return Work(state, to_train, None if estimate is None else estimate * to_train)


def _estimate(home: Path, about: Mapping[str, Any]) -> float | None:
    """Seconds per epoch of kept epochs that cost the same, as far as one can tell: same model, photos and computer."""
    alike: list[tuple[bool, float]] = []
    for entry in caches.entries(home):
        other = caches.about(entry.folder)
        if other.get("epochs") and all(other.get(key) == about[key] for key in provenance.COSTS):
            alike.append((other.get("batch_size") == about["batch_size"], other["seconds"] / other["epochs"]))
    best = [seconds for is_same_batch, seconds in alike if is_same_batch] or [seconds for _, seconds in alike]
    return statistics.median(best) if best else None


def duration(seconds: float) -> str:
    """Seconds as people say them: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
