"""Untrusted code: what it may do, what it may not, and that it cannot declare itself passed."""

from __future__ import annotations

import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.errors import DataError, UsageError
from chatwright.evaluate.sandbox import (
    Limits,
    Outcome,
    check_sandbox,
    clean_completion,
    humaneval_program,
    pass_at_k,
    require_sandbox,
    run_many,
    run_python,
)
from chatwright.evaluate.sandbox import runner as runner_module

SHORT = Limits(wall_seconds=10, cpu_seconds=1)


@pytest.fixture(scope="module", autouse=True)
def _sandbox() -> None:
    if sys.platform != "linux" or not check_sandbox().complete:
        pytest.skip("this machine has no Landlock or no seccomp: the sandbox refuses to run")


def run(source: str, limits: Limits = SHORT) -> Outcome:
    return run_python(textwrap.dedent(source), limits)


def test_this_machine_gives_every_protection() -> None:
    found = require_sandbox()
    assert found.files and found.network and found.processes
    assert {"landlock", "seccomp", "rlimits"} <= set(found.applied)


# -- what honest programs may do ---------------------------------------------------------------

HONEST = {
    "the library": """
        import collections, dataclasses, datetime, decimal, hashlib, heapq, itertools, json, math
        import random, re, sqlite3, statistics, typing, zlib, zoneinfo
        assert hashlib.md5(b"a").hexdigest() == "0cc175b9c0f1b6a831c399e269772661"
        assert json.loads(zlib.decompress(zlib.compress(b"[1]"))) == [1]
        assert sqlite3.connect(":memory:").execute("select 1").fetchone() == (1,)
    """,
    "files in its folder": """
        import os, pathlib, shutil, tempfile
        pathlib.Path("a/b").mkdir(parents=True)
        pathlib.Path("a/b/c.txt").write_text("hello")
        os.rename("a/b/c.txt", "d.txt")
        shutil.copy("d.txt", "e.txt")
        assert open("e.txt").read() == "hello"
        with tempfile.TemporaryFile() as file:
            file.write(b"x")
        shutil.rmtree("a")
        assert sorted(os.listdir(".")) == ["d.txt", "e.txt"]
    """,
    "threads": """
        import threading, concurrent.futures
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            assert list(pool.map(abs, [-1, -2])) == [1, 2]
    """,
    "asyncio": """
        import asyncio
        async def main():
            return await asyncio.gather(asyncio.sleep(0.01, 1), asyncio.sleep(0, 2))
        assert asyncio.run(main()) == [1, 2]
    """,
    "classes and pickles": """
        import dataclasses, pickle
        @dataclasses.dataclass
        class Point:
            x: int
        assert pickle.loads(pickle.dumps(Point(3))) == Point(3)
    """,
    "recursion as deep as Python allows": """
        def depth(n): return 0 if n == 0 else 1 + depth(n - 1)
        assert depth(900) == 900
    """,
    "no input": "import sys\nassert sys.stdin.read() == ''",
    "not the main program": "assert __name__ != '__main__'",
    "an exception in a destructor": """
        class Bad:
            def __del__(self): raise ValueError
        Bad()
    """,
    "an exception in another thread": """
        import _thread, time
        _thread.start_new_thread(lambda: 1 / 0, ())
        time.sleep(0.1)
    """,
    "threads that go on": """
        import threading, time
        threading.Thread(target=time.sleep, args=(60,)).start()
    """,
}


@pytest.mark.parametrize("source", HONEST.values(), ids=HONEST.keys())
def test_honest_programs_pass(source: str) -> None:
    outcome = run(source)
    assert (outcome.status, outcome.error) == ("passed", None), outcome
    assert outcome.seconds < 9


def test_output_and_errors_are_told() -> None:
    outcome = run("print('before 你好')\n\nassert 1 == 2, 'one is not two'")
    assert outcome.status == "failed" and not outcome.passed
    assert outcome.error == "AssertionError: one is not two (line 3)"
    assert outcome.output == "before 你好\n"
    assert "line 1" in (run("x = (").error or "")
    assert run("a\0b").status == "failed"
    assert run("raise ValueError('\ud800')").status == "failed"


def test_nothing_of_our_environment_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hush")
    outcome = run("import os; print(sorted(os.environ)); print(open('/dev/null').read())")
    assert outcome.passed and "SECRET" not in outcome.output


def test_the_same_program_gives_the_same_output() -> None:
    source = "print({str(n) for n in range(50)}, hash('a'))"
    assert run(source).output == run(source).output != ""


