"""Rows of the service written as datasets, and what is no longer among them."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatwright.collect.feedback import Made
from chatwright.errors import DataError, UsageError
from chatwright.records import (
    Conversation,
    Dataset,
    LedgerEntry,
    Preference,
    Row,
    canonical_json,
    content_id,
    disk_errors,
    fingerprint,
    write_atomic,
    write_dataset,
)
from chatwright.workspace import Workspace

if TYPE_CHECKING:
    from chatwright.serve.store import Store

STAGE = "feedback"
KINDS: dict[str, type[Row]] = {"conversations": Conversation, "preferences": Preference}
REMOVED = "removed.jsonl"


@dataclass(slots=True)
class Exported:
    """What was written: rows by kind, rows that were left out by rule, ids that are gone since."""

    folder: Path
    rows: dict[str, int] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    removed: list[str] = field(default_factory=list)
    still_in: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder),
            "rows": self.rows,
            "left_out": dict(sorted(self.left_out.items())),
            "removed": self.removed,
            "still_in": self.still_in,
        }


def export_feedback(workspace: Workspace, name: str, database: str | None = None) -> Exported:
    """Read the service's database and write the datasets `name/conversations` and
    `name/preferences` of the workspace.

    Raises `UsageError` where there is no database or no master key, and for a name that leads out
    of the workspace.
    """
    from chatwright.serve.feedback.rows import rows_for_training

    folder = (workspace.datasets / name).resolve()
    if not name or workspace.datasets.resolve() not in folder.parents:
        raise UsageError("this is no name of a dataset", where=f"--out {name}")
    store = _open(workspace, database)
    try:
        done = write_rows(rows_for_training(store), folder)
    finally:
        store.close()
    done.still_in = _still_in(workspace, folder, _gone(folder / REMOVED))
    return done


def _open(workspace: Workspace, database: str | None) -> Store:
    """The service's database, which must be there, as must its master key."""
    from chatwright.serve.store import open_store

    file: Path | None = workspace.root / "chat.db"
    url = None
    if database is not None and "://" in database:
        url = database
        told = database.removeprefix("sqlite:///")
        file = Path(told) if told != database else None
    elif database is not None:
        file = Path(database)
        url = f"sqlite:///{file}"
    if file is not None and not file.is_file():
        raise UsageError("there is no database here", where=str(file), hint="name it: --database")
    folder = workspace.root  # where `serve` keeps it, whatever the database is
    if file is not None and (file.parent / "chat.key").exists():
        folder = file.parent
    keyed = any(
        os.environ.get(one) for one in ("CHATWRIGHT_MASTER_KEY", "CHATWRIGHT_MASTER_KEY_FILE")
    )
    if not keyed and not (folder / "chat.key").exists():
        raise UsageError(
            "the master key of this database is not here",
            where=str(folder / "chat.key"),
            hint="set CHATWRIGHT_MASTER_KEY or CHATWRIGHT_MASTER_KEY_FILE as the server has it",
        )
    return open_store(url, folder=folder)


def _still_in(workspace: Workspace, folder: Path, gone: list[str]) -> list[str]:
    """Datasets of the workspace that hold rows that are gone, or rows made from them."""
    if not gone:
        return []
    wanted = set(gone)
    found = []
    for name in workspace.list_datasets():
        path = workspace.datasets / name
        if folder in path.resolve().parents:
            continue
        try:
            table = Dataset.open(path).table(["id", "parents"])
        except DataError:
            continue  # `chatwright datasets` reports it
        ids = wanted.intersection(table["id"].to_pylist())
        if ids or any(wanted.intersection(one or ()) for one in table["parents"].to_pylist()):
            found.append(name)
    return found


