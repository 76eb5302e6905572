"""Content ids and fingerprints: the same input gives the same name on every machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_DIGEST_BYTES = 16  # BLAKE2b-128


def content_id(source: str, content: bytes | str) -> str:
    """The id of a row: BLAKE2b-128 (32 hex digits) of its source and its original content.

    The source's length goes in first, so that no pair of (source, content) can be re-cut into
    another pair with the same bytes.
    """
    source_bytes = source.encode("utf-8", "surrogatepass")
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    digest.update(len(source_bytes).to_bytes(8, "big"))
    digest.update(source_bytes)
    digest.update(data)
    return digest.hexdigest()


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)


def fingerprint(kind: str, settings: Any, parents: Iterable[str] = ()) -> str:
    """The name of a result before it is made: hash of what makes it and of its parents' names.

    Equal fingerprints mean that there is nothing to do. `parents` keep their order: a mixture of
    A then B is not a mixture of B then A.
    """
    text = canonical_json({"kind": kind, "settings": settings, "parents": list(parents)})
    return hashlib.blake2b(text.encode(), digest_size=_DIGEST_BYTES).hexdigest()


def file_digest(path: Path) -> str:
    """BLAKE2b-128 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(
            file, lambda: hashlib.blake2b(digest_size=_DIGEST_BYTES)
        ).hexdigest()
