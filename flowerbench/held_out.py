"""The test photos: after the last epoch, the best one's model sees them, once."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flowerbench import checkpoint, distributed, engine, interrupt
from flowerbench.errors import RunError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from flowerbench.assembly import Assembly
    from flowerbench.config import Config
    from flowerbench.store import RunFolder
    from flowerbench.tracker import Tracker

log = logging.getLogger(__name__)


def judge(cfg: Config, made: Assembly, folder: RunFolder, tracker: Tracker, micro_batch: int | None) -> None:
    """Judge the best checkpoint of a run whose epochs are all done, and record it; without test photos nothing is done.

    A run that was killed before that was recorded is judged when it goes on, by the same checkpoint, with the same
    result. Raises RunError when the loss is not finite.
    """
    # A search chooses by what it sees: the test photos stay unseen until its best is run by itself.
    if not made.parts.test or cfg.search.trial is not None:
        return
    best = distributed.from_main(checkpoint.load(folder.path / "best.pt"))
    loss, _, probabilities = _judged(made, best, micro_batch)
    if not math.isfinite(loss):
        raise RunError(f"the loss on the test photos became {loss}: try a smaller optim.lr")
    correct, total = folder.tested(loss, probabilities, made.photos, made.parts), len(made.parts.test)
    tracker.test(correct, total, loss)
    log.info("test accuracy %.4f (%d of %d photos), of epoch %d", correct / total, correct, total, best["epoch"])


def follow(made: Assembly) -> None:
    """Take part in that, as torchrun's other processes do."""
    if made.parts.test:
        _judged(made, distributed.from_main())


def _judged(
    made: Assembly, best: Mapping[str, Any], micro_batch: int | None = None
) -> tuple[float, int, NDArray[np.float32]]:
    """Loss, correct photos and probabilities of this checkpoint, on test photos prepared as its validation photos."""
    made.network.load_state_dict(best["model"])
    batches = made.stream.val(int(best["epoch"]), made.parts.test)
    return engine.evaluate(made.network, batches, made.placement, lambda done: interrupt.check(), micro_batch)
