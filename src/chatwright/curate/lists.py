"""Lists of domains and addresses that block pages or let them through, from local files.

A list of a million lines is read as a stream into sorted 64-bit hashes with an index over their
first bits: 8 bytes a line and a lookup that does not grow with the list. (By chance one address in
10^13 would be taken for one of a million.)
"""

from __future__ import annotations

import gzip
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from ipaddress import ip_address
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import quote, urlsplit

from chatwright.curate.candidate import Candidate
from chatwright.errors import DataError, UsageError
from chatwright.records import file_digest
from chatwright.stage import Settings

MAX_ENTRIES = 20_000_000
MAX_GLOBS = 2_000  # each is tried on every page
_MAX_LINE = 4_096
_MAX_LABELS = 20  # of a host whose parents are looked up
_MAX_SEGMENTS = 32  # of a path
_SHOWN = 5  # lines that could not be read, named in an error
_PLAIN_DOMAIN = re.compile(rb"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})+")
_HOST = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_COMMENTS = ("#", "!", ";", "//", "[")
# What a hosts file says of the machine itself.
_LOCAL = frozenset(
    ("localhost", "localhost.localdomain", "local", "broadcasthost", "ip6-localhost",
     "ip6-loopback", "ip6-localnet", "ip6-mcastprefix", "ip6-allnodes", "ip6-allrouters",
     "ip6-allhosts", "0.0.0.0")
)  # fmt: skip
_DOMAIN, _BELOW, _PREFIX = b"d", b"s", b"u"


class ListSettings(Settings):
    """Lists of domains and addresses, each a local file (plain or `.gz`).

    A page whose address is on a `block` list and on no `allow` list is dropped; where `only` names
    lists, so is every page that is on none of them, and every row without a host. A line is a
    domain (`example.com`, with all below it), a hosts-file line, `||example.com^`, the beginning of
    an address (`example.com/forum`, whole path segments), or a pattern with `*`
    (`*.example.com` is everything below it, `example.com/*/print`). `#` begins a comment.
    """

    block: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    only: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Address:
    """A page's host (lower case, punycode, no port) and what follows it, percent-encoded."""

    host: str
    path: str


def parse_address(uri: str) -> Address | None:
    """Host and path of an address, or None where it has no host that could be on a list."""
    try:
        parts = urlsplit(uri.strip().replace("\\", "/"))
        host = plain_host(parts.hostname or "")
    except ValueError:
        return None
    if host is None:
        return None
    path = parts.path or "/"
    return Address(host, _encoded(f"{path}?{parts.query}" if parts.query else path))


def plain_host(host: str) -> str | None:
    """A host as lists are looked up: lower case, punycode (UTS 46), no final dot; or None."""
    host = host.rstrip(".")
    if not host or len(host) > 253:
        return None
    if ":" in host:
        try:
            return ip_address(host.strip("[]")).compressed
        except ValueError:
            return None
    if not host.isascii():
        import idna

        try:
            host = idna.encode(host, uts46=True, transitional=False).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            return None
    host = host.lower()
    return host if _HOST.fullmatch(host) else None


def _encoded(path: str) -> str:
    return path if path.isascii() else quote(path, safe="%/:?#[]@!$&'()*+,;=-._~|")


def _hash(kind: bytes, text: bytes) -> int:
    return int.from_bytes(blake2b(text, digest_size=8, person=kind).digest(), "little")


@dataclass(frozen=True, slots=True)
class Glob:
    """A pattern in which `*` stands for anything; matched without a regular expression."""

    pattern: str

    def matches(self, address: Address) -> bool:
        """Against the host alone where the pattern has no slash."""
        text = address.host + address.path if "/" in self.pattern else address.host
        first, *rest = self.pattern.split("*")
        if not rest:
            return text == first
        last = rest.pop()
        if not text.startswith(first) or len(text) < len(first) + len(last):
            return False
        end = len(text) - len(last)
        if not text.endswith(last):
            return False
        at = len(first)
        for part in rest:  # the leftmost place for each part leaves the most room for the others
            at = text.find(part, at, end)
            if at < 0:
                return False
            at += len(part)
        return at <= end


