"""The bundle: made from `web/`, in the wheel, quick when nothing changed."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import hatch_build
import pytest

from chat_server import HTTP, running
from chatwright.serve import Registry, create_app
from chatwright.serve.page import STATIC

ROOT = Path(hatch_build.__file__).parent


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    hatch_build.build_page()


def test_nothing_to_do_the_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("ran a program"))
    assert hatch_build.build_page() is False
    monkeypatch.setattr(hatch_build, "find_machine_node", lambda: None)
    assert hatch_build.CustomBuildHook.dependencies(None) == []  # type: ignore[arg-type]


def test_a_changed_source_means_a_new_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = hatch_build.source_digest()
    copy = tmp_path / "web"
    shutil.copytree(hatch_build.WEB, copy, ignore=shutil.ignore_patterns("node_modules", "dist"))
    monkeypatch.setattr(hatch_build, "WEB", copy)
    assert hatch_build.source_digest() == before
    (copy / "tests" / "new.test.ts").write_text("")
    assert hatch_build.is_current()
    (copy / "src" / "new.ts").write_text("")
    assert hatch_build.source_digest() != before and not hatch_build.is_current()
    monkeypatch.setattr(hatch_build, "find_machine_node", lambda: None)
    assert hatch_build.CustomBuildHook.dependencies(None) == [  # type: ignore[arg-type]
        hatch_build.NODE_PACKAGE
    ]
    monkeypatch.setattr(hatch_build, "find_packaged_node", lambda: None)
    with pytest.raises(hatch_build.PageBuildError, match=r"needs Node\.js 20 or newer"):
        hatch_build.build_page()


def test_a_registry_that_cannot_be_reached_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = hatch_build.find_machine_node() or hatch_build.find_packaged_node()
    if node is None:
        pytest.skip("no Node.js here")
    copy = tmp_path / "web"
    shutil.copytree(hatch_build.WEB, copy, ignore=shutil.ignore_patterns("node_modules", "dist"))
    monkeypatch.setattr(hatch_build, "WEB", copy)
    monkeypatch.setattr(hatch_build, "STATIC", tmp_path / "static")
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
    with pytest.raises(hatch_build.PageBuildError, match=r"npm registry .* reachable"):
        hatch_build.build_page()
    assert not (tmp_path / "static").exists()


def test_the_wheel_holds_the_page(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=120,
    )
    [wheel] = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    page = [n.removeprefix("chatwright/serve/static/") for n in names if "/serve/static/" in n]
    assert {"index.html", "build.json", "favicon.svg", "THIRD_PARTY.txt"} <= set(page)
    assert len([n for n in page if re.fullmatch(r"assets/app-\w+\.(js|css)", n)]) == 2
    assert not [n for n in names if n.startswith("web/")]


def test_the_page_needs_nothing_from_elsewhere() -> None:
    index = (STATIC / "index.html").read_text()
    first = _first_load(index)
    assert first[0] == "/favicon.svg"
    assert [p for p in first if p.endswith(".css")] == [
        f"/assets/{p.name}" for p in (STATIC / "assets").glob("*.css")
    ]
    assert all(re.fullmatch(r"/assets/[\w-]+\.(js|css)", path) for path in first[1:])
    assert "<script>" not in index and "style=" not in index and "{" not in index
    with running(create_app(Registry(lambda: [], lambda _: pytest.fail("loaded")))) as address:
        for path in [*first, *(f"/assets/{p.name}" for p in (STATIC / "assets").iterdir())]:
            reply = HTTP.get(address + path)
            assert reply.status_code == 200 and reply.content
        assert "immutable" in reply.headers["cache-control"]
        assert HTTP.get(address).headers["cache-control"] == "no-cache"


def test_what_is_shown_first_is_small_and_the_rest_comes_when_it_is_needed() -> None:
    size = {p.name: len(gzip.compress(p.read_bytes())) for p in (STATIC / "assets").iterdir()}
    first = {Path(path).name for path in _first_load((STATIC / "index.html").read_text())}
    assert sum(size.get(name, 0) for name in first) < 200_000
    later = " ".join(sorted(set(size) - first))
    for view in ("settings", "admin", "arena", "knowledge", "shared-page", "gate"):
        assert f"{view}-" in later
    # What the first script imports is asked for at once: nothing waits for what waits.
    for name in [n for n in first if n.endswith(".js")]:
        code = (STATIC / "assets" / name).read_text()
        assert set(re.findall(r'from"\./([\w-]+\.js)"', code)) <= first


def _first_load(index: str) -> list[str]:
    """What the page's HTML names, in its order."""
    return re.findall(r'(?:src|href)="([^"]*)"', index)


def test_without_the_bundle_the_page_says_so(tmp_path: Path) -> None:
    app = create_app(Registry(lambda: [], lambda _: pytest.fail("loaded")), static=tmp_path)
    with running(app) as address:
        reply = HTTP.get(address)
        assert reply.status_code == 503 and "pip install" in reply.text
        assert HTTP.get(f"{address}/v1/models").json() == {"object": "list", "data": []}


def test_the_lock_file_names_no_registry_and_pins_content() -> None:
    lock = json.loads((ROOT / "web" / "package-lock.json").read_text())
    packages = {name: p for name, p in lock["packages"].items() if name}
    assert packages and all(p["integrity"].startswith("sha512-") for p in packages.values())
    assert not [p for p in packages.values() if "resolved" in p]


@pytest.mark.parametrize("script", ["check", "test"])
def test_the_pages_types_and_its_own_tests(script: str) -> None:
    node = hatch_build.find_machine_node() or hatch_build.find_packaged_node()
    if node is None:
        pytest.skip("no Node.js here")
    hatch_build._install_packages(node)
    arguments = {"check": ["node_modules/typescript/bin/tsc", "--noEmit"]}
    command = [node[0], *arguments.get(script, ["build.mjs", "--tests"])]
    done = subprocess.run(
        command, cwd=ROOT / "web", capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
