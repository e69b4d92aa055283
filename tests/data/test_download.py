from __future__ import annotations

import hashlib
import io
import os
import random
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowerbench.data import archives, download
from flowerbench.errors import UsageError

BODY = random.Random(0).randbytes(300_000)
HALF = len(BODY) // 2
SUM = hashlib.sha256(BODY).hexdigest()


class Answer(NamedTuple):
    """How the server treats one request.

    It sends `send` bytes (None: all), beginning `shift` beside what was asked for, then closes or falls silent.
    """

    send: int | None = None
    stall: bool = False
    ranges: bool = True
    status: int | None = None
    length: bool = True
    shift: int = 0


class Server(ThreadingHTTPServer):
    """Serves `body` on 127.0.0.1, with one of `plan` for each request while there are any, else as servers should."""

    daemon_threads = True

    def __init__(self, body: bytes = BODY) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.plan, self.ranges, self.over = body, list[Answer](), list[str | None](), Event()
        self.url = f"http://127.0.0.1:{self.server_port}/some/photos.tgz?dl=1"

    def __enter__(self) -> Server:
        Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        answer = self.server.plan.pop(0) if self.server.plan else Answer()
        body, first = self.server.body, 0
        if answer.status:
            self.send_error(answer.status)
            return
        if asked and answer.ranges:
            first = int(asked.removeprefix("bytes=").removesuffix("-")) + answer.shift
            self.send_response(206 if first < len(body) else 416)
            last = f"{first}-{len(body) - 1}" if first < len(body) else "*"
            self.send_header("Content-Range", f"bytes {last}/{len(body)}")
        else:
            self.send_response(200)
        if answer.length:
            self.send_header("Content-Length", str(max(len(body) - first, 0)))
        self.end_headers()
        self.wfile.write(body[first:][: answer.send])
        if answer.stall:
            self.server.over.wait(20)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with Server() as running:
        yield running


@pytest.fixture
def fetch(server, tmp_path) -> Callable[..., Path]:
    def fetched(**more) -> Path:
        arguments = {"url": server.url, "sha256": SUM, "size": len(BODY), "timeout": 30} | more
        return download.fetch(arguments.pop("url"), tmp_path / "photos.tgz", **arguments)

    return fetched


def leave(tmp_path: Path, content: bytes) -> Path:
    """What a download that was killed leaves behind."""
    part = tmp_path / "photos.tgz.part"
    part.write_bytes(content)
    return part


