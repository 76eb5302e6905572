"""Files of a package, by name and version, from the index that pip is configured with.

Reads the Simple API (PEP 503 HTML and PEP 691 JSON) and pip's find-links. Only the file is
downloaded: no metadata hook, no `setup.py`, nothing of the package ever runs.
"""

from __future__ import annotations

import html.parser
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urldefrag, urljoin, urlsplit, urlunsplit

import httpx2
from packaging.tags import sys_tags
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

from chatwright.errors import SourceError, UsageError
from chatwright.sources.download import explain, file_url_path, http_client, redacted, retried
from chatwright.sources.pip_config import PipConfig

Kind = Literal["sdist", "wheel"]

_REFERENCE = re.compile(
    r"pypi:(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^#\s]+)(?:#(?P<kind>sdist|wheel))?"
)
_SDIST_ENDINGS = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
_ACCEPT = (
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, "
    "text/html;q=0.1"
)
_MAX_PAGE = 100 << 20  # bytes; the largest page on pypi.org is about a third of it


@dataclass(frozen=True, slots=True)
class PackageReference:
    """`pypi:name==version`, and the kind of file where `#sdist` or `#wheel` asks for one."""

    name: str
    version: Version
    kind: Kind | None = None

    @classmethod
    def parse(cls, reference: str) -> PackageReference:
        """Raises `UsageError` where it is not of that form."""
        match = _REFERENCE.fullmatch(reference.strip())
        try:
            if match is None:
                raise ValueError
            version = Version(match["version"])
        except ValueError as error:  # InvalidVersion is one
            raise UsageError(
                "not a package with an exact version",
                where=reference,
                hint="write pypi:name==version, for example pypi:sqlalchemy==2.0.36",
            ) from error
        return cls(canonicalize_name(match["name"]), version, match["kind"])  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"pypi:{self.name}=={self.version}" + (f"#{self.kind}" if self.kind else "")


@dataclass(frozen=True, slots=True)
class PackageFile:
    """One file that an index offers. `sha256` is what the index says, if it says."""

    filename: str
    url: str
    kind: Kind
    sha256: str | None = None


def find_file(reference: PackageReference, sha256: str | None, config: PipConfig) -> PackageFile:
    """The file to download for `reference`.

    With `sha256`: the one that the index lists under it, else the preferred one of those listed
    without any checksum. Preferred are sdists, then wheels for every platform, then wheels for
    this one. Raises `SourceError` naming each place that was asked and what it answered.
    """
    notes: list[str] = []
    offered = [
        file for file in _offered(reference, config, notes) if reference.kind in (None, file.kind)
    ]
    if sha256 is not None:
        exact = [file for file in offered if file.sha256 == sha256]
        fitting = exact or [file for file in offered if file.sha256 is None]
        if offered and not fitting:
            listed = ", ".join(f"{file.filename} ({file.sha256})" for file in offered[:4])
            raise SourceError(
                f"no file of {reference} has the SHA-256 {sha256}; there is {listed}",
                hint="check the recorded sha256: the package may have changed",
            )
        offered = fitting
    if not offered:
        what = f"no {reference.kind or 'file'} of {reference.name} {reference.version} was found"
        raise SourceError(
            what,
            where=str(reference),
            hint="asked: " + "; ".join(notes or ["nowhere, as pip is told no-index"]),
        )
    return min(offered, key=_preference)  # min keeps the first index's file among equals


def _preference(file: PackageFile) -> tuple[int, str]:
    if file.kind == "sdist":
        return (0, "")
    tags = parse_wheel_filename(file.filename)[3]
    if any(tag.platform == "any" for tag in tags):
        return (1, "")
    if not tags.isdisjoint(sys_tags()):
        return (2, "")
    return (3, file.filename)


def _offered(
    reference: PackageReference, config: PipConfig, notes: list[str]
) -> Iterator[PackageFile]:
    for base in config.find_links:
        links = _links_of_place(base, config, notes)
        yield from _of_version(reference, links, base, notes)
    for index in config.indexes:
        page = index.rstrip("/") + f"/{reference.name}/"
        yield from _of_version(reference, _links_of_page(page, config, notes), page, notes)


@dataclass(frozen=True, slots=True)
class _Link:
    filename: str
    url: str
    sha256: str | None


def _of_version(
    reference: PackageReference, links: Iterable[_Link], place: str, notes: list[str]
) -> Iterator[PackageFile]:
    versions: set[str] = set()
    found = False
    for link in links:
        parsed = parse_filename(link.filename, reference.name)
        if parsed is None:
            continue
        version, kind = parsed
        versions.add(str(version))
        if version == reference.version:
            found = True
            yield PackageFile(link.filename, link.url, kind, link.sha256)
    failed = notes and notes[-1].startswith(f"{redacted(place)} ")
    if not found and not failed:
        near = sorted(versions, key=Version)[-3:]
        said = f"has {', '.join(near)} and others, not {reference.version}" if near else "has none"
        notes.append(f"{redacted(place)} {said}")


