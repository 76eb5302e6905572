"""What becomes of rows: steps in order over the batches of a shard, and the row that comes out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from chatwright.curate.candidate import Candidate, Step
from chatwright.curate.executors import Guard
from chatwright.curate.language import Language
from chatwright.records import Conversation, Document, LedgerEntry, Message

_SEPARATOR = "\n\n"
_DETAIL = 500
# Whatever else a step raises is the row's fault: a panic in Rust is no `Exception`.
_NOT_THE_ROWS = (KeyboardInterrupt, GeneratorExit)


@dataclass(frozen=True, slots=True)
class Stages:
    """The steps of a curation. `alone`: on one row at a time, for what may hang on a single page.

    `edits`: steps that change text; a conversation's messages go through them one by one, so that
    none runs into the next.
    """

    alone: tuple[Step, ...] = ()
    steps: tuple[Step, ...] = ()
    edits: frozenset[int] = frozenset()

    def __call__(self, rows: Sequence[tuple[int, Any]], stage: str, guard: Guard) -> list[Judged]:
        """Every row of a batch with what became of it, in order."""
        judged = [Judged.begin(position, row, stage) for position, row in rows]
        self.run(judged, guard)
        return judged

    def run(self, judged: Sequence[Judged], guard: Guard) -> None:
        """The steps over rows that stand ready."""
        for one in judged:
            failure = guard.failed.get(one.position)
            if failure is not None:
                one.whole.drop(failure.kind, detail=failure.detail)
        for step in self.alone:
            for one in judged:
                if not one.whole.dropped:
                    with guard.row(one.position):
                        _try(step, [one.whole])
        for number, step in enumerate(self.steps):
            by_message = number in self.edits
            if guard.one_by_one:
                for one in _left(judged):
                    with guard.row(one.position):
                        _apply(step, [one], by_message)
            else:
                with guard.batch():
                    _apply(step, list(_left(judged)), by_message)


@dataclass(slots=True)
class Judged:
    """A row, its candidate, and of a conversation the messages' texts (else none)."""

    position: int
    row: Document | Conversation
    whole: Candidate
    messages: list[str]

    @classmethod
    def begin(cls, position: int, row: Document | Conversation, stage: str) -> Judged:
        """A row that no step has seen."""
        if isinstance(row, Conversation):
            texts = [message.content for message in row.messages]
            page = Document(
                row.id, _SEPARATOR.join(texts), row.uri, row.source, row.license, row.language,
                row.collected_at, row.parents, row.meta,
            )  # fmt: skip
        else:
            texts, page = [], row
        title = page.meta.get("title")
        whole = Candidate(page, stage, page.text, title=title if isinstance(title, str) else None)
        whole.anchors = _anchors(page.meta)
        return cls(position, row, whole, texts)

    @classmethod
    def again(cls, position: int, row: Document | Conversation, stage: str) -> Judged:
        """A row that a first pass has left, with what that found."""
        one = cls.begin(position, row, stage)
        meta = one.whole.document.meta
        one.whole.measures = dict(meta["measures"])
        one.whole.language = Language(row.language, meta["language_confidence"])
        return one

    def result(self) -> Document | Conversation:
        """The curated row; it keeps its id (docs/decisions/0002-extraction.md)."""
        candidate = self.whole
        meta = {**candidate.document.meta, **candidate.meta}
        if candidate.title:
            meta["title"] = candidate.title
        if candidate.anchors or _anchors(meta):
            # A heading that a step has changed or taken out has no anchor any more.
            lines = set(candidate.text.split("\n"))
            meta["anchors"] = [list(pair) for pair in candidate.anchors if pair[0] in lines]
        if candidate.extracted:
            meta["media_type"] = "text/markdown"
        meta["language_confidence"] = candidate.language.confidence
        meta["measures"] = {name: round(value, 4) for name, value in candidate.measures.items()}
        language = candidate.language.code or self.row.language
        if isinstance(self.row, Conversation):
            said = [
                Message(message.role, text)
                for message, text in zip(self.row.messages, self.messages, strict=True)
            ]
            return replace(self.row, messages=said, language=language, meta=meta)
        return replace(self.row, text=candidate.text, language=language, meta=meta)

    def kept(self) -> LedgerEntry:
        """The line of a row that stays."""
        candidate = self.whole
        words = candidate.measures.get("word_count", 0.0)
        row = candidate.document
        return LedgerEntry(
            row.id, row.uri, candidate.stage, "keep", "curated", words, detail="words"
        )