@dataclass(slots=True)
class AddressList:
    """A list that has been read. `skipped` counts lines that are no entry of any known form."""

    name: str
    entries: int
    skipped: int
    _keys: memoryview
    _starts: memoryview
    _shift: int
    _kinds: frozenset[bytes]
    _globs: list[Glob] = field(default_factory=list)

    def match(self, address: Address) -> str | None:
        """The entry that an address falls under, or None."""
        labels = address.host.split(".")
        parents = [
            ".".join(labels[at:]) for at in range(max(0, len(labels) - _MAX_LABELS), len(labels))
        ]
        for host in dict.fromkeys((address.host, *parents)):
            if _DOMAIN in self._kinds and self._has(_DOMAIN, host):
                return host
            if _BELOW in self._kinds and host != address.host and self._has(_BELOW, host):
                return f"*.{host}"
        if _PREFIX in self._kinds:
            for prefix in _prefixes(address):
                if self._has(_PREFIX, prefix):
                    return prefix
        return next((glob.pattern for glob in self._globs if glob.matches(address)), None)

    def _has(self, kind: bytes, text: str) -> bool:
        key = _hash(kind, text.encode())
        bucket = key >> self._shift
        return key in self._keys[self._starts[bucket] : self._starts[bucket + 1]]


def _prefixes(address: Address) -> Iterator[str]:
    """Everything that a line `host/path` may say and mean this address, longest first."""
    path, _, query = address.path.partition("?")
    segments = path.split("/")[1 : _MAX_SEGMENTS + 1]
    hosts = [address.host]
    if address.host.startswith("www."):
        hosts.append(address.host[4:])
    for host in hosts:
        if query:
            yield f"{host}{address.path}"
        for end in range(len(segments), 0, -1):
            yield f"{host}/{'/'.join(segments[:end])}".rstrip("/")


def read_list(path: str | Path) -> AddressList:
    """Read a list; `DataError` where it is missing, broken, too long, or mostly no list at all."""
    path = Path(path)
    try:
        stat = path.stat()
    except OSError as error:
        raise DataError(f"this list cannot be read: {error.strerror}", where=str(path)) from error
    return _read(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=32)
def _read(path: Path, modified: int, size: int) -> AddressList:
    import numpy as np

    keys = array("Q")
    kinds: set[bytes] = set()
    globs: list[Glob] = []
    odd: list[str] = []
    skipped = 0
    try:
        with _opened(path) as file:
            for number, line in enumerate(_lines(file), 1):
                if len(keys) > MAX_ENTRIES:
                    raise DataError(f"more than {MAX_ENTRIES:,} entries", where=str(path))
                if _PLAIN_DOMAIN.fullmatch(line):  # nearly every line of the long lists
                    keys.append(_hash(_DOMAIN, line))
                    kinds.add(_DOMAIN)
                    continue
                text = line.decode("utf-8", "replace").strip()
                found = _entries(text)
                if isinstance(found, Glob):
                    globs.append(found)
                elif found is None:
                    skipped += 1
                    if len(odd) < _SHOWN:
                        odd.append(f"line {number}: {text[:60]}")
                else:
                    for kind, entry in found:
                        keys.append(_hash(kind, entry.encode()))
                        kinds.add(kind)
                if len(globs) > MAX_GLOBS:
                    raise DataError(
                        f"more than {MAX_GLOBS:,} patterns with *",
                        where=f"{path}, line {number}",
                    )
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"this list cannot be read: {error}", where=str(path)) from error
    entries = len(keys) + len(globs)
    if skipped > entries:
        raise DataError(
            f"{skipped} lines are no domain, address, hosts line or pattern ({'; '.join(odd)})",
            where=str(path),
            hint="a list has one domain or address in each line",
        )
    ordered = np.unique(np.frombuffer(keys, np.uint64)) if len(keys) else np.zeros(0, np.uint64)
    bits = max(1, len(ordered).bit_length())
    shift = 64 - bits
    bounds = np.arange(1 << bits, dtype=np.uint64) << np.uint64(shift)
    starts = np.append(np.searchsorted(ordered, bounds), len(ordered)).astype(np.int64)
    return AddressList(
        path.name, entries, skipped, memoryview(ordered.data), memoryview(starts.data), shift,
        frozenset(kinds), globs,
    )  # fmt: skip


