"""From a conversation to an answer that names its sources."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from chatwright.assist.knowledge import Knowledge
from chatwright.assist.tools.protocol import as_text
from chatwright.curate.excerpts import excerpt, prompt_size
from chatwright.curate.words import search_words
from chatwright.errors import ContextError, UsageError
from chatwright.generate.params import Completion, Piece, SamplingParams
from chatwright.records import Message
from chatwright.records.grounding import (
    Passage,
    cited_numbers,
    grounded_prompt,
    system_prompt,
)

# What points back to something said before: then the question before this one is searched too.
_POINTS_BACK = re.compile(
    r"\b(?:it|its|they|them|their|that|this|these|those|same|one|ones|both|else|instead|other)\b"
    r"|^\s*(?:and|but|or|also|what about|how about|why)\b"
    r"|它|他们|她们|这个|那个|这些|那些|这种|那种|上面|前面|刚才|还有|那么|^那|^为什么[？?]?$",
    re.I,
)
_LEAST_ANSWER = 32  # tokens that are kept free for the answer, however long the prompt


class GenerationEngine(Protocol):
    """What an assistant needs of an engine (`chatwright.generate.Engine` is one).

    `stream` returns an iterator of pieces, the last with the `completion`; closing it stops. What
    one `tenant` asks never makes another's answer come sooner.
    """

    tokenizer: Any
    context: int

    def stream(
        self, messages: Sequence[Message], params: SamplingParams, /, *, tenant: str = ""
    ) -> Any: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class AssistantSettings:
    """How an assistant answers.

    `system` replaces the built-in instruction. `passages` are shown at most, each shortened to
    the `max_words` nearest the question. `sampling` is what a caller gets who asks for nothing.
    """

    name: str = "assistant"
    title: str = ""
    description: str = ""
    system: str | None = None
    examples: tuple[str, ...] = ()
    passages: int = 3
    max_words: int = 50
    sampling: SamplingParams = field(default_factory=lambda: SamplingParams(temperature=0.0))


@dataclass(frozen=True, slots=True)
class Citation:
    """A `[number]` in the answer, and the passage that it stands for."""

    number: int
    passage: Passage


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with its sources.

    `citations` are the passages that the text cites, in order; none is ever added for it.
    `passages` are all that were shown to the model, number 1 first, whole (the model may have seen
    an excerpt). `left_out` says in plain words what could not be shown. Of several answers to one
    question `completion.index` tells which this is.
    """

    text: str
    citations: list[Citation]
    passages: list[Passage]
    left_out: list[str]
    completion: Completion


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the model is asked: the messages as it sees them, and what the answer may cite."""

    messages: list[Message]
    passages: list[Passage]
    left_out: list[str]
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class _Ask:
    """The last question, what was said before it, given instructions, and passages found.

    `after` is what the assistant did since to answer it: the tools it called, and their results.
    """

    question: str
    said: list[Message]
    given: list[str]
    found: list[Passage]
    after: list[Message]


class Assistant:
    """A model, what it knows, and how it answers. Safe to use from many threads.

    >>> assistant = load_assistant("quickstart")
    >>> answer = assistant.answer([{"role": "user", "content": "What does flush() do?"}])
    >>> answer.text, [c.passage.uri for c in answer.citations]
    """

    def __init__(
        self,
        engine: GenerationEngine,
        knowledge: Knowledge | None = None,
        settings: AssistantSettings | None = None,
    ) -> None:
        self.engine = engine
        self.knowledge = knowledge
        self.settings = settings or AssistantSettings()

    def answer(
        self,
        messages: Sequence[Message | Mapping[str, str]],
        params: SamplingParams | None = None,
    ) -> Answer:
        """The (first) answer to the last message. Raises as `prepare` does."""
        return self.answers(messages, params)[0]

    def answers(
        self,
        messages: Sequence[Message | Mapping[str, str]],
        params: SamplingParams | None = None,
    ) -> list[Answer]:
        """All `params.n` answers to the last message. Raises as `prepare` does."""
        made = [item for item in self.stream(messages, params) if isinstance(item, Answer)]
        return sorted(made, key=lambda answer: answer.completion.index)

    def stream(
        self,
        messages: Sequence[Message | Mapping[str, str]],
        params: SamplingParams | None = None,
        *,
        tenant: str = "",
    ) -> Iterator[Piece | Answer]:
        """Pieces of text as they are made, then the whole `Answer`.

        With `params.n` > 1 the answers come mixed (`Piece.index` tells them apart), each whole one
        after its last piece. Closing the iterator stops the engine. What is wrong with the messages
        raises here, before the first piece is asked for.
        """
        params = params or self.settings.sampling
        return self.pieces(self.prepare(messages, params), params, tenant=tenant)

    def pieces(
        self, prepared: Prepared, params: SamplingParams, *, tenant: str = ""
    ) -> Iterator[Piece | Answer]:
        """`stream` of a conversation that is prepared already."""
        with closing(self.engine.stream(prepared.messages, params, tenant=tenant)) as pieces:
            for piece in pieces:
                yield piece
                if piece.completion is not None:
                    yield self.finish(prepared, piece.completion)

    def prepare(
        self,
        messages: Sequence[Message | Mapping[str, str]],
        params: SamplingParams | None = None,
    ) -> Prepared:
        """Find passages for the last question and fit everything into the context window.

        Earlier turns stay as people wrote them; only the last carries passages. Where it is too
        much, earlier turns go first (the oldest before the younger), then passages (the least
        near first), and `left_out` says so. The last message is a question, or the result of a tool
        that was called to answer one (`assist.tools.protocol`). Raises `ContextError` where the
        question alone is too long, and `UsageError` for messages that cannot be answered.
        """
        turns = _checked(messages)
        params = params or self.settings.sampling
        given = [m.content for m in turns if m.role == "system" and m.content.strip()]
        spoken = [m for m in turns if m.role != "system"]
        last = _last_question(spoken)
        said, question, after = spoken[:last], spoken[last].content, spoken[last + 1 :]
        found = self._retrieve(question, said)
        notes: list[str] = []
        if self.knowledge is not None and not found:
            notes.append("No passage holds any word of the question; none was shown.")
        fitted = self._fit(_Ask(question, said, given, found, after), params)
        return replace(fitted, left_out=notes + fitted.left_out)

    def finish(self, prepared: Prepared, completion: Completion) -> Answer:
        """Read the citations out of what the model wrote."""
        text = completion.text.strip()
        shown = prepared.passages
        cited = [Citation(n, shown[n - 1]) for n in cited_numbers(text, len(shown))]
        return Answer(text, cited, list(shown), list(prepared.left_out), completion)

    def close(self) -> None:
        """Stop the engine; what it is writing ends as cancelled."""
        self.engine.close()

    def _retrieve(self, question: str, said: Sequence[Message]) -> list[Passage]:
        if self.knowledge is None:
            return []
        found = self.knowledge.search(search_query(question, said), self.settings.passages)
        return [passage for passage, _ in found]

    def _fit(self, ask: _Ask, params: SamplingParams) -> Prepared:
        context = self.engine.context
        room = context - min(params.max_tokens, max(_LEAST_ANSWER, context // 4))
        kept = replace(ask, said=list(ask.said), found=list(ask.found))
        turns, shown = kept.said, kept.found
        sizes = [self._count([turn]) for turn in turns]  # templates add: sums are upper estimates
        prompt = self._prompt(kept)
        used = self._count(prompt)
        while used > room and (turns or shown):
            freed = 0
            while turns and freed < used - room:
                freed += sizes.pop(0)
                turns.pop(0)
            while turns and turns[0].role != "user":  # a history starts with a question
                freed += sizes.pop(0)
                turns.pop(0)
            if not freed:
                shown.pop()
            prompt = self._prompt(kept)
            used = self._count(prompt)
        # With nothing left to drop, the answer may have less room than was asked, but some.
        if used > max(room, context - _LEAST_ANSWER):
            raise ContextError(
                f"the question is too long: {used} tokens with its instructions, and this model "
                f"reads {context} at most, the answer included",
                hint="ask in fewer words, or in several questions",
            )
        return Prepared(prompt, shown, self._left_out(ask, kept), used)

    def _prompt(self, ask: _Ask) -> list[Message]:
        own = self.settings.system
        system = [own] if own else [system_prompt(ask.question)] if ask.found else []
        head = "\n\n".join([*system, *ask.given])
        last = ask.question
        if ask.found:
            words = self.settings.max_words
            short = [
                replace(p, text=as_text(excerpt(p.text, ask.question, words))) for p in ask.found
            ]
            last = grounded_prompt(ask.question, short)
        first = [Message("system", head)] if head else []
        return [*first, *ask.said, Message("user", last), *ask.after]

    def _left_out(self, ask: _Ask, kept: _Ask) -> list[str]:
        notes: list[str] = []
        if dropped := len(ask.said) - len(kept.said):
            notes.append(
                f"The {_number(dropped, 'earliest message')} of this conversation did not fit "
                f"into the model's context window and {_were(dropped)} left out."
            )
        if dropped := len(ask.found) - len(kept.found):
            notes.append(
                f"{_number(dropped, 'passage', 'One')} that the search found did not fit and "
                f"{_were(dropped)} left out."
            )
        words = self.settings.max_words
        cut = [str(n) for n, p in enumerate(kept.found, 1) if prompt_size(p.text) > words]
        if cut:
            which = f"Passage {cut[0]} was" if len(cut) == 1 else f"Passages {_and(cut)} were"
            notes.append(f"{which} shown in part: the sentences nearest the question.")
        return notes

    def _count(self, messages: Sequence[Message]) -> int:
        return len(self.engine.tokenizer.chat(list(messages), add_generation_prompt=True))


def search_query(question: str, said: Sequence[Message]) -> str:
    """What is searched for: the question, and the one before it where this one points back."""
    earlier = next((m.content for m in reversed(said) if m.role == "user"), "")
    # "What is polymorphism?" stands for itself; "More?" and "Deletes?" cannot.
    stub = len(question.split()) <= 2 and len(search_words(question)) <= 1
    points_back = stub or _POINTS_BACK.search(question)
    return f"{question}\n{earlier}" if earlier and points_back else question


def _checked(messages: Sequence[Message | Mapping[str, str]]) -> list[Message]:
    turns: list[Message] = []
    for message in messages:
        if isinstance(message, Message):
            turns.append(message)
            continue
        role, content = message.get("role"), message.get("content")
        if role not in ("system", "user", "assistant", "tool") or not isinstance(content, str):
            raise UsageError("a message needs a role and a text", where=repr(message)[:200])
        turns.append(Message(role, content))  # type: ignore[arg-type]
    spoken = [turn for turn in turns if turn.role != "system"]
    last = spoken[-1] if spoken else None
    answerable = last is not None and (
        (last.role == "user" and last.content.strip() != "")
        or (last.role == "tool" and any(turn.role == "user" for turn in spoken))
    )
    if not answerable or turns[-1].role == "system":
        raise UsageError(
            "there is no question to answer",
            hint="the last message must be the user's, with text, or a tool's result",
        )
    return turns


def _last_question(spoken: Sequence[Message]) -> int:
    """Where the last question is. One that holds tool results is the answer to a call, not it."""
    asked = [i for i, turn in enumerate(spoken) if turn.role == "user"]
    asking = [i for i in asked if not spoken[i].content.startswith("<tool_response>")]
    return (asking or asked)[-1]


def _number(count: int, what: str, one: str = "") -> str:
    return f"{one} {what}".strip() if count == 1 else f"{count} {what}s"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _and(parts: list[str]) -> str:
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
