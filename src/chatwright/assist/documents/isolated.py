"""A document read in a process of its own, which may take so much time and memory and no more."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from typing import Any

from chatwright.assist.documents.child import parse
from chatwright.assist.documents.kinds import kind_of
from chatwright.assist.documents.result import DocumentError, DocumentLimits, Parsed

_AT_ONCE = 2
# Bytes of plain text that are read right here: nothing in them is parsed, and a process takes
# longer to start than they to read.
_HARMLESS = 256 * 1024
_QUEUE_SECONDS = 30.0
_BYTES_PER_CHARACTER = 8  # of the child's answer at most, JSON's escapes included
_PROGRAM = "from chatwright.assist.documents.child import main; main()"
_places = threading.BoundedSemaphore(_AT_ONCE)


def read_document(name: str, data: bytes, limits: DocumentLimits | None = None) -> Parsed:
    """The text of a .md, .txt, .html, .pdf or .docx file; blocks until it is there.

    `name` is shown in errors and decides between kinds of plain text. Raises `DocumentError`.
    """
    limits = limits or DocumentLimits()
    if len(data) > limits.bytes:
        raise DocumentError(
            f"the file has {len(data):,} bytes, and {limits.bytes:,} are allowed",
            where=name,
            hint="split it, or leave the images out",
            reason="too_large",
        )
    kind = kind_of(name, data)
    if kind in ("text", "markdown") and len(data) <= _HARMLESS:
        return parse(name, data, limits)
    if not _places.acquire(timeout=_QUEUE_SECONDS):
        raise DocumentError(
            "too many documents are being read", where=name, hint="try again", reason="busy"
        )
    try:
        answer = _ask_child(name, data, limits)
    finally:
        _places.release()
    if "error" in answer:
        told = answer["error"]
        raise DocumentError(told["message"], where=name, hint=told["hint"], reason=told["reason"])
    return Parsed.from_json(answer)


def _ask_child(name: str, data: bytes, limits: DocumentLimits) -> dict[str, Any]:
    head = json.dumps({"name": name, "limits": asdict(limits)}).encode() + b"\n"
    # No secret of the server's environment goes along, and it gets nowhere to write.
    environment = {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    process = subprocess.Popen(
        [sys.executable, "-P", "-s", "-B", "-X", "utf8", "-c", _PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # a parser's complaints quote the document
        cwd=os.sep,
        env=environment,
        start_new_session=True,
    )
    deadline = time.monotonic() + limits.seconds
    timer = threading.Timer(limits.seconds, _kill, (process,))
    timer.daemon = True
    timer.start()
    try:
        threading.Thread(target=_feed, args=(process, head, data), daemon=True).start()
        assert process.stdout is not None
        most = _BYTES_PER_CHARACTER * limits.characters + (1 << 20)
        answer = process.stdout.read(most + 1)
        too_much = len(answer) > most
    finally:
        timer.cancel()
        _kill(process)  # whole by now, or not wanted any more
        code = process.wait()
        with contextlib.suppress(OSError):
            process.stdout.close()  # type: ignore[union-attr]
    try:
        if not too_much and answer.endswith(b"\n"):
            found: dict[str, Any] = json.loads(answer)
            return found
    except ValueError:
        pass
    raise _died(name, code, time.monotonic() >= deadline, limits)


def _feed(process: subprocess.Popen[bytes], *parts: bytes) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):  # it died, or had enough
        for part in parts:
            process.stdin.write(part)
    with contextlib.suppress(OSError):
        process.stdin.close()


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


def _died(name: str, code: int, late: bool, limits: DocumentLimits) -> DocumentError:
    if late or code == -getattr(signal, "SIGXCPU", 0):
        return DocumentError(
            f"reading it took longer than {limits.cpu_seconds} seconds",
            where=name,
            hint="split it, or save it anew from the program that made it",
            reason="too_large",
        )
    return DocumentError(
        "the program that reads documents failed on this one",
        where=name,
        hint="save it anew from the program that made it, or as .txt",
    )
