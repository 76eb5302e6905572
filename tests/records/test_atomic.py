"""Whole or not there: kills, full disks and errors in the middle of a write."""

from __future__ import annotations

import errno
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chatwright.errors import DataError
from chatwright.records import (
    Dataset,
    Document,
    atomic_folder,
    disk_errors,
    write_atomic,
    write_dataset,
)

KILLED = """
import sys, time
from pathlib import Path
from chatwright.records import Document, write_dataset
path = Path(sys.argv[1])
with write_dataset(path, Document, stage="s", fingerprint="new", settings={}) as out:
    for n in range(3000):
        out.write(Document(f"{n}", "x" * 100, f"u{n}", "s"))
    print("half", flush=True)
    time.sleep(60)
"""


def save(path: Path, fingerprint: str, rows: int = 3) -> None:
    with write_dataset(path, Document, stage="s", fingerprint=fingerprint, settings={}) as out:
        for n in range(rows):
            out.write(Document(f"{n}", "text", f"u{n}", "s"))


def kill_half_way(path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def test_sigkill_in_the_middle_leaves_what_stood_there(tmp_path: Path) -> None:
    path = tmp_path / "data"
    kill_half_way(path)
    assert not path.exists()
    with pytest.raises(DataError, match="no dataset here"):
        Dataset.open(path)
    save(path, "old")
    kill_half_way(path)
    assert Dataset.open(path).fingerprint == "old"
    assert len(list(tmp_path.glob(".data.*"))) == 1
    save(path, "newer")
    assert Dataset.open(path).fingerprint == "newer"
    assert [p.name for p in tmp_path.iterdir()] == ["data"], (
        "leftovers are cleared by the next write"
    )


def test_an_error_inside_leaves_nothing_new(tmp_path: Path) -> None:
    path = tmp_path / "data"
    save(path, "old")
    with (
        pytest.raises(ZeroDivisionError),
        write_dataset(path, Document, stage="s", fingerprint="new", settings={}) as out,
    ):
        out.write(Document("1", "x", "u", "s"))
        raise ZeroDivisionError
    assert Dataset.open(path).fingerprint == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


def test_a_full_disk_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "data"
    save(path, "old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="No space left") as caught:
        save(path, "new")
    monkeypatch.undo()
    assert caught.value.where == str(path) and "free some disk space" in str(caught.value)
    assert Dataset.open(path).fingerprint == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match="could not be written"),
        disk_errors(tmp_path),
        Path("/dev/full").open("wb", buffering=0) as file,
    ):
        file.write(b"x")


def test_other_os_errors_are_not_dressed_up(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="odd"), disk_errors(tmp_path):
        raise OSError(errno.EIO, "odd")


def test_a_file_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "deep" / "state.json"
    write_atomic(file, "old")
    write_atomic(file, b"new")
    assert file.read_bytes() == b"new"

    def fails(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="full"):
        write_atomic(file, "third")
    monkeypatch.undo()
    assert file.read_bytes() == b"new"
    assert [p.name for p in file.parent.iterdir()] == ["state.json"]


def test_a_reader_never_sees_half_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with atomic_folder(path) as folder:
        (folder / "a").write_text("1")
        assert not path.exists()
        time.sleep(0.01)
    assert (path / "a").read_text() == "1"
    with atomic_folder(path) as folder:
        (folder / "b").write_text("2")
        assert (path / "a").exists()
    assert [p.name for p in path.iterdir()] == ["b"]


def test_killed_between_the_renames_the_old_result_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "corpus"
    save(path, "old")
    path.rename(tmp_path / ".corpus.0123abcd.replaced.partial")
    with pytest.raises(RuntimeError), atomic_folder(path):
        raise RuntimeError("the next writer fails as well")
    assert Dataset.open(path).fingerprint == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["corpus"]


def test_errors_go_through_process_pools() -> None:
    error = pickle.loads(pickle.dumps(DataError("bad", where="here", hint="mend it")))
    assert (type(error), str(error)) == (DataError, "here: bad\n  → mend it")
