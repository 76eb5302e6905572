"""`fetch`: a reference in, a local file out, checked and cached."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from chatwright.errors import SourceError, UsageError
from chatwright.progress import Progress
from chatwright.records import write_atomic
from chatwright.sources.download import (
    checksum_error,
    download,
    file_url_path,
    locked,
    redacted,
    sha256_of,
)
from chatwright.sources.pip_config import PipConfig, pip_config
from chatwright.sources.pypi import PackageReference, find_file
from chatwright.workspace import cache_folder

_SHA256 = re.compile(r"[0-9a-f]{64}")
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


def fetch(reference: str, *, sha256: str | None = None, progress: Progress | None = None) -> Path:
    """The local file that `reference` names, downloaded at most once.

    - `pypi:name==version` (`#sdist` or `#wheel` to insist): a file of that package, from whatever
      index pip is configured with; with `sha256` the file that has it.
    - `https://…`; `http://…` only from this machine or with `sha256`.
    - `file:…` or a path: itself, where it lies (a folder too, unless `sha256` is given).

    Downloads are kept in `workspace.cache_folder()` and found there without any network. Raises
    `SourceError` (no network, no such version, wrong checksum, full disk) or `UsageError`.
    """
    if sha256 is not None:
        sha256 = sha256.lower().removeprefix("sha256:")
        if not _SHA256.fullmatch(sha256):
            raise UsageError("a sha256 has 64 hexadecimal digits", where=reference)
    scheme = reference.partition(":")[0].lower()
    if scheme == "pypi":
        return _fetch_package(PackageReference.parse(reference), sha256, progress)
    if scheme in ("http", "https"):
        return _fetch_url(reference, sha256, progress)
    if scheme == "hf":
        raise UsageError(
            "a hub repository is more than one file",
            where=reference,
            hint="collect reads hf: data sets, and load_model reads hf: models",
        )
    return _local(reference, sha256)


def _local(reference: str, sha256: str | None) -> Path:
    path = file_url_path(reference) if reference.startswith("file:/") else None
    path = path or Path(reference.removeprefix("file:")).expanduser()
    if not path.exists():
        raise SourceError("there is no such file or folder", where=str(path))
    if sha256 is not None:
        if path.is_dir():
            raise UsageError("a folder has no sha256; name a file", where=str(path))
        found = sha256_of(path)
        if found != sha256:
            raise SourceError(f"the file's SHA-256 is {found}, not {sha256}", where=str(path))
    return path


def _fetch_package(
    reference: PackageReference, sha256: str | None, progress: Progress | None
) -> Path:
    folder = cache_folder() / "pypi" / f"{reference.name}-{reference.version}"
    note = folder / f".{reference.kind or 'default'}.json"  # what this reference meant last time
    cached = _cached(folder, note, sha256)
    if cached is not None:
        return cached
    config = pip_config()
    file = find_file(reference, sha256, config)
    target = folder / file.filename
    digest = _download_once(file.url, target, sha256 or file.sha256, config, progress)
    if sha256 is None:
        write_atomic(note, json.dumps({"file": file.filename, "sha256": digest}))
    return target


def _fetch_url(url: str, sha256: str | None, progress: Progress | None) -> Path:
    parts = urlsplit(url)
    if not parts.hostname:
        raise UsageError("not an address", where=url)
    if parts.scheme == "http" and sha256 is None and parts.hostname not in _LOCAL_HOSTS:
        raise UsageError(
            "plain http can be changed on its way",
            where=redacted(url),
            hint="use https, or give the file's sha256",
        )
    name = unquote(parts.path).replace("\\", "/").rpartition("/")[2].lstrip(".") or "index.html"
    folder = cache_folder() / "url" / hashlib.sha256(url.encode()).hexdigest()[:32]
    note = folder / ".default.json"
    cached = _cached(folder, note, sha256)
    if cached is not None:
        return cached
    target = folder / name[-150:]
    digest = _download_once(url, target, sha256, pip_config(), progress)
    if sha256 is None:
        write_atomic(note, json.dumps({"file": target.name, "sha256": digest}))
    return target


def _cached(folder: Path, note: Path, sha256: str | None) -> Path | None:
    """A file of the cache that has `sha256`, or that `note` remembers; rehashed each time."""
    if sha256 is None:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            known = json.loads(note.read_text(encoding="utf-8"))
            path = folder / Path(known["file"]).name
            if sha256_of(path) == known["sha256"]:
                return path
        return None
    with contextlib.suppress(OSError):
        for path in sorted(folder.iterdir()):
            if not path.name.startswith(".") and path.is_file() and sha256_of(path) == sha256:
                return path
    return None


def _download_once(
    url: str,
    target: Path,
    sha256: str | None,
    config: PipConfig,
    progress: Progress | None,
) -> str:
    with locked(target):
        if sha256 is not None and target.exists() and sha256_of(target) == sha256:
            return sha256  # another process fetched it while this one waited
        if urlsplit(url).scheme == "file" and sha256 is not None:
            found = sha256_of(file_url_path(url))
            if found != sha256:
                raise checksum_error(url, found, sha256)
        return download(url, target, config=config, sha256=sha256, progress=progress)
