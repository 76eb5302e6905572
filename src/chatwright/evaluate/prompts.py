"""What a model is shown for a question: the assistant's own prompt, or the row's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatwright.evaluate.items import Question
from chatwright.records import Message
from chatwright.records.grounding import Passage

if TYPE_CHECKING:
    from chatwright.assist.knowledge import Knowledge
    from chatwright.generate import Engine


@dataclass(frozen=True, slots=True)
class Prompt:
    """Messages for the model, the passages in them by number, and notes on what did not fit."""

    messages: tuple[Message, ...]
    passages: tuple[Passage, ...]
    left_out: tuple[str, ...] = ()
    by_id: bool = True

    def names(self, question: Question) -> tuple[list[str], frozenset[str]]:
        """The passages' names, in order, and the names of those that hold the answer.

        A passage is known by its row id. Where the knowledge was cut into passages in another way
        than the questions were, so that no id of theirs is in it (`by_id` False), the address of
        the section tells.
        """
        if self.by_id:
            return [p.id for p in self.passages], frozenset(question.gold)
        gold = {question.uri, *question.gold}
        return [p.uri for p in self.passages], frozenset(gold)


class Prompts:
    """Makes each question's prompt for one engine.

    With knowledge, the prompt is the one that the served assistant would make of the question: its
    own code retrieves, shortens and fits into the context window. Without, and for questions whose
    passages must not hold the answer, it is the row's own conversation up to its answer.
    """

    def __init__(
        self,
        knowledge: Knowledge | None,
        engine: Engine,
        *,
        passages: int,
        max_words: int,
        max_tokens: int,
    ) -> None:
        from chatwright.assist.answer import Assistant, AssistantSettings
        from chatwright.generate.params import SamplingParams

        self._knowledge = knowledge
        self._params = SamplingParams(temperature=0.0, max_tokens=max_tokens)
        self._assistant = Assistant(
            engine, knowledge, AssistantSettings(passages=passages, max_words=max_words)
        )

    def prompt(self, question: Question) -> Prompt:
        """The prompt for one question. Raises `ContextError` where the question is too long."""
        if self._knowledge is None or not question.answerable:
            return self._own(question)
        by_id = any(self._knowledge.passage(name) for name in question.gold)
        prepared = self._assistant.prepare([Message("user", question.text)], self._params)
        return Prompt(
            tuple(prepared.messages), tuple(prepared.passages), tuple(prepared.left_out), by_id
        )

    def _own(self, question: Question) -> Prompt:
        known = self._knowledge
        passages = []
        for name in question.passage_ids:
            passage = known.passage(name) if known else None
            uri = question.uri if name in question.gold else ""
            passages.append(passage or Passage(name, "", uri, ""))
        return Prompt(question.messages[:-1], tuple(passages))
