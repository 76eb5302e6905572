"""Started as a script for one untrusted program: lock a process up, then start it there.

Uses nothing but Python's own library. Two processes: the outer one makes the namespaces, waits and
reports how the inner one ended; the inner one locks itself up, for which it needs ctypes, and then
becomes a fresh interpreter that has never seen ctypes, and that runs `judge` and the program. The
walls outlive that: namespaces, limits, Landlock and seccomp all do.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from typing import Any

# Above the program's descriptor limit: it cannot put others in their place. The last two are closed
# when the fresh interpreter starts, which makes the one call that starts a program useless.
_VERDICT, _REPORT, _PYTHON = 1021, 1022, 1020
_DESCRIPTORS = 64
_STACK = 64 << 20  # of the program's thread: see `judge`

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
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_FOLDER, _TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
_WORK = 0b0111000110111110
_LANDLOCK_FILES = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 4: 0x7FFF}  # later: 0xFFFF (device ioctls)
# What would read and write any memory, or run where no audit hook watches: not to be opened.
_FORBIDDEN_MODULES = (
    "ctypes", "_ctypes", "_ctypes_test", "_testcapi", "_testinternalcapi", "_xxsubinterpreters",
    "_interpreters", "_remote_debugging",
)  # fmt: skip

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Read the settings from standard input, run the program, report."""
    with os.fdopen(0, "rb") as stdin:
        settings = json.load(stdin)
    os.open(os.devnull, os.O_RDONLY)  # becomes descriptor 0
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    for name, number in (("verdict", _VERDICT), ("report", _REPORT)):
        os.dup2(settings[name], number, inheritable=False)
        os.close(settings[name])
    os.dup2(os.open(sys.executable, os.O_RDONLY), _PYTHON, inheritable=False)
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
    os.write(_REPORT, json.dumps(end).encode() + b"\n")


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
    modules = _extensions()
    files, folders = _readable(modules)
    task = os.memfd_create("task")  # not a pipe: those hold 64 kB
    applied = [*layers, *([] if "_ctypes" in sys.builtin_module_names else ["no ctypes"])]
    payload = {name: settings[name] for name in ("source", "secret")}
    payload |= {"verdict": _VERDICT, "forbidden": _FORBIDDEN_MODULES, "extensions": modules}
    with os.fdopen(os.dup(task), "wb") as out:
        out.write(json.dumps(payload).encode())
    os.lseek(task, 0, os.SEEK_SET)
    os.dup2(task, 0)
    os.close(task)
    applied += _limits(settings, "user" in layers)
    # No capabilities: what is needed was done before, and root must not override the limits.
    header, nothing = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if _libc.capset(header, nothing) == 0:
        applied.append("no capabilities")
    _libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
    # PR_SET_NO_NEW_PRIVS: for the filter, and so that root's new interpreter gets none back.
    _libc.prctl(38, 1, 0, 0, 0)
    applied += _landlock(settings["folder"], files, folders)
    if settings["candidate_filter"] and _seccomp(bytes.fromhex(settings["candidate_filter"])):
        applied.append("seccomp")
    missing = [need for need in settings["need"] if need not in applied]
    os.write(_REPORT, json.dumps({"applied": applied, "missing": missing}).encode() + b"\n")
    if not missing:
        os.set_inheritable(_VERDICT, True)
        options = ("-P", "-s", "-S", "-B", "-u", "-c", settings["judge"])
        os.execve(_PYTHON, [sys.executable, *options], dict(os.environ))


def _extensions() -> list[str]:
    """The files of Python's own library with machine code, but those that the program may not use.

    Where `_ctypes` is built into the interpreter, it has no file that could be kept away.
    """
    return [
        entry.path
        for folder in _extension_folders()
        for entry in os.scandir(folder)
        if (name := entry.name.partition(".")[0]) not in _FORBIDDEN_MODULES
        and not name.startswith(("_test", "_xxtest"))  # CPython's own tests reach into anything
    ]


def _extension_folders() -> list[str]:
    return [p for p in sys.path if p.endswith("lib-dynload") and os.path.isdir(p)]  # noqa: PTH112


def _readable(modules: list[str]) -> tuple[list[str], list[str]]:
    """What may be read, and the folders that may be listed.

    Python's own library without ctypes, the shared libraries that it loads, time zones. A rule for
    a folder holds for all that is in it, so that there is one for each entry of the library.
    """
    library = os.path.dirname(os.__file__)  # noqa: PTH120
    own = _extension_folders()
    hidden = {"lib-dynload", "site-packages", "dist-packages", *_FORBIDDEN_MODULES}
    paths = {entry.path for entry in os.scandir(library) if entry.name not in hidden}
    paths |= {*modules, "/etc/ld.so.cache", "/usr/share/zoneinfo", "/usr/lib/locale"}
    paths |= {"/dev/null", "/dev/zero", "/dev/urandom"}
    try:
        with open("/proc/self/maps") as maps:  # noqa: PTH123
            mapped = {line.split(None, 5)[-1].strip() for line in maps}
    except OSError:
        mapped = set()
    for folder in {os.path.dirname(f) for f in mapped if ".so" in f and f.startswith("/")}:  # noqa: PTH120
        if library == folder or library.startswith(folder + "/"):
            paths |= {entry.path for entry in os.scandir(folder) if ".so" in entry.name}
        elif folder not in own:
            paths.add(folder)
    return sorted(p for p in paths if os.path.exists(p)), [library, *own]  # noqa: PTH110


def _loader() -> list[str]:
    """The dynamic loader: the kernel starts it together with a program."""
    with open(sys.executable, "rb") as file:  # noqa: PTH123
        head = file.read(65_536)
    start = head.find(b"/ld-")
    begin, end = head.rfind(b"\0", 0, start) + 1, head.find(b"\0", start)
    return [os.fsdecode(head[begin:end])] if start >= 0 else []


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


def _landlock(folder: str, readable: list[str], folders: list[str]) -> list[str]:
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
    for path in folders:
        done &= allow(path, _READ_FOLDER)
    for path in (sys.executable, *_loader()):
        done &= allow(path, _READ_FILE | _EXECUTE)
    for path in readable:
        right = _READ_FILE | (_READ_FOLDER if os.path.isdir(path) else 0)  # noqa: PTH112
        done &= allow(path, right | (_WRITE_FILE | _TRUNCATE if path == "/dev/null" else 0))
    done = done and _libc.syscall(restrict, ruleset, 0) == 0
    os.close(ruleset)
    return ["landlock", *(["landlock net"] if net else [])] if done else []


def _seccomp(program: bytes) -> bool:
    """Install a filter for this process and what it becomes; whether the kernel took it."""

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))

    return bool(_libc.prctl(22, 2, ctypes.byref(Program(len(program) // 8, program)), 0, 0) == 0)


if __name__ == "__main__":
    main()
