"""Unpack an archive of photos whole, and nowhere but into its folder."""

from __future__ import annotations

import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from flowerbench.errors import UsageError, one_line

WAYS_OUT = "use your own copy of the photos with data.root=FOLDER, or drawn flowers with data=synthetic (no network)"
BAD_ARCHIVE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, OSError)


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a zip or tar archive into `folder`, which appears when it is complete and must be missing or empty.

    Raises UsageError when the archive is damaged or has members that would land outside the folder.
    """
    temporary = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        if zipfile.is_zipfile(archive):
            _unzip(archive, temporary)
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tar:
                _refuse_outside(tar.getnames(), temporary)
                # Python before 3.11.4 has no such filter, and passes over the attribute.
                tar.extraction_filter = getattr(tarfile, "data_filter", None)
                tar.extractall(temporary)
        else:
            raise tarfile.ReadError("it is neither a zip nor a tar archive")
        if folder.is_dir():
            folder.rmdir()  # Windows renames to no folder that exists, not even an empty one.
        temporary.replace(folder)
    except BAD_ARCHIVE as error:
        raise UsageError(f"cannot unpack {archive.name} to {folder}: {one_line(error)}; {WAYS_OUT}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _unzip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        _refuse_outside(opened.namelist(), folder)
        opened.extractall(folder)


def _refuse_outside(names: Iterable[str], folder: Path) -> None:
    for name in names:
        if not (folder / name).resolve().is_relative_to(folder.resolve()):
            raise tarfile.ReadError(f"{name!r} would land outside the folder")
