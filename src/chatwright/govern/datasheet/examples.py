"""A few of the rows that rules dropped, as a person may see them: short, and without personal data.

Excerpts are taken from the rows as they were before the stage that dropped them; of an HTML page,
from its main content. Every text that is shown (excerpt, address, detail) went through the
redactor.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from chatwright.curate.page import is_html
from chatwright.curate.privacy import Redactor
from chatwright.curate.privacy.kinds import NAME_TYPES, PATTERN_TYPES, PiiType
from chatwright.curate.privacy.recognisers import english_recogniser, installed_recognisers
from chatwright.govern.datasheet.facts import Dropped, Example
from chatwright.govern.datasheet.scan import find_rows
from chatwright.records import Conversation, Dataset, Document, Row

_READ = 1_000_000  # characters of a row; of a page, nearly always all
_LOOKED_AT, _SHOWN = 2_000, 280
_MESSAGES = 4
_SECONDS = 5.0
_HIDDEN = (
    (re.compile(r"pii-|personal_data$|consent$|opt-out$"), "rows that went to protect somebody"),
    (re.compile(r"(adult|offensive|hate)$"), "rows that are not for everybody's eyes"),
    (re.compile(r"(timeout|died|memory|error)$"), "rows that could not be worked on"),
)
# An address may hold an e-mail address or a number, percent-encoded too.
_ESCAPED = re.compile(r"%40", re.IGNORECASE)
Line = tuple[int, str, int, list[dict[str, Any]]]


def make_redactor() -> Redactor:
    """Everything that is looked for by patterns, and names where a recogniser is installed."""
    types: frozenset[PiiType] = frozenset(PATTERN_TYPES)
    if english_recogniser() is None:
        return Redactor("tag", types)
    return Redactor("tag", types | {"name"}, recognisers=installed_recognisers())


def find_examples(
    dropped: Sequence[Line],
    chain: Sequence[tuple[str, Dataset]],
    before: Mapping[int, Sequence[Dataset]],
    redactor: Redactor,
) -> list[Dropped]:
    """What rules dropped, with some rows of each.

    `dropped`: place in the chain, rule, rows, ledger lines. `before`: the datasets that the one at
    a place was made from, in which its rows are looked for.
    """
    wanted: dict[int, list[str]] = {}
    for place, rule, _, lines in dropped:
        if _hidden(rule) is None:
            wanted.setdefault(place, []).extend(line["row_id"] for line in lines)
    found: dict[int, dict[str, Row]] = {}
    for place, ids in wanted.items():
        found[place] = {}
        for dataset in before.get(place, ()):
            found[place] |= find_rows(dataset, ids)
    out = []
    for place, rule, rows, lines in dropped:
        hidden = _hidden(rule)
        # Of a hidden row not even the address is shown: it could say who it was.
        examples = (
            ()
            if hidden
            else tuple(_example(x, found[place].get(x["row_id"]), redactor) for x in lines)
        )
        out.append(Dropped(chain[place][0], rule, rows, hidden, examples))
    return out


def excerpt(text: str, redactor: Redactor, language: str | None = None) -> str:
    """The beginning of a text on one line, without personal data."""
    flat = " ".join(text[: 4 * _LOOKED_AT].split())
    whole = len(flat) <= _LOOKED_AT
    clean = redactor.redact(flat[:_LOOKED_AT], language).text
    if not whole:  # what the cut went through could not be recognised
        clean = clean[: max(0, len(clean) - 200)]
    return clean if len(clean) <= _SHOWN else clean[:_SHOWN].rstrip() + "\u2026"


def _example(line: Mapping[str, Any], row: Row | None, redactor: Redactor) -> Example:
    # Of addresses and of what rules noted, a recogniser of names would make nonsense.
    plain = Redactor(redactor.mode, redactor.types - set(NAME_TYPES))
    said = "" if row is None else _readable(row)
    language = None if row is None else row.language
    return Example(
        excerpt(_ESCAPED.sub("@", line["uri"] or ""), plain),
        line["value"],
        line["bound"],
        excerpt(line["detail"], plain) if line["detail"] else None,
        excerpt(said, redactor, language) or None,
        language,
    )


def _readable(row: Row) -> str:
    """What a row says; of a page its main content, where that can be had at once."""
    if isinstance(row, Conversation):
        return "\n\n".join(message.content for message in row.messages[:_MESSAGES])
    if not isinstance(row, Document):
        return row.chosen
    text = row.text[:_READ]
    if not is_html(text, row.meta.get("media_type")):
        return text
    from chatwright.curate.extract import extract

    try:
        return extract(text, seconds=_SECONDS).markdown
    except Exception:  # a page that breaks an extractor has no excerpt
        return ""


def _hidden(rule: str) -> str | None:
    return next((why for pattern, why in _HIDDEN if pattern.match(rule)), None)
