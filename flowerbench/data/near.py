"""Photos that look the same whatever their files are, told by a perceptual hash."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import imagehash
import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

from flowerbench import atomic, cache, launchers
from flowerbench.data import images

log = logging.getLogger(__name__)

# A row of 64-bit words for each photo.
Hashes = NDArray[np.uint64]

# The hash has so many bits in each direction: with the usual 8, different flowers in the middle of a photo come near.
_SIDE = 16
BITS = _SIDE**2
_WORDS = BITS // 64
# Of the paper's photos, pairs of the same scene are up to 76 bits apart, and no two others fewer than 80.
NEAR = 48
# What phash scales a photo to.
_SMALL = (4 * _SIDE, 4 * _SIDE)
# Of 255: where greys differ less, as on a blank page, there are no shapes to go by, and only equal colours are alike.
_FLAT = 1
# Pairs compared at once: what they take stays in the processor's cache.
_AT_ONCE = 2**19


def groups(root: Path, paths: Sequence[str], fingerprint: str, max_distance: int) -> list[list[int]]:
    """Photos that look the same: groups of two or more indices into `paths`, ascending, in the order of their first.

    Two belong together where their hashes, of 256 bits, differ in `max_distance` bits or fewer, and where a chain of
    such pairs joins them. Files that cannot be read are in no group. The hashes are kept in the cache folder under
    `fingerprint`, which names the contents of the files in the order of `paths` (`Photos.fingerprint`).
    """
    hashes, is_read = _hashes(root, paths, fingerprint)
    read = np.flatnonzero(is_read)
    return [read[group].tolist() for group in joined(hashes[read], max_distance)]


def unreadable(root: Path, paths: Sequence[str], fingerprint: str) -> list[str]:
    """Those of `paths` that cannot be read, found while `groups` of the same photos is prepared: one look at each."""
    is_read = _hashes(root, paths, fingerprint)[1]
    return [path for path, was_read in zip(paths, is_read, strict=True) if not was_read]


def look(image: Image.Image) -> NDArray[np.uint64]:
    """The hash of a photo, which changes little with its size, its compression and its brightness."""
    greys = image.convert("L").resize(_SMALL, Image.Resampling.LANCZOS)
    if np.asarray(greys, dtype=np.float64).std() < _FLAT:
        colours = image.resize(_SMALL, Image.Resampling.BOX).tobytes()
        return np.frombuffer(hashlib.blake2b(colours, digest_size=BITS // 8).digest(), dtype=np.uint64)
    return np.packbits(imagehash.phash(greys, _SIDE).hash).view(np.uint64)


def joined(hashes: Hashes, max_distance: int) -> list[list[int]]:
    """The groups of two or more rows that a chain of pairs within `max_distance` bits joins, ascending."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    group = np.arange(len(hashes))
    rows = max(1, _AT_ONCE // max(1, len(hashes)))
    for start in range(0, len(hashes), rows):
        left, right = _pairs(hashes, start, start + rows, max_distance)
        if len(left):
            # Groups so far are the nodes, so that no more than one block of pairs is ever in memory.
            links = np.ones(len(left), dtype=bool), (group[left], group[right])
            count = int(group.max()) + 1
            group = connected_components(coo_array(links, shape=(count, count)), directed=False)[1][group]
    order = np.argsort(group, kind="stable")
    together = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    return sorted(members.tolist() for members in together if len(members) > 1)


def _pairs(hashes: Hashes, start: int, stop: int, max_distance: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The pairs within `max_distance` bits of a row from `start` to `stop` and a later one."""
    rows, others = hashes[start:stop, None], hashes[None, start:]
    so_far = np.zeros((rows.shape[0], others.shape[1]), dtype=np.uint8)
    # Half of the words tell most pairs apart already, in half the time.
    for word in range(hashes.shape[1] // 2):
        so_far += np.bitwise_count(rows[..., word] ^ others[..., word])
    left, right = np.nonzero(so_far <= max_distance)
    left, right = left + start, right + start
    is_near = np.bitwise_count(hashes[left] ^ hashes[right]).sum(axis=1, dtype=np.int64) <= max_distance
    is_near &= right > left
    return left[is_near], right[is_near]


def _hashes(root: Path, paths: Sequence[str], fingerprint: str) -> tuple[Hashes, NDArray[np.bool_]]:
    """The hash of every photo, and whether it could be read."""
    made_by = f"phash-{_SIDE}-flat-{_FLAT}_imagehash-{imagehash.__version__}_pillow-{PIL.__version__}"
    file = cache.folder() / "looks" / f"{fingerprint}_{made_by}.npy"
    with contextlib.suppress(OSError, ValueError, EOFError):
        kept: Hashes = np.load(file, allow_pickle=False)
        if kept.shape == (len(paths), _WORDS):
            return kept, np.ones(len(paths), dtype=bool)

    def hashed(path: str) -> NDArray[np.uint64] | None:
        try:
            return look(images.read_rgb(root / path))
        except Exception:  # Pillow's plugins raise anything on a broken file
            return None

    log.info("Looking at %d photos once, to find those that cannot be read or are nearly identical", len(paths))
    with ThreadPoolExecutor(launchers.cores()) as pool:
        found = list(pool.map(hashed, paths))
    is_read = np.array([row is not None for row in found], dtype=bool)
    nothing = np.zeros(_WORDS, dtype=np.uint64)
    hashes = np.array([nothing if row is None else row for row in found], dtype=np.uint64).reshape(-1, _WORDS)
    if is_read.all():
        # A failure is not kept: a share of the network may have been away.
        with contextlib.suppress(OSError):  # a cache that cannot be written costs time, no more
            file.parent.mkdir(parents=True, exist_ok=True)
            atomic.write(file, partial(_save, hashes))
    return hashes, is_read


def _save(hashes: Hashes, file: Path) -> None:
    with file.open("wb") as opened:
        np.save(opened, hashes, allow_pickle=False)
