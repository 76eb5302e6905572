"""What flows through the house: rows, datasets, ledgers, lineage.

Names are imported when they are first used: a chat does not pay for Arrow.
"""

from typing import TYPE_CHECKING

from chatwright.lazy import lazy_names

if TYPE_CHECKING:
    from chatwright.records.atomic import atomic_folder, disk_errors, write_atomic
    from chatwright.records.dataset import (
        Dataset,
        DatasetWriter,
        Ledger,
        Parent,
        read_json,
        write_dataset,
    )
    from chatwright.records.ids import canonical_json, content_id, file_digest, fingerprint
    from chatwright.records.message import Message
    from chatwright.records.results import (
        content_fingerprint,
        files_fingerprint,
        result_fingerprint,
    )
    from chatwright.records.schema import (
        Conversation,
        Document,
        LedgerEntry,
        Preference,
        Row,
        utc_from_timestamp,
    )

_HOMES = {
    "atomic_folder": ".atomic",
    "disk_errors": ".atomic",
    "write_atomic": ".atomic",
    "Dataset": ".dataset",
    "DatasetWriter": ".dataset",
    "Ledger": ".dataset",
    "Parent": ".dataset",
    "read_json": ".dataset",
    "write_dataset": ".dataset",
    "canonical_json": ".ids",
    "content_id": ".ids",
    "file_digest": ".ids",
    "fingerprint": ".ids",
    "Message": ".message",
    "content_fingerprint": ".results",
    "files_fingerprint": ".results",
    "result_fingerprint": ".results",
    "Conversation": ".schema",
    "Document": ".schema",
    "LedgerEntry": ".schema",
    "Preference": ".schema",
    "Row": ".schema",
    "utc_from_timestamp": ".schema",
}

__all__ = [
    "Conversation",
    "Dataset",
    "DatasetWriter",
    "Document",
    "Ledger",
    "LedgerEntry",
    "Message",
    "Parent",
    "Preference",
    "Row",
    "atomic_folder",
    "canonical_json",
    "content_fingerprint",
    "content_id",
    "disk_errors",
    "file_digest",
    "files_fingerprint",
    "fingerprint",
    "read_json",
    "result_fingerprint",
    "utc_from_timestamp",
    "write_atomic",
    "write_dataset",
]

__getattr__ = lazy_names(__name__, _HOMES)
