"""The process that reads one document: standard input in, standard output out, and nothing else."""

from __future__ import annotations

import json
import sys
from typing import Any, NoReturn

from chatwright.assist.documents.kinds import kind_of
from chatwright.assist.documents.result import DocumentError, DocumentLimits, Parsed

_DENIED = ("socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.system", "ctypes.")
_DESCRIPTORS = 64


def main() -> None:
    """Read the settings (a line of JSON) and the file; write a line of JSON."""
    settings = json.loads(sys.stdin.buffer.readline())
    limits = DocumentLimits(**settings["limits"])
    # Normal forms need it, and it loads ctypes, which is refused below.
    import numpy  # noqa: F401

    _limit(limits)
    sys.addaudithook(_refuse)
    answer = answer_for(settings["name"], sys.stdin.buffer.read(), limits)
    sys.stdout.buffer.write(json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace"))
    sys.stdout.buffer.write(b"\n")
    sys.stdout.buffer.flush()


def answer_for(name: str, data: bytes, limits: DocumentLimits) -> dict[str, Any]:
    """What `parse` gives or raises, as JSON values."""
    try:
        return parse(name, data, limits).to_json()
    except DocumentError as error:
        return _error(error.message, error.hint, error.reason)
    except (MemoryError, TimeoutError):
        return _error(
            "reading it takes more memory or time than is allowed", "split it", "too_large"
        )
    except RecursionError:
        return _error("it is nested too deeply", "save it anew", "unreadable")
    except Exception as error:  # parsers raise anything; the text may quote the document
        return _error(
            f"it is damaged ({type(error).__name__})",
            "save it anew from the program that made it",
            "unreadable",
        )


def parse(name: str, data: bytes, limits: DocumentLimits) -> Parsed:
    """A document's text, in this process. Raises `DocumentError`, and whatever parsers raise."""
    kind = kind_of(name, data)
    if kind == "pdf":
        from chatwright.assist.documents.pdf import read_pdf

        parsed = read_pdf(name, data, limits)
    elif kind == "docx":
        from chatwright.assist.documents.docx import read_docx

        parsed = read_docx(name, data, limits)
    else:
        from chatwright.assist.documents.plain import read_plain

        parsed = read_plain(name, data, kind, limits)
    if not any(letter.isalnum() for letter in parsed.text):
        hint = "a scan has to go through text recognition (OCR) first" if kind == "pdf" else None
        raise DocumentError("it holds no text", where=name, hint=hint, reason="empty")
    return parsed


def _error(message: str, hint: str | None, reason: str) -> dict[str, Any]:
    return {"error": {"message": message, "hint": hint, "reason": reason}}


def _limit(limits: DocumentLimits) -> None:
    try:
        import resource
    except ImportError:  # no such limits on Windows; the parent's clock still holds
        return
    for kind, value in (
        (resource.RLIMIT_AS, limits.memory),
        (resource.RLIMIT_CPU, limits.cpu_seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _DESCRIPTORS),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        least = value if hard == resource.RLIM_INFINITY else min(value, hard)
        # SIGXCPU at the soft limit, which tells the parent why; the hard one kills without a word.
        upper = (
            least + 2 if kind == resource.RLIMIT_CPU and hard == resource.RLIM_INFINITY else least
        )
        resource.setrlimit(kind, (least, upper))


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook (PEP 578): no parser has any business with these."""
    if event.startswith(_DENIED):
        _stop(event)
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        _stop(event)


def _stop(event: str) -> NoReturn:
    raise PermissionError(f"{event} is not allowed while a document is read")
