"""Where photos come from: a folder, a verified download, or the embedded drawings."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowerbench import cache
from flowerbench.config import Data
from flowerbench.data import folders, images
from flowerbench.errors import RunError, UsageError

if TYPE_CHECKING:
    from PIL import Image

log = logging.getLogger(__name__)

PARTS = ("train", "val")
TEST = "test"
_OTHER_PARTS = ("valid", "validation", "dev", TEST)


@dataclass(frozen=True)
class Photos:
    """The photos of a data set, sorted by class and path, so that a photo's index means the same everywhere.

    `labels[i]` is the index into `classes` of photo i, `digests[i]` the SHA-256 of its file, and `parts[i]` is
    "train", "val" or "test" where the folders say so, else None. `skipped` are the unreadable files left out.
    """

    root: Path
    classes: tuple[str, ...]
    paths: tuple[str, ...]
    labels: tuple[int, ...]
    digests: tuple[str, ...]
    parts: tuple[str | None, ...]
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> Image.Image:
        """The photo, upright and in RGB. Raises RunError when its file can no longer be read."""
        try:
            return images.read_rgb(self.root / self.paths[index])
        except Exception as error:
            raise RunError(
                f"cannot read {self.paths[index]} in {self.root}, which could be read before: {error}"
            ) from error

    @property
    def per_class(self) -> dict[str, int]:
        return self.count(range(len(self)))

    def count(self, indices: Iterable[int]) -> dict[str, int]:
        """How many of these photos there are of each class."""
        counts = Counter(self.labels[index] for index in indices)
        return {name: counts[label] for label, name in enumerate(self.classes)}

    @property
    def fingerprint(self) -> str:
        """A hash (16 hex digits) of every photo's path, class and contents; where the folder lies does not count."""
        rows = [f"{path}\t{digest}" for path, digest in zip(self.paths, self.digests, strict=True)]
        return hashlib.sha256("\n".join([*self.classes, *rows]).encode()).hexdigest()[:16]


def load(cfg: Data) -> Photos:
    """The photos that `cfg` asks for, fetched or drawn first when they are not there, and all of them readable.

    Raises UsageError when there are none, when a download fails, or when files are unreadable and
    `data.on_bad_image` is `error`.
    """
    photos = _scan(_find_root(cfg), with_test=cfg.test_fraction > 0)
    if cfg.paper_photos:
        _compare_with_the_paper(photos, cfg)
    bad = _unreadable(photos, cfg)
    if bad and cfg.on_bad_image == "error":
        names = ", ".join(sorted(bad))
        raise UsageError(
            f"data.root: {len(bad)} of {len(photos)} files in {photos.root} cannot be read as images: {names}. "
            "Mend or remove them, or leave them out with data.on_bad_image=skip"
        )
    return _without(photos, bad)


def _unreadable(photos: Photos, cfg: Data) -> set[str]:
    if cfg.near_distance is None:
        return set(images.unreadable(photos.root, photos.paths, photos.fingerprint))
    from flowerbench.data import near

    return set(near.unreadable(photos.root, photos.paths, photos.fingerprint))


def in_folder(root: Path) -> Photos:
    """All photos in a folder, those of its `test/` too, be they readable or not. Raises UsageError without any."""
    if not root.is_dir():
        raise UsageError(f"{root} is not a folder: name the one that holds one folder of photos per class")
    return _scan(folders.below_single(root.resolve()), with_test=True)


def _find_root(cfg: Data) -> Path:
    if cfg.synthetic is not None and cfg.root is None:
        from flowerbench.data import synthetic

        return synthetic.root(cfg.synthetic.count, cfg.synthetic.size, cfg.synthetic.seed)
    if cfg.root is None and cfg.url is None:
        raise UsageError("data.root has no value: name the folder that holds one folder of photos per class")
    root = Path(cfg.root).expanduser().resolve() if cfg.root else cache.folder() / cfg.name
    if root.exists() and not root.is_dir():
        raise UsageError(f"data.root={root} is a file: name the folder that holds one folder of photos per class")
    if not root.is_dir() or not any(root.iterdir()):
        if cfg.url is None:
            raise UsageError(f"data.root={root} does not exist or is empty: name a folder of class folders")
        from flowerbench.data import download

        log.info("There are no photos at %s yet", root)
        download.photos(cfg.url, root, sha256=cfg.sha256, size=cfg.bytes)
    return folders.below_single(root)


