"""A PostgreSQL of the tests' own, where Debian's package (or another) is installed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OPTIONS = "-c listen_addresses='' -c fsync=off -c full_page_writes=off -c synchronous_commit=off"


def find_binaries() -> Path | None:
    """The folder with `initdb` and `pg_ctl`; None where there is none."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
    return next((f for f in reversed(folders) if (f / "initdb").exists()), None)


def why_not() -> str | None:
    """Why no server can be started here; None where it can."""
    if find_binaries() is None:
        return "PostgreSQL is not installed (Debian's package postgresql)"
    if os.geteuid() == 0 and _account() is None:
        return "PostgreSQL does not run as root, and there is no account 'postgres' here"
    return None


@contextmanager
def postgresql() -> Iterator[str]:
    """A server in a folder of its own, reached over a socket; yields the address of a database."""
    binaries = find_binaries()
    assert binaries is not None
    # Short: the path of a socket may have about a hundred characters.
    folder = Path(tempfile.mkdtemp(prefix="cw-pg-", dir="/tmp"))
    if os.geteuid() == 0:
        account = _account()
        assert account is not None
        os.chown(folder, account.pw_uid, account.pw_gid)
    data = folder / "data"
    try:
        _run(
            [
                binaries / "initdb",
                "-D",
                data,
                "-U",
                "cw",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C",
                "--no-sync",
            ]
        )
        _run(
            [
                binaries / "pg_ctl",
                "-D",
                data,
                "-w",
                "-l",
                folder / "log",
                "-o",
                f"{OPTIONS} -k {folder}",
                "start",
            ]
        )
        try:
            yield f"postgresql://cw@/postgres?host={folder}"
        finally:
            _run([binaries / "pg_ctl", "-D", data, "-m", "immediate", "stop"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _account() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return None


def _run(command: list[str | Path]) -> None:
    account = _account() if os.geteuid() == 0 else None
    with tempfile.TemporaryFile() as said:  # the server keeps it open: a pipe would never end
        done = subprocess.run(
            [str(part) for part in command],
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
        )
        said.seek(0)
        assert done.returncode == 0, said.read().decode()
