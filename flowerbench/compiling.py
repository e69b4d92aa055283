"""Whether torch.compile pays for a run, found out by trying it: what `compile=auto` means."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch.nn import functional as F

from flowerbench import atomic, cache, claim, freezing, model, placement, provenance
from flowerbench.config import Config
from flowerbench.errors import UsageError

log = logging.getLogger(__name__)

# Steps with it and without, by turns, of which the medians count.
_STEPS = 8
# A smaller gain than this may be the machine's mood.
_CLEAR = 0.05
# A trial takes about a minute, so a run that takes less than so many is not worth one.
_SHORT = 600.0  # seconds


@dataclass(frozen=True)
class Trial:
    """Seconds of a step without torch.compile and with it, and what compiling took once."""

    plain: float
    compiled: float
    compiling: float

    def saved(self, steps: int) -> float:
        """The seconds that compiling saves a run of so many steps; below 0 where it costs more than it gains."""
        return steps * (self.plain - self.compiled) - self.compiling

    def pays(self, steps: int) -> bool:
        """Whether it saves time, by a gain that is clear."""
        return self.saved(steps) > 0 and self.compiled <= (1 - _CLEAR) * self.plain


def decided(cfg: Config, classes: int, photos: int, device: torch.device, *, may_try: bool = True) -> bool:
    """Whether a run on so many training photos is compiled: as `cfg.compile` says, or where that is auto, if it pays.

    A trial is made once for a model, its size and precision on a machine, and kept in the cache folder, so that all
    runs decide alike; without `may_try` what has not been tried is not compiled.
    """
    if cfg.compile != "auto":
        return bool(cfg.compile)
    steps = cfg.epochs * math.ceil(photos / cfg.batch_size)
    if cfg.model.freeze == "backbone":
        return _told(False, "the head alone is trained")
    file = _file(cfg, device)
    trial = _kept(file)
    if trial is None and may_try:
        try:
            with _alone(file):  # points that begin together wait for one trial
                trial = _kept(file) or _tried(cfg, classes, device, steps)
                if trial is not None:
                    _keep(file, trial)
        except UsageError as error:  # there is no compiler
            return _told(False, str(error).partition(":")[0])
        except Exception as error:  # torch.compile may fail in any way
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            return _told(False, f"torch.compile fails here ({reason})")
        if trial is None:
            return _told(False, f"the run takes less than {_SHORT / 60:.0f} minutes, too little for a trial")
    if trial is None:
        return False
    saved = trial.saved(steps)
    gain = f"{abs(saved):.0f} s {'saved' if saved > 0 else 'lost'} in {steps:,} steps"
    per_step = f"{1000 * trial.plain:.1f} ms a step without, {1000 * trial.compiled:.1f} ms with it"
    return _told(trial.pays(steps), f"{gain} ({per_step}, {trial.compiling:.0f} s to compile)")


def _told(is_compiled: bool, why: str) -> bool:
    log.info("compile=auto: %s, since %s", "compiled" if is_compiled else "not compiled", why)
    return is_compiled


def _tried(cfg: Config, classes: int, device: torch.device, steps: int) -> Trial | None:
    """Take some steps without torch.compile and with it; None where the run would be short."""
    with torch.random.fork_rng():
        step = _step(cfg, classes, device, is_compiled=False)
        _seconds(step)  # the first is slower than others
        if _seconds(step) * steps < _SHORT:
            return None
        log.info("compile=auto: trying torch.compile, which takes a minute or two, once")
        compiled_step = _step(cfg, classes, device, is_compiled=True)
        first = _seconds(compiled_step)
        pairs = [(_seconds(step), _seconds(compiled_step)) for _ in range(_STEPS)]
    plain, compiled = (statistics.median(times) for times in zip(*pairs, strict=True))
    return Trial(plain, compiled, first - compiled)


def _step(cfg: Config, classes: int, device: torch.device, *, is_compiled: bool) -> Callable[[], None]:
    """Forward and backward of a batch of noise; the optimiser's step is the same either way."""
    network = model.build(cfg.model, classes, cfg.image_size)
    freezing.freeze(network, model.head(network, cfg.model, classes, cfg.image_size), cfg.model.freeze)
    place = placement.place(network, device, cfg.precision, is_compiled)
    freezing.train_mode(network)
    images = torch.randn(cfg.batch_size, 3, cfg.image_size, cfg.image_size, device=device)
    labels = torch.arange(cfg.batch_size, device=device) % classes

    def step() -> None:
        network.zero_grad(set_to_none=True)
        with place.autocast():
            loss = F.cross_entropy(network(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        if device.type != "cpu":
            torch.accelerator.synchronize()

    return step


def _seconds(step: Callable[[], None]) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def _file(cfg: Config, device: torch.device) -> Path:
    facts: dict[str, Any] = {
        "model": [cfg.model.name, dict(cfg.model.kwargs), cfg.model.freeze],
        "sizes": [cfg.image_size, cfg.batch_size],
        "precision": cfg.precision,
        **provenance.computation(cfg, device, None),
    }
    key = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]
    return cache.folder() / "compile" / f"{key}.json"


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    lock = FileLock(f"{file}.lock")
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        claim.wait_for(lock, "Another process is trying torch.compile on this model")
    try:
        yield
    finally:
        lock.release()


def _kept(file: Path) -> Trial | None:
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Trial(**json.loads(file.read_text(encoding="utf-8")))
    return None


def _keep(file: Path, trial: Trial) -> None:
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time, no more
        atomic.write_text(file, json.dumps(asdict(trial)) + "\n")