def write_rows(rows: Iterable[Made], folder: Path) -> Exported:
    """Write `folder/conversations` and `folder/preferences` (datasets with ledgers), the same rows
    as `conversations.jsonl` and `preferences.jsonl`, and `removed.jsonl`.

    A row that an earlier run wrote and this one does not (its person has withdrawn consent, or
    deleted the chat or themselves) gets a ledger line `withdrawn` and its id stands in
    `removed.jsonl` for good. Datasets built from these folders drop it when they are built again:
    the fingerprint is one of the rows. Raises `DataError` for a full disk.
    """
    done = Exported(folder)
    before = {kind: _ids(folder / kind) for kind in KINDS}
    found: dict[str, list[Row]] = {kind: [] for kind in KINDS}
    lost: list[LedgerEntry] = []
    for made in rows:
        if isinstance(made, tuple):
            uri, why = made
            done.left_out[why.rule] += 1
            line = content_id("chat", uri)  # no row has an id; the line needs one
            lost.append(
                LedgerEntry(
                    line, uri, STAGE, "drop", why.rule, why.value, why.bound, None, why.detail
                )
            )
        else:
            found["preferences" if isinstance(made, Preference) else "conversations"].append(made)
    gone = _gone(folder / REMOVED)
    with disk_errors(folder):
        for kind, row_type in KINDS.items():
            now = {row.id for row in found[kind]}
            missing = {one: uri for one, uri in before[kind].items() if one not in now}
            done.removed += sorted(missing)
            lines = [*_of_kind(lost, kind), *_withdrawn(missing)]
            _write(folder / kind, row_type, found[kind], lines)
            write_atomic(folder / f"{kind}.jsonl", "".join(_lines(found[kind])))
            done.rows[kind] = len(found[kind])
        if done.removed or gone:
            there = {row.id for kept in found.values() for row in kept}
            # Consent that is given again brings a row back.
            ids = sorted(({*gone, *done.removed}) - there)
            write_atomic(folder / REMOVED, "".join(json.dumps({"id": one}) + "\n" for one in ids))
    return done


def _write(folder: Path, row_type: type[Row], rows: list[Row], lines: list[LedgerEntry]) -> None:
    digest = hashlib.blake2b(digest_size=16)
    for row in rows:
        digest.update(canonical_json(_values(row)).encode("utf-8", "surrogatepass"))
    made = fingerprint(STAGE, {"rows": digest.hexdigest()})
    out = write_dataset(folder, row_type, stage=STAGE, fingerprint=made, settings={})
    with out as writer:
        for row in rows:
            writer.write(row)
            writer.log(LedgerEntry(row.id, row.uri, STAGE, "keep", "consent", 1.0, "min 1"))
        for line in lines:
            writer.log(line)
        writer.counts = {"dropped": dict(sorted(Counter(line.rule for line in lines).items()))}


def _of_kind(lost: list[LedgerEntry], kind: str) -> Iterator[LedgerEntry]:
    """Lines about pairs name two answers, or one that was edited, behind a `#`."""
    for line in lost:
        if ("#" in line.uri) == (kind == "preferences"):
            yield line


def _withdrawn(missing: dict[str, str]) -> Iterator[LedgerEntry]:
    for row_id in sorted(missing):
        yield LedgerEntry(
            row_id, missing[row_id], STAGE, "drop", "withdrawn", 0.0, "min 1",
            detail="consent was withdrawn, or the chat changed or was deleted",
        )  # fmt: skip


def _ids(folder: Path) -> dict[str, str]:
    """The uri by id of the rows that an earlier run wrote; {} where there was none."""
    if not (folder / "dataset.json").exists():
        return {}
    table = Dataset.open(folder).table(["id", "uri"])
    return dict(zip(table["id"].to_pylist(), table["uri"].to_pylist(), strict=True))


def _gone(path: Path) -> list[str]:
    if not path.exists():
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [str(json.loads(line)["id"]) for line in lines if line.strip()]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError("the list of removed rows is damaged", where=str(path)) from error


def _values(row: Row) -> dict[str, Any]:
    values = row.to_arrow()
    values["meta"] = row.meta
    values["collected_at"] = row.collected_at.isoformat() if row.collected_at else None
    return values


def _lines(rows: list[Row]) -> Iterator[str]:
    for row in rows:
        # A licence that is null would say that others of the file have one (`collect`).
        said = {name: value for name, value in _values(row).items() if value is not None}
        yield json.dumps(said, ensure_ascii=False) + "\n"
