"""The SHA-256 sums of the paper's 2,848 photos, so that a copy of them can be told from something like them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from flowerbench import atomic

FILE = Path(__file__).with_name("flowers.npz")


def paper_flowers() -> dict[str, Counter[str]]:
    """How often each sum (64 hex digits) occurs among the photos of each class.

    Counted, because one photo is in `sunflower` twice; three more are in both `rose` and `tulip`.
    """
    with np.load(FILE, allow_pickle=False) as classes:
        return {name: Counter(row.tobytes().hex() for row in classes[name]) for name in classes.files}


def differences(found: Mapping[str, Sequence[str]]) -> list[str]:
    """What sets `found`, the sums of each class's photos, apart from the paper's: a line per class that differs."""
    paper = paper_flowers()
    lines = []
    for name in sorted(paper.keys() | found.keys()):
        here, there = Counter(found.get(name, ())), paper.get(name, Counter())
        missing, strange = (there - here).total(), (here - there).total()
        told = [f"{missing} {'photo' if missing == 1 else 'photos'} missing"] if missing else []
        told += [f"{strange} not in the set"] if strange else []
        if told:
            lines.append(f"{name}: {', '.join(told)}")
    return lines


def write(sums: Path, target: Path = FILE) -> None:
    """Make the committed file again, from the lines `<sum>  flowers/<class>/<photo>` that `sha256sum` prints.

    It holds one array per class, uint8 (photos, 32), rows sorted.
    """
    classes: dict[str, list[bytes]] = {}
    for line in sums.read_text(encoding="utf-8").splitlines():
        digest, photo = line.split(maxsplit=1)
        classes.setdefault(photo.split("/")[-2], []).append(bytes.fromhex(digest))
    arrays = {
        name: np.frombuffer(b"".join(sorted(rows)), np.uint8).reshape(-1, 32) for name, rows in sorted(classes.items())
    }

    def save(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    atomic.write(target, save)
