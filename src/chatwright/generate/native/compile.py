"""Compiles the kernels into one shared library, for `hatch_build.py` and by hand.

Needs a C++17 compiler and nothing else; imports nothing of Chatwright, since it runs before that is
installed. The library is not tied to a version of Python: it has a plain C interface. Each
instruction set is compiled into a table of its own, and the machine that runs it picks one.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
LIBRARY = FOLDER / "libchatwright.so"
_FLAGS = [
    "-std=c++17", "-O3", "-fPIC", "-pthread", "-fvisibility=hidden", "-fno-math-errno",
    "-fno-trapping-math", "-Wall", "-Wextra",
    # GCC says so of its own AVX-512 header, and of a change of its own ABI.
    "-Wno-uninitialized", "-Wno-maybe-uninitialized", "-Wno-psabi",
]  # fmt: skip
_AVX512 = [f"-mavx512{part}" for part in ("f", "bw", "vl", "dq", "vnni", "bf16")]
_SHARED = ["-mfma", "-mf16c"]


class CompileError(Exception):
    """The kernels could not be compiled; the text says why."""


def source_digest() -> str:
    """A digest of all that the library depends on."""
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(FOLDER.iterdir()):
        if file.suffix in {".cpp", ".h", ".inc"} or file.name == "compile.py":
            digest.update(f"{file.name}\0".encode() + file.read_bytes())
    digest.update(platform.machine().encode())
    return digest.hexdigest()


def is_current(library: Path = LIBRARY) -> bool:
    """Whether the library there is was made from the sources there are."""
    record = library.with_suffix(".txt")
    try:
        return library.exists() and record.read_text(encoding="utf-8") == source_digest()
    except OSError:
        return False


def find_compiler() -> list[str] | None:
    """The command of a C++ compiler: `$CXX`, g++, clang++, c++, or the package `ziglang`'s."""
    wanted = shlex.split(os.environ.get("CXX", ""))  # may have options, or ccache in front
    for command in (wanted, ["g++"], ["clang++"], ["c++"]):
        if command and (found := shutil.which(command[0])):
            return [found, *command[1:]]
    try:
        import ziglang  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        return None
    return [sys.executable, "-m", "ziglang", "c++"]


def compile_kernels(library: Path = LIBRARY) -> bool:
    """Make the library if its sources changed; whether there was anything to do.

    Raises `CompileError` where there is no compiler, or it fails.
    """
    if is_current(library):
        return False
    compiler = find_compiler()
    if compiler is None:
        raise CompileError("there is no C++ compiler (g++ or clang++) on this machine")
    if sys.platform == "win32":
        raise CompileError("on Windows the kernels have not been made to compile")
    try:
        _compile(compiler, library)
    except OSError as error:
        raise CompileError(f"the kernels could not be compiled or written: {error}") from error
    return True


def _compile(compiler: list[str], library: Path) -> None:
    x86 = platform.machine().lower() in {"x86_64", "amd64"}
    units: list[tuple[str, Sequence[str]]] = []
    for kernels, caller in (("kernels", "engine"), ("train", "train")):
        units += [(caller, ()), (f"{kernels}_portable", ())]
        if x86:
            units += [
                (f"{kernels}_avx2", ["-mavx2", *_SHARED]),
                (f"{kernels}_avx512", [*_AVX512, *_SHARED]),
            ]
    flags = [*_FLAGS, "-DCHATWRIGHT_X86"] if x86 else _FLAGS
    with tempfile.TemporaryDirectory(prefix="chatwright-kernels-") as folder:
        objects = [f"{folder}/{name}.o" for name, _ in units]
        commands = [
            [*compiler, *flags, *extra, "-c", str(FOLDER / f"{name}.cpp"), "-o", target]
            for (name, extra), target in zip(units, objects, strict=True)
        ]
        _run_all(commands)
        made = Path(folder) / library.name
        _run_all([[*compiler, "-shared", "-pthread", *objects, "-o", str(made)]])
        partial = library.with_name(f".{library.name}.{os.getpid()}.partial")
        try:
            shutil.copyfile(made, partial)
            partial.replace(library)  # a process that has the old one open keeps it
        finally:
            partial.unlink(missing_ok=True)
    library.with_suffix(".txt").write_text(source_digest(), encoding="utf-8")


def _run_all(commands: list[list[str]]) -> None:
    """Side by side; the first that fails is told of."""
    running = [
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        for command in commands
    ]
    failed = ""
    for process in running:
        said, _ = process.communicate()
        if process.returncode != 0 and not failed:
            failed = said.strip()[-2000:] or f"exit code {process.returncode}"
    if failed:
        raise CompileError(failed)


if __name__ == "__main__":
    try:
        print(f"{LIBRARY}: {'compiled' if compile_kernels() else 'up to date'}")
    except CompileError as error:
        sys.exit(str(error))
