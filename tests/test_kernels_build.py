"""How the kernels are compiled, and that an installation goes on where they cannot be."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from chatwright.generate.native import compile as kernels

ROOT = Path(__file__).resolve().parents[1]
NATIVE = "src/chatwright/generate/native/"
SOURCES = {
    "compile.py", "library.py", "engine.cpp", "kernels.h", "kernels.inc", "kernels_avx2.cpp",
    "kernels_avx512.cpp", "kernels_portable.cpp", "pack.h", "simd_avx2.h", "simd_avx512.h",
    "simd_portable.h", "threads.h",
}  # fmt: skip

# Stands for a compiler: notes what it was told, and makes the file that was asked for.
FAKE = """#!{python}
import os, sys
with open(os.environ["FAKE_LOG"], "a") as log:
    log.write(" ".join(sys.argv[1:]) + "\\n")
if os.environ.get("FAKE_FAILS", "-") in " ".join(sys.argv):
    sys.stdout.buffer.write(b"kernels.inc:7:1: error: \\xff \\xe9\\x94\\x99\\xe8\\xaf\\xaf\\n")
    sys.exit(1)
with open(sys.argv[sys.argv.index("-o") + 1], "wb") as out:
    out.write(b"made")
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A compiler of our own; what it was told is in the file that is returned."""
    program = tmp_path / "fake-c++"
    program.write_text(FAKE.format(python=sys.executable), encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("CXX", str(program))
    monkeypatch.setenv("FAKE_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("FAKE_FAILS", "nothing at all")
    return tmp_path / "log"


@pytest.fixture
def no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setitem(sys.modules, "ziglang", None)


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    place = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert place is not None and place.loader is not None
    module = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    return module


def test_each_instruction_set_is_compiled_for_itself(fake: Path, tmp_path: Path) -> None:
    library = tmp_path / "out.so"
    assert kernels.compile_kernels(library) is True
    assert library.read_bytes() == b"made"
    commands = {line.split(" -c ")[1].split()[0].split("/")[-1]: line
                for line in fake.read_text().splitlines() if " -c " in line}  # fmt: skip
    assert {"engine.cpp", "kernels_portable.cpp"} <= set(commands)
    # Only that one file may use an instruction that the machine may not have.
    assert "-mavx" not in commands["engine.cpp"] + commands["kernels_portable.cpp"]
    if platform.machine() == "x86_64":
        assert "-mavx512bf16" in commands["kernels_avx512.cpp"]
        assert "-mavx2" in commands["kernels_avx2.cpp"]
        assert "-mavx512" not in commands["kernels_avx2.cpp"]
    assert "march=native" not in fake.read_text()
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"fake-c++", "log", "out.so", "out.txt"}


def test_nothing_is_done_twice(fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / "out.so"
    assert not kernels.is_current(library)
    kernels.compile_kernels(library)
    assert kernels.is_current(library)
    calls = fake.read_text()
    assert kernels.compile_kernels(library) is False
    assert fake.read_text() == calls
    monkeypatch.setattr(kernels, "source_digest", lambda: "other sources")
    assert not kernels.is_current(library)
    assert kernels.compile_kernels(library) is True
    library.unlink()
    assert not kernels.is_current(library)


def test_the_digest_is_of_every_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = kernels.source_digest()
    assert before == kernels.source_digest()
    copy = tmp_path / "native"
    copy.mkdir()
    for file in kernels.FOLDER.iterdir():
        if file.suffix in {".cpp", ".h", ".inc", ".py"}:
            (copy / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(kernels, "FOLDER", copy)
    assert kernels.source_digest() == before
    (copy / "libchatwright.txt").write_text("not a source")
    assert kernels.source_digest() == before
    for name in sorted(SOURCES - {"library.py"}):
        content = (copy / name).read_bytes()
        (copy / name).write_bytes(content + b"\n")
        assert kernels.source_digest() != before, name
        (copy / name).write_bytes(content)
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert kernels.source_digest() != before


def test_what_the_compiler_says_is_told(
    fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "out.so"
    library.write_bytes(b"an older one")
    for part in ("kernels_portable.cpp", "-shared"):
        monkeypatch.setenv("FAKE_FAILS", part)
        with pytest.raises(kernels.CompileError, match=r"kernels\.inc:7:1: error: .* 错误"):
            kernels.compile_kernels(library)
        assert library.read_bytes() == b"an older one"
        assert not kernels.is_current(library)


def test_a_folder_that_cannot_be_written_to_is_told(fake: Path, tmp_path: Path) -> None:
    with pytest.raises(kernels.CompileError, match="written"):
        kernels.compile_kernels(tmp_path / "none" / "out.so")


def test_without_a_compiler(no_compiler: None, tmp_path: Path) -> None:
    assert kernels.find_compiler() is None
    with pytest.raises(kernels.CompileError, match=r"no C\+\+ compiler"):
        kernels.compile_kernels(tmp_path / "out.so")
    assert not (tmp_path / "out.so").exists()


def test_the_wanted_compiler_comes_first(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = os.environ["CXX"]
    monkeypatch.setenv("CXX", f"{program} --target=riscv64 -B '/a b'")
    assert kernels.find_compiler() == [program, "--target=riscv64", "-B", "/a b"]
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert kernels.find_compiler() != ["no-such-compiler"]


def test_an_installation_goes_on_without_kernels(
    hook: ModuleType,
    no_compiler: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    # The hook runs a copy of compile.py, so that nothing here touches the real library.
    copy = tmp_path / "compile.py"
    copy.write_bytes((kernels.FOLDER / "compile.py").read_bytes())
    monkeypatch.setattr(hook, "KERNELS", copy)
    monkeypatch.delenv("CHATWRIGHT_NATIVE", raising=False)
    assert hook.build_kernels() is False
    assert "PyTorch will compute answers" in capsys.readouterr().err
    monkeypatch.setenv("CHATWRIGHT_NATIVE", "require")
    with pytest.raises(SystemExit, match=r"no C\+\+ compiler"):
        hook.build_kernels()
    monkeypatch.setenv("CHATWRIGHT_NATIVE", "0")
    assert hook.build_kernels() is False
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("made", "version", "tag"),
    [(True, "standard", True), (False, "standard", False), (True, "editable", False)],
)
def test_only_a_wheel_with_a_library_is_for_one_platform(
    hook: ModuleType, monkeypatch: pytest.MonkeyPatch, made: bool, version: str, tag: bool
) -> None:
    monkeypatch.setattr(hook, "build_page", lambda: False)
    monkeypatch.setattr(hook, "build_kernels", lambda: made)
    built = hook.CustomBuildHook.__new__(hook.CustomBuildHook)
    monkeypatch.setattr(type(built), "target_name", "wheel", raising=False)
    data: dict[str, object] = {}
    built.initialize(version, data)
    assert ("tag" in data) == tag
    if tag:
        system = sys.platform if sys.platform != "darwin" else "macosx"
        assert str(data["tag"]).startswith(f"py3-none-{system}_")
        assert "." not in str(data["tag"]) and data["pure_python"] is False


@pytest.mark.slow
def test_the_library_is_compiled_and_opens(tmp_path: Path) -> None:
    if kernels.find_compiler() is None:
        pytest.skip("there is no C++ compiler")
    library = tmp_path / "libchatwright.so"
    kernels.compile_kernels(library)
    opened = ctypes.CDLL(str(library))
    opened.cw_best_kernels.restype = ctypes.c_char_p
    assert opened.cw_best_kernels() in (b"avx512", b"avx2", b"portable")
    # Nothing but our own names is offered to other libraries.
    names = subprocess.run(
        ["nm", "-D", "--defined-only", str(library)], capture_output=True, text=True, check=False
    )
    if names.returncode == 0:
        ours = [line.split() for line in names.stdout.splitlines()]
        assert all(name[2].startswith("cw_") for name in ours if name[1] == "T")


@pytest.mark.slow
@pytest.mark.parametrize("target", ["wheel", "sdist"])
def test_what_a_distribution_holds(target: str, tmp_path: Path) -> None:
    if kernels.find_compiler() is None:
        pytest.skip("there is no C++ compiler")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = tmp_path.iterdir()
    if target == "wheel":
        names = set(zipfile.ZipFile(made).namelist())
        assert "chatwright/generate/native/libchatwright.so" in names
        assert made.stem.split("-", 2)[2].startswith("py3-none-")
        assert not made.stem.endswith("-any")
    else:
        with tarfile.open(made) as archive:
            names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
        assert {NATIVE + name for name in SOURCES} <= names
        assert not any("libchatwright" in name for name in names)
