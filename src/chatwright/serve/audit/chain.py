"""One line of the audit log, and the hash that ties it to the line before."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from chatwright.errors import DataError
from chatwright.serve.store.sealing import Sealer

GENESIS = "0" * 64  # what the first line has in place of the hash before it
LOST = "f" * 64  # what a line has whose predecessor could not be known any more
HEAD = "audit_head"  # names in `server_values`
CHECKPOINT = "audit_checkpoint"

_DETAILS = 2000
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Line:
    """What is hashed: `at` in ISO 8601, `details` as canonical JSON."""

    sequence: int
    at: str
    actor: str
    action: str
    target: str
    address: str
    details: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the chain: the number of a line and its hash."""

    sequence: int
    hash: str


def line_hash(previous: str, line: Line) -> str:
    """SHA-256 over the hash before and the line as canonical JSON, in hex."""
    told = canonical(
        {
            "sequence": line.sequence,
            "at": line.at,
            "actor": line.actor,
            "action": line.action,
            "target": line.target,
            "address": line.address,
            "details": line.details,
        }
    )
    return hashlib.sha256(f"{previous}\n{told}".encode()).hexdigest()


def canonical(value: Any) -> str:
    """JSON in one form only: keys in order, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def details_text(details: dict[str, Any]) -> str:
    """Details as they are kept; what is too long is left out, and that is said."""
    text = canonical(details)
    return text if len(text) <= _DETAILS else canonical({"left_out": len(text)})


def plain(text: str, most: int) -> str:
    """One line of at most so many characters, that prints without surprises."""
    return _CONTROL.sub(" ", text)[:most].encode("utf-8", "replace").decode()


def sign(sealer: Sealer, mark: Mark, name: str) -> dict[str, Any]:
    """A mark for `server_values` that nobody without the master key can make."""
    seal = sealer.seal(f"{mark.sequence}:{mark.hash}", context=f"server_values:{name}")
    return {
        "sequence": mark.sequence,
        "hash": mark.hash,
        "seal": base64.b64encode(seal).decode("ascii"),
    }


def signed(sealer: Sealer, value: Any, name: str) -> Mark:
    """The mark again. Raises `DataError` where it was not signed with this master key."""
    try:
        mark = Mark(int(value["sequence"]), str(value["hash"]))
        seal = base64.b64decode(value["seal"], validate=True)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError("a mark of the audit log is damaged", where=name) from error
    if sealer.open_text(seal, context=f"server_values:{name}") != f"{mark.sequence}:{mark.hash}":
        raise DataError("a mark of the audit log was changed", where=name)
    return mark
