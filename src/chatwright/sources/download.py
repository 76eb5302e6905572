"""Downloads that end whole and checked, or not at all.

Bytes go to `.<name>.partial` beside the target, which takes its name only after the checksum
fits; a download that was cut off, or whose process was killed, goes on from there.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import shutil
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import url2pathname

import filelock
import httpx2

from chatwright.errors import SourceError
from chatwright.progress import Progress, Silent
from chatwright.sources.pip_config import PipConfig
from chatwright.version import __version__

BACKOFF = 0.5  # seconds before the first retry, doubled each time, at most 8
_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 522, 524})
_AGENT = f"chatwright/{__version__}"
_CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


def redacted(url: str) -> str:
    """The URL without user name, password and query: safe to print and to store."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def file_url_path(url: str) -> Path:
    """The local path of a `file:` URL."""
    return Path(url2pathname(urlsplit(url).path))


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.lru_cache(maxsize=8)
def http_client(config: PipConfig) -> httpx2.Client:
    """One client per configuration; connections are kept open between requests."""
    cert = config.cert or next((os.environ[n] for n in _CERTIFICATES if os.environ.get(n)), None)
    try:
        verify = _ssl_context(cert, config.client_cert)
    except (OSError, ssl.SSLError) as error:
        raise SourceError(
            f"the certificates cannot be read: {error}",
            where=cert or config.client_cert,
            hint="correct pip's `cert` or `client-cert` setting (pip config list)",
        ) from error
    trusted = httpx2.HTTPTransport(verify=False)
    return httpx2.Client(
        verify=verify,
        proxy=config.proxy,
        timeout=config.timeout,
        follow_redirects=True,
        max_redirects=10,
        headers={"User-Agent": _AGENT},
        mounts={f"all://{host}": trusted for host in config.trusted_hosts},
    )


def _ssl_context(cert: str | None, client_cert: str | None) -> ssl.SSLContext:
    if cert is None:
        context = ssl.create_default_context()
    elif Path(cert).is_dir():
        context = ssl.create_default_context(capath=cert)
    else:
        context = ssl.create_default_context(cafile=cert)
    if client_cert:
        context.load_cert_chain(client_cert)
    return context


def explain(error: Exception) -> str:
    """One line on why a request failed."""
    if isinstance(error, httpx2.HTTPStatusError):
        return f"the server answered {error.response.status_code} {error.response.reason_phrase}"
    if isinstance(error, httpx2.TimeoutException):
        return "the server did not answer in time"
    if isinstance(error, httpx2.ConnectError):
        return f"no connection ({error})"
    return str(error) or type(error).__name__


def retried(error: Exception) -> bool:
    """Whether the same request may do better a moment later."""
    if isinstance(error, httpx2.HTTPStatusError):
        return error.response.status_code in _TRY_AGAIN
    return isinstance(error, (httpx2.TransportError, _CutShortError))


class _CutShortError(Exception):
    """The body ended before its announced length."""


@contextlib.contextmanager
def locked(target: Path) -> Iterator[None]:
    """One process at a time for a cached file; a second one waits and then finds it there."""
    with _disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(target.with_name(f".{target.name}.lock"))
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def download(
    url: str,
    target: Path,
    *,
    config: PipConfig,
    sha256: str | None = None,
    progress: Progress | None = None,
) -> str:
    """Download `url` to `target` and return its SHA-256 (hex).

    The caller holds `locked(target)`. Network faults and 5xx answers are retried with what is
    already there kept; a resumed file that fails its checksum is fetched once more from the start.
    Raises `SourceError` for no network, an HTTP error, a wrong checksum or a full disk.
    """
    partial = target.with_name(f".{target.name}.partial")
    # Without a checksum, nothing would notice that an old rest belongs to another version.
    if sha256 is None:
        partial.unlink(missing_ok=True)
    resumed = partial.exists() and partial.stat().st_size > 0
    with _disk_errors(target):
        _download_whole(url, partial, config, progress or Silent())
        digest = sha256_of(partial)
        if sha256 is not None and digest != sha256 and resumed:
            partial.unlink()
            _download_whole(url, partial, config, progress or Silent())
            digest = sha256_of(partial)
        if sha256 is not None and digest != sha256:
            partial.unlink()
            raise checksum_error(url, digest, sha256)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(target)
    return digest