def test_the_program_can_import_nothing_of_ours(tmp_path: Path) -> None:
    for name in ("numpy", "chatwright", "jail", "judge", "filters"):
        assert "ModuleNotFoundError" in (run(f"import {name}").error or ""), name
    assert run("import sys\nassert not any('site-packages' in p for p in sys.path)").passed


# -- hostile programs --------------------------------------------------------------------------


def test_no_network() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        port = server.getsockname()[1]
        outcome = run(f"import socket\nsocket.create_connection(('127.0.0.1', {port}))")
        assert outcome.status == "blocked"
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.parametrize("family", ["AF_UNIX", "AF_INET6", "AF_NETLINK", "AF_PACKET"])
def test_no_socket_of_any_family(family: str) -> None:
    kind = "SOCK_RAW" if family in ("AF_NETLINK", "AF_PACKET") else "SOCK_STREAM"
    assert run(f"import socket\nsocket.socket(socket.{family}, socket.{kind})").status == "blocked"


def test_a_socket_pair_does_not_reach_the_host(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "s"))
        server.settimeout(0.2)
        outcome = run(
            f"""
            import socket
            pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            pair[0].sendto(b"out", {str(tmp_path / "s")!r})
            """
        )
        assert outcome.status == "blocked"
        with pytest.raises(TimeoutError):
            server.recv(10)


