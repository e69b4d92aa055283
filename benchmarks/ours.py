"""Our train command as it is, watched from outside: it notes what the plain script prints, in LOG.

`python -m benchmarks.ours LOG STEPS [KEY=VALUE ...]` is `python -m flowerbench.train [KEY=VALUE ...]`, and ends after
STEPS training steps where that is not 0.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from flowerbench import train
from flowerbench.assembly import Assembly
from flowerbench.config import Config

# What the command imports as it goes: one time for both sides tells when all is imported.
from flowerbench.data import batches as _batches  # noqa: F401
from flowerbench.engine import Epoch, OnBatch

Epochs = Callable[..., Iterator[Epoch]]


def watched(epochs: Epochs, log: Path, stop_after: int) -> Epochs:
    """`Assembly.epochs`, which also notes in `log` when the first step was taken and how long both halves took."""
    imported = time.time()

    def say(**record: float) -> None:
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def noted(made: Assembly, cfg: Config, on_batch: OnBatch, **options: Any) -> Iterator[Epoch]:
        ended: dict[str, float] = {}
        photos: dict[str, int] = {}
        steps = 0

        def note(part: str, done: int, total: int) -> None:
            nonlocal steps
            if done == total and made.device.type == "cuda":
                torch.cuda.synchronize()  # what was only asked for does not count as done
            ended[part], photos[part] = time.perf_counter(), done
            if part == "train":
                steps += 1
                if steps == 1:
                    say(imported=imported, first_step=time.time())
                if steps == stop_after:
                    sys.exit()
            on_batch(part, done, total)

        began = time.perf_counter()
        for epoch in epochs(made, cfg, note, **options):
            memory = {"gpu_bytes": torch.cuda.max_memory_allocated()} if made.device.type == "cuda" else {}
            say(
                epoch=epoch.epoch,
                train_loss=epoch.train_loss,
                train_accuracy=epoch.train_accuracy,
                train_photos=photos["train"],
                train_seconds=ended["train"] - began,
                val_loss=epoch.val_loss,
                val_accuracy=epoch.val_accuracy,
                val_photos=photos["val"],
                val_seconds=ended["val"] - ended["train"],
                **memory,
            )
            yield epoch
            began = time.perf_counter()

    return noted


def main() -> None:
    """The command `python -m benchmarks.ours`."""
    log, steps, *overrides = sys.argv[1:]
    if any(override.startswith("tracking.uri=") for override in overrides):
        importlib.import_module("flowerbench._mlflow")
    Assembly.epochs = watched(Assembly.epochs, Path(log), int(steps))  # type: ignore[method-assign]
    sys.argv = ["flowerbench.train", *overrides]
    train.main()


if __name__ == "__main__":
    main()
