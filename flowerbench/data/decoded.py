"""Photos decoded once, into files that every run and process of a sweep maps into its memory."""

from __future__ import annotations

import logging
import mmap
import shutil
import sys
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from filelock import FileLock
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch import Tensor

from flowerbench import cache, claim, interrupt, launchers
from flowerbench.data.files import Loaded
from flowerbench.data.sizes import Sizes
from flowerbench.data.sources import Photos

log = logging.getLogger(__name__)

# Part of the folder's name: to be raised when the files or the pixels in them change.
_VERSION = 1
_KINDS = ("photos", "squares")
# Photos decoded ahead of what is written, so that a slow disk fills no memory.
_AHEAD = 256


class Decoded:
    """The batches of photos, from the decoded ones in a folder. A photo that is not as it was written is decoded anew.

    On a GPU with room for all of them they are moved there once, and are at hand from then on.
    """

    def __init__(self, folder: Path, photos: Photos, sizes: Sizes, device: torch.device | None = None) -> None:
        with np.load(folder / "index.npz", allow_pickle=False) as index:
            self._originals = [(int(height), int(width)) for height, width in index["sizes"]]
            tables = {kind: (index[f"{kind}_shapes"], index[f"{kind}_sums"]) for kind in _KINDS}
        self._kinds = {kind: _Pixels(folder / f"{kind}.bin", *tables[kind]) for kind in _KINDS}
        self._photos, self._sizes, self._device = photos, sizes, device

    def batches(self, chunks: Sequence[Sequence[int]], *, is_clean: bool) -> Iterator[list[Loaded]]:
        """The photos of each chunk, in order: to augment, or as clean squares."""
        pixels = self._kinds["squares" if is_clean else "photos"]
        if self._device is not None and pixels.fits(self._device):
            pixels.move_to(self._device)
        for chunk in chunks:
            yield [(self._tensor(pixels, index, is_clean), self._originals[index]) for index in chunk]
            pixels.let_go()

    def _tensor(self, pixels: _Pixels, index: int, is_clean: bool) -> Tensor:
        found = pixels.get(index)
        if found is None:
            log.warning("The decoded %s is broken, and is decoded anew", self._photos.paths[index])
            found = torch.from_numpy(self._sizes.pixels(self._photos.read(index), is_clean=is_clean))
        return found