def parse_filename(filename: str, name: str) -> tuple[Version, Kind] | None:
    """Version and kind of a distribution file of package `name` (canonical), or None."""
    try:
        if filename.endswith(".whl"):
            found, version, _, _ = parse_wheel_filename(filename)
            return (version, "wheel") if found == name else None
        stem = next(
            (filename.removesuffix(end) for end in _SDIST_ENDINGS if filename.endswith(end)), None
        )
        # Old sdists do not normalise the name, so a hyphen may belong to name or version.
        for cut in re.finditer("-", stem or ""):
            assert stem is not None
            if canonicalize_name(stem[: cut.start()]) == name:
                return Version(stem[cut.end() :]), "sdist"
    except (InvalidVersion, InvalidWheelFilename, InvalidSdistFilename):
        return None
    return None


def _links_of_place(place: str, config: PipConfig, notes: list[str]) -> Iterator[_Link]:
    """A find-links entry: a folder of files, a page of links, or one archive."""
    if urlsplit(place).scheme in ("http", "https"):
        yield from _links_of_page(place, config, notes)
        return
    path = file_url_path(place) if place.startswith("file:") else Path(place).expanduser()
    if path.is_dir():
        for file in sorted(path.iterdir()):
            yield _Link(file.name, file.absolute().as_uri(), None)
    elif path.suffix in (".html", ".htm"):
        yield from _links_of_page(path.absolute().as_uri(), config, notes)
    elif path.is_file():
        yield _Link(path.name, path.absolute().as_uri(), None)
    else:
        notes.append(f"{path} does not exist")


def _links_of_page(page: str, config: PipConfig, notes: list[str]) -> list[_Link]:
    """The links of one index page; a page that fails leaves a note and gives none."""
    try:
        base, media_type, body = _read_page(page, config)
        if media_type.endswith("+json"):
            return list(_parse_json(body, base, page))
        return list(_parse_html(body, base, page))
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        missing = isinstance(error, httpx2.HTTPStatusError) and error.response.status_code == 404
        reason = "has no such package" if missing else f"failed: {explain(error)}"
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        reason = "has no such package" if missing else f"failed: {error.strerror}"
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        reason = f"did not answer with a package index page ({error})"
    notes.append(f"{redacted(page)} {reason}")
    return []


def _read_page(page: str, config: PipConfig) -> tuple[str, str, bytes]:
    """(address after redirects, media type, body) of an index page."""
    if urlsplit(page).scheme == "file":
        path = file_url_path(page)
        path = path / "index.html" if path.is_dir() else path
        return page, "text/html", path.read_bytes()
    client = http_client(config)
    for attempt in range(min(config.retries, 2) + 1):
        try:
            return _get_page(client, page)
        except httpx2.HTTPError as error:
            if attempt == min(config.retries, 2) or not retried(error):
                raise
    raise AssertionError("unreachable")


def _get_page(client: httpx2.Client, page: str) -> tuple[str, str, bytes]:
    with client.stream("GET", page, headers={"Accept": _ACCEPT}) as response:
        response.raise_for_status()
        body = bytearray()
        for block in response.iter_bytes():
            body += block
            if len(body) > _MAX_PAGE:
                raise ValueError(f"larger than {_MAX_PAGE >> 20} MiB")
        media_type = response.headers.get("Content-Type", "text/html").split(";")[0].strip()
        if not (media_type.endswith(("+json", "html"))):
            raise ValueError(f"it is {media_type}")
        return str(response.url), media_type, bytes(body)


def _parse_json(body: bytes, base: str, page: str) -> Iterator[_Link]:
    for file in json.loads(body)["files"]:
        hashes = file.get("hashes") or {}
        yield from _link(urljoin(base, file["url"]), page, hashes.get("sha256"), file["filename"])


class _Anchors(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.base: str | None = None
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        href = dict(attrs).get("href")
        if tag == "a" and href:
            self.links.append(href)
        elif tag == "base" and href and self.base is None:
            self.base = href


def _parse_html(body: bytes, base: str, page: str) -> Iterator[_Link]:
    anchors = _Anchors()
    anchors.feed(body.decode("utf-8", "replace"))
    base = urljoin(base, anchors.base or "")
    for href in anchors.links:
        url, fragment = urldefrag(urljoin(base, href))
        digest = re.search(r"sha256=([0-9a-fA-F]{64})", fragment)
        yield from _link(url, page, digest[1].lower() if digest else None, None)


def _link(url: str, page: str, sha256: str | None, filename: str | None) -> Iterator[_Link]:
    """A link that this page may give: a remote page may not point into the local disk."""
    parts, origin = urlsplit(url), urlsplit(page)
    if parts.scheme not in ("http", "https", "file"):
        return
    if parts.scheme == "file" and origin.scheme != "file":
        return
    if "@" in origin.netloc and parts.hostname == origin.hostname and "@" not in parts.netloc:
        login = origin.netloc.rpartition("@")[0]  # a private index: its files ask for it as well
        url = urlunsplit(parts._replace(netloc=f"{login}@{parts.netloc}"))
    # The name becomes a file of the cache, so only its last part counts.
    name = (filename or unquote(parts.path)).replace("\\", "/").rpartition("/")[2]
    if name and not name.startswith("."):
        yield _Link(name, url, sha256)