def test_no_file_outside(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hush")
    before = secret.stat()
    acts = (
        f"open({str(secret)!r})",
        f"open({str(secret)!r}, 'w')",
        f"import os; os.remove({str(secret)!r})",
        f"import os; os.rename({str(secret)!r}, 'mine')",
        f"import os; os.link({str(secret)!r}, 'mine')",
        f"import os; os.symlink({str(secret)!r}, 'mine'); open('mine').read()",
        f"import os; os.truncate({str(secret)!r}, 0)",
        f"import os; os.chown({str(secret)!r}, 1, 1)",
        f"import os; os.setxattr({str(secret)!r}, 'user.a', b'b')",
        f"open({str(tmp_path / 'new')!r}, 'w')",
        f"import os; os.mkdir({str(tmp_path / 'new')!r})",
        f"import os; os.listdir({str(tmp_path)!r})",
        "open('/etc/passwd').read()",
        "import os; os.listdir('/root')",
        f"import os; os.listdir({str(Path.home())!r})",
        "open('/proc/self/environ').read()",
        "open('/proc/1/cmdline').read()",
        "open('../escaped', 'w')",
        "import os; open(os.__file__, 'a')",
        "import os; os.mkfifo('pipe'); os.mknod('/dev/new')",
        "import os; os.chroot('.')",
    )
    outcomes = dict(zip(acts, run_many(acts, 2, SHORT), strict=True))
    assert {act: o for act, o in outcomes.items() if o.status != "blocked"} == {}
    # Modes and times: called a success, and nothing is done.
    assert run(f"import os; os.chmod({str(secret)!r}, 0); os.utime({str(secret)!r}, (0, 0))").passed
    after = secret.stat()
    assert secret.read_text() == "hush"
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


@pytest.mark.parametrize("namespaces", [True, False], ids=["namespaces", "without"])
def test_no_other_process(namespaces: bool) -> None:
    bomb = "import os\nwhile True: os.fork()"
    for source in (
        bomb,
        "import subprocess; subprocess.run(['/bin/true'])",
        "import os; os.system('true'); os.posix_spawn('/bin/true', ['true'], {})",
        "import os; os.execv('/bin/true', ['true'])",
        "import os; os.kill(os.getppid(), 9)",
        f"import os; os.kill({os.getpid()}, 9)",
        "import os; os.kill(-1, 9)",
        "import os; os.killpg(0, 9)",
        "import os; os.setsid()",
        "import os; os.nice(-5)",
        f"import resource; resource.prlimit({os.getpid()}, resource.RLIMIT_CPU, (1, 1))",
        "import multiprocessing as m; m.get_context('fork').Process(target=print).start()",
    ):
        outcome, missing, _ = runner_module._run(
            source, SHORT, ("landlock", "seccomp"), namespaces=namespaces
        )
        assert not missing
        assert outcome.status == "blocked", (source, outcome)
    assert run("import signal\nsignal.raise_signal(9)").status != "passed"


@pytest.mark.parametrize("source", ["import time\ntime.sleep(60)", "input = 1\nwhile True: pass"])
def test_wall_time(source: str) -> None:
    started = time.monotonic()
    outcome = run(source, Limits(wall_seconds=0.5))
    assert outcome.status == "timeout"
    assert time.monotonic() - started < 30


def test_cpu_time() -> None:
    outcome = run("while True: pass", Limits(wall_seconds=60, cpu_seconds=1))
    assert outcome.status == "timeout" and "CPU" in (outcome.error or "")


def test_memory() -> None:
    small = Limits(memory_bytes=128 << 20)
    assert run("x = bytearray(1 << 30)", small).status == "memory"
    assert run("x = []\nwhile True: x.append(' ' * 1_000_000)", small).status == "memory"
    assert run("import mmap\nm = mmap.mmap(-1, 1 << 30)", small).status in ("memory", "failed")
    assert run("import os\nos.memfd_create('m')", small).status == "blocked"


@pytest.mark.parametrize("namespaces", [True, False], ids=["tmpfs", "watched"])
def test_disk(namespaces: bool) -> None:
    limits = Limits(file_bytes=1 << 20, folder_bytes=3 << 20, wall_seconds=10)
    many = """
import time
for i in range(30):
    open(str(i), "wb").write(bytes(1 << 20))
    time.sleep(0.02)
time.sleep(1)
"""
    outcome, _, _ = runner_module._run(many, limits, (), namespaces=namespaces)
    assert outcome.status == "blocked", outcome
    big = run("open('a', 'wb').write(bytes(2 << 20))", limits)
    assert big.status == "blocked"


def test_output_is_cut_and_does_not_block() -> None:
    outcome = run("print('x' * 50_000_000)\nprint('y')", Limits(output_bytes=1000))
    assert outcome.passed and outcome.output == "x" * 1000


def test_deep_recursion() -> None:
    assert "RecursionError" in (run("def f(): f()\nf()").error or "")
    endless = """
import sys
sys.setrecursionlimit(10**9)
def f(): return sorted([0], key=lambda _: f())
f()
"""
    assert run(endless, Limits(memory_bytes=128 << 20)).status in ("failed", "memory", "timeout")


FAKED = {
    "os._exit": "import os; os._exit(0)",
    "sys.exit": "import sys; sys.exit(0)",
    "SystemExit": "raise SystemExit",
    "_thread.exit": "import _thread; _thread.exit()",
    "a signal": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "printing": "print('P'); print('passed'); raise SystemExit",
    "every descriptor": """
        import os
        for number in range(3000):
            for data in (b"P", b"\\0P"):
                try: os.write(number, data)
                except OSError: pass
        os._exit(0)
    """,
    "a copy of the descriptor": """
        import os, fcntl
        for number in range(1000, 1100):
            for copy in (os.dup, lambda n: os.dup2(n, 5), lambda n: fcntl.fcntl(n, 0, 3)):
                try: os.write(copy(number), b"P")
                except OSError: pass
        os._exit(0)
    """,
    "an exit handler": """
        import atexit, os, _thread, time
        atexit.register(lambda: os.write(1021, b"P"))
        _thread.interrupt_main()
        time.sleep(0.2)
        raise SystemExit
    """,
    "the frames above": """
        import sys
        frame = sys._getframe()
        while frame.f_back: frame = frame.f_back
        frame.f_locals["passed"].append(True)
        raise SystemExit
    """,
    "the report hook": """
        import sys
        for cell in sys.unraisablehook.__closure__:
            if isinstance(cell.cell_contents, list): cell.cell_contents.append(b"P")
        raise SystemExit
    """,
    "another report hook": "import sys; sys.unraisablehook = lambda *a: None; raise ValueError",
    "tampered builtins": """
        import builtins, json, os
        builtins.type = builtins.len = builtins.bool = lambda *a: True
        os.write = lambda fd, data: 1
        os._exit = lambda code: None
        json.dumps = lambda *a, **k: "P"
        raise SystemExit
    """,
    "another AssertionError": """
        import builtins
        builtins.AssertionError = type("Fine", (BaseException,), {})
        assert False
    """,
    "the loaded ctypes": """
        kinds = {k.__name__: k for k in object.__subclasses__()}
        kinds["CDLL"](None).syscall(1, 1021, b"P", 1)
    """,
    "an interpreter of its own": """
        import importlib
        for name in ("_xxsubinterpreters", "_interpreters"):
            __import__("sys").modules.pop(name, None)
            try: importlib.import_module(name).create()
            except (ImportError, AttributeError): pass
    """,
    "the report": """
        import os
        for number in range(3000):
            try: os.write(number, b'{"applied": []}\\n{"signal": "x"}\\n')
            except OSError: pass
        os._exit(0)
    """,
    "a destructor in the judge's thread": """
        import gc, os, sys, threading, time
        class Garbage:
            def __del__(self):
                frame = sys._getframe()
                while frame:
                    for value in frame.f_locals.values():
                        for data in value if isinstance(value, (list, tuple)) else [value]:
                            if isinstance(data, (str, bytes)) and len(data) > 20:
                                data = data if type(data) is bytes else data.encode()
                                os.write(1021, b"P" + data)
                    frame = frame.f_back
        def litter():
            while True:
                garbage = Garbage()
                garbage.me = garbage
        gc.set_threshold(1)
        threading.Thread(target=litter, daemon=True).start()
        time.sleep(0.05)
        raise SystemExit
    """,
    "a guess": "import os; os.write(1021, b'P' + b'0' * 32); os._exit(0)",
    "all objects": "import gc\n[o for o in gc.get_objects() if o == []][0].append(True)\n1 / 0",
    "other threads' frames": "import sys; sys._current_frames(); 1 / 0",
    "a thread that waits": """
        import threading, os, time
        threading.Thread(target=lambda: (time.sleep(0.1), os._exit(0))).start()
        time.sleep(5)
    """,
}  # fmt: skip


@pytest.mark.parametrize("source", FAKED.values(), ids=FAKED.keys())
def test_a_pass_cannot_be_faked(source: str) -> None:
    outcome = run(textwrap.dedent(source) + "\nassert False", SHORT)
    assert outcome.status in ("failed", "blocked"), outcome


REFUSED = {
    "the guard's own frame": """
        import gc, sys
        try:
            gc.get_objects()
        except PermissionError as error:
            trace = error.__traceback__
            while trace:
                for name, value in dict(trace.tb_frame.f_locals).items():
                    if isinstance(value, frozenset): trace.tb_frame.f_locals[name] = frozenset()
                trace = trace.tb_next
        gc.get_objects()
    """,
    "another PermissionError": """
        import builtins, gc
        builtins.PermissionError = builtins.type = lambda *a: SystemExit
        try: gc.get_objects()
        except OSError: pass
        gc.get_objects()
    """,
    "ctypes, forgotten and imported again": """
        import importlib, sys
        for name in ("ctypes", "_ctypes"):
            sys.modules.pop(name)
        importlib.import_module("_ctypes")
    """,
    "ctypes under another name": """
        import importlib.machinery, importlib.util, glob, os
        path = glob.glob(os.path.dirname(os.__file__) + "/lib-dynload/_ctypes.*")[0]
        loader = importlib.machinery.ExtensionFileLoader("other._ctypes", path)
        importlib.util.module_from_spec(importlib.util.spec_from_loader("other._ctypes", loader))
    """,
    "the bytes of ctypes": """
        import glob, os
        open(glob.glob(os.path.dirname(os.__file__) + "/lib-dynload/_ctypes.*")[0], "rb")
    """,
    "the source of ctypes": "import os; open(os.path.dirname(os.__file__) + '/ctypes/__init__.py')",
    "machine code of its own": """
        import importlib.machinery, importlib.util, math, shutil
        shutil.copy(math.__file__, "mine.so")
        loader = importlib.machinery.ExtensionFileLoader("math", "mine.so")
        importlib.util.module_from_spec(importlib.util.spec_from_loader("math", loader))
    """,
    "a path that equals everything": """
        import importlib.machinery, importlib.util, math, shutil
        class Path(str):
            def __hash__(self): return hash(math.__file__)
            def __eq__(self, other): return True
        shutil.copy(math.__file__, "mine.so")
        loader = importlib.machinery.ExtensionFileLoader("math", Path("mine.so"))
        spec = importlib.util.spec_from_loader("math", loader)
        spec.origin = Path("mine.so")
        importlib.util.module_from_spec(spec)
    """,
    "more descriptors": """
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    """,
    "the judge's own program": "import os, sys; os.execve(1020, [sys.executable, '-c', ''], {})",
    "ctypes": "import ctypes; ctypes.CDLL(None)",
    "ctypes from its file": """
        import importlib.machinery, importlib.util, sys, glob, os
        del sys.modules["_ctypes"]
        path = glob.glob(os.path.dirname(os.__file__) + "/lib-dynload/_ctypes.*")[0]
        loader = importlib.machinery.ExtensionFileLoader("_ctypes", path)
        importlib.util.module_from_spec(importlib.util.spec_from_loader("_ctypes", loader))
    """,
    "monitoring": """
        import sys
        if sys.version_info < (3, 12): sys.settrace(print)
        sys.monitoring.use_tool_id(0, "spy")
        sys.monitoring.register_callback(0, sys.monitoring.events.C_RETURN, print)
    """,
}  # fmt: skip


@pytest.mark.parametrize("namespaces", [True, False], ids=["namespaces", "without"])
@pytest.mark.parametrize("source", REFUSED.values(), ids=REFUSED.keys())
def test_raw_memory_and_machine_code_are_refused(source: str, namespaces: bool) -> None:
    source = textwrap.dedent(source) + "\nassert False, 'it got that far'"
    outcome, _, _ = runner_module._run(source, SHORT, (), namespaces=namespaces)
    assert outcome.status in ("failed", "blocked"), outcome
    assert "it got that far" not in (outcome.error or ""), outcome


def test_ctypes_was_never_in_the_programs_interpreter() -> None:
    outcome = run(
        """
        import sys
        assert not any("ctypes" in kind.__module__ for kind in object.__subclasses__())
        print(sorted(name for name in sys.modules if "ctypes" in name and sys.modules[name]))
        """
    )
    assert (outcome.status, outcome.output) == ("passed", "[]\n"), outcome
    if "_ctypes" not in sys.builtin_module_names:
        assert "no ctypes" in check_sandbox().applied


def test_a_program_that_writes_to_the_verdict_only_harms_itself() -> None:
    assert not run("import os; os.write(1021, b'P')").passed
    assert not run("import os; os.write(1021, b'x' * 100_000)").passed
    assert not run("import os; os.close(1021)").passed


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """Killed in the middle, our process takes the sandbox with it."""
    script = "from chatwright.evaluate.sandbox import *; run_python('import time; time.sleep(60)')"
    environment = os.environ | {"TMPDIR": str(tmp_path)}  # its work folder stays, empty
    process = subprocess.Popen([sys.executable, "-c", script], env=environment)
    try:
        family: list[psutil.Process] = []
        deadline = time.monotonic() + 30
        while len(family) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
            family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) >= 2, "the jail's two processes were not seen"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    _, alive = psutil.wait_procs(family, timeout=5)
    assert not alive