def place(config: Mapping[str, Any]) -> Path | None:
    """The folder of the photos of a flat config, where they are on this machine; nothing is fetched or drawn."""
    from flowerbench.data import synthetic

    if config.get("data.root"):
        root = Path(config["data.root"]).expanduser()
    elif config.get("data.synthetic.count"):
        root = synthetic.place(*(config[f"data.synthetic.{key}"] for key in ("count", "size", "seed")))
    else:
        root = cache.folder() / str(config.get("data.name"))
    return folders.below_single(root) if root.is_dir() else None


def _scan(root: Path, *, with_test: bool) -> Photos:
    given = all((root / part).is_dir() for part in PARTS)
    if not given and (root / "train").is_dir() and any((root / name).is_dir() for name in _OTHER_PARTS):
        raise UsageError(f"data.root={root} holds train/ but no val/: name the folder of validation photos val")
    parts = (*PARTS, TEST) if with_test and (root / TEST).is_dir() else PARTS
    found: list[tuple[str, str, str | None, Path]] = []
    for part in parts if given else (None,):
        for name, files in folders.of_classes(root / part if part else root).items():
            found += [(name, file.relative_to(root).as_posix(), part, file) for file in files]
    classes = tuple(sorted({name for name, *_ in found}))
    if len(classes) < 2:
        seen = f"found photos of {classes[0]} only" if classes else "found no photos"
        raise UsageError(f"data.root={root} must hold one folder of photos for each of two or more classes: {seen}")
    found.sort(key=lambda row: row[:2])
    for _, path, *_ in found:
        if not path.isprintable():
            raise UsageError(f"data.root={root}: rename {path!r}, whose name cannot be written in a table")
    return Photos(
        root=root,
        classes=classes,
        paths=tuple(path for _, path, _, _ in found),
        labels=tuple(classes.index(name) for name, *_ in found),
        digests=_digests([file for *_, file in found]),
        parts=tuple(part for _, _, part, _ in found),
    )


def _digests(files: Sequence[Path]) -> tuple[str, ...]:
    def digests(some: Sequence[Path]) -> list[str]:
        return [_digest(file) for file in some]

    # To hand a single file to a thread takes longer than to read it.
    threads = os.cpu_count() or 1
    size = max(1, min(64, len(files) // threads))
    some_each = [files[start : start + size] for start in range(0, len(files), size)]
    with ThreadPoolExecutor(threads) as pool:
        return tuple(digest for some in pool.map(digests, some_each) for digest in some)


def _digest(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:
        return ""  # it is found again among the files that cannot be read as images


def _without(photos: Photos, bad: set[str]) -> Photos:
    if not bad:
        return photos
    log.warning("Left out %d unreadable files: %s", len(bad), ", ".join(sorted(bad)))
    kept = [index for index, path in enumerate(photos.paths) if path not in bad]
    if len({photos.labels[i] for i in kept}) < len(photos.classes):
        raise UsageError(f"data.root={photos.root}: no readable photo is left of some class")
    return replace(
        photos,
        paths=tuple(photos.paths[i] for i in kept),
        labels=tuple(photos.labels[i] for i in kept),
        digests=tuple(photos.digests[i] for i in kept),
        parts=tuple(photos.parts[i] for i in kept),
        skipped=tuple(sorted(bad)),
    )


def _compare_with_the_paper(photos: Photos, cfg: Data) -> None:
    from flowerbench.data import manifest

    found: dict[str, list[str]] = {name: [] for name in photos.classes}
    for label, digest in zip(photos.labels, photos.digests, strict=True):
        found[photos.classes[label]].append(digest)
    differences = "; ".join(manifest.differences(found))
    if differences and cfg.root is None:
        raise UsageError(
            f"the photos fetched to {photos.root} are not the paper's 2,848 ({differences}): remove that folder "
            "and run again, or name your own copy with data.root=FOLDER"
        )
    if differences:
        log.warning("These are not the paper's 2,848 photos: %s", differences)
