"""Duplicates: the same address, document, paragraph or line, and nearly the same document.

A pure map makes each row's keys (`dedup_keys`, a shard at a time, in any process), an engine joins
them within a bounded memory (`join`), and each shard applies its verdicts (`apply_verdict`).
"""

from typing import TYPE_CHECKING

from chatwright.lazy import lazy_names

if TYPE_CHECKING:
    from chatwright.curate.dedup.engine import join
    from chatwright.curate.dedup.keys import DedupRow, dedup_keys
    from chatwright.curate.dedup.settings import (
        DedupSettings,
        LineSettings,
        NearSettings,
        UrlSettings,
    )
    from chatwright.curate.dedup.verdict import JoinResult, Note, Verdict, apply_verdict

_HOMES = {
    "join": ".engine",
    "DedupRow": ".keys",
    "dedup_keys": ".keys",
    "DedupSettings": ".settings",
    "LineSettings": ".settings",
    "NearSettings": ".settings",
    "UrlSettings": ".settings",
    "JoinResult": ".verdict",
    "Note": ".verdict",
    "Verdict": ".verdict",
    "apply_verdict": ".verdict",
}

__all__ = [
    "DedupRow",
    "DedupSettings",
    "JoinResult",
    "LineSettings",
    "NearSettings",
    "Note",
    "UrlSettings",
    "Verdict",
    "apply_verdict",
    "dedup_keys",
    "join",
]

__getattr__ = lazy_names(__name__, _HOMES)
