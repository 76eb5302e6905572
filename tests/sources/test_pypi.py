from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from packaging.version import Version

from chatwright.errors import SourceError, UsageError
from chatwright.sources import fetch
from chatwright.sources.pypi import PackageReference, parse_filename

from .conftest import Answer, Server

SDIST, WHEEL = b"the source archive " * 1000, b"the wheel " * 500
JSON = {"Content-Type": "application/vnd.pypi.simple.v1+json"}
HTML = {"Content-Type": "text/html; charset=utf-8"}


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def index(server: Server) -> Server:
    files = {
        "demo_pages-1.0.tar.gz": SDIST,
        "demo_pages-1.0-py3-none-any.whl": WHEEL,
        "demo_pages-0.9.tar.gz": b"old",
    }
    listing = {
        "files": [
            {"filename": name, "url": f"../../files/{name}", "hashes": {"sha256": sha(body)}}
            for name, body in files.items()
        ]
    }
    server.routes["/simple/demo-pages/"] = Answer(json.dumps(listing).encode(), headers=JSON)
    for name, body in files.items():
        server.routes[f"/files/{name}"] = Answer(body)
    return server


def test_prefers_the_source_archive(index: Server) -> None:
    path = fetch("pypi:Demo.Pages==1.0")
    assert (path.name, path.read_bytes()) == ("demo_pages-1.0.tar.gz", SDIST)


@pytest.mark.parametrize(("suffix", "body"), [("#wheel", WHEEL), ("#sdist", SDIST)])
def test_takes_the_kind_that_is_asked_for(index: Server, suffix: str, body: bytes) -> None:
    assert fetch("pypi:demo-pages==1.0" + suffix).read_bytes() == body


def test_takes_the_file_with_the_recorded_checksum(index: Server) -> None:
    assert fetch("pypi:demo-pages==1.0", sha256=sha(WHEEL)).suffix == ".whl"


@pytest.mark.parametrize("checksum", [None, sha(SDIST)])
def test_the_second_time_needs_no_network(index: Server, checksum: str | None) -> None:
    first = fetch("pypi:demo-pages==1.0", sha256=checksum)
    index.routes.clear()
    index.log.clear()
    assert fetch("pypi:demo-pages==1.0", sha256=checksum) == first
    assert index.log == []


def test_a_damaged_copy_in_the_cache_is_fetched_again(index: Server) -> None:
    path = fetch("pypi:demo-pages==1.0", sha256=sha(SDIST))
    path.write_bytes(SDIST[:-1])
    assert fetch("pypi:demo-pages==1.0", sha256=sha(SDIST)).read_bytes() == SDIST
    path.write_bytes(b"")
    assert fetch("pypi:demo-pages==1.0").read_bytes() == SDIST


def test_a_checksum_that_no_file_has_names_those_there_are(index: Server) -> None:
    with pytest.raises(SourceError, match=sha(SDIST)) as caught:
        fetch("pypi:demo-pages==1.0", sha256="0" * 64)
    assert "demo_pages-1.0.tar.gz" in str(caught.value)
    assert not any(path.startswith("/files") for _, path, _ in index.log)


def test_a_file_that_differs_from_the_index_is_thrown_away(index: Server, cache: Path) -> None:
    index.routes["/files/demo_pages-1.0.tar.gz"] = Answer(b"something else")
    with pytest.raises(SourceError, match="thrown away"):
        fetch("pypi:demo-pages==1.0")
    assert [p for p in cache.rglob("*") if p.is_file() and p.suffix != ".lock"] == []


def test_a_missing_version_says_what_there_is(index: Server) -> None:
    with pytest.raises(SourceError, match=r"has 0\.9, 1\.0 and others, not 3"):
        fetch("pypi:demo-pages==3")


def test_a_missing_package_says_where_it_was_looked_for(server: Server) -> None:
    with pytest.raises(SourceError, match="has no such package") as caught:
        fetch("pypi:nothing-of-this-name==1")
    assert server.url in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(b"oops", 500), "answered 500"),
        (Answer(b"<p>Welcome to the hotel network. Log in!", headers=HTML), "has none"),
        (Answer(b"\x89PNG", headers={"Content-Type": "image/png"}), "not answer with a package"),
        (Answer(b'{"files": [{"name": 3}]}', headers=JSON), "not answer with a package"),
        (Answer(b"[1, 2", headers=JSON), "not answer with a package"),
        (Answer(b"", 401), "answered 401"),
    ],
)
def test_an_index_that_answers_nonsense(server: Server, answer: Answer, words: str) -> None:
    server.routes["/simple/demo-pages/"] = answer
    with pytest.raises(SourceError, match=words):
        fetch("pypi:demo-pages==1.0")


