"""Photos from the network: fetched in spite of breaks, checked, and put in their place whole or not at all."""

from __future__ import annotations

import hashlib
import logging
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PurePosixPath
from threading import Thread
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from flowerbench.data.archives import WAYS_OUT, unpack
from flowerbench.errors import UsageError

log = logging.getLogger(__name__)

# Seconds before each new try; where no byte ever came, only the first pause is worth the wait.
PAUSES = (0.2, 1.0, 3.0, 9.0)
CHUNK = 1 << 16


class _Break(Exception):  # noqa: N818 - not the end: the download may go on from here
    """The network failed; the message says how."""


def photos(url: str, folder: Path, *, sha256: str | None, size: int | None) -> Path:
    """The folder of photos, fetched from the archive at `url` and unpacked when `folder` is missing or empty.

    Processes that ask for the same folder at the same time do it once. Raises UsageError when it cannot be done.
    """
    if _is_filled(folder):
        return folder
    # The hidden name keeps clear of an archive of the user's own that lies beside the folder.
    archive = folder.with_name(f".{folder.name}.{PurePosixPath(urlsplit(url).path).name}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            if not _is_filled(folder):
                if not archive.is_file():
                    fetch(url, archive, sha256=sha256, size=size)
                try:
                    unpack(archive, folder)
                except UsageError:
                    if sha256 is None:  # then the archive itself may be what is wrong
                        archive.unlink()
                    raise
                archive.unlink()
    except OSError as error:
        raise UsageError(f"data.root: cannot put photos at {folder}: {error.strerror or error}") from error
    return folder


def fetch(url: str, target: Path, *, sha256: str | None, size: int | None, timeout: float = 15.0) -> Path:
    """Download `url` to the file `target`, going on from what an earlier, broken download left beside it.

    `size` is in bytes and `timeout`, in seconds, is the longest silence that is borne. Raises UsageError when the
    network fails for good, or when the file is not of the size and the SHA-256 that were asked for.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    begun = time.monotonic()
    log.info("Fetching %s, %s of it here from before", url, _megabytes(_length(part)))
    resumed = _download(url, part, size, timeout)
    fault = _fault(part, sha256, size)
    if fault and resumed:
        log.warning("What an earlier download left is of another version (%s): fetching all of it again", fault)
        part.unlink()
        _download(url, part, size, timeout)
        fault = _fault(part, sha256, size)
    if fault:
        part.unlink()
        raise UsageError(f"{url} is not the file it should be: {fault}; {WAYS_OUT}")
    part.replace(target)
    log.info("Fetched %s in %.0f s", _megabytes(_length(target)), time.monotonic() - begun)
    return target


def _is_filled(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        log.info("Another run is fetching the photos to %s: waiting for it", folder)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _download(url: str, part: Path, size: int | None, timeout: float) -> bool:
    """Fill `part`, over as many breaks as bring new bytes; True when its beginning was there before the last try."""
    most, pauses, deadline = _length(part), iter(PAUSES[:1]), time.monotonic() + timeout
    while True:
        try:
            return _go_on(url, part, size, timeout, deadline)
        except _Break as error:
            if _length(part) > most:
                most, pauses, deadline = _length(part), iter(PAUSES), time.monotonic() + timeout
            pause = next(pauses, None)
            if pause is None or time.monotonic() + pause > deadline:
                kept = f" (the {_length(part):,} bytes that came are kept)" if _length(part) else ""
                raise UsageError(f"cannot fetch {url}: {error}{kept}; try again later, or {WAYS_OUT}") from error
            log.warning("The download stopped at %s (%s): trying again", _megabytes(_length(part)), error)
            time.sleep(pause)


def _go_on(url: str, part: Path, size: int | None, timeout: float, deadline: float) -> bool:
    start = _length(part)
    if start and start == size:
        return True
    with _ask(url, start, timeout, deadline) as answer:
        status, sent = answer.status or 0, answer.headers.get("Content-Range", "")
        if start and status == 416 and sent == f"bytes */{start}":
            return True
        if start and (status == 416 or (status == 206 and not sent.startswith(f"bytes {start}-"))):
            part.unlink()  # What is here does not fit what the server has.
            return _go_on(url, part, size, timeout, deadline)
        if status in (408, 429) or status >= 500:
            raise _Break(f"the server says {status} {answer.reason}")
        if status not in (200, 206):
            raise UsageError(f"cannot fetch {url}: the server says {status} {answer.reason}; {WAYS_OUT}")
        start = start if status == 206 else 0
        length = answer.headers.get("Content-Length", "")
        total = start + int(length) if length.isdigit() else size
        with part.open("ab" if start else "wb") as file, _bar(start, total) as bar:
            for chunk in _chunks(answer):
                file.write(chunk)
                bar.advance(bar.task_ids[0], len(chunk))
    if total is not None and _length(part) < total:
        raise _Break("the connection was closed too early")
    return start > 0


def _ask(url: str, start: int, timeout: float, deadline: float) -> HTTPResponse | HTTPError:
    """The server's answer to a request for the bytes from `start` on; no later than the deadline."""
    headers = {"User-Agent": "flowerbench"} | ({"Range": f"bytes={start}-"} if start else {})
    answer: Future[HTTPResponse | HTTPError] = Future()

    def ask() -> None:
        try:
            answer.set_result(urlopen(Request(url, headers=headers), timeout=timeout))
        except HTTPError as refusal:
            answer.set_result(refusal)
        except Exception as error:
            answer.set_exception(error)

    # A socket's timeout begins anew for each address of a host and leaves out the look-up of its name, so the
    # bound on all of it is a wait for a thread.
    Thread(target=ask, daemon=True).start()
    try:
        return answer.result(max(deadline - time.monotonic(), 0))
    except TimeoutError as error:
        answer.add_done_callback(lambda late: late.exception() or late.result().close())
        raise _Break(f"no answer for {timeout:.0f} s") from error
    except (OSError, HTTPException, ValueError) as error:
        raise _Break(_reason(error.reason if isinstance(error, URLError) else error)) from error


def _chunks(answer: HTTPResponse | HTTPError) -> Iterator[bytes]:
    """The body as it comes, with the errors of the network told from those of the disk."""
    try:
        while chunk := answer.read1(CHUNK):
            yield chunk
    except (OSError, HTTPException) as error:
        raise _Break(_reason(error)) from error


@contextmanager
def _bar(start: int, total: int | None) -> Iterator[Progress]:
    columns = (TextColumn("fetching photos"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        bar.add_task("", total=total, completed=start)
        yield bar


def _fault(file: Path, sha256: str | None, size: int | None) -> str | None:
    if size is not None and _length(file) != size:
        return f"expected {size:,} bytes, found {_length(file):,}"
    if sha256 is None:
        return None
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    return None if found == sha256.lower() else f"expected SHA-256 {sha256}, found {found}"


def _length(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def _reason(error: BaseException | str) -> str:
    return " ".join(str(error).split()) or type(error).__name__
