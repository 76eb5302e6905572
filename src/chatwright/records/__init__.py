"""What flows through the house: rows, datasets, ledgers, lineage."""

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
from chatwright.records.results import content_fingerprint, files_fingerprint, result_fingerprint
from chatwright.records.schema import (
    Conversation,
    Document,
    LedgerEntry,
    Message,
    Preference,
    Row,
    utc_from_timestamp,
)

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
