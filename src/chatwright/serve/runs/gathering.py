"""What goes into the prompt of an answer: passages, files, a summary of what no longer fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

import anyio
import anyio.to_thread

from chatwright.assist import Assistant
from chatwright.assist.answer import search_query
from chatwright.assist.summary import (
    Summary,
    messages_to_fold,
    summarise,
    summary_message,
)
from chatwright.generate.params import Completion, SamplingParams
from chatwright.records import Message
from chatwright.records.grounding import Passage
from chatwright.serve.access import Identity
from chatwright.serve.history.store import Turn as KeptTurn
from chatwright.serve.runs import prompt
from chatwright.serve.runs.parts import Collections

_LEAST_ANSWER = 32  # tokens that are kept free for the answer


class ShortAnswers:
    """An engine for texts that nobody watches, made by the engine that streams.

    `tokens` counts what was asked of it, as (prompt, answer) for each; `cancel` ends the one under
    way.
    """

    def __init__(self, engine: Any) -> None:
        self.context: int = engine.context
        self.tokenizer = engine.tokenizer
        self.tokens: list[tuple[int, int]] = []
        self._engine = engine
        self._lock = Lock()
        self._pieces: Any = None
        self._cancelled = False

    def chat(
        self, messages: Sequence[Message], params: SamplingParams, *, tenant: str = ""
    ) -> Completion:
        """The whole answer. Blocking."""
        pieces = self._engine.stream(messages, params, tenant=tenant)
        with self._lock:
            self._pieces = pieces
            if self._cancelled:
                pieces.close()
        whole: Completion | None = None
        for piece in pieces:
            whole = piece.completion or whole
        if whole is None:
            raise RuntimeError("the engine ended without a completion")
        self.tokens.append((whole.prompt_tokens, len(whole.token_ids)))
        return whole

    def cancel(self) -> None:
        with self._lock:
            self._cancelled = True
            if self._pieces is not None:
                self._pieces.close()


@dataclass(frozen=True, slots=True)
class Grounded:
    """An assistant that knows the passages for an answer, and which collection each is of."""

    assistant: Assistant
    collection_of: dict[str, str]


async def with_passages(
    assistant: Assistant,
    turns: Sequence[prompt.Turn],
    collections: Collections | None,
    collection_ids: Sequence[str],
    who: Identity,
) -> Grounded:
    """The assistant with passages found for the question: those of the collections that were
    chosen, and its own knowledge's.
    """
    if not collection_ids or collections is None:
        return Grounded(assistant, {})
    most = assistant.settings.passages
    said = [Message("user", turn.text) for turn in turns[:-1] if turn.role == "user"]
    query = search_query(turns[-1].text, said)
    own: list[Passage] = []
    if assistant.knowledge is not None:
        hits = await anyio.to_thread.run_sync(assistant.knowledge.search, query, most)
        own = [passage for passage, _ in hits]
    documents: list[Passage] = []
    collection_of: dict[str, str] = {}
    if len(collection_ids) == 1:
        found = await collections.search(who, list(collection_ids), query, most)
    else:
        # One after the other, so that each passage's collection is known to the page.
        found = []
        for one in collection_ids:
            hits = list(await collections.search(who, [one], query, most))
            collection_of |= {passage.id: one for passage, _ in hits}
            found += hits
        found = sorted(found, key=lambda hit: -hit[1])[:most]
    for passage, _ in found:
        documents.append(passage)
        collection_of.setdefault(passage.id, collection_ids[0])
    # A person's own documents come first: they were asked for by name.
    return Grounded(_with(assistant, [*documents, *own]), collection_of)


def with_kept_passages(assistant: Assistant, kept: KeptTurn) -> Grounded:
    """The assistant with the passages that an answer was begun with."""
    told = kept.content.retrieved
    collection_of = {
        str(one["id"]): str(one["collection_id"]) for one in told if one.get("collection_id")
    }
    passages = [
        Passage(*(str(one.get(name, "")) for name in ("id", "title", "uri", "text")))
        for one in told
    ]
    return Grounded(_with(assistant, passages or None), collection_of)


async def with_files(
    assistant: Assistant, turns: Sequence[prompt.Turn]
) -> tuple[list[prompt.Turn], list[str]]:
    """The turns with their files as far as they fit, and notes on what was cut."""
    files = [file for turn in turns for file in turn.attachments]
    if not files:
        return list(turns), []

    def count(text: str) -> int:
        return _count(assistant, [Message("user", text)])

    kept, notes = await anyio.to_thread.run_sync(
        prompt.shortened, files, assistant.engine.context, count
    )
    rest = iter(kept)
    fitted = [
        replace(turn, attachments=tuple(next(rest) for _ in turn.attachments)) for turn in turns
    ]
    return fitted, notes


def summarised(
    assistant: Assistant,
    messages: Sequence[Message],
    earlier: Summary | None,
    short: ShortAnswers,
    *,
    most_tokens: int,
    tenant: str,
) -> tuple[list[Message], Summary | None]:
    """The conversation with its beginning as a summary, and that summary where it is a new one.

    `earlier` stands for the first messages already. `most_tokens` are those of the answer.
    Blocking.
    """
    if earlier is not None and earlier.messages >= len(messages):
        earlier = None  # made for a longer branch than this
    done = earlier.messages if earlier is not None else 0
    rest = list(messages[done:])
    head = [summary_message(earlier)] if earlier is not None else []
    context = assistant.engine.context
    room = context - min(most_tokens, max(_LEAST_ANSWER, context // 4))
    if len(rest) < 3 or _count(assistant, [*head, *rest]) <= room // 2:
        return [*head, *rest], None
    sizes = [_count(assistant, [message]) for message in [*head, *rest]]
    upto = done + max(0, messages_to_fold(sizes, room) - len(head))
    while upto > done and upto < len(messages) - 1 and messages[upto].role != "user":
        upto += 1  # what stays begins with a question
    if upto <= done or upto >= len(messages) or messages[upto].role != "user":
        return [*head, *rest], None
    made = summarise(short, messages[:upto], earlier, tenant=tenant)
    return [summary_message(made), *messages[upto:]], made


def _count(assistant: Assistant, messages: Sequence[Message]) -> int:
    return len(assistant.engine.tokenizer.chat(list(messages), add_generation_prompt=True))


def _with(assistant: Assistant, passages: list[Passage] | None) -> Assistant:
    found: Any = None if passages is None else prompt.Found(passages)
    return Assistant(assistant.engine, found, assistant.settings)
