from __future__ import annotations

import errno
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from chatwright.errors import SourceError, UsageError
from chatwright.sources import download, fetch

from .conftest import Answer, Server

BODY = random.Random(1).randbytes(3_000_000)
SHA = hashlib.sha256(BODY).hexdigest()


def leftovers(cache: Path) -> list[str]:
    return sorted(p.name for p in cache.rglob("*") if p.is_file() and p.suffix != ".lock")


def test_a_cut_connection_is_taken_up_where_it_broke(server: Server) -> None:
    server.routes["/big.bin"] = Answer(BODY, cut_after=1_200_000)
    path = fetch(f"{server.url}/big.bin", sha256=SHA)
    assert path.read_bytes() == BODY
    ranges = [wanted for _, _, wanted in server.log]
    assert ranges[0] is None
    assert ranges[1] == "bytes=1200000-"


def test_a_server_without_ranges_is_read_from_the_start(server: Server) -> None:
    server.routes["/big.bin"] = Answer(BODY, cut_after=1_000_000, ranges=False)
    assert fetch(f"{server.url}/big.bin", sha256=SHA).read_bytes() == BODY


def test_a_busy_server_is_asked_again(server: Server) -> None:
    server.routes["/big.bin"] = Answer(BODY, fail_first=3)
    assert fetch(f"{server.url}/big.bin").read_bytes() == BODY
    assert len(server.log) == 4


def test_a_missing_file_is_not_asked_for_again(server: Server, cache: Path) -> None:
    with pytest.raises(SourceError, match="404"):
        fetch(f"{server.url}/none.bin")
    assert len(server.log) == 1
    assert leftovers(cache) == []


def test_a_server_that_stays_broken_gives_up_and_keeps_what_came(
    server: Server, cache: Path
) -> None:
    part = BODY[:500_000]
    calls = iter(range(100))

    def broken(_: object) -> Answer:
        return Answer(BODY, cut_after=len(part)) if next(calls) == 0 else Answer(b"", 503)

    server.routes["/big.bin"] = broken
    with pytest.raises(SourceError, match="503"):
        fetch(f"{server.url}/big.bin", sha256=SHA)
    assert leftovers(cache) == [".big.bin.partial"]
    server.routes["/big.bin"] = Answer(BODY)
    assert fetch(f"{server.url}/big.bin", sha256=SHA).read_bytes() == BODY
    assert server.log[-1][2] == f"bytes={len(part)}-"


def test_a_wrong_rest_is_noticed_and_fetched_anew(server: Server, cache: Path) -> None:
    server.routes["/big.bin"] = Answer(BODY)
    path = fetch(f"{server.url}/big.bin", sha256=SHA)
    path.unlink()
    (path.parent / ".big.bin.partial").write_bytes(b"rest of another version")
    assert fetch(f"{server.url}/big.bin", sha256=SHA).read_bytes() == BODY
    (path.parent / ".big.bin.partial").write_bytes(b"longer than it: " + BODY)
    path.unlink()
    assert fetch(f"{server.url}/big.bin", sha256=SHA).read_bytes() == BODY
    assert leftovers(cache) == ["big.bin"]


def test_a_wrong_checksum_leaves_nothing(server: Server, cache: Path) -> None:
    server.routes["/big.bin"] = Answer(b"tampered with")
    with pytest.raises(SourceError, match="thrown away"):
        fetch(f"{server.url}/big.bin", sha256=SHA)
    assert leftovers(cache) == []


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_is_said_plainly(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, fault: int
) -> None:
    server.routes["/big.bin"] = Answer(BODY)

    def full(_: Path, needed: int) -> None:
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(download, "_check_room", full)
    with pytest.raises(SourceError, match="CHATWRIGHT_CACHE"):
        fetch(f"{server.url}/big.bin", sha256=SHA)
    assert leftovers(cache) == []


