"""Photos decoded in every epoch anew, by processes of their own: for data that have no room in the cache folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from flowerbench import launchers
from flowerbench.data.sizes import Sizes
from flowerbench.data.sources import Photos

# What a worker is asked for: the photo, and whether as a clean square.
Item = tuple[int, bool]
# Pixels, uint8 (height, width, 3), and the photo's own height and width.
Loaded = tuple[Tensor, tuple[int, int]]


class _Decoder(Dataset[Loaded]):
    """Pixels of a photo as a function of the item; it holds no state, so any worker may be asked."""

    def __init__(self, photos: Photos, sizes: Sizes) -> None:
        self.photos, self.sizes = photos, sizes

    def __getitem__(self, item: Item) -> Loaded:
        index, is_clean = item
        image = self.photos.read(index)
        return torch.from_numpy(self.sizes.pixels(image, is_clean=is_clean)), (image.height, image.width)


@dataclass
class _Plan:
    """The batches of the coming pass; workers stay alive between passes, so the loader reads it anew each time."""

    batches: Sequence[Sequence[Item]] = field(default_factory=list)

    def __iter__(self) -> Iterator[Sequence[Item]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class Files:
    """The batches of photos, read from their files by `workers` processes (null: one per core, at most 8)."""

    def __init__(
        self,
        photos: Photos,
        sizes: Sizes,
        *,
        workers: int | None,
        start_method: str | None = None,
        pinned: bool = False,
    ) -> None:
        workers = min(8, launchers.cores()) if workers is None else workers
        self._plan = _Plan()
        self._loader: DataLoader[Loaded] = DataLoader(
            _Decoder(photos, sizes),
            batch_sampler=self._plan,  # type: ignore[arg-type]
            num_workers=workers,
            collate_fn=list,  # photos differ in size
            persistent_workers=workers > 0,
            worker_init_fn=_end_quietly,
            multiprocessing_context=start_method if workers else None,
            pin_memory=pinned,
            # A generator of its own: else every pass would draw from the one that dropout draws from.
            generator=torch.Generator(),
        )

    def batches(self, chunks: Sequence[Sequence[int]], *, is_clean: bool) -> Iterator[list[Loaded]]:
        """The photos of each chunk, in order: to augment, or as clean squares."""
        self._plan.batches = [[(int(index), is_clean) for index in chunk] for chunk in chunks]
        return iter(self._loader)


def _end_quietly(worker: int) -> None:
    """Called in a worker as it starts: when the run is stopped, nobody takes the pixels that it is handing over.

    Python's thread for handing over would print that as a traceback, on a terminal that said "stopped" already.
    """

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not issubclass(kind, ConnectionError | EOFError):
            sys.__excepthook__(kind, error, trace)

    sys.excepthook = hook