def test_no_children_and_no_descriptors_leak() -> None:
    run("pass")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for source in ("pass", "while True: pass", "import os; os._exit(3)"):
        run(source, Limits(wall_seconds=0.3))
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert not [c for c in psutil.Process().children() if "jail.py" in " ".join(c.cmdline())]


# -- where protections are missing -------------------------------------------------------------


def test_refuses_without_seccomp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module.filters, "supported", lambda: False)
    with pytest.raises(UsageError, match=r"(?s)seccomp.*Linux"):
        run_python("open('ran', 'w')")
    assert run_python("pass", unsafe=True).passed
    runner_module.check_sandbox.cache_clear()
    try:
        assert not check_sandbox().processes  # by a probe that got out, not by asking
        with pytest.raises(UsageError, match="processes"):
            require_sandbox()
    finally:
        runner_module.check_sandbox.cache_clear()


def test_before_landlock_knew_truncation_no_file_is_truncated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runner_module, "_landlock_version", lambda: 2)
    assert run("open('a', 'w')").status == "blocked"
    assert run("open('a', 'x').write('b')\nassert open('a').read() == 'b'").passed


def test_a_sandbox_that_does_not_start_is_no_wrong_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "_JAIL", Path("/nowhere/jail.py"))
    with pytest.raises(UsageError, match="did not start"):
        run_python("pass")


