"""The batches of an epoch, the same to the bit wherever the photos come from and whatever process prepares them."""

from __future__ import annotations

import copy
import logging
import shutil
from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor

from flowerbench import cache, distributed
from flowerbench.config import Augmentation, Data
from flowerbench.data import augment, decoded, stronger, warp
from flowerbench.data.files import Files, Loaded
from flowerbench.data.sizes import Sizes
from flowerbench.data.sources import Photos
from flowerbench.errors import RunError

log = logging.getLogger(__name__)


class Batches:
    """Training and validation batches of (images, labels) on the device: float32 (n, 3, size, size), int64 (n,).

    Images are augmented and normalised there. Where several processes share a run, this one's part of them; of a last,
    small batch that may be nothing.

    Nothing depends on the loader, worker count, start method or what ran before: an epoch's order and augmentation are
    functions of (seed, epoch, photo).
    """

    def __init__(
        self,
        photos: Photos,
        cfg: Data,
        *,
        image_size: int,
        batch_size: int,
        eval_batch_size: int,
        seed: int,
        device: torch.device | None = None,
        start_method: str | None = None,
    ) -> None:
        self._total, self._batch_size, self._eval_batch_size = len(photos), batch_size, eval_batch_size
        self._seed, self._image_size, self._device = seed, image_size, device or torch.device("cpu")
        self._augmentation = cfg.augmentation
        self._augments_validation = cfg.validation == "augmented" and cfg.augmentation is not None
        self._labels = torch.tensor(photos.labels, device=self._device)
        self._mean, self._std = (
            torch.tensor(list(values), device=self._device).view(1, 3, 1, 1) for values in (cfg.mean, cfg.std)
        )
        self._inputs: Tensor | None = None
        self._source = _source(photos, cfg, image_size, self._device, start_method)

    def prepared(self, inputs: Tensor) -> Batches:
        """The same batches of `inputs`, one for each photo, instead of its pixels."""
        other = copy.copy(self)
        other._inputs = inputs
        return other

    def train(self, epoch: int, indices: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """The epoch's training batches, shuffled and augmented.

        A last batch of a single photo is left out (unless every batch is one): batch norm cannot learn from it.
        """
        shuffled = np.asarray(indices)[augment.order(self._seed, epoch, len(indices))]
        chunks = _chunks(shuffled.tolist(), self._batch_size)
        if len(chunks) > 1 and len(chunks[-1]) == 1 < self._batch_size:
            chunks.pop()
        return self._run([list(distributed.own(chunk)) for chunk in chunks], epoch, self._augmentation is not None)

    def val(self, epoch: int, indices: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """The validation batches in the order of `indices`: clean, or augmented afresh each epoch as in the paper."""
        return self._run(_chunks(distributed.own(indices), self._eval_batch_size), epoch, self._augments_validation)

    def _run(self, chunks: list[list[int]], epoch: int, is_augmented: bool) -> Iterator[tuple[Tensor, Tensor]]:
        if self._inputs is not None:
            yield from ((self._inputs[where], self._labels[where]) for where in map(self._places, chunks))
            return
        rows = augment.table(self._seed, epoch, self._total) if is_augmented else None
        draws = None
        if is_augmented and stronger.is_asked_for(self._augmentation):
            draws = augment.more(self._seed, epoch, self._total, stronger.COLUMNS)
        loaded = iter(self._source.batches([chunk for chunk in chunks if chunk], is_clean=rows is None))
        for chunk in chunks:
            batch = next(loaded) if chunk else []
            of_batch = (None if rows is None else rows[chunk], None if draws is None else draws[chunk])
            yield self._images(batch, *of_batch), self._labels[self._places(chunk)]

    def _places(self, chunk: Sequence[int]) -> Tensor:
        return warp.places(chunk, self._device)

    def _images(self, loaded: Sequence[Loaded], rows: augment.Rows | None, draws: augment.Rows | None) -> Tensor:
        if not loaded:
            return torch.empty((0, 3, self._image_size, self._image_size), device=self._device)
        photos = [pixels for pixels, _ in loaded]
        spec = cast(Augmentation, self._augmentation)
        if rows is None:
            squares = torch.stack(photos).to(self._device, non_blocking=True).permute(0, 3, 1, 2).float()
        else:
            sizes = np.array([size for _, size in loaded])
            changes = augment.changes(sizes, rows, spec)
            squares = warp.augmented(photos, changes, self._image_size, self._device)
        if draws is not None and spec.trivial_augment:
            stronger.recoloured(squares, draws)
        images = squares.div_(255).sub_(self._mean).div_(self._std)  # in torchvision's order: its digits depend on it
        return images if draws is None else stronger.erased(images, draws, spec.random_erasing)


def _chunks(indices: Sequence[int], size: int) -> list[list[int]]:
    return [list(indices[start : start + size]) for start in range(0, len(indices), size)]


def _source(
    photos: Photos, cfg: Data, image_size: int, device: torch.device, start_method: str | None
) -> decoded.Decoded | Files:
    """Where the pixels come from: `data.loader`, or what of the two has the room."""
    clean = round(image_size / cfg.center_crop)
    sizes = Sizes(image_size, cfg.center_crop, shorter=round(cfg.decoded_scale * clean))
    if cfg.loader == "cached" or (cfg.loader == "auto" and _has_room(decoded.expected_bytes(len(photos), sizes), cfg)):
        try:
            return decoded.opened(photos, sizes, max_gb=cfg.cached_max_gb, device=device)
        except OSError as error:
            failed = f"photos cannot be decoded to {cache.decoded_folder()} ({error.strerror or error})"
            if cfg.loader == "cached":
                raise RunError(
                    f"{failed}: make room, set FLOWERBENCH_CACHE to another folder, or use data.loader=stream"
                ) from error
            log.warning("Every epoch decodes its photos anew: %s", failed)
    return Files(photos, sizes, workers=cfg.workers, start_method=start_method, pinned=device.type == "cuda")


def _has_room(expected: int, cfg: Data) -> bool:
    home = cache.folder()
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    if expected <= cfg.cached_max_gb * 1e9 and 2 * expected <= shutil.disk_usage(existing).free:
        return True
    log.info("Every epoch decodes its photos anew: kept they would take about %.1f GB", expected / 1e9)
    return False
