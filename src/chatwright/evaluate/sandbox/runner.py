"""Untrusted Python in a locked-up process of its own: no network, no files, bounded everything."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import secrets
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Literal

from chatwright.errors import UsageError
from chatwright.evaluate.sandbox import filters

Status = Literal["passed", "failed", "timeout", "memory", "blocked"]

_JAIL = Path(__file__).with_name("jail.py")
_JUDGE = _JAIL.with_name("judge.py")
_START_SECONDS = 30.0  # for Python to start on a busy machine; the program's own time is extra
_VERDICT_BYTES = 64_000
_LETTERS: dict[str, Status] = {"F": "failed", "M": "memory", "B": "blocked"}
_NEEDED = ("landlock", "seccomp")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may use. Seconds, bytes, and threads besides its first one.

    `file_bytes` bounds one file and `folder_bytes` all of them. `output_bytes` of what it prints
    are kept; the rest is thrown away. Threads are counted for ordinary users only (the kernel
    exempts root), processes are never allowed.
    """

    wall_seconds: float = 15.0
    cpu_seconds: int = 10
    memory_bytes: int = 512 << 20
    file_bytes: int = 8 << 20
    folder_bytes: int = 16 << 20
    output_bytes: int = 20_000
    threads: int = 32

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} must be greater than 0", where="sandbox limits")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended.

    `passed`: it ran to the end of its last statement. `failed`: an exception, an early exit or a
    crash. `timeout`: too much time, wall or CPU. `memory`: a `MemoryError`. `blocked`: it ended
    because it tried what the sandbox forbids. `error` says which, with the program's line;
    `output` is what it printed (both streams), cut. `seconds` is the wall time, Python's start
    included.
    """

    status: Status
    output: str
    error: str | None
    seconds: float

    @property
    def passed(self) -> bool:
        return self.status == "passed"


@dataclass(frozen=True, slots=True)
class Protection:
    """Which protections a probe found in force on this machine (`applied`, the kernel's names).

    `no ctypes` among them: Python's ctypes is kept from the program as well (see `judge`).
    `files`: no file outside the work folder can be opened. `network`: no socket can be made.
    `processes`: no process can be started. Each was tried, not only asked for.
    """

    files: bool
    network: bool
    processes: bool
    applied: tuple[str, ...]

    @property
    def complete(self) -> bool:
        return self.files and self.network and self.processes


def run_python(source: str, limits: Limits | None = None, *, unsafe: bool = False) -> Outcome:
    """Run a program's source and say how it ended.

    The program runs with `__name__ == "candidate"`, a clean environment, a fixed hash seed, an
    empty standard input and an empty folder of its own; it can import Python's own library and
    nothing else, and no ctypes. `passed` cannot be had by exiting, printing or looking for the
    judge among Python's objects; `judge` says what remains. A program that shares an interpreter
    with its tests can always cheat them from inside, e.g. by an answer that equals everything: a
    score is as honest as the tests.

    Raises `UsageError` where this machine cannot keep the program from files, network and
    processes, unless `unsafe`, which runs it with whatever protection there is.
    """
    limits = limits or Limits()
    outcome, missing = _run(source, limits, () if unsafe else _NEEDED)[:2]
    if missing:
        raise _refusal(missing)
    return outcome


def run_many(
    sources: Iterable[str],
    workers: int | None = None,
    limits: Limits | None = None,
    *,
    unsafe: bool = False,
    finished: Callable[[int, Outcome], None] | None = None,
) -> list[Outcome]:
    """Run several programs, `workers` at a time (the number of cores); outcomes in their order.

    `finished(index, outcome)` is called from a worker's thread as each one ends. A program that
    needs its wall time counts waiting for a core too: more workers than cores can time out.
    """
    workers = workers or os.cpu_count() or 1

    def one(numbered: tuple[int, str]) -> Outcome:
        outcome = run_python(numbered[1], limits, unsafe=unsafe)
        if finished:
            finished(numbered[0], outcome)
        return outcome

    with ThreadPoolExecutor(max_workers=workers) as pool:
        return list(pool.map(one, enumerate(sources)))


@lru_cache(maxsize=1)
def check_sandbox() -> Protection:
    """Lock a probe up and let it try to get out (a tenth of a second; remembered)."""
    with tempfile.NamedTemporaryFile(suffix=".secret") as secret:
        outcome, _, applied = _run(_PROBE.format(path=secret.name), Limits(), ())
    escaped = set(outcome.output.split())
    ran = outcome.passed
    return Protection(
        files=ran and "files" not in escaped,
        network=ran and "network" not in escaped,
        processes=ran and "processes" not in escaped,
        applied=applied,
    )


def require_sandbox() -> Protection:
    """What `check_sandbox` found. Raises `UsageError` where untrusted code could get out."""
    found = check_sandbox()
    if not found.complete:
        raise _refusal([n for n in ("files", "network", "processes") if not getattr(found, n)])
    return found


_PROBE = """
import os
def attempt(name, act):
    try:
        act()
    except OSError:
        return
    print(name)
def connect():
    import socket
    socket.socket()
def fork():
    if os.fork() == 0:
        os._exit(0)
attempt("files", lambda: open({path!r}))
attempt("network", connect)
attempt("processes", fork)
"""


def _refusal(missing: Iterable[str]) -> UsageError:
    return UsageError(
        f"untrusted code cannot be locked up here (missing: {', '.join(missing)})",
        where="code sandbox",
        hint="run this on Linux 5.13 or later (x86_64 or aarch64) with Landlock and seccomp; in a "
        "container, allow landlock_* and seccomp in its security profile. Where the whole machine "
        "may be thrown away, unsafe=True runs the code all the same",
    )


def _run(
    source: str, limits: Limits, need: tuple[str, ...], *, namespaces: bool = True
) -> tuple[Outcome, list[str], tuple[str, ...]]:
    """The outcome, the needed protections that could not be had, and those that were applied."""
    started = time.monotonic()
    secret = secrets.token_hex(16)
    with (
        tempfile.TemporaryDirectory(prefix="chatwright-", ignore_cleanup_errors=True) as folder,
        _pipe() as verdict_pipe,
        _pipe() as report_pipe,
    ):
        theirs = (verdict_pipe[1], report_pipe[1])
        settings = _settings(source, limits, need, namespaces=namespaces) | {
            "folder": folder,
            "secret": secret,
            "verdict": theirs[0].fileno(),
            "report": theirs[1].fileno(),
        }
        process = _start(folder, theirs)
        ours = (verdict_pipe[0].fileno(), report_pipe[0].fileno())
        try:
            for end_of_pipe in theirs:
                end_of_pipe.close()
            output, verdict, report, in_time = _collect(process, ours, settings, limits)
        finally:
            _end(process)
    seconds = time.monotonic() - started
    text = output.decode("utf-8", "replace")
    facts, end = _read_report(report)
    if not (verdict or facts.get("missing")):
        raise UsageError(
            f"the code sandbox did not start: {text.strip()[-300:] or 'no reason given'}",
            where=_python(),
            hint="it needs Linux and Python's own library; is the machine out of memory?",
        )
    status, error = _read_verdict(verdict, secret, end, in_time, limits)
    return (
        Outcome(status, text, error, seconds),
        list(facts.get("missing", [])),
        tuple(facts.get("applied", [])),
    )


def _settings(
    source: str, limits: Limits, need: tuple[str, ...], *, namespaces: bool
) -> dict[str, Any]:
    locked = filters.supported()
    first = filters.candidate_filter(deny_truncate=_landlock_version() < 3) if locked else b""
    return {
        "source": source.encode("utf-8", "replace").decode("utf-8"),  # no lone surrogates
        "judge": _JUDGE.read_text("utf-8"),
        "need": need,
        "namespaces": namespaces,
        "candidate_filter": first.hex(),
        "cpu_seconds": limits.cpu_seconds,
        "memory_bytes": limits.memory_bytes,
        "file_bytes": limits.file_bytes,
        "folder_bytes": limits.folder_bytes,
        "threads": limits.threads,
    }


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """The ends of a pipe, to read and to write, closed at the end."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", 0) as out, os.fdopen(writing, "wb", 0) as into:
        yield out, into


