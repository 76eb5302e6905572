"""Folders and files that are either whole or not there."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chatwright.errors import DataError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)


def _remove_leftovers(path: Path) -> None:
    """What an earlier, killed writer of the same path left behind.

    A writer that was killed between its two renames left the old result aside: it goes back.
    """
    for aside in path.parent.glob(f".{path.name}.*.replaced.partial"):
        if not path.exists():
            aside.rename(path)
    for leftover in path.parent.glob(f".{path.name}.*.partial"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full or read-only disk into a `DataError` that names `path`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise DataError(
            f"this could not be written: {error.strerror or error}",
            where=str(path),
            hint="free some disk space (or allow writing there) and run again; "
            "nothing was left half-written",
        ) from error


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; it takes that name only when the block ends well.

    After an error, a kill or a full disk, what stood at `path` before stands there still. A build
    holds the workspace's lock, so one path has one writer.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    partial = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.partial"
    partial.mkdir()
    try:
        yield partial
        for file in sorted(partial.rglob("*")):
            if file.is_file():
                with file.open("rb") as handle:
                    os.fsync(handle.fileno())
        replaced: Path | None = None
        if path.exists():
            replaced = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.replaced.partial"
            path.rename(replaced)
        partial.rename(path)
        _sync_folder(path.parent)
        if replaced is not None:
            shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write one file beside and rename it, so that a reader sees the old or the new content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    partial = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.partial"
    try:
        with partial.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
