"""What a trained model answers to photos, which threads decode beside it, a few batches ahead: memory is bounded."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from flowerbench import launchers
from flowerbench.data import images
from flowerbench.errors import one_line
from flowerbench.trained import Trained

# Batches whose photos are being decoded, or wait for the model.
_AHEAD = 2
_ON_A_GPU, _ELSEWHERE = 256, 16

Name = TypeVar("Name")


@dataclass(frozen=True)
class Answer(Generic[Name]):
    """The probabilities of the classes for a photo, and the square that the model saw; without, why it has none."""

    photo: Name
    probabilities: NDArray[np.float32]
    square: Tensor | None
    trouble: str = ""


def batch_size(trained: Trained) -> int:
    """How many photos go through the model at a time, unless somebody says so: as in the validation of its training."""
    asked = trained.config.get("eval_batch_size")
    return int(asked) if asked else _ON_A_GPU if trained.device.type == "cuda" else _ELSEWHERE


def stream(
    trained: Trained, photos: Iterable[tuple[Name, Path]], size: int, *, flips: bool = False
) -> Iterator[list[Answer[Name]]]:
    """The answers to photos, named files, in their order and in batches of so many; what cannot be read is among them.

    `flips` are those of `Trained.probabilities`.
    """
    for batch in _decoded(partial(_square, trained), photos, size):
        seen = [square for _, square, _ in batch if square is not None]
        found = iter(_probabilities(trained, seen, flips) if seen else ())
        yield [
            Answer(name, np.empty(0, dtype=np.float32) if square is None else next(found), square, trouble)
            for name, square, trouble in batch
        ]


_Decoded = tuple[Name, Tensor | None, str]


def _square(trained: Trained, photo: tuple[Name, Path]) -> _Decoded[Name]:
    name, file = photo
    try:
        return name, trained.square(images.read_rgb(file)), ""
    except Exception as error:  # Pillow's plugins raise anything on a broken file
        return name, None, (error.strerror if isinstance(error, OSError) else None) or one_line(error)


def _decoded(
    decode: Callable[[tuple[Name, Path]], _Decoded[Name]], photos: Iterable[tuple[Name, Path]], size: int
) -> Iterator[list[_Decoded[Name]]]:
    left = iter(photos)
    pool = ThreadPoolExecutor(launchers.cores())

    def begun() -> list[Future[_Decoded[Name]]]:
        return [pool.submit(decode, photo) for photo in itertools.islice(left, size)]

    try:
        chunks = iter(begun, [])
        waiting = deque(itertools.islice(chunks, _AHEAD))
        while waiting:
            batch = [future.result() for future in waiting.popleft()]
            waiting.extend(itertools.islice(chunks, 1))
            yield batch
    finally:
        pool.shutdown(cancel_futures=True)


def _probabilities(trained: Trained, squares: list[Tensor], flips: bool) -> NDArray[np.float32]:
    found: NDArray[np.float32] = trained.probabilities(trained.normalised(squares), flips=flips).cpu().numpy()
    return found