def _start(folder: str, pipes: Sequence[IO[bytes]]) -> subprocess.Popen[bytes]:
    # Nothing of our environment: it may hold keys. Not `-I`, which would ignore the hash seed, and
    # the same program must give the same outcome.
    environment = {
        "LANG": "C.UTF-8",
        "HOME": folder,
        "TMPDIR": folder,
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.Popen(
        [_python(), "-P", "-s", "-S", "-B", "-u", str(_JAIL)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env=environment,
        pass_fds=[pipe.fileno() for pipe in pipes],
        start_new_session=True,  # so that the whole group can be killed
    )


def _collect(
    process: subprocess.Popen[bytes], pipes: Sequence[int], settings: dict[str, Any], limits: Limits
) -> tuple[bytes, bytes, bytes, bool]:
    """What was printed (cut), the verdict, the report, and whether it all ended in time."""
    assert process.stdin and process.stdout
    try:
        process.stdin.write(json.dumps(settings).encode())
        process.stdin.close()
    except BrokenPipeError:
        pass  # the jail did not start: there will be no verdict
    output, said, report = bytearray(), bytearray(), bytearray()
    keep = {process.stdout.fileno(): (output, limits.output_bytes)}
    keep |= {pipes[0]: (said, _VERDICT_BYTES), pipes[1]: (report, _VERDICT_BYTES)}
    deadline = time.monotonic() + _START_SECONDS
    begun = False
    with selectors.DefaultSelector() as selector:
        for descriptor in keep:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                return bytes(output), bytes(said), bytes(report), False
            for key, _ in selector.select(left):
                data = os.read(key.fd, 65_536)
                if not data:
                    selector.unregister(key.fd)
                    continue
                kept, most = keep[key.fd]
                kept += data[: max(0, most - len(kept))]
                if not begun and said:  # everything is locked, the program begins now
                    begun, deadline = True, time.monotonic() + limits.wall_seconds
    return bytes(output), bytes(said), bytes(report), True


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the group; nothing in it can have left it (`setsid` is not allowed), then reap."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream:
            with contextlib.suppress(BrokenPipeError):
                stream.close()


def _read_report(report: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the jail applied, and how the process ended: what the program has no hand in."""
    lines = [json.loads(line) for line in report.splitlines()]
    return lines[0] if lines else {}, lines[1] if len(lines) > 1 else {}


def _read_verdict(
    verdict: bytes, secret: str, end: dict[str, Any], in_time: bool, limits: Limits
) -> tuple[Status, str | None]:
    """`verdict` is R (ready), and P with the secret or why not. The program may write to it."""
    said = verdict[1:]
    if said.startswith(b"P" + secret.encode()):
        return "passed", None
    letter = said[:1].decode("ascii", "replace")
    if letter in _LETTERS:
        message = said[1:].decode("utf-8", "replace") or "ended before its last statement"
        return _LETTERS[letter], message
    if not in_time:
        return "timeout", f"not done after {limits.wall_seconds:g} s"
    return _ended(end, limits)


def _ended(end: dict[str, Any], limits: Limits) -> tuple[Status, str]:
    """What became of a process that ended without a verdict."""
    if end.get("full"):
        return "blocked", f"wrote more than {limits.folder_bytes} bytes"
    number = int(end.get("signal", 0))
    if number and end.get("cpu", 0.0) >= limits.cpu_seconds - 0.5:
        return "timeout", f"used more than {limits.cpu_seconds} s of CPU time"
    if number:
        return "failed", f"killed by {signal.Signals(number).name}"
    return "failed", f"exited by itself (code {end.get('code')})"


@lru_cache(maxsize=1)
def _landlock_version() -> int:
    """0 without Landlock."""
    if sys.platform != "linux":
        return 0
    found: int = ctypes.CDLL(None).syscall(444, None, 0, 1)
    return max(0, found)


def _python() -> str:
    """The interpreter itself: a virtual environment's link would need that folder's files."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