def test_a_file_larger_than_the_disk_is_refused_at_once(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.routes["/big.bin"] = Answer(BODY)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(SourceError, match="1000 are free"):
        fetch(f"{server.url}/big.bin")
    assert leftovers(cache) == []


def test_a_really_full_disk(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """`/dev/full` answers every write as a full disk does."""
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    server.routes["/big.bin"] = Answer(BODY)
    opened = Path.open

    def onto_full_disk(path: Path, mode: str = "r", *rest, **more):
        wanted = path.name.endswith(".partial") and mode[0] in "wa"
        return opened(full if wanted else path, mode, *rest, **more)

    monkeypatch.setattr(Path, "open", onto_full_disk)
    with pytest.raises(SourceError, match="No space left"):
        fetch(f"{server.url}/big.bin")


def test_killed_while_downloading_leaves_nothing_wrong(server: Server, cache: Path) -> None:
    """SIGKILL in the middle; the next run takes the rest and gets the right file."""
    reached = threading.Event()

    def slow(_: object) -> Answer:
        reached.set()
        return Answer(BODY + b"x" * 60_000_000)  # more than socket buffers hold

    server.routes["/big.bin"] = slow
    code = (
        "import sys; from chatwright.sources import fetch; "
        "import time; "
        "\n"
        "class P:\n"
        "  def task(self, n, t=None):\n"
        "    import contextlib; return contextlib.nullcontext(self)\n"
        "  def advance(self, n=1): print('x', flush=True); time.sleep(0.05)\n"
        "  def status(self, t): pass\n"
        f"fetch(sys.argv[1], sha256='{SHA}', progress=P())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, f"{server.url}/big.bin"], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    for _ in range(5):
        assert process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert reached.is_set()
    assert leftovers(cache) == [".big.bin.partial"]
    server.routes["/big.bin"] = Answer(BODY)
    server.log.clear()
    assert fetch(f"{server.url}/big.bin", sha256=SHA).read_bytes() == BODY
    assert (server.log[0][2] or "").startswith("bytes=")
    assert leftovers(cache) == ["big.bin"]


def test_two_processes_download_once(server: Server) -> None:
    def slow(_: object) -> Answer:
        time.sleep(0.5)
        return Answer(BODY)

    server.routes["/big.bin"] = slow
    code = (
        "import sys; from chatwright.sources import fetch; fetch(sys.argv[1], sha256=sys.argv[2])"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, f"{server.url}/big.bin", SHA])
        for _ in range(2)
    ]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert len(server.log) == 1


def test_plain_http_from_elsewhere_is_refused_without_a_checksum() -> None:
    with pytest.raises(UsageError, match="plain http"):
        fetch("http://example.org/data.txt")


def test_local_files(tmp_path: Path) -> None:
    file = tmp_path / "a b.txt"
    file.write_bytes(b"hello")
    good = hashlib.sha256(b"hello").hexdigest()
    for reference in (str(file), f"file:{file}", file.as_uri()):
        assert fetch(reference, sha256=good.upper()) == file
    assert fetch(str(tmp_path)) == tmp_path
    with pytest.raises(SourceError, match="SHA-256"):
        fetch(str(file), sha256="0" * 64)
    with pytest.raises(SourceError, match="no such file"):
        fetch(str(tmp_path / "none"))
    with pytest.raises(UsageError, match="64 hex"):
        fetch(str(file), sha256="abc")
    with pytest.raises(UsageError, match="folder"):
        fetch(str(tmp_path), sha256=good)


def test_progress_counts_the_bytes(server: Server) -> None:
    counts: list[int] = []

    class Bar:
        def __enter__(self):
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def advance(self, count: int = 1) -> None:
            counts.append(count)

        def status(self, text: str) -> None:
            pass

    class Bars:
        def task(self, name: str, total: int | None = None) -> Bar:
            assert name == "download big.bin"
            return Bar()

        def line(self, text: str) -> None:
            pass

    server.routes["/big.bin"] = Answer(BODY)
    fetch(f"{server.url}/big.bin", progress=Bars())
    assert sum(counts) == len(BODY)