def _opened(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return cast("IO[bytes]", gzip.open(path, "rb") if compressed else path.open("rb"))


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """Lines without their ends; of a longer one only the beginning, and memory stays bounded."""
    while line := file.readline(_MAX_LINE):
        cut = not line.endswith(b"\n")
        yield line.strip()
        while cut and (rest := file.readline(_MAX_LINE)):
            cut = not rest.endswith(b"\n")


def _entries(text: str) -> Sequence[tuple[bytes, str]] | Glob | None:
    """What a line says: keys, a pattern, nothing (comment), or None where it is not understood."""
    text = text.removeprefix("\ufeff")
    if not text or text.startswith(_COMMENTS):
        return ()
    text = text.split(" #")[0].split("\t#")[0].strip()
    fields = text.split()
    if len(fields) > 1:
        return _hosts_line(fields)
    if text.startswith("||") and text.endswith("^"):
        text = text[2:-1]
    for scheme in ("https://", "http://"):
        if text.lower().startswith(scheme):
            text = text[len(scheme) :]
    below = text.removeprefix("*") if text.startswith("*.") else text
    if below.startswith("."):
        host = plain_host(below[1:])
        if host is not None:
            return ((_BELOW, host),)
    return _pattern(text) if "*" in text else _address_line(text)


def _pattern(text: str) -> Glob | None:
    host, slash, path = text.partition("/")
    return Glob(host.lower() + slash + _encoded(path)) if text.strip("*./") else None


def _address_line(text: str) -> Sequence[tuple[bytes, str]] | None:
    host, _, path = text.partition("/")
    host = host.rpartition("@")[2]
    if host.count(":") == 1:
        host = host.partition(":")[0]
    known = plain_host(host)
    # A bare word would block a whole top-level domain; `.xxx` says that on purpose.
    if known is None or ("." not in known and ":" not in known):
        return None
    path = _encoded(path).partition("#")[0].rstrip("/")
    return ((_PREFIX, f"{known}/{path}"),) if path else ((_DOMAIN, known),)


def _hosts_line(fields: Sequence[str]) -> Sequence[tuple[bytes, str]] | None:
    try:
        ip_address(fields[0].partition("%")[0])
    except ValueError:
        return None
    hosts = [plain_host(host) for host in fields[1:] if host.lower() not in _LOCAL]
    return [(_DOMAIN, host) for host in hosts if host is not None and "." in host]


@dataclass(frozen=True, slots=True)
class ListStep:
    """Drops pages by their address. Rules: `block-list` and `only-list`; the bound is the list."""

    settings: ListSettings

    def __call__(self, candidates: list[Candidate]) -> None:
        s = self.settings
        block, allow, only = ([read_list(p) for p in paths] for paths in (s.block, s.allow, s.only))
        for candidate in candidates:
            address = parse_address(candidate.document.uri)
            if address is None:
                if only:
                    candidate.drop("only-list", None, _names(only), detail="no host")
                continue
            if only and _first(only, address) is None:
                candidate.drop("only-list", None, _names(only), detail=address.host)
                continue
            hit = _first(block, address)
            if hit is not None and _first(allow, address) is None:
                candidate.drop("block-list", None, hit[0], detail=hit[1])


def _first(lists: Sequence[AddressList], address: Address) -> tuple[str, str] | None:
    """The first list with an entry for the address, and the entry."""
    for one in lists:
        entry = one.match(address)
        if entry is not None:
            return one.name, entry
    return None


def _names(lists: Sequence[AddressList]) -> str:
    return " or ".join(one.name for one in lists)


def make_step(settings: ListSettings | None) -> ListStep | None:
    """The step, or None where no list is named."""
    if settings is None or not (settings.block or settings.allow or settings.only):
        return None
    return ListStep(settings)


def external(settings: ListSettings | None) -> Any:
    """What a stage's fingerprint needs beside the settings: the digest of each list."""
    if settings is None:
        return None
    digests: dict[str, str] = {}
    for path in (*settings.block, *settings.allow, *settings.only):
        if not Path(path).is_file():
            raise UsageError(
                f"there is no list {path}",
                where="lists",
                hint="name local files, seen from where the program is started",
            )
        digests[path] = file_digest(Path(path))
    return digests
