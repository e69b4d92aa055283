"""Lists of photos and their classes, as other tools write them: lines of text, or a CSV table."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from flowerbench.errors import UsageError, one_line

# What the three parts are called elsewhere.
PARTS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
# Names of columns, the surest first.
_PATH = ("path", "image_path", "file_path", "filepath", "filename", "file_name", "file", "image", "img", "photo")
_CLASS = ("class", "class_name", "label", "category", "target", "species")
_PART = ("split", "part", "subset", "set", "partition")


@dataclass(frozen=True)
class Listed:
    """A photo as it is listed: its path as written, its class, its part where there is one, and where that stands."""

    path: str
    label: str
    part: str | None
    where: str


def found_in(folder: Path) -> tuple[Path, ...]:
    """The lists that a folder holds: `train.txt` and its like, there or in `meta/`, else its CSV tables."""
    for place in (folder, folder / "meta"):
        texts = [place / f"{name}.txt" for name in PARTS]
        if any(file.is_file() for file in texts):
            return tuple(file for file in texts if file.is_file())
    return tuple(sorted(file for file in folder.glob("*.csv") if not file.name.startswith(".")))


def read(lists: Sequence[Path], classes: Sequence[str]) -> list[Listed]:
    """All that the lists hold; numbers in them count `classes` from 0, where there are any.

    Raises UsageError that names the file and the line of what cannot be understood.
    """
    rows = [row for file in lists for row in (_table(file) if file.suffix.lower() == ".csv" else _lines(file, classes))]
    if not rows:
        raise UsageError(f"{', '.join(map(str, lists))}: no photo is listed")
    if len({row.part is None for row in rows}) > 1:
        without = next(row for row in rows if row.part is None)
        raise UsageError(f"{without.where}: no part (train, val or test) is named, but others have one")
    names = frozenset(classes)
    return [Listed(row.path, _class(row, classes, names), row.part, row.where) for row in rows]


def classes_in(file: Path) -> list[str]:
    """The names in a file such as `classes.txt`, one a line. Raises UsageError for one that stands there twice."""
    names = [line.strip() for line in _text(file).splitlines() if line.strip()]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{file}: {name} stands there twice")
    return names


def _class(row: Listed, classes: Sequence[str], names: Collection[str]) -> str:
    if not classes:
        return row.label
    is_number = row.label.isascii() and row.label.isdigit() and int(row.label) < len(classes)
    counted = classes[int(row.label)] if is_number else row.label
    if row.label in names and counted != row.label:
        raise UsageError(
            f"{row.where}: class {row.label} is the name of one class and the number of another, {counted}"
        )
    if counted in names:
        return counted
    raise UsageError(f"{row.where}: class {row.label} is none of the {len(classes)} classes: {', '.join(classes)}")


def _lines(file: Path, classes: Sequence[str]) -> Iterator[Listed]:
    """`path class` in each line, or `path<TAB>class`; the path may hold spaces, and so may a class that is known."""
    part = PARTS.get(file.stem.lower())
    longest_first = sorted((name for name in classes if " " in name), key=len, reverse=True)
    for number, line in enumerate(_text(file).splitlines(), start=1):
        text = line.strip()
        if not text:
            continue
        path, _, label = text.rpartition("\t" if "\t" in text else " ")
        if "\t" not in text and not label.isdigit():
            known = next((name for name in longest_first if text.endswith(f" {name}")), label)
            path, label = text.removesuffix(known), known
        if not path.strip() or not label.strip():
            raise UsageError(f"{file}:{number}: needs a path, a space and a class, but holds {text!r}")
        yield Listed(path.strip(), label.strip(), part, f"{file}:{number}")


def _table(file: Path) -> Iterator[Listed]:
    text = _text(file)
    try:
        dialect = csv.Sniffer().sniff(text[:10_000], delimiters=",;\t")
    except csv.Error:
        dialect = csv.excel
    reader = csv.DictReader(io.StringIO(text, newline=""), dialect=dialect)
    heads = {str(head).strip().lower(): head for head in reader.fieldnames or ()}
    path, label = _column(file, heads, _PATH, "paths"), _column(file, heads, _CLASS, "classes")
    part = next((heads[name] for name in _PART if name in heads), None)
    try:
        for row in reader:
            where = f"{file}:{reader.line_num}"
            its_path, its_class = ((row[key] or "").strip() for key in (path, label))
            if not its_path or not its_class:
                raise UsageError(f"{where}: needs both {path} and {label}")
            its_part = _part(row[part], where) if part else PARTS.get(file.stem.lower())
            yield Listed(its_path, its_class, its_part, where)
    except csv.Error as error:
        raise UsageError(f"{file}:{reader.line_num}: {one_line(error)}") from error


def _column(file: Path, heads: dict[str, str], names: Sequence[str], what: str) -> str:
    for name in names:
        if name in heads:
            return heads[name]
    raise UsageError(f"{file} has no column of {what} ({', '.join(names)}): it has {', '.join(heads) or 'none'}")


def _part(word: str | None, where: str) -> str | None:
    word = (word or "").strip()
    if word and word.lower() not in PARTS:
        raise UsageError(f"{where}: {word} is no part: train, val or test")
    return PARTS[word.lower()] if word else None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {one_line(error)}") from error


def places(folder: Path, row: Listed) -> Iterator[Path]:
    """Where a listed photo may lie: below the folder, or below that of its part, as ImageNet's lists have it."""
    for written in dict.fromkeys((row.path, row.path.replace("\\", "/"))):
        yield folder / written
        if row.part is not None:
            yield from (folder / name / PurePosixPath(written) for name, part in PARTS.items() if part == row.part)