def test_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(SourceError, match="no connection"):
        fetch("pypi:demo-pages==1.0")


def test_html_index_with_fragments_base_and_redirect(server: Server) -> None:
    page = (
        "<!DOCTYPE html><base href='/mirror/x/'><a href='a.txt'>a</a>"
        f"<a href='demo-pages-1.0.zip#sha256={sha(SDIST)}'>demo-pages-1.0.zip</a>"
        "<a href='file:///etc/demo-pages-1.0.tar.gz'>a local file</a>"
    )
    server.routes["/simple/demo-pages/"] = Answer(
        b"", 301, {"Location": f"{server.url}/elsewhere/"}
    )
    server.routes["/elsewhere/"] = Answer(page.encode(), headers=HTML)
    server.routes["/mirror/x/demo-pages-1.0.zip"] = Answer(SDIST)
    assert fetch("pypi:demo-pages==1.0").read_bytes() == SDIST


def test_find_links_and_a_local_index(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "local_one-2.0-py3-none-any.whl").write_bytes(WHEEL)
    page = tmp_path / "simple" / "local-two"
    page.mkdir(parents=True)
    (page / "local_two-2.0.tar.gz").write_bytes(SDIST)
    (page / "index.html").write_text('<a href="local_two-2.0.tar.gz">it</a>')
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", (tmp_path / "simple").as_uri())
    assert fetch("pypi:local-one==2.0", sha256=sha(WHEEL)).read_bytes() == WHEEL
    assert fetch("pypi:local-two==2.0").read_bytes() == SDIST
    with pytest.raises(SourceError, match="SHA-256"):
        fetch("pypi:local-two==2.0", sha256="1" * 64)


def test_a_mirror_after_a_broken_one(index: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"{index.url}/simple")
    assert fetch("pypi:demo-pages==1.0").read_bytes() == SDIST


def test_a_password_in_the_index_is_sent_and_never_shown(
    index: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "PIP_INDEX_URL", index.url.replace("http://", "http://me:hunter2@") + "/simple"
    )
    listing = index.routes["/simple/demo-pages/"]
    archive = index.routes["/files/demo_pages-1.0.tar.gz"]
    assert isinstance(listing, Answer)
    assert isinstance(archive, Answer)

    def guarded(answer: Answer):
        return lambda request: (
            answer if request.headers.get("Authorization") else Answer(b"login", 401)
        )

    index.routes["/simple/demo-pages/"] = guarded(listing)
    index.routes["/files/demo_pages-1.0.tar.gz"] = guarded(archive)
    assert fetch("pypi:demo-pages==1.0").read_bytes() == SDIST
    with pytest.raises(SourceError) as caught:
        fetch("pypi:demo-pages==7")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "reference", ["pypi:demo", "pypi:demo>=1", "pypi:demo==", "pypi:demo==x y", "pypi:==1", "pypi:"]
)
def test_a_reference_without_an_exact_version(reference: str) -> None:
    with pytest.raises(UsageError, match="exact version"):
        fetch(reference)


@pytest.mark.parametrize(
    ("filename", "name", "expected"),
    [
        ("SQLAlchemy-2.0.36.tar.gz", "sqlalchemy", ("2.0.36", "sdist")),
        ("zope.interface-5.0-beta1.zip", "zope-interface", ("5.0b1", "sdist")),
        ("a_b-1.tar.bz2", "a-b", ("1", "sdist")),
        ("a-b-1.tar.gz", "a", None),
        ("a_b-1-py3-none-any.whl", "a-b", ("1", "wheel")),
        ("a_b-1.exe", "a-b", None),
        ("other-1.tar.gz", "a-b", None),
        ("a_b-1-py3.whl", "a-b", None),
    ],
)
def test_file_names(filename: str, name: str, expected: tuple[str, str] | None) -> None:
    want = None if expected is None else (Version(expected[0]), expected[1])
    assert parse_filename(filename, name) == want


def test_the_name_of_a_file_cannot_leave_the_cache(server: Server, cache: Path) -> None:
    evil = {"filename": "../../../evil-1.0.tar.gz", "url": f"{server.url}/e", "hashes": {}}
    server.routes["/simple/evil/"] = Answer(json.dumps({"files": [evil]}).encode(), headers=JSON)
    server.routes["/e"] = Answer(b"boo")
    path = fetch("pypi:evil==1.0")
    assert path == cache / "pypi" / "evil-1.0" / "evil-1.0.tar.gz"


def test_a_reference_prints_as_it_is_written() -> None:
    assert str(PackageReference.parse("pypi:A_b==1.0#wheel")) == "pypi:a-b==1.0#wheel"