def checksum_error(url: str, found: str, expected: str) -> SourceError:
    """What to raise for a file that is not the expected one."""
    return SourceError(
        f"the file's SHA-256 is {found}, not {expected} as expected; it was thrown away",
        where=redacted(url),
        hint="the file was changed on its way or at its source: check the recorded sha256",
    )


def _download_whole(url: str, partial: Path, config: PipConfig, progress: Progress) -> None:
    if urlsplit(url).scheme == "file":
        _copy_local(url, partial)
        return
    name = unquote(urlsplit(url).path.rpartition("/")[2]) or url
    attempt = 0
    with progress.task(f"download {name}") as task:
        while True:
            before = partial.stat().st_size if partial.exists() else 0
            try:
                for count in _attempt(url, partial, config):
                    task.advance(count)
                return
            except (httpx2.HTTPError, httpx2.InvalidURL, _CutShortError) as error:
                gained = partial.exists() and partial.stat().st_size > before
                attempt = 0 if gained else attempt + 1
                if not retried(error) or attempt > config.retries:
                    raise SourceError(
                        f"download failed: {explain(error)}",
                        where=redacted(url),
                        hint="check the network and run again: it goes on from where it was",
                    ) from error
                task.status(f"{explain(error)}; trying again")
                time.sleep(min(8.0, BACKOFF * 2**attempt))


def _attempt(url: str, partial: Path, config: PipConfig) -> Iterator[int]:
    """One request, from where the partial file ends; yields the counts of bytes written."""
    have = partial.stat().st_size if partial.exists() else 0
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with http_client(config).stream("GET", url, headers=headers) as response:
        if response.status_code == 416:  # our rest is as long as the file, or longer: start over
            partial.unlink()
            raise _CutShortError("the server has no such range")
        response.raise_for_status()
        start = _range_start(response) if response.status_code == 206 else 0
        if start != have:
            have = 0
            if start:
                partial.unlink()
                raise _CutShortError("the server sent another range than was asked for")
        announced = response.headers.get("Content-Length", "")
        expected = have + int(announced) if announced.isdigit() else None
        _check_room(partial, (expected or have) - have)
        if have:
            yield have
        with partial.open("ab" if have else "wb") as file:
            for block in response.iter_raw():
                file.write(block)
                yield len(block)
            size = file.tell()
    if expected is not None and size != expected:
        raise _CutShortError(f"the body ended after {size} of {expected} bytes")


def _range_start(response: httpx2.Response) -> int:
    """The first byte of a 206 answer (`Content-Range: bytes 100-199/200`); -1 if it is unclear."""
    first = response.headers.get("Content-Range", "").removeprefix("bytes").strip().split("-")[0]
    return int(first) if first.isdigit() else -1


def _check_room(partial: Path, needed: int) -> None:
    free = shutil.disk_usage(partial.parent).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"{needed} bytes are needed and {free} are free")


def _copy_local(url: str, partial: Path) -> None:
    source = file_url_path(url)
    try:
        _check_room(partial, source.stat().st_size)
        shutil.copyfile(source, partial)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise SourceError(
            f"the file cannot be read: {error.strerror}", where=str(source)
        ) from error


@contextlib.contextmanager
def _disk_errors(target: Path) -> Iterator[None]:
    """A full or read-only disk, said plainly; what was fetched so far is removed to give room."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        with contextlib.suppress(OSError):
            target.with_name(f".{target.name}.partial").unlink(missing_ok=True)
        raise SourceError(
            f"the download cannot be stored: {error.strerror or error}",
            where=str(target.parent),
            hint="free some disk space, or set CHATWRIGHT_CACHE to a folder that has it",
        ) from error