def test_limits_are_checked() -> None:
    with pytest.raises(UsageError, match="cpu_seconds"):
        Limits(cpu_seconds=0)


# -- several at once ---------------------------------------------------------------------------


def test_run_many_keeps_the_order() -> None:
    seen: dict[int, Outcome] = {}
    lock = threading.Lock()

    def finished(index: int, outcome: Outcome) -> None:
        with lock:
            seen[index] = outcome

    sources = [f"import time; time.sleep({0.2 if i == 0 else 0}); print({i})" for i in range(8)]
    sources[3] = "raise ValueError"
    outcomes = run_many(sources, workers=4, finished=finished)
    assert [o.status for o in outcomes] == ["passed"] * 3 + ["failed"] + ["passed"] * 4
    assert outcomes[5].output == "5\n"
    assert [seen[i] for i in range(8)] == outcomes


# -- HumanEval ---------------------------------------------------------------------------------

PROMPT = 'def add(a: int, b: int) -> int:\n    """Add."""\n'
TEST = (
    "\ndef check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate(-1, 1) == 0\n"
)


def fenced(code: str, language: str = "python") -> str:
    return f"```{language}\n{code}\n```"


RIGHT = {
    "body": "    return a + b\n",
    "body, then more": "    return a + b\n\n\ndef other():\n    return 1\n\nprint(undefined)\n",
    "body, then a class": "    return a + b\nclass Other:\n    x = undefined\n",
    "whole function": "Sure!\n\n" + fenced(f"{PROMPT}    return a + b") + "\nDone.",
    "with an example": fenced("def add(a, b):\n    return a + b\n\nprint(undefined)", "py"),
    "with an import": fenced("import operator as o\n\ndef add(a, b):\n    return o.add(a, b)"),
    "with a helper": fenced("def add(a, b):\n    return p(a, b)\n\ndef p(a, b):\n    return a + b"),
    "body in a fence": "Here:\n" + fenced("    return a + b"),
    "body without indent": fenced("if True:\n    return a + b"),
    "no fence": "The function:\n\ndef add(a, b):\n    return a + b\n\nThis adds two numbers.",
    "cut off": fenced(f"{PROMPT}    return a + b").removesuffix("```"),
    "decorated": fenced("import functools\n@functools.cache\ndef add(a, b):\n    return a + b"),
    "Chinese": "代码如下:\n" + fenced("def add(a, b):\n    # 相加\n    return a + b") + "\n完毕。",
}  # fmt: skip