class _Pixels:
    """One file of photos, one behind the other, each verified by its CRC-32 when it is first used."""

    def __init__(self, file: Path, shapes: NDArray[np.int64], sums: NDArray[np.uint32]) -> None:
        lengths = shapes.prod(axis=1)
        self._ends = np.cumsum(lengths)
        self._starts, self._shapes, self._sums = self._ends - lengths, shapes, sums
        self._is_verified = np.zeros(len(shapes), dtype=bool)
        self._on_device: Tensor | None = None
        with file.open("rb") as opened:
            self._map = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        if len(self._map) != self._ends[-1]:
            raise ValueError(f"{file} has {len(self._map)} bytes instead of {self._ends[-1]}")

    def get(self, index: int) -> Tensor | None:
        """The photo, uint8 (height, width, 3); None when it is not as it was written."""
        start, end, shape = int(self._starts[index]), int(self._ends[index]), tuple(map(int, self._shapes[index]))
        if self._on_device is not None and self._is_verified[index]:
            return self._on_device[start:end].view(shape)
        pixels = bytearray(self._map[start:end])
        if not self._is_verified[index]:
            if zlib.crc32(pixels) != self._sums[index]:
                return None
            self._is_verified[index] = True
        return torch.frombuffer(pixels, dtype=torch.uint8).view(shape)

    def fits(self, device: torch.device) -> bool:
        """Whether the device is a GPU with free memory for twice as much."""
        return device.type == "cuda" and 2 * len(self._map) <= torch.cuda.mem_get_info(device)[0]

    def move_to(self, device: torch.device) -> None:
        """Hold all photos on the device from now on."""
        if self._on_device is None:
            sums = [zlib.crc32(self._map[start:end]) for start, end in zip(self._starts, self._ends, strict=True)]
            self._is_verified[:] = np.array(sums, dtype=np.uint32) == self._sums
            self._on_device = torch.frombuffer(bytearray(self._map), dtype=torch.uint8).to(device)

    def let_go(self) -> None:
        """Count what was read as this process's memory no more: the system keeps it for all while there is room."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)


def expected_bytes(photos: int, sizes: Sizes) -> int:
    """About how much room decoded photos take at most: a photo is one and a half times as long as it is high."""
    return photos * 3 * (sizes.image_size**2 + 3 * sizes.shorter**2 // 2)


def opened(photos: Photos, sizes: Sizes, *, max_gb: float, device: torch.device | None = None) -> Decoded:
    """The decoded photos, which are decoded now unless they have been before; another process that does is waited for.

    Raises OSError when they cannot be written, and RunError when a photo can no longer be read.
    """
    name = f"{photos.fingerprint}_{sizes.image_size}_{sizes.center_crop:g}_{sizes.shorter}_pillow-{PIL.__version__}"
    folder = cache.decoded_folder() / f"{name}_{_VERSION}"
    arguments: Any = (folder, photos, sizes, device)
    if found := _whole(*arguments):
        return found
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{folder}.lock")
    claim.wait_for(lock, "Another process is decoding these photos", unless=folder.is_dir)
    try:
        if found := _whole(*arguments):
            return found
        _write(folder, photos, sizes)
        cache.bound(folder.parent, max_gb * 1e9, in_use=folder)
    finally:
        lock.release()
    return Decoded(*arguments)


def _whole(folder: Path, *rest: Any) -> Decoded | None:
    if not folder.is_dir():
        return None
    try:
        found = Decoded(folder, *rest)
        folder.touch()  # what was not used for longest goes first
    except Exception as error:  # a broken archive raises anything
        log.warning("Decoded photos are broken, and are decoded anew: %s", error)
        shutil.rmtree(folder, ignore_errors=True)
        return None
    return found


def _write(folder: Path, photos: Photos, sizes: Sizes) -> None:
    """Decode all photos, on all cores; the folder is there when they are all in it."""

    def decode(index: int) -> tuple[tuple[int, int], NDArray[np.uint8], NDArray[np.uint8]]:
        interrupt.check()
        image = photos.read(index)
        return (image.height, image.width), sizes.photo(image), sizes.square(image)

    log.info("Decoding %d photos once, into %s", len(photos), folder)
    # Not named as the cache's rubbish is, which whoever has decoded other photos clears away.
    temporary = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed: whoever writes has the lock
    temporary.mkdir()
    originals: list[tuple[int, int]] = []
    shapes: dict[str, list[Any]] = {kind: [] for kind in _KINDS}
    sums: dict[str, list[int]] = {kind: [] for kind in _KINDS}
    try:
        with (
            (temporary / "photos.bin").open("wb") as photo_file,
            (temporary / "squares.bin").open("wb") as square_file,
            ThreadPoolExecutor(launchers.cores()) as pool,
        ):
            starts = range(0, len(photos), _AHEAD)
            done = (one for start in starts for one in pool.map(decode, range(len(photos))[start : start + _AHEAD]))
            shown = Console(stderr=True)
            for size, *kinds in track(
                done, "Decoding photos", len(photos), console=shown, transient=True, disable=not sys.stderr.isatty()
            ):
                originals.append(size)
                for kind, file, pixels in zip(_KINDS, (photo_file, square_file), kinds, strict=True):
                    file.write(pixels.data)
                    shapes[kind].append(pixels.shape)
                    sums[kind].append(zlib.crc32(pixels.data))
        index: dict[str, Any] = {"sizes": np.array(originals)}
        for kind in _KINDS:
            index |= {f"{kind}_shapes": np.array(shapes[kind]), f"{kind}_sums": np.array(sums[kind], dtype=np.uint32)}
        np.savez(temporary / "index.npz", **index)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
