"""Fine-tune data: questions with their passages and cited answers, made from pages alone."""

from __future__ import annotations

import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from pydantic import Field

from chatwright.curate.bm25 import SearchIndex
from chatwright.curate.chunks import chunk_documents, index_headings
from chatwright.curate.drafts import Draft, drafts
from chatwright.curate.excerpts import excerpt
from chatwright.curate.templates import CHINESE, ENGLISH, SHARES
from chatwright.curate.words import is_chinese, search_words
from chatwright.errors import DataError
from chatwright.records import (
    Conversation,
    Dataset,
    Document,
    LedgerEntry,
    Message,
    content_id,
)
from chatwright.records.grounding import Passage, grounded_prompt, refusal, system_prompt
from chatwright.stage import StageContext, StageKind, StageSettings

_MOST_EQUAL_ANSWERS = 2  # boilerplate ("Return self.") must not fill the data
_DEEPEST = 12  # how far down the search results distractors are taken from


class QuestionsSettings(StageSettings):
    """Settings of a `questions` stage: pages in, grounded conversations out.

    `passages` are shown per question, each shortened to the `max_words` nearest it; `words` and
    `small` cut the pages as a `knowledge` stage does. These four must be those of the served
    assistant, whose prompts the data imitates. `unanswerable` is the share of questions whose
    passage is withheld and whose answer says so. `seed`: default the recipe's.
    """

    references: ClassVar[tuple[str, ...]] = ("input",)

    input: str
    limit: int = Field(default=1_500, ge=1, le=1_000_000)
    passages: int = Field(default=3, ge=1, le=20)
    max_words: int = Field(default=50, ge=10, le=2_000)
    words: int = Field(default=180, ge=20, le=5_000)
    small: int = Field(default=25, ge=0, le=1_000)
    unanswerable: float = Field(default=0.08, ge=0, le=0.5)
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A worded question with the rows that answer it (`gold`, indices of chunks, best first)."""

    draft: Draft
    question: str
    page: Document
    gold: tuple[int, ...]


def run_questions(settings: QuestionsSettings, context: StageContext) -> None:
    """Derive questions from `input`. Each page gets a ledger line: how many it gave.

    Raises `DataError` where the pages give none at all.
    """
    source = Dataset.open(context.dataset_path(settings.input))
    pages: list[Document] = []
    for row in source.rows:
        if not isinstance(row, Document):
            raise DataError(
                f"questions are made from documents, and this holds {source.info.kind} rows",
                where=str(source.path),
            )
        pages.append(row)
    with context.progress.task("make questions", total=settings.limit) as task:
        made = []
        for conversation in make_questions(pages, settings, seed=context.seed):
            made.append(conversation)
            task.advance()
    if not made:
        raise DataError(
            "no question could be derived from these pages",
            where=str(source.path),
            hint="they need headings or definitions with a sentence of description under them",
        )
    with context.write_rows(Conversation, settings) as out:
        for conversation in made:
            out.write(conversation)
        per_page = Counter(conversation.parents[0] for conversation in made)
        for page in pages:
            count = per_page[page.id]
            action, rule = ("keep", "questions") if count else ("drop", "no_question")
            out.log(
                LedgerEntry(page.id, page.uri, context.stage, action, rule, float(count), "min 1")  # type: ignore[arg-type]
            )
        kinds = Counter(str(conversation.meta["kind"]) for conversation in made)
        answerable = sum(bool(conversation.meta["answerable"]) for conversation in made)
        out.counts = {
            "kinds": dict(sorted(kinds.items())),
            "answerable": answerable,
            "unanswerable": len(made) - answerable,
            "pages": len(per_page),
        }


def make_questions(
    pages: list[Document], settings: QuestionsSettings, *, seed: int = 0
) -> Iterator[Conversation]:
    """At most `limit` conversations, spread over kinds and pages; equal for equal input and seed.

    The passages beside the right one are what the served assistant would have found for the
    question, so the model learns to tell near from right. Their order is shuffled.
    """
    maker = _Maker(pages, settings, settings.seed if settings.seed is not None else seed)
    yield from maker.conversations()


class _Maker:
    def __init__(self, pages: list[Document], settings: QuestionsSettings, seed: int) -> None:
        self._settings = settings
        self._seed = seed
        self._pages = pages
        self._chunks: list[Document] = []
        self._of_page: dict[str, list[int]] = defaultdict(list)
        for page in pages:
            for chunk in chunk_documents(page, words=settings.words, small=settings.small):
                self._of_page[page.id].append(len(self._chunks))
                self._chunks.append(chunk)
        self._flat = [_flat(chunk.text) for chunk in self._chunks]
        self._index = SearchIndex.build([(index_headings(c), c.text) for c in self._chunks])

    def conversations(self) -> Iterator[Conversation]:
        made = 0
        answers: Counter[str] = Counter()
        for candidate in self._spread(self._candidates()):
            if made >= self._settings.limit:
                return
            answer = candidate.draft.answer
            # Boilerplate is allowed where it differs by what is asked (versions).
            if answers[answer] >= _MOST_EQUAL_ANSWERS and candidate.draft.kind != "version":
                continue
            withheld = self._lot("withheld", candidate.question) < self._settings.unanswerable
            conversation = self._withheld(candidate) if withheld else self._answered(candidate)
            if conversation is not None:
                answers[answer] += 1
                made += 1
                yield conversation

    def _candidates(self) -> list[Candidate]:
        """Every draft that names one thing only, worded, with the chunks that hold its answer."""
        found = [(page, draft) for page in self._pages for draft in drafts(page)]
        found = _unambiguous(found)
        out: list[Candidate] = []
        for page, draft in found:
            gold = self._holders(page, draft)
            question = self._word(draft)
            if gold and not _gives_away(question, draft.answer):
                out.append(Candidate(draft, question, page, gold))
        counts = Counter(c.question.casefold() for c in out)
        return [c for c in out if counts[c.question.casefold()] == 1]

    def _holders(self, page: Document, draft: Draft) -> tuple[int, ...]:
        """The page's chunks with the answer in them, those under the draft's own heading first."""
        answer = _flat(draft.answer)
        holders = [i for i in self._of_page[page.id] if answer in self._flat[i]]
        under = [i for i in holders if tuple(self._chunks[i].meta["headings"]) == draft.headings]
        # A small section may have joined the one before it; its heading is then in the text.
        inside = [i for i in holders if draft.headings[-1] in self._chunks[i].text]
        return tuple(dict.fromkeys([*under, *inside, *holders])) if under or inside else ()

    def _word(self, draft: Draft) -> str:
        chinese = is_chinese(draft.answer) or is_chinese(draft.name)
        phrasings = (CHINESE if chinese else ENGLISH)[draft.kind]
        key = f"{draft.kind}:{draft.name}:{draft.parameter}:{draft.answer}"
        chosen = phrasings[int(self._lot("phrasing", key) * len(phrasings))]
        bare = "`" in chosen or draft.kind in ("section", "term", "asked")
        name = draft.name if bare else draft.name.removesuffix("()")
        if draft.kind == "section" and chosen == chosen.lower():
            name = name.lower()
        return chosen.format(n=name, p=draft.parameter)

    def _spread(self, candidates: list[Candidate]) -> Iterator[Candidate]:
        """Candidates in an order whose every beginning is spread over kinds and pages."""
        queues = {
            kind: iter(self._round_robin([c for c in candidates if c.draft.kind == kind]))
            for kind in SHARES
        }
        given = dict.fromkeys(queues, 0)
        while queues:
            # The kind that is furthest behind its share goes next.
            kind = max(queues, key=lambda k: (SHARES[k] / (given[k] + 1), k))
            candidate = next(queues[kind], None)
            if candidate is None:
                del queues[kind]
                continue
            given[kind] += 1
            yield candidate

    def _round_robin(self, candidates: Iterable[Candidate]) -> list[Candidate]:
        by_page: dict[str, list[tuple[float, Candidate]]] = defaultdict(list)
        for candidate in candidates:
            lot = self._lot("order", candidate.question)
            by_page[candidate.page.id].append((lot, candidate))
        turns = [
            (turn, lot, candidate)
            for queue in by_page.values()
            for turn, (lot, candidate) in enumerate(sorted(queue, key=lambda pair: pair[0]))
        ]
        return [candidate for _, _, candidate in sorted(turns, key=lambda t: t[:2])]

    def _answered(self, candidate: Candidate) -> Conversation | None:
        """The conversation, or None where the right passage's excerpt lost the answer."""
        gold = candidate.gold[0]
        answer = _flat(candidate.draft.answer)
        held = _flat(self._passage(gold, candidate.question).text)
        if answer not in held:
            return None
        others = [
            row
            for row in self._neighbours(candidate.question, {gold})
            if answer not in self._flat[row]
        ][: self._settings.passages - 1]
        rows = [gold, *others]
        random.Random(self._digest("order", candidate.question)).shuffle(rows)
        number = rows.index(gold) + 1
        return self._conversation(
            candidate, rows, candidate.draft.answer, f"{candidate.draft.answer} [{number}]", number
        )

    def _withheld(self, candidate: Candidate) -> Conversation | None:
        """The same question without its passage, nor any that names what is asked."""
        subject = candidate.draft.name.removesuffix("()").casefold()
        answer = _flat(candidate.draft.answer)

        def tells(row: int) -> bool:
            text = self._flat[row].casefold()
            title = str(self._chunks[row].meta["title"]).casefold()
            return answer in self._flat[row] or subject in text or subject in title

        rows = [
            row
            for row in self._neighbours(candidate.question, set(candidate.gold))
            if not tells(row)
        ][: self._settings.passages]
        if not rows:
            return None
        says = refusal(candidate.question)
        return self._conversation(candidate, rows, says, says, None)

    def _neighbours(self, question: str, without: set[int]) -> list[int]:
        """What the search finds for the question, best first; then, where too few, anything."""
        wanted = self._settings.passages + _DEEPEST
        found = [row for row, _ in self._index.search(question, wanted)]
        if len(found) < self._settings.passages:
            chooser = random.Random(self._digest("filler", question))
            spare = min(len(self._chunks), self._settings.passages * 2)
            found += chooser.sample(range(len(self._chunks)), spare)
        return [row for row in dict.fromkeys(found) if row not in without]

    def _passage(self, row: int, question: str) -> Passage:
        chunk = self._chunks[row]
        text = excerpt(chunk.text, question, self._settings.max_words)
        return Passage(chunk.id, str(chunk.meta["title"]), chunk.uri, text)

    def _conversation(
        self, candidate: Candidate, rows: list[int], answer: str, said: str, number: int | None
    ) -> Conversation:
        page, draft, question = candidate.page, candidate.draft, candidate.question
        passages = [self._passage(row, question) for row in rows]
        ids = [passage.id for passage in passages]
        gold = self._chunks[candidate.gold[0]]
        messages = [
            Message("system", system_prompt(question)),
            Message("user", grounded_prompt(question, passages)),
            Message("assistant", said),
        ]
        meta: dict[str, Any] = {
            "kind": draft.kind,
            "question": question,
            "answer": answer,
            "answerable": number is not None,
            "gold": [self._chunks[row].id for row in candidate.gold] if number else [],
            "gold_number": number,
            "passage_ids": ids,
        }
        return Conversation(
            id=content_id(page.source, "\n".join(f"{m.role}: {m.content}" for m in messages)),
            messages=messages,
            uri=gold.uri if number else page.uri,
            source=page.source,
            license=page.license,
            language="zh" if is_chinese(question) else page.language,
            collected_at=page.collected_at,
            parents=list(dict.fromkeys([page.id, *ids])),
            meta=meta,
        )

    def _digest(self, purpose: str, text: str) -> int:
        data = f"{self._seed}\n{purpose}\n{text}".encode("utf-8", "surrogatepass")
        return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")

    def _lot(self, purpose: str, text: str) -> float:
        """A number in [0, 1) that depends on seed, purpose and text only."""
        return self._digest(purpose, text) / 2**64


