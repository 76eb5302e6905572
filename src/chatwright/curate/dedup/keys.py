"""What the join needs to know of a row: a pure map over one shard's rows, in any process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from chatwright.curate.dedup.minhash import band_keys, choose_bands, runs, signatures
from chatwright.curate.dedup.paragraphs import (
    line_keys,
    paragraph_keys,
    paragraphs,
    site_of,
    text_key,
)
from chatwright.curate.dedup.settings import DedupSettings, NearSettings
from chatwright.curate.dedup.shingles import I64, U64, count_words, shingles, tokens
from chatwright.curate.dedup.urls import url_key

_KEY = pa.binary(16)
SCHEMA = pa.schema(
    [
        pa.field("position", pa.int64(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("words", pa.float64(), nullable=False),
        pa.field("collected", pa.float64()),  # seconds since 1970
        pa.field("score", pa.float64()),
        pa.field("url", _KEY),
        pa.field("document", _KEY),
        pa.field("paragraphs", pa.list_(_KEY)),
        pa.field("lines", pa.list_(pa.uint64())),
        pa.field("bands", pa.list_(pa.uint64())),
        pa.field("tokens", pa.list_(pa.uint64())),
    ]
)
_TOKENS_AT_ONCE = 1 << 18  # bounds what a shard of long texts takes: some 20 MB


@dataclass(frozen=True, slots=True)
class DedupRow:
    """A row that is still there after the steps of its shard.

    `position` is its place in the whole input, `words` its length, `score` that by which
    `survivor: best` chooses (the highest stays; None comes last).
    """

    position: int
    id: str
    uri: str
    text: str
    language: str | None = None
    words: float = 0
    collected_at: datetime | None = None
    score: float | None = None


def bands_of(near: NearSettings) -> tuple[int, int]:
    """The bands and rows that the settings give or leave to be chosen."""
    if near.bands is not None and near.rows is not None:
        return near.bands, near.rows
    return choose_bands(near.threshold, near.hashes)


def dedup_keys(rows: Sequence[DedupRow], settings: DedupSettings) -> pa.Table:
    """One table row per row, in order (`SCHEMA`); what the settings leave alone is null."""
    columns: dict[str, Any] = {name: [None] * len(rows) for name in SCHEMA.names}
    columns["position"] = [row.position for row in rows]
    columns["id"] = [row.id for row in rows]
    columns["words"] = [float(row.words) for row in rows]
    columns["score"] = [row.score for row in rows]
    columns["collected"] = [r.collected_at and r.collected_at.timestamp() for r in rows]
    settings = settings.resolved()
    if settings.urls:
        columns["url"] = [url_key(row.uri) for row in rows]
    if settings.documents:
        columns["document"] = [text_key(row.text) for row in rows]
    if settings.paragraphs or settings.lines:
        parts = [paragraphs(row.text) for row in rows]
        if settings.paragraphs:
            least = settings.paragraphs.least
            columns["paragraphs"] = [paragraph_keys(p, least) for p in parts]
        if settings.lines and not isinstance(settings.lines, bool):
            letters = settings.lines.least
            sites = [site_of(row.uri) for row in rows]
            columns["lines"] = [
                None if site is None else line_keys(p, site, letters)
                for site, p in zip(sites, parts, strict=True)
            ]
    if settings.near and not isinstance(settings.near, bool):
        columns["bands"], columns["tokens"] = _near_columns([r.text for r in rows], settings.near)
    arrays = [pa.array(columns[field.name], field.type) for field in SCHEMA]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def _near_columns(texts: Sequence[str], near: NearSettings) -> tuple[pa.Array, pa.Array]:
    """Band keys and tokens; null for a text that is too short to be compared."""
    found, offsets = tokens(texts)
    lengths = np.diff(offsets)
    if near.least > 1:
        enough = count_words(found, offsets) >= near.least
        found = found[np.repeat(enough, lengths)]
        lengths = np.where(enough, lengths, 0)
        offsets = np.concatenate(([0], lengths.cumsum()))
    bands, per_band = bands_of(near)
    keys = np.empty((len(texts), bands), np.uint64)
    for first, last in runs(lengths, _TOKENS_AT_ONCE):
        begin, end = offsets[first], offsets[last]
        values, ends = shingles(found[begin:end], offsets[first : last + 1] - begin, near.ngram)
        signed = signatures(values, ends, near.hashes, near.seed)
        keys[first:last] = band_keys(signed, bands, per_band)
    empty = lengths == 0
    return (
        _lists(keys[~empty].ravel(), np.where(empty, 0, bands), empty),
        _lists(found, lengths, empty),
    )


def _lists(values: U64, lengths: I64, empty: NDArray[np.bool_]) -> pa.Array:
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    return pa.ListArray.from_arrays(
        pa.array(offsets), pa.array(values, pa.uint64()), mask=pa.array(empty)
    )
