"""Prompts for a study, out of a dataset or a file; what cannot be asked is counted."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chatwright.collect.conversations import consent_of, messages_of
from chatwright.errors import DataError
from chatwright.evaluate.arena.shapes import Item
from chatwright.evaluate.items import choose
from chatwright.evaluate.text import is_wide
from chatwright.records import (
    Conversation,
    Dataset,
    Message,
    Preference,
    canonical_json,
    content_id,
    file_digest,
)
from chatwright.workspace import Workspace

_TEXT_COLUMNS = ("prompt", "question", "instruction", "query", "text")
_ENDINGS = (".jsonl", ".json", ".txt")
_MOST_PROBLEMS = 20
_SURE = 0.7


@dataclass(slots=True)
class Prompts:
    """The items, where they came from (`origin`), and what was left out.

    `counts`: reason → rows; `problems` holds the first few with their place.
    """

    items: list[Item]
    origin: dict[str, Any]
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def describe(self) -> dict[str, Any]:
        counts = dict(sorted(self.counts.items()))
        return {**self.origin, "items": len(self.items), "left_out": counts,
                "problems": self.problems}  # fmt: skip


def read_prompts(
    source: str | os.PathLike[str], workspace: Workspace, *, limit: int | None, seed: int
) -> Prompts:
    """The prompts of a dataset (name or path) or a `.jsonl`, `.json` or `.txt` file (also `.gz`).

    A prompt is the last user's turn with all before it. A row with `meta.question` shows judges
    that question, and models the row's own prompt. Rows whose people did not consent are refused,
    equal prompts are asked once. `limit` takes that many by a hash of id and `seed`.

    Raises `UsageError` for a name that means nothing, `DataError` where nothing can be asked.
    """
    path = Path(source)
    ending = path.name.removesuffix(".gz")
    if path.is_file() and not ending.endswith(_ENDINGS):
        raise DataError(
            "prompts cannot be read from this kind of file",
            where=str(path),
            hint="give a dataset, or a .jsonl, .json or .txt file",
        )
    if path.is_file():
        origin: dict[str, Any] = {"file": str(path), "fingerprint": file_digest(path)}
        found = Prompts([], origin)
        lines = _text_rows(path) if ending.endswith(".txt") else _json_rows(path, found)
        candidates = ((place, _item_of_values(row, str(path))) for place, row in lines)
    else:
        dataset = Dataset.open(workspace.dataset(str(source)))
        if dataset.row_type not in (Conversation, Preference):
            raise DataError(
                f"prompts come from conversations, and this dataset holds {dataset.info.kind} rows",
                where=str(dataset.path),
                hint="make questions of the pages first (`kind: questions`)",
            )
        folder = str(dataset.path.absolute())
        found = Prompts([], {"dataset": folder, "fingerprint": dataset.fingerprint})
        candidates = ((f"row {row.id}", _item_of_row(row)) for row in dataset.rows)
    _take(candidates, found)
    if not found.items:
        first = f"; {found.problems[0]}" if found.problems else ""
        refused = ", ".join(f"{count} {why}" for why, count in sorted(found.counts.items()))
        raise DataError(
            f"there is no prompt to ask: {refused or 'it is empty'}{first}", where=str(source)
        )
    found.items = choose(found.items, limit, seed, lambda item: item.id)
    return found


def _take(candidates: Iterable[tuple[str, Item | str]], found: Prompts) -> None:
    """Keep what can be asked; the rest is counted by reason."""
    seen: set[str] = set()
    for place, item in candidates:
        why = item if isinstance(item, str) else ""
        if isinstance(item, Item):
            if item.consent is False:
                why = "without consent"
            elif item.id in seen:
                why = "asked already"
            else:
                seen.add(item.id)
                found.items.append(item)
        if why:
            _leave_out(found, place, why)


def _leave_out(found: Prompts, place: str, why: str) -> None:
    found.counts[why] += 1
    if len(found.problems) < _MOST_PROBLEMS and why not in ("without consent", "asked already"):
        found.problems.append(f"{place}: {why}")


def _item_of_row(row: Conversation | Preference) -> Item | str:
    messages = row.messages if isinstance(row, Conversation) else row.prompt
    question, reference = row.meta.get("question"), row.meta.get("answer")
    return _item(
        messages,
        question=question if isinstance(question, str) else None,
        reference=reference if isinstance(reference, str) else None,
        language=row.language,
        parents=(row.id,),
        uri=row.uri,
        source=row.source,
        license=row.license,
        consent=row.consent,
    )


def _item_of_values(values: Mapping[str, Any], file: str) -> Item | str:
    """An item of one JSON object: a conversation in a common shape, or a prompt alone."""
    plain = next(
        (values[k] for k in _TEXT_COLUMNS if isinstance(values.get(k), str) and values[k]), None
    )
    messages: list[Message] | str = "neither messages nor a prompt"
    turns = values.get("messages") or values.get("conversations") or values.get("prompt")
    if isinstance(turns, list):
        # An empty answer at the end: `messages_of` asks for whole conversations.
        closed = [*turns, {"role": "assistant", "content": "-"}]
        messages = messages_of({**values, "messages": closed})
    elif plain is not None:
        more = values.get("input")
        text = f"{plain}\n\n{more}" if isinstance(more, str) and more.strip() else plain
        system = values.get("system")
        head = [Message("system", system)] if isinstance(system, str) and system.strip() else []
        messages = [*head, Message("user", text)]
    if isinstance(messages, str):
        return messages
    reference = values.get("reference")
    named = values.get("id")
    return _item(
        messages,
        reference=reference if isinstance(reference, str) else None,
        language=values.get("language") if isinstance(values.get("language"), str) else None,
        parents=(str(named),) if isinstance(named, (str, int)) else (),
        source=str(values.get("source") or f"file:{Path(file).name}"),
        consent=consent_of(values),
    )


def _item(messages: Iterable[Message], *, question: str | None = None, **more: Any) -> Item | str:
    turns = [Message(m.role, _encodable(m.content)) for m in messages]
    while turns and turns[-1].role != "user":
        turns.pop()
    if not turns:
        return "no user's turn"
    shown = question or turns[-1].content
    if not turns[-1].content.strip() or not shown.strip():
        return "an empty prompt"
    if question is not None and question.strip() == turns[-1].content.strip():
        question = None
    content = canonical_json([[m.role, m.content] for m in turns])
    more["language"] = _language(shown, more.get("language"))
    reference = more.get("reference")
    more["reference"] = reference if reference and reference.strip() else None
    return Item(content_id("arena", content), tuple(turns), question=question, **more)


def _encodable(text: str) -> str:
    """Without lone surrogates, which JSON can name and UTF-8 cannot hold."""
    return text.encode("utf-8", "replace").decode()


def _language(text: str, told: str | None) -> str | None:
    if told or is_wide(text):
        return told or "zh"
    from chatwright.curate.language import detect_language

    usual = "en" if text.isascii() else None
    found = detect_language(text, usual)
    return found.code if found.confidence >= _SURE else usual  # prompts are short, guesses many


def _text_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, line in enumerate(_read(path).splitlines(), start=1):
        if line.strip():
            yield f"line {number}", {"prompt": line.strip()}


def _json_rows(path: Path, found: Prompts) -> Iterator[tuple[str, Mapping[str, Any]]]:
    text = _read(path)
    rows: Iterable[tuple[str, Any]]
    if text.lstrip().startswith("["):
        try:
            values = json.loads(text)
        except ValueError as error:
            raise DataError(f"not JSON: {error}", where=str(path)) from error
        rows = ((f"row {number}", row) for number, row in enumerate(values, start=1))
    else:
        rows = _lines(text, found)
    for place, row in rows:
        if isinstance(row, Mapping):
            yield place, row
        else:
            _leave_out(found, place, "not an object")


def _lines(text: str, found: Prompts) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield f"line {number}", json.loads(line)
        except ValueError:
            _leave_out(found, f"line {number}", "not JSON")


def _read(path: Path) -> str:
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 text: {error}", where=str(path)) from error
    except (OSError, EOFError) as error:
        raise DataError(f"this file cannot be read: {error}", where=str(path)) from error