def silent_port() -> socket.socket:
    """Connections are taken, but nobody ever says a word."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.listen(8)
    return listening


# Whole, whatever happens.


def test_a_file_is_fetched_and_nothing_else_is_left(fetch, server, tmp_path):
    assert fetch().read_bytes() == BODY
    assert server.ranges == [None]
    assert [file.name for file in tmp_path.iterdir()] == ["photos.tgz"]


def test_size_and_sum_may_be_unknown(fetch, server):
    server.plan = [Answer(length=False)]
    assert fetch(sha256=None, size=None).read_bytes() == BODY


def test_a_sum_may_be_in_capitals(fetch):
    assert fetch(sha256=SUM.upper()).read_bytes() == BODY


@pytest.mark.parametrize("length", [True, False])
def test_after_a_break_only_the_missing_bytes_are_asked_for(fetch, server, length):
    server.plan = [Answer(send=HALF, length=length), Answer(send=1000, length=length)]
    assert fetch().read_bytes() == BODY
    assert server.ranges == [None, f"bytes={HALF}-", f"bytes={HALF + 1000}-"]


def test_after_a_stall_only_the_missing_bytes_are_asked_for(fetch, server):
    server.plan = [Answer(send=HALF, stall=True)]
    assert fetch(timeout=1.5).read_bytes() == BODY
    assert server.ranges == [None, f"bytes={HALF}-"]


@settings(deadline=None, max_examples=15)
@given(st.lists(st.integers(1, len(BODY) // 5), max_size=4))
def test_wherever_it_breaks_every_byte_is_sent_once(cuts):
    with pytest.MonkeyPatch.context() as patch, Server() as server, tempfile.TemporaryDirectory() as folder:
        patch.setenv("no_proxy", "*")
        patch.setattr(download, "PAUSES", (0.0, 0.0))
        server.plan = [Answer(send=cut) for cut in cuts]
        file = download.fetch(server.url, Path(folder, "file"), sha256=SUM, size=len(BODY), timeout=30)
        assert file.read_bytes() == BODY
        starts = [sum(cuts[:n]) for n in range(len(cuts) + 1)]
        assert server.ranges == [f"bytes={start}-" if start else None for start in starts]


def test_a_killed_download_is_gone_on_with(fetch, server, tmp_path):
    server.plan = [Answer(send=HALF, stall=True)]
    process = other_process("download.fetch(sys.argv[1], Path(sys.argv[2]), sha256=None, size=None)", server, tmp_path)
    part = tmp_path / "photos.tgz.part"
    wait_until(lambda: part.exists() and part.stat().st_size > 0)
    process.kill()
    process.communicate()
    here = part.stat().st_size
    assert not (tmp_path / "photos.tgz").exists()
    assert fetch().read_bytes() == BODY
    assert server.ranges == [None, f"bytes={here}-"]


def test_a_server_that_ignores_ranges_sends_everything_again(fetch, server, tmp_path):
    leave(tmp_path, BODY[:HALF])
    server.plan = [Answer(ranges=False)]
    assert fetch().read_bytes() == BODY
    assert server.ranges == [f"bytes={HALF}-"]


@pytest.mark.parametrize("size", [len(BODY), None])
def test_a_part_that_is_complete_is_not_fetched_again(fetch, server, tmp_path, size):
    leave(tmp_path, BODY)
    assert fetch(size=size).read_bytes() == BODY
    assert server.ranges == ([] if size else [f"bytes={len(BODY)}-"])


@pytest.mark.parametrize("size", [len(BODY), None])
@pytest.mark.parametrize("length", [1000, len(BODY), len(BODY) + 5])
def test_a_part_of_another_version_is_fetched_afresh(fetch, server, tmp_path, length, size):
    leave(tmp_path, bytes(length))
    assert fetch(size=size).read_bytes() == BODY
    assert server.ranges[-1] is None


def test_bytes_from_another_place_than_was_asked_for_are_not_taken(fetch, server, tmp_path):
    leave(tmp_path, BODY[:HALF])
    server.plan = [Answer(shift=-1000)]
    assert fetch(sha256=None, size=None).read_bytes() == BODY
    assert server.ranges == [f"bytes={HALF}-", None]


def test_a_busy_server_is_asked_again(fetch, server):
    server.plan = [Answer(status=503)]
    assert fetch().read_bytes() == BODY


# What goes wrong is said in one line, soon.


def test_a_wrong_sum_is_refused_and_deleted(fetch, server, tmp_path):
    expected = "0" * 64
    with pytest.raises(UsageError) as error:
        fetch(sha256=expected)
    assert_one_line(error, server.url, expected, SUM)
    assert list(tmp_path.iterdir()) == []
    assert len(server.ranges) == 1


def test_a_wrong_size_is_refused_and_deleted(fetch, server, tmp_path):
    with pytest.raises(UsageError) as error:
        fetch(size=len(BODY) - 1)
    assert_one_line(error, server.url, "299,999", "300,000")
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_file_with_a_wrong_sum_is_fetched_afresh_only_once(fetch, server, tmp_path):
    leave(tmp_path, BODY[:HALF])
    with pytest.raises(UsageError, match="expected SHA-256"):
        fetch(sha256="0" * 64)
    assert server.ranges == [f"bytes={HALF}-", None]
    assert list(tmp_path.iterdir()) == []


def test_breaks_without_progress_end_it_and_keep_what_came(fetch, server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "PAUSES", (0.0, 0.0, 0.0))
    server.plan = [Answer(send=HALF), *[Answer(send=0)] * 9]
    with pytest.raises(UsageError) as error:
        fetch()
    assert_one_line(error, server.url, "closed too early", "150,000", "data.root=FOLDER", "data=synthetic")
    assert len(server.ranges) == 4
    assert (tmp_path / "photos.tgz.part").read_bytes() == BODY[:HALF]


def test_a_file_that_is_not_there_is_not_asked_for_again(fetch, server):
    server.plan = [Answer(status=404)]
    with pytest.raises(UsageError) as error:
        fetch()
    assert_one_line(error, server.url, "404", "data.root=FOLDER", "data=synthetic")
    assert len(server.ranges) == 1


def test_a_closed_port_is_told_soon(fetch):
    with silent_port() as closed:
        port = closed.getsockname()[1]
    begun = time.monotonic()
    with pytest.raises(UsageError) as error:
        fetch(url=f"http://127.0.0.1:{port}/photos.tgz", timeout=15)
    assert time.monotonic() - begun < 10
    assert_one_line(error, f":{port}/photos.tgz", "data.root=FOLDER", "data=synthetic")


def test_silence_is_borne_for_the_timeout_and_no_longer(fetch):
    with silent_port() as silent:
        begun = time.monotonic()
        with pytest.raises(UsageError) as error:
            fetch(url=f"http://127.0.0.1:{silent.getsockname()[1]}/photos.tgz", timeout=0.7)
        assert 0.5 < time.monotonic() - begun < 6
    assert_one_line(error, "data.root=FOLDER", "data=synthetic")


def test_the_timeout_bounds_the_look_up_of_the_name_too(fetch, monkeypatch):
    released = Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: released.wait(20) or [])
    begun = time.monotonic()
    with pytest.raises(UsageError, match=r"data\.root=FOLDER"):
        fetch(url="http://photos.invalid/photos.tgz", timeout=0.7)
    released.set()
    assert time.monotonic() - begun < 6


def test_what_is_no_address_is_told(fetch):
    with pytest.raises(UsageError) as error:
        fetch(url="photos.tgz")
    assert_one_line(error, "photos.tgz", "unknown url type")


# What a person sees.


def test_off_a_terminal_there_is_a_line_at_the_start_and_at_the_end(fetch, caplog, capfd):
    caplog.set_level("INFO", "flowerbench")
    fetch()
    assert [message.split()[0] for message in caplog.messages] == ["Fetching", "Fetched"]
    assert "fetching photos" not in capfd.readouterr().err


def test_a_terminal_shows_a_bar(fetch, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    fetch()
    assert "fetching photos" in sys.stderr.getvalue()


# From the archive to the folder.


def tgz(members: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return made.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return made.getvalue()


PACKERS = pytest.mark.parametrize("pack", [tgz, zipped])
FLOWERS = {"flowers/rose/1.jpg": b"a rose", "flowers/tulip/1.jpg": b"a tulip" * 5000}


def files(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@PACKERS
@pytest.mark.parametrize("exists", [False, True])
def test_an_archive_is_unpacked(tmp_path, pack, exists):
    archive, folder = tmp_path / "archive", tmp_path / "photos"
    archive.write_bytes(pack(FLOWERS))
    if exists:
        folder.mkdir()
    assert archives.unpack(archive, folder) == folder
    assert files(folder) == FLOWERS
    assert {entry.name for entry in tmp_path.iterdir()} == {"archive", "photos"}


@PACKERS
@pytest.mark.parametrize("name", ["../outside.jpg", "flowers/../../outside.jpg"])
def test_an_archive_that_would_leave_its_folder_is_refused(tmp_path, pack, name):
    home = tmp_path / "home"
    home.mkdir()
    (home / "archive").write_bytes(pack(FLOWERS | {name: b"!"}))
    with pytest.raises(UsageError) as error:
        archives.unpack(home / "archive", home / "photos")
    assert_one_line(error, "outside")
    assert {file.name for file in tmp_path.rglob("*")} == {"home", "archive"}


@pytest.mark.parametrize("content", [b"<html>log in first</html>", b"", tgz(FLOWERS)[:-60], zipped(FLOWERS)[:-60]])
def test_what_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "archive.tgz").write_bytes(content)
    with pytest.raises(UsageError) as error:
        archives.unpack(tmp_path / "archive.tgz", tmp_path / "photos")
    assert_one_line(error, "cannot unpack archive.tgz")
    assert {entry.name for entry in tmp_path.iterdir()} == {"archive.tgz"}


@PACKERS
def test_photos_come_once(server, tmp_path, pack):
    server.body = pack(FLOWERS)
    sha256 = hashlib.sha256(server.body).hexdigest()
    for _ in range(2):
        assert download.photos(server.url, tmp_path / "photos", sha256=sha256, size=len(server.body))
        assert files(tmp_path / "photos") == FLOWERS
    assert server.ranges == [None]
    assert {entry.name for entry in tmp_path.iterdir()} <= {"photos", ".photos.lock"}


def test_what_a_killed_run_left_is_not_taken_for_the_photos(server, tmp_path):
    server.body = tgz(FLOWERS)
    stale = tmp_path / ".photos.unpacking" / "flowers" / "rose"
    stale.mkdir(parents=True)
    (stale / "half.jpg").write_bytes(b"half a rose")
    (tmp_path / ".photos.photos.tgz.part").write_bytes(b"of another version")
    (tmp_path / "photos").mkdir()
    sha256 = hashlib.sha256(server.body).hexdigest()
    download.photos(server.url, tmp_path / "photos", sha256=sha256, size=len(server.body))
    assert files(tmp_path / "photos") == FLOWERS
    assert {entry.name for entry in tmp_path.iterdir()} <= {"photos", ".photos.lock"}


def test_a_bad_archive_without_a_sum_is_fetched_afresh_next_time(server, tmp_path):
    server.body = b"come back later"
    with pytest.raises(UsageError, match="neither a zip nor a tar"):
        download.photos(server.url, tmp_path / "photos", sha256=None, size=None)
    server.body = zipped(FLOWERS)
    download.photos(server.url, tmp_path / "photos", sha256=None, size=None)
    assert files(tmp_path / "photos") == FLOWERS


def test_an_archive_of_the_users_own_beside_the_folder_is_left_alone(server, tmp_path):
    server.body = tgz(FLOWERS)
    (tmp_path / "photos.tgz").write_bytes(b"mine")
    download.photos(server.url, tmp_path / "photos", sha256=None, size=None)
    assert (tmp_path / "photos.tgz").read_bytes() == b"mine"


def test_a_folder_that_cannot_be_made_is_told_in_one_line(server, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UsageError) as error:
        download.photos(server.url, tmp_path / "file" / "photos", sha256=None, size=None)
    assert_one_line(error, "data.root")


def test_two_processes_fetch_once(server, tmp_path):
    server.body = tgz(FLOWERS)
    server.plan = [Answer(send=100, stall=True)]
    call = "download.photos(sys.argv[1], Path(sys.argv[2]), sha256=None, size=None)"
    first = other_process(call, server, tmp_path)
    wait_until(lambda: server.ranges)
    second = other_process(call, server, tmp_path)
    assert "waiting for it" in second.stderr.readline()
    server.over.set()
    for process in (first, second):
        _, told = process.communicate(timeout=60)
        assert process.returncode == 0, told
    assert files(tmp_path / "photos.tgz") == FLOWERS
    assert server.ranges == [None, "bytes=100-"]


def other_process(call: str, server: Server, tmp_path: Path) -> subprocess.Popen[str]:
    code = f"import logging, sys; logging.basicConfig(level='INFO'); from pathlib import Path; \
from flowerbench.data import download; {call}"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", code, server.url, str(tmp_path / "photos.tgz")]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def assert_one_line(error: pytest.ExceptionInfo[UsageError], *words: str) -> None:
    text = str(error.value)
    assert "\n" not in text
    assert [word for word in words if word not in text] == []
