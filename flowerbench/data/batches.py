"""The batches of an epoch, the same to the bit whatever process prepares them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from flowerbench import distributed, launchers, torchrun
from flowerbench.config import Data
from flowerbench.data import augment, images
from flowerbench.data.sources import Photos
from flowerbench.errors import RunError

# What a worker is asked for: the photo, and the row that augments it (None = clean).
Item = tuple[int, augment.Row | None]


class _Pixels(Dataset[tuple[Tensor, int]]):
    """Pixels of a photo as a function of (photo, row); it holds no state, so any worker may be asked."""

    def __init__(self, photos: Photos, cfg: Data, image_size: int) -> None:
        self.photos, self.cfg, self.image_size = photos, cfg, image_size

    def __getitem__(self, item: Item) -> tuple[Tensor, int]:
        index, row = item
        try:
            image = images.read_rgb(self.photos.root / self.photos.paths[index])
        except Exception as error:
            raise RunError(
                f"cannot read {self.photos.paths[index]} in {self.photos.root}, which could be read before: {error}"
            ) from error
        pixels = augment.prepared(image, row, self.image_size, self.cfg)
        return torch.from_numpy(pixels), self.photos.labels[index]


def _end_quietly(worker: int) -> None:
    """Called in a worker as it starts: when the run is stopped, nobody takes the pixels that it is handing over.

    Python's thread for handing over would print that as a traceback, on a terminal that said "stopped" already.
    """

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not issubclass(kind, ConnectionError | EOFError):
            sys.__excepthook__(kind, error, trace)

    sys.excepthook = hook


@dataclass
class _Plan:
    """The batches of the coming epoch; workers stay alive between epochs, so the loader reads it anew each time."""

    batches: Sequence[Sequence[Item]] = ()

    def __iter__(self) -> Iterator[Sequence[Item]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class Batches:
    """Training and validation batches of (images, labels): uint8 (n, 3, size, size) and int64 (n,).

    Where several processes share a run, this one's part of them; of a last, small batch that may be nothing.

    Nothing depends on worker count, start method or what ran before: an epoch's order and augmentation are
    functions of (seed, epoch, photo).
    """

    def __init__(
        self,
        photos: Photos,
        cfg: Data,
        *,
        image_size: int,
        batch_size: int,
        seed: int,
        device: torch.device | None = None,
        start_method: str | None = None,
    ) -> None:
        self._total, self._batch_size, self._seed = len(photos), batch_size, seed
        self._nothing = (
            torch.empty((0, 3, image_size, image_size), dtype=torch.uint8),
            torch.empty(0, dtype=torch.int64),
        )
        self._augment_validation = cfg.validation == "augmented"
        workers = min(8, launchers.cores()) if cfg.workers is None else cfg.workers
        self._plan = _Plan()
        self._loader: DataLoader[tuple[Tensor, int]] = DataLoader(
            _Pixels(photos, cfg, image_size),
            batch_sampler=self._plan,  # type: ignore[arg-type]
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=_end_quietly,
            multiprocessing_context=start_method if workers else None,
            pin_memory=device is not None and device.type == "cuda",
            # A generator of its own: else every pass would draw from the one that dropout draws from.
            generator=torch.Generator(),
        )

    def train(self, epoch: int, indices: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """The epoch's training batches, shuffled and augmented.

        A last batch of a single photo is left out (unless every batch is one): batch norm cannot learn from it.
        """
        shuffled = np.asarray(indices)[augment.order(self._seed, epoch, len(indices))]
        chunks = self._chunks(shuffled, augment.table(self._seed, epoch, self._total), self._batch_size)
        if len(chunks) > 1 and len(chunks[-1]) == 1 < self._batch_size:
            chunks.pop()
        return self._run([distributed.own(chunk) for chunk in chunks])

    def val(self, epoch: int, indices: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """The validation batches in the order of `indices`: clean, or augmented afresh each epoch as in the paper."""
        table = augment.table(self._seed, epoch, self._total) if self._augment_validation else None
        size = -(-self._batch_size // torchrun.processes())
        return self._run(self._chunks(np.asarray(distributed.own(indices)), table, size))

    def _chunks(self, indices: np.ndarray, table: np.ndarray | None, size: int) -> list[Sequence[Item]]:
        items: list[Item] = [(int(index), None if table is None else table[index]) for index in indices]
        return [items[start : start + size] for start in range(0, len(items), size)]

    def _run(self, chunks: list[Sequence[Item]]) -> Iterator[tuple[Tensor, Tensor]]:
        self._plan.batches = [chunk for chunk in chunks if chunk]
        loaded = iter(self._loader)
        return loaded if all(chunks) else (next(loaded) if chunk else self._nothing for chunk in chunks)
