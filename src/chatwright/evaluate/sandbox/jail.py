"""Started as a script for one untrusted program: lock this process up, then run it.

Uses nothing but Python's own library. Two processes: the outer one makes the namespaces, waits and
reports how the inner one ended; the inner one locks itself up and runs the program in a thread.
Why so: a program shares its interpreter with whatever judges it, so it could find the judge's
objects and declare itself passed. Here the program's thread may not touch the descriptor of the
verdict (seccomp filters belong to threads), and the calls around it (`exec`, then "it came to its
end") are made by C code, so that no Python frame above the program holds anything to tamper with.
"""

from __future__ import annotations

import _thread
import ctypes
import json
import operator
import os
import resource
import signal
import sys
import types
from collections import deque
from functools import partial
from typing import Any

_VERDICT = 1021  # above the program's descriptor limit: it cannot put another one in its place
_DESCRIPTORS = 64
_STACK = 64 << 20  # of the program's thread; only touched pages count
_ERROR_CHARACTERS = 500

_USER, _PID, _NET, _IPC, _UTS, _MOUNT = (
    0x10000000,
    0x20000000,
    0x40000000,
    0x08000000,
    0x04000000,
    0x00020000,
)
# Landlock: read a file, read a folder; and what may be done in the work folder: write, read,
# list, remove, make folders, files and links, move, truncate. Never execute, never make devices.
_READ_FILE, _READ_FOLDER, _WRITE_FILE, _TRUNCATE = 1 << 2, 1 << 3, 1 << 1, 1 << 14
_WORK = 0b0111000110111110
_LANDLOCK_FILES = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 4: 0x7FFF}  # later: 0xFFFF (device ioctls)
# Debuggers' doors to other frames and raw memory. The rest of the interpreter stays as it is.
_FORBIDDEN = frozenset(
    {
        "gc.get_objects", "gc.get_referrers", "gc.get_referents", "sys._current_frames",
        "sys._current_exceptions", "sys.settrace", "sys.setprofile", "sys.remote_exec",
        "sys.addaudithook",
    }
)  # fmt: skip
_FORBIDDEN_MODULES = frozenset({"ctypes", "_ctypes", "_testcapi", "_testinternalcapi"})

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Read the settings from standard input, run the program, report."""
    with os.fdopen(0, "rb") as stdin:
        settings = json.load(stdin)
    os.open(os.devnull, os.O_RDONLY)  # becomes descriptor 0
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    os.dup2(settings["verdict"], _VERDICT, inheritable=False)
    os.close(settings["verdict"])
    os.chdir(settings["folder"])
    layers = _namespaces() if settings["namespaces"] else []
    if "mount" in layers and _mount_work(settings):
        layers.append("tmpfs")
    _libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG: nobody would end it otherwise
    leave = os._exit
    child = os.fork()
    if child == 0:
        try:
            _inner(settings, layers)
        finally:
            leave(70)
    if "tmpfs" not in layers:
        _watch_folder(child, settings)
    _, status, usage = os.wait4(child, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    end = {
        "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
        "code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1,
        "cpu": usage.ru_utime + usage.ru_stime,
        "full": _full,
    }
    os.write(_VERDICT, b"\0" + json.dumps(end).encode())


def _namespaces() -> list[str]:
    """New user, process, network, IPC, host name and mount namespaces; which of them it got."""
    user, group = os.geteuid(), os.getegid()
    kinds = {"pid": _PID, "net": _NET, "ipc": _IPC, "uts": _UTS, "mount": _MOUNT}
    if _libc.unshare(_USER) == 0:
        for file, line in (
            ("setgroups", "deny"),
            ("uid_map", f"{user} {user} 1"),
            ("gid_map", f"{group} {group} 1"),
        ):
            try:
                with open(f"/proc/self/{file}", "w") as out:  # noqa: PTH123
                    out.write(line)
            except OSError:
                return []
        made = ["user"]
    else:
        made = []  # root in a container may still make the others
    return made + [name for name, flag in kinds.items() if _libc.unshare(flag) == 0]


def _mount_work(settings: dict[str, Any]) -> bool:
    """Put a small file system of memory over the work folder: it fills up, not the disk."""
    private, no_suid_dev_exec = 0x44000, 0xE
    options = f"size={settings['folder_bytes']},nr_inodes=4096,mode=0700".encode()
    folder = os.fsencode(settings["folder"])
    if _libc.mount(b"none", b"/", None, private, None):
        return False
    if _libc.mount(b"tmpfs", folder, b"tmpfs", no_suid_dev_exec, options):
        return False
    os.chdir(folder)  # the old one lies underneath
    return True


_full = False


def _watch_folder(child: int, settings: dict[str, Any]) -> None:
    """Without a file system of its own, look ten times a second how much the program wrote."""

    def look(*_: object) -> None:
        global _full  # noqa: PLW0603
        total = 0
        for root, _folders, files in os.walk(settings["folder"]):
            for name in files:
                try:
                    total += os.lstat(os.path.join(root, name)).st_size  # noqa: PTH118
                except OSError:
                    continue
        if total > settings["folder_bytes"]:
            _full = True
            os.kill(child, signal.SIGKILL)

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)


def _inner(settings: dict[str, Any], layers: list[str]) -> None:
    readable = _library_paths()
    applied = [*layers, *_limits(settings, "user" in layers)]
    # No capabilities: what is needed was done before, and root must not override the limits.
    header, nothing = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if _libc.capset(header, nothing) == 0:
        applied.append("no capabilities")
    _libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
    _libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    applied += _landlock(settings["folder"], readable)
    confine: Any = int
    if settings["candidate_filter"]:
        try:
            _seccomp(bytes.fromhex(settings["candidate_filter"]))()
            confine = _seccomp(bytes.fromhex(settings["descriptor_filter"]))
            applied.append("seccomp")
        except OSError:
            pass
    missing = [need for need in settings["need"] if need not in applied]
    os.write(_VERDICT, json.dumps({"applied": applied, "missing": missing}).encode() + b"\0")
    if not missing:
        _judge(settings["source"], confine)


def _library_paths() -> list[str]:
    """What Python needs for importing its own library: that, and the shared libraries it loads."""
    paths = {os.path.dirname(os.__file__), "/etc/ld.so.cache", "/usr/share/zoneinfo"}  # noqa: PTH120
    paths |= {"/dev/null", "/dev/zero", "/dev/urandom", "/usr/lib/locale"}
    paths |= {p for p in sys.path if p.endswith("lib-dynload")}
    try:
        with open("/proc/self/maps") as maps:  # noqa: PTH123
            files = {line.split(None, 5)[-1].strip() for line in maps}
    except OSError:
        files = set()
    paths |= {os.path.dirname(f) for f in files if ".so" in f and f.startswith("/")}  # noqa: PTH120
    return sorted(p for p in paths if os.path.exists(p))  # noqa: PTH110


def _limits(settings: dict[str, Any], own_user: bool) -> list[str]:
    limits = {
        resource.RLIMIT_CPU: settings["cpu_seconds"],
        resource.RLIMIT_AS: settings["memory_bytes"] + _STACK,
        resource.RLIMIT_FSIZE: settings["file_bytes"],
        resource.RLIMIT_NOFILE: _DESCRIPTORS,
        resource.RLIMIT_CORE: 0,
    }
    if own_user:  # elsewhere the limit would count every process of this user
        limits[resource.RLIMIT_NPROC] = settings["threads"] + 2
    for kind, value in limits.items():
        _, hard = resource.getrlimit(kind)
        least = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (least, least))
    return ["rlimits"]


def _landlock(folder: str, readable: list[str]) -> list[str]:
    """No file but these; from version 4 no TCP; from 6 no signal to the outside (landlock(7))."""
    create, add, restrict = 444, 445, 446  # the same numbers on every architecture
    abi = _libc.syscall(create, None, 0, 1)
    if abi < 1:
        return []
    files = _LANDLOCK_FILES.get(abi, 0xFFFF)
    net, scoped = (3 if abi >= 4 else 0), (3 if abi >= 6 else 0)
    attributes = (ctypes.c_uint64 * 3)(files, net, scoped)
    ruleset = _libc.syscall(create, attributes, 8 * (1 + (abi >= 4) + (abi >= 6)), 0)
    if ruleset < 0:
        return []

    def allow(path: str, rights: int) -> bool:
        try:
            at = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return True  # what is not there needs no rule
        rule = (ctypes.c_char * 12).from_buffer_copy(
            (rights & files).to_bytes(8, "little") + at.to_bytes(4, "little")
        )
        done = bool(_libc.syscall(add, ruleset, 1, rule, 0) == 0)
        os.close(at)
        return done

    done = allow(folder, _WORK)
    for path in readable:
        right = _READ_FILE | (_READ_FOLDER if os.path.isdir(path) else 0)  # noqa: PTH112
        done &= allow(path, right | (_WRITE_FILE | _TRUNCATE if path == "/dev/null" else 0))
    done = done and _libc.syscall(restrict, ruleset, 0) == 0
    os.close(ruleset)
    return ["landlock", *(["landlock net"] if net else [])] if done else []


def _seccomp(program: bytes) -> Any:
    """A call that installs a filter for its thread and those that this one starts.

    It raises `OSError` where the kernel refuses. All of it is C code but the check of the result.
    """

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))

    def check(result: int) -> None:
        if result:
            raise OSError("no seccomp")

    prctl = ctypes.CDLL(None).prctl
    prctl.restype = check
    return partial(prctl, 22, 2, ctypes.byref(Program(len(program) // 8, program)), 0, 0)


class _Ending:
    """Releases a lock when the thread that holds the last reference ends, however it ends."""

    def __init__(self, release: Any) -> None:
        self.release = release

    def __del__(self) -> None:
        self.release()


def _judge(source: str, confine: Any) -> None:
    """Run the program in a thread and write the verdict; never returns.

    After the program has begun, this thread uses locals and C code only: whatever Python function
    or builtin it would look up, the program may have replaced. The one letter that counts comes
    from `passed`, which nothing but the step after the program's end appends to.
    """
    passed: list[bool] = []
    errors: list[bytes] = []
    ended = _thread.allocate_lock()
    ended.acquire()
    namespace = _fresh_module("candidate").__dict__
    _fresh_module("__main__")  # not this one
    steps = (
        confine,
        partial(exec, source, namespace),
        partial(passed.append, True),
        partial(id, _Ending(ended.release)),
    )
    # A Python handler would run in this thread whenever the program calls `interrupt_main`.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.unraisablehook = _reporter(errors)
    sys.argv, write, leave, exact = ["candidate"], os.write, os._exit, type
    for name in _FORBIDDEN_MODULES:
        sys.modules[name] = None  # type: ignore[assignment]
    sys.modules.pop("jail", None)
    sys.addaudithook(_guard())
    _thread.stack_size(_STACK)
    run, start, drain = map(operator.call, steps), _thread.start_new_thread, deque
    del steps, confine
    verdict = _VERDICT
    globals().clear()  # the program can find these functions, and must not find ctypes by them
    start(drain, (run, 0))
    del run
    ended.acquire()
    if passed and not errors:
        write(verdict, b"P")
    else:
        text = errors[0] if errors else b"F"
        write(verdict, text if exact(text) is bytes and text[:1] in b"FMB" else b"F")
    leave(0)


def _fresh_module(name: str) -> types.ModuleType:
    module = sys.modules[name] = types.ModuleType(name)
    return module


def _guard() -> Any:
    """An audit hook (it cannot be removed) that shuts the doors named in `_FORBIDDEN`."""
    forbidden, modules = _FORBIDDEN, _FORBIDDEN_MODULES

    def guard(event: str, arguments: tuple[Any, ...]) -> None:
        if (
            event in forbidden
            or event[:7] == "ctypes."
            or (event == "import" and arguments[0] in modules)
        ):
            raise PermissionError(1, "not allowed here", event)

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
        errors.append((letter + text.replace("\0", " ")).encode("utf-8", "replace"))

    return report


if __name__ == "__main__":
    main()
