"""Make class folders, as flowerbench reads them, out of photos that lists tell the classes of."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track

from flowerbench.data import images, listings
from flowerbench.data.listings import Listed
from flowerbench.errors import UsageError, one_line

# Windows has no file of these names, whatever their suffix.
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Copy:
    """A photo to take, and its place below the new folder: `part`, where there is one, its class and its name."""

    source: Path
    part: str | None
    label: str
    name: str

    @property
    def target(self) -> str:
        return "/".join(filter(None, (self.part, self.label, self.name)))


def folder_name(name: str) -> str:
    """The name as that of a folder or file on any system, in which there is neither a way out nor a hidden file."""
    safe = re.sub(r'[<>:"/\\|?*]', "_", "".join(letter if letter.isprintable() else "_" for letter in name))
    safe = safe.strip().rstrip(". ")
    return f"_{safe}" if not safe or safe.startswith(".") or _RESERVED.fullmatch(safe) else safe


def plan(source: Path, lists: Sequence[Path], classes_file: Path | None) -> list[Copy]:
    """What to copy where. Raises UsageError for lists that cannot be followed to the end."""
    if not source.is_dir():
        raise UsageError(f"{source} is not a folder")
    lists = lists or listings.found_in(source)
    if not lists:
        raise UsageError(f"{source} holds neither train.txt, val.txt or test.txt nor a CSV table: name one with --list")
    if classes_file is None:
        beside = (folder / "classes.txt" for folder in (source, lists[0].parent, source / "meta"))
        classes_file = next((file for file in beside if file.is_file()), None)
    rows = listings.read(lists, listings.classes_in(classes_file) if classes_file else ())
    labels = _folder_names({row.label for row in rows})
    files = _located(source.resolve(), rows)
    wanted = dict.fromkeys((file, row.part, labels[row.label]) for file, row in zip(files, rows, strict=True))
    places = [(part, label, folder_name(file.name)) for file, part, label in wanted]
    times = Counter((part, label, name.casefold()) for part, label, name in places)
    return [
        Copy(file, part, label, name if times[part, label, name.casefold()] == 1 else _told_apart(source, file, name))
        for (file, *_), (part, label, name) in zip(wanted, places, strict=True)
    ]


def carry_out(copies: Sequence[Copy], target: Path, *, is_linked: bool = False) -> None:
    """Copy the photos to `target`, or link them; the folder appears when it is complete.

    A run that is killed leaves a hidden folder beside it, which the next one replaces.
    """
    temporary = target.with_name(f".{target.name}.preparing")
    shutil.rmtree(temporary, ignore_errors=True)
    put: Callable[[Path, Path], object] = os.link if is_linked else shutil.copyfile
    try:
        shown, is_silent = Console(stderr=True), not sys.stderr.isatty()
        for copy in track(copies, "Copying photos", console=shown, transient=True, disable=is_silent):
            place = temporary / copy.target
            place.parent.mkdir(parents=True, exist_ok=True)
            put(copy.source.resolve(), place)
        if target.is_dir():
            target.rmdir()  # Windows renames to no folder that exists, not even an empty one.
        temporary.replace(target)
    except OSError as error:
        hint = "; without --link they are copied" if is_linked else ""
        raise UsageError(f"cannot write {target}: {one_line(error)}{hint}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def refuse_target(source: Path, target: Path) -> None:
    """Raises UsageError unless `target` is a missing or empty folder outside of `source`."""
    if target.resolve().is_relative_to(source.resolve()):
        raise UsageError(f"{target} lies in {source}, which is left as it is: name a folder elsewhere")
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is a file: name a new folder")
    if target.is_dir() and any(target.iterdir()):
        raise UsageError(f"{target} is not empty: name a new folder, or remove what is in it")


def _located(root: Path, rows: Sequence[Listed]) -> list[Path]:
    """The file of each row. Those that are missing, and those that are no photos, are all named before it is over."""
    files = [_file(root, row) for row in rows]
    _refuse("missing", root, (row for row, file in zip(rows, files, strict=True) if file is None))
    found = [file for file in files if file is not None]
    strange = (row for row, file in zip(rows, found, strict=True) if file.suffix.lower() not in images.SUFFIXES)
    _refuse(f"of another format than {', '.join(sorted(images.SUFFIXES))}", root, strange)
    return found


def _file(root: Path, row: Listed) -> Path | None:
    for place in listings.places(root, row):
        # As it is written: a folder of photos may itself be a link to elsewhere.
        file = Path(os.path.normpath(place))
        if file.is_relative_to(root) and file.is_file():
            return file
    return None


def _refuse(why: str, root: Path, rows: Iterable[Listed]) -> None:
    if named := [f"{row.where}: {row.path}" for row in rows]:
        print("\n".join(named), file=sys.stderr)
        files = "listed file is" if len(named) == 1 else "listed files are"
        raise UsageError(f"{len(named)} {files} {why} in {root}: named above")


def _folder_names(labels: Iterable[str]) -> Mapping[str, str]:
    safe = {label: folder_name(label) for label in sorted(labels)}
    first: dict[str, str] = {}
    for label, name in safe.items():
        if (other := first.setdefault(name.casefold(), label)) != label:
            raise UsageError(f"classes {other!r} and {label!r} would share the folder {name}: rename one of them")
    return safe


def _told_apart(source: Path, file: Path, name: str) -> str:
    """The name with eight digits that tell the photo's path, for one whose name another of its class has too."""
    path = file.relative_to(source.resolve()).as_posix()
    stem, _, suffix = name.rpartition(".")
    return f"{stem}-{hashlib.sha256(path.encode()).hexdigest()[:8]}.{suffix}"
