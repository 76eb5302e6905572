"""What a collection writes: rows with ids of their own, ledger lines, and what is kept apart."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chatwright.collect.found import Lost, clean_text
from chatwright.records import DatasetWriter, LedgerEntry, Parent, Row, content_id
from chatwright.records.dataset import DatasetInfo
from chatwright.records.schema import Action

UNLICENSED = "unlicensed"  # the folder, inside the dataset's, of what is kept apart


@dataclass(frozen=True, slots=True)
class Origin:
    """What the dataset of what is kept apart says of where it came from."""

    stage: str
    fingerprint: str
    settings: dict[str, Any]
    parents: Sequence[Parent] = ()


@dataclass(frozen=True, slots=True)
class _Pending:
    row_id: str
    uri: str
    lost: Lost
    own_id: str | None


class Output:
    """The dataset being written: gives out ids that no other row has, takes rows and lines."""

    def __init__(self, out: DatasetWriter, origin: Origin, row_type: type[Row]) -> None:
        self._out = out
        self._origin = origin
        self._row_type = row_type
        self._ids: set[bytes] = set()
        self._apart: DatasetWriter | None = None
        # Where captures went, for revisits: hashes of address and of digest to ids.
        self._captures: dict[int, bytes] = {}
        self._revisits: list[_Pending] = []
        self.unlicensed = 0

    def unique_id(self, source: str, uri: str, content: bytes) -> tuple[str, str | None]:
        """The id of an item, and the plain id that it would share with an earlier item, if any.

        Equal content of one source has one id. Where it comes at a second address, that row's id
        also hashes the address (and a count, should address and content both repeat), so that
        every row can be told from every other and each can be found again.
        """
        return self._unique(content_id(source, content), source, uri, content)

    def own_id(self, row_id: str, source: str, uri: str) -> tuple[str, str | None]:
        """As `unique_id`, for a row that has an id already and keeps it where it can."""
        return self._unique(row_id, source, uri, row_id.encode())

    def _unique(self, plain: str, source: str, uri: str, content: bytes) -> tuple[str, str | None]:
        if self._take(plain):
            return plain, None
        number = 0
        while True:
            other = content_id(f"{source}\n{uri}\n{number}", content)
            if self._take(other):
                return other, plain
            number += 1

    def _take(self, row_id: str) -> bool:
        try:
            key = bytes.fromhex(row_id)
        except ValueError:  # an id that is not one of ours
            key = row_id.encode("utf-8", "replace")
        if key in self._ids:
            return False
        self._ids.add(key)
        return True

    def keep(
        self, row: Row, lines: Sequence[Lost], kept: Lost, other: str | None, apart: bool
    ) -> None:
        """Write a row with its lines; `apart`: into the dataset of rows without a licence."""
        if apart:
            lost = Lost("unknown-license", None, "a licence", f"kept apart in {UNLICENSED}/")
            self.log(row.id, row.uri, "drop", lost, other)
        out = self._beside() if apart else self._out
        for line in lines:
            out.log(self._entry(row.id, row.uri, "edit", line, None))
        out.write(row)
        out.log(self._entry(row.id, row.uri, "keep", kept, other))

    def log(
        self,
        row_id: str,
        uri: str,
        action: Action,
        lost: Lost,
        other_id: str | None = None,
    ) -> None:
        """One ledger line; `lost` holds its rule, value, bound and detail."""
        self._out.log(self._entry(row_id, uri, action, lost, other_id))

    def _entry(
        self, row_id: str, uri: str, action: Action, lost: Lost, other_id: str | None
    ) -> LedgerEntry:
        return LedgerEntry(
            row_id,
            uri,
            self._origin.stage,
            action,
            lost.rule,
            None if lost.value is None else float(lost.value),
            lost.bound,
            other_id,
            None if lost.detail is None else clean_text(lost.detail),
        )

    def captured(self, uri: str, digest: str | None, row_id: str) -> None:
        """Remember where a capture went, kept or dropped."""
        for key in (uri, digest):
            if key:
                self._captures[_key(key)] = bytes.fromhex(row_id)

    def revisit(self, row_id: str, uri: str, lost: Lost, own_id: str | None) -> None:
        """A page that was as before: its line waits, for the earlier capture may still come."""
        self._revisits.append(_Pending(row_id, uri, lost, own_id))

    def _beside(self) -> DatasetWriter:
        if self._apart is None:
            folder: Path = self._out.folder / UNLICENSED
            folder.mkdir()
            self._apart = DatasetWriter(folder, self._row_type)
        return self._apart

    def finish(self) -> None:
        """Write the lines that waited, and the description of what was kept apart."""
        for pending in self._revisits:
            keys = [pending.lost.revisit_of or "", pending.uri]
            found = next((self._captures[k] for k in map(_key, keys) if k in self._captures), None)
            lost = pending.lost
            if found is None:
                lost = Lost(
                    lost.rule, detail=f"{lost.detail}; that capture is in none of the sources"
                )
            other = found.hex() if found else None
            self.log(pending.row_id, pending.uri, "drop", lost, other)
        if self._apart is not None:
            origin = self._origin
            self._apart.counts = {"unlicensed": self.unlicensed}
            self._apart.finish(
                DatasetInfo(
                    kind=self._row_type.kind,
                    fingerprint=f"{origin.fingerprint}-{UNLICENSED}",
                    rows=0,
                    parts=[],
                    stage=origin.stage,
                    settings=origin.settings,
                    # Its folder lies one deeper.
                    parents=[replace(p, path=f"../{p.path}") for p in origin.parents],
                )
            )

    def close(self) -> None:
        if self._apart is not None:
            self._apart.close()


def _key(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big")