def _anchors(meta: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    """The headings and their fragments, where `meta` has them as an extraction leaves them."""
    found = meta.get("anchors")
    pairs = found if isinstance(found, list) else []
    if not all(isinstance(p, list) and len(p) == 2 and isinstance(p[0], str) for p in pairs):
        return []
    return [(line, anchor) for line, anchor in pairs]


def what_went_wrong(error: BaseException) -> str:
    """An exception as the ledger tells it."""
    return f"{type(error).__name__}: {error}"[:_DETAIL]


def _left(judged: Sequence[Judged]) -> Iterator[Judged]:
    return (one for one in judged if not one.whole.dropped)


def _apply(step: Step, judged: Sequence[Judged], by_message: bool) -> None:
    whole = [one for one in judged if not (by_message and one.messages)]
    _try(step, [one.whole for one in whole])
    for one in judged:
        if by_message and one.messages:
            _edit_messages(step, one)


def _edit_messages(step: Step, one: Judged) -> None:
    """The step over the messages; their lines are added up, one for each rule."""
    whole = one.whole
    fresh: dict[str, Any] = {"lines": [], "meta": {}, "measures": {}}
    parts = [replace(whole, text=text, **deepcopy(fresh)) for text in one.messages]
    for part in parts[1:]:  # the title is the whole's, and goes with the first
        part.title, part.document = None, replace(whole.document, meta={})
    _try(step, parts)
    whole.title = parts[0].title if parts else whole.title
    summed: dict[tuple[str, str], LedgerEntry] = {}
    for part in parts:
        for line in part.lines:
            key = (line.action, line.rule)
            before = summed.get(key)
            if before is None or line.value is None:
                summed[key] = line
            else:
                summed[key] = replace(line, value=(before.value or 0.0) + line.value)
        whole.meta = _added(whole.meta, part.meta)
        whole.dropped = whole.dropped or part.dropped
    whole.lines += sorted(summed.values(), key=lambda line: line.action == "drop")
    # A page ends in a line break, and a message as its author ended it.
    one.messages = [
        part.text if before.endswith("\n") else part.text.rstrip("\n")
        for before, part in zip(one.messages, parts, strict=True)
    ]
    whole.text = _SEPARATOR.join(one.messages)


def _added(one: Any, other: Any) -> Any:
    """Two values of `meta`: counts are added up, mappings joined, else the later one stays."""
    if isinstance(one, dict) and isinstance(other, dict):
        both = {name: _added(one[name], other[name]) for name in one.keys() & other.keys()}
        return {**one, **other, **both}
    if isinstance(one, int) and isinstance(other, int) and not isinstance(one, bool):
        return one + other
    return other


def _try(step: Step, candidates: list[Candidate]) -> None:
    """A step over a batch; where it raises, over each row alone, and the row at fault goes."""
    if not candidates:
        return
    if len(candidates) == 1:
        only = candidates[0]
        try:
            step(candidates)
        except _NOT_THE_ROWS:
            raise
        except TimeoutError as error:
            only.drop("timeout", detail=str(error)[:_DETAIL])
        except BaseException as error:
            only.drop("error", detail=what_went_wrong(error))
        return
    before = [_Before.of(candidate) for candidate in candidates]
    try:
        step(candidates)
    except _NOT_THE_ROWS:
        raise
    except BaseException:
        for candidate, as_it_was in zip(candidates, before, strict=True):
            as_it_was.restore(candidate)
            _try(step, [candidate])


class _Before(NamedTuple):
    """What steps change of a candidate; its lines only grow."""

    text: str
    title: str | None
    anchors: list[tuple[str, str | None]]
    language: Language
    measures: dict[str, float]
    meta: dict[str, Any]
    n_lines: int

    @classmethod
    def of(cls, one: Candidate) -> _Before:
        measures, meta = one.measures.copy(), one.meta.copy()
        return cls(one.text, one.title, one.anchors, one.language, measures, meta, len(one.lines))

    def restore(self, one: Candidate) -> None:
        one.text, one.title, one.anchors, one.language = self[:4]
        one.measures, one.meta, one.dropped = self.measures, self.meta, False
        del one.lines[self.n_lines :]