def _unambiguous(found: list[tuple[Document, Draft]]) -> list[tuple[Document, Draft]]:
    """Give each draft the shortest name that means one thing on all the pages, or drop it."""
    for more in range(3):
        meant: dict[tuple[str, str, str], set[str]] = defaultdict(set)
        for _, draft in found:
            meant[draft.kind, draft.name.casefold(), draft.parameter].add(draft.answer)
        clear = {key for key, answers in meant.items() if len(answers) == 1}
        if more == 2:
            break
        found = [
            (page, draft)
            if (draft.kind, draft.name.casefold(), draft.parameter) in clear
            or len(draft.names) <= more + 1
            else (page, replace(draft, name=draft.names[more + 1]))
            for page, draft in found
        ]
    once: dict[tuple[str, str, str], tuple[Document, Draft]] = {}
    for page, draft in found:
        key = (draft.kind, draft.name.casefold(), draft.parameter)
        if key in clear:
            once.setdefault(key, (page, draft))
    return list(once.values())


def _flat(text: str) -> str:
    """Text without line breaks and indentation, to look for one text in another."""
    return " ".join(text.split())


def _gives_away(question: str, answer: str) -> bool:
    """Whether the question already holds the answer (`What is the foo of bar?` the foo of bar)."""
    if _flat(answer).casefold() in _flat(question).casefold():
        return True
    return not set(search_words(answer)) - set(search_words(question))


QUESTIONS = StageKind("questions", QuestionsSettings, run_questions, "datasets")