def test_answers_become_programs() -> None:
    programs = [
        humaneval_program(PROMPT, clean_completion(answer, "add"), TEST, "add")
        for answer in RIGHT.values()
    ]
    outcomes = dict(zip(RIGHT, run_many(programs), strict=True))
    assert {name: o.error for name, o in outcomes.items() if not o.passed} == {}
    wrong = humaneval_program(PROMPT, clean_completion("    return a - b", "add"), TEST, "add")
    assert run(wrong).status == "failed"
    assert run(humaneval_program(PROMPT, "I do not know.", TEST, "add")).status == "failed"


@given(st.text())
def test_any_answer_can_be_cleaned(answer: str) -> None:
    assert isinstance(clean_completion(answer, "add"), str)
    assert isinstance(clean_completion(f"def add(a):\n{answer}", "add"), str)


def test_a_program_is_the_reference_implementations() -> None:
    assert humaneval_program("P\n", " C", "T", "f") == "P\n C\nT\ncheck(f)"


@given(st.integers(1, 12), st.data())
def test_pass_at_k_counts_the_draws(n: int, data: st.DataObject) -> None:
    import itertools

    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    draws = list(itertools.combinations([1] * c + [0] * (n - c), k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, draws)) / len(draws))


def test_pass_at_k_by_hand() -> None:
    assert pass_at_k(1, 1, 1) == 1 and pass_at_k(200, 0, 100) == 0
    assert pass_at_k(5, 2, 1) == pytest.approx(0.4)
    assert pass_at_k(5, 2, 2) == pytest.approx(0.7)  # 1 - 3/5 · 2/4
    with pytest.raises(DataError, match="pass@3"):
        pass_at_k(2, 1, 3)


def _problems(data: Path) -> list[dict[str, str]]:
    with gzip.open(data / "eval" / "human_eval.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _all_pass(problems: list[dict[str, str]]) -> None:
    def program(row: dict[str, str], completion: str) -> str:
        return humaneval_program(row["prompt"], completion, row["test"], row["entry_point"])

    sources = [program(row, row["canonical_solution"]) for row in problems]
    outcomes = run_many(sources, workers=2)
    assert {r["task_id"]: o for r, o in zip(problems, outcomes, strict=True) if not o.passed} == {}
    broken = run_many([program(row, "    return None\n") for row in problems], workers=2)
    assert not [row["task_id"] for row, o in zip(problems, broken, strict=True) if o.passed]


def test_the_canonical_solutions_pass(shared_data: Path) -> None:
    problems = _problems(shared_data)
    assert len(problems) == 164
    _all_pass(problems[::16])


@pytest.mark.slow
def test_all_canonical_solutions_pass(shared_data: Path) -> None:
    _all_pass(_problems(shared_data))
