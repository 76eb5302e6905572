"""Runs one untrusted program in an interpreter that `jail` locked up and started for it.

Given to Python as its `-c` text: this file cannot be opened any more. A program shares its
interpreter with whatever judges it, so it could find the judge's objects and declare itself passed.
So the pass is a secret of this run, and it lies where no Python object leads: the program is called
by C code, and the write of the secret is that code's next step. No frame is above the program, the
debuggers' doors to other frames and to unreachable objects are shut, and ctypes, which would read
any memory, was never loaded here and cannot be.

What remains: a program that reads or writes raw memory (by bytecode made to that end, or by an
error in CPython) finds the secret, and then declares itself passed. It is still locked up. Where
the interpreter has `_ctypes` built in (see `applied` in `Protection`), ctypes is such a way.
"""

from __future__ import annotations

import _thread
import json
import operator
import os
import signal
import sys
import types
from collections import deque
from itertools import starmap
from typing import Any

_STACK = 64 << 20  # of the program's thread; only touched pages count
_ERROR_CHARACTERS = 500
# Debuggers' doors to other frames and raw memory, and other interpreters, which no hook watches.
# The rest of the interpreter stays as it is.
_FORBIDDEN = frozenset(
    {
        "gc.get_objects", "gc.get_referrers", "gc.get_referents", "sys._current_frames",
        "sys._current_exceptions", "sys.settrace", "sys.setprofile", "sys.remote_exec",
        "sys.monitoring.register_callback", "sys.addaudithook", "cpython.PyInterpreterState_New",
    }
)  # fmt: skip


def main() -> None:
    """Read the settings from standard input, run the program, report; never returns."""
    with os.fdopen(0, "rb") as stdin:
        settings = json.load(stdin)
    os.open(os.devnull, os.O_RDONLY)  # becomes descriptor 0
    for name in settings["forbidden"]:
        sys.modules[name] = None  # type: ignore[assignment]
    sys.addaudithook(_guard(frozenset(settings["forbidden"]), frozenset(settings["extensions"])))
    _judge(settings)


class _Ending:
    """Releases a lock when the thread that holds the last reference ends, however it ends."""

    def __init__(self, release: Any) -> None:
        self.release = release

    def __del__(self) -> None:
        self.release()


def _judge(settings: dict[str, Any]) -> None:
    """Run the program in a thread of its own and say how it ended.

    This thread only says why a program did not pass. It holds nothing worth finding: an object's
    destructor may run in it, and see its frame.
    """
    errors: list[bytes] = []
    ended = _thread.allocate_lock()
    ended.acquire()
    namespace = _fresh_module("candidate").__dict__
    _fresh_module("__main__")  # not this one
    verdict, write, leave, exact, drain = settings["verdict"], os.write, os._exit, type, deque
    steps = (
        (exec, settings.pop("source"), namespace),
        (write, verdict, b"P" + settings.pop("secret").encode()),
        (id, _Ending(ended.release)),
    )
    # A Python handler would run in this thread whenever the program calls `interrupt_main`.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.unraisablehook = _reporter(errors)
    sys.argv, start = ["candidate"], _thread.start_new_thread
    _thread.stack_size(_STACK)
    run = [starmap(operator.call, steps)]
    del steps, settings
    globals().clear()
    write(verdict, b"R")  # ready: the program's time begins
    start(drain, (run.pop(), 0))  # no name for it may be left when the program begins
    ended.acquire()
    text = errors[0] if errors else b"F"
    write(verdict, text if exact(text) is bytes else b"F")
    leave(0)


def _fresh_module(name: str) -> types.ModuleType:
    module = sys.modules[name] = types.ModuleType(name)
    return module


def _guard(modules: frozenset[str], extensions: frozenset[str]) -> Any:
    """An audit hook (it cannot be removed) that shuts the doors named in `_FORBIDDEN`.

    Machine code is loaded from Python's own `extensions` only: the program could write its own.
    """

    # All that it needs are its own defaults: the traceback of a refusal leads to the guard's frame,
    # through which Python 3.13 can write to the variables that a function shares with its maker.
    def guard(  # noqa: PLR0917
        event: str,
        arguments: tuple[Any, ...],
        forbidden: frozenset[str] = _FORBIDDEN,
        modules: frozenset[str] = modules,
        extensions: frozenset[str] = extensions,
        exact: Any = type,
        text: type = str,
        error: type[Exception] = PermissionError,
    ) -> None:
        refused = event in forbidden or event[:7] == "ctypes."
        if event == "import" and not refused:
            name, file = arguments[0], arguments[1]
            refused = exact(name) is not text or name in modules
            if file is not None and not refused:
                refused = exact(file) is not text or file not in extensions
        if refused:
            raise error(1, "not allowed here", event)

    return guard


def _reporter(errors: list[bytes]) -> Any:
    """What says which exception ended the program; runs in the program's thread."""
    run, shown, most = deque, repr(deque), _ERROR_CHARACTERS

    def report(unraisable: Any) -> None:
        # A destructor's exception ends nothing, nor does another thread's. From Python 3.13 on,
        # the thread's function is named in the message only.
        if unraisable.object is not run and shown not in (unraisable.err_msg or ""):
            return
        kind, error, trace = unraisable.exc_type, unraisable.exc_value, unraisable.exc_traceback
        letter = "M" if issubclass(kind, MemoryError) else "F"
        if issubclass(kind, OSError) and getattr(error, "errno", None) in (1, 13, 18, 27, 28):
            letter = "B"  # EPERM, EACCES, EXDEV, EFBIG, ENOSPC: the walls
        line = getattr(error, "lineno", None) if issubclass(kind, SyntaxError) else None
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == "<string>":
                line = trace.tb_lineno
            trace = trace.tb_next
        try:
            said = str(error)
        except BaseException:
            said = "(its message cannot be shown)"
        text = f"{kind.__name__}: {said}" if said else kind.__name__
        text = text[:most] + (f" (line {line})" if line else "")
        errors.append((letter + text).encode("utf-8", "replace"))

    return report


if __name__ == "__main__":
    main()
