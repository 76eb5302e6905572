r"""Pairs of answers from rows: a prompt, the answer that was chosen, and the one that was rejected.

Forms that are read, each with strings or lists of messages where both make sense:

- `prompt` with `chosen` and `rejected` (TRL; UltraFeedback, whose answers repeat the prompt);
- `chosen` and `rejected` alone, whole conversations that begin alike (TRL's implicit prompts);
- the same as text, "\n\nHuman: … \n\nAssistant: …" (Anthropic's HH-RLHF; Bai et al. 2022);
- `conversations` with `chosen` and `rejected` (LLaMA-Factory's ShareGPT form), or `instruction` and
  `input` with them (its Alpaca form);
- `system`, `history`, `question`, `response_chosen`, `response_rejected` (MedicalGPT).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chatwright.collect.conversations import messages_from_history, messages_from_turns, text_of
from chatwright.collect.found import Lost, clean_text
from chatwright.records import Message
from chatwright.records.message import Role

USED_BY_PREFERENCES = {
    "prompt", "messages", "conversations", "conversation", "question", "instruction", "query",
    "input", "history", "system", "chosen", "rejected", "response_chosen", "response_rejected",
    "chosen_response", "rejected_response", "judge", "consent",
}  # fmt: skip
_ANSWERS = (
    ("chosen", "rejected"),
    ("response_chosen", "response_rejected"),
    ("chosen_response", "rejected_response"),
)
_TURNS = ("messages", "conversations", "conversation")
_QUESTIONS = ("prompt", "question", "instruction", "query")
_TRANSCRIPT = re.compile(r"(?:^|\n\n)(Human|Assistant):")
_SPEAKERS: dict[str, Role] = {"Human": "user", "Assistant": "assistant"}

NO_PREFERENCE = "no chosen and rejected answers, with a prompt or as whole conversations"


@dataclass(frozen=True, slots=True)
class Answers:
    """A prompt (its last turn is not the assistant's) and two different answers to it."""

    prompt: list[Message]
    chosen: str
    rejected: str
    judge: str


class _Bad(Exception):  # noqa: N818 (carries a ledger line, and never leaves this module)
    def __init__(self, rule: str, detail: str) -> None:
        self.lost = Lost(rule, detail=detail)


def answers_of(row: Mapping[str, Any]) -> Answers | Lost | None:
    """The pair that a row holds, the ledger line for why it holds none, or None for another kind.

    Lost are ties (`tie`), answers without text (`empty-answer`), answers to different prompts
    (`prompts-differ`) and what cannot be read (`bad-preference`).
    """
    for chosen, rejected in _ANSWERS:
        if row.get(chosen) is not None and row.get(rejected) is not None:
            break
    else:
        return None
    try:
        return _read(row, row[chosen], row[rejected])
    except _Bad as bad:
        return bad.lost


def _read(row: Mapping[str, Any], chosen: Any, rejected: Any) -> Answers:
    prompt = _prompt(row)
    before_chosen, better = _answer(chosen, "the chosen answer", alone=not prompt)
    before_rejected, worse = _answer(rejected, "the rejected answer", alone=not prompt)
    if before_chosen or before_rejected:
        prompt = _common(prompt, before_chosen, before_rejected)
    if not prompt:
        raise _Bad("bad-preference", "there is no prompt")
    system = row.get("system")
    if isinstance(system, str) and system.strip() and prompt[0].role != "system":
        prompt = [Message("system", clean_text(system)), *prompt]
    if prompt[-1].role in ("assistant", "system"):
        raise _Bad("bad-preference", f"the prompt ends with the {prompt[-1].role}'s turn")
    if not any(message.role == "user" for message in prompt):
        raise _Bad("bad-preference", "no user turn")
    for text, which in ((better, "chosen"), (worse, "rejected")):
        if not text.strip():
            raise _Bad("empty-answer", f"the {which} answer is empty")
    if better.strip() == worse.strip():
        raise _Bad("tie", "the chosen and the rejected answer are equal")
    judge = row.get("judge")
    named = clean_text(judge.strip())[:200] if isinstance(judge, str) else ""
    return Answers(prompt, better, worse, named or "unknown")


def _prompt(row: Mapping[str, Any]) -> list[Message]:
    """The prompt that a row gives apart from the answers; empty where it gives none."""
    turns = next((row[name] for name in _TURNS if row.get(name)), None)
    if turns is None and isinstance(row.get("prompt"), list):
        turns = row["prompt"]
    if turns is not None:
        return _messages(turns, "the prompt")
    name = next((n for n in _QUESTIONS if isinstance(row.get(n), str) and row[n].strip()), None)
    if name is None:
        return []
    asked = row[name]
    if name == "prompt" and _TRANSCRIPT.match(asked.lstrip()):
        said = _transcript(asked, "the prompt")
        if said[-1].role == "assistant" and not said[-1].content:
            said.pop()  # "… \n\nAssistant:" asks for the answer that follows
        return _not_empty(said, "the prompt")
    more = row.get("input")
    if isinstance(more, str) and more.strip():
        asked = f"{asked}\n\n{more}"
    return [*messages_from_history(row.get("history")), Message("user", clean_text(asked))]


def _answer(value: Any, which: str, alone: bool) -> tuple[list[Message], str]:
    """What comes before the answer in `value`, and the answer's text."""
    if isinstance(value, list):
        messages = _messages(value, which, last_may_be_empty=True)
    elif isinstance(value, Mapping):
        messages = _messages([value], which, last_may_be_empty=True)
    elif isinstance(value, str):
        if not alone:
            return [], clean_text(value)
        if not _TRANSCRIPT.match(value.lstrip()):
            raise _Bad("bad-preference", f"{which} is text, and there is no prompt")
        messages = _transcript(value, which)
        _not_empty(messages[:-1], which)
    else:
        raise _Bad("bad-preference", f"{which} is neither text nor messages")
    if not messages or messages[-1].role != "assistant":
        raise _Bad("bad-preference", f"{which} does not end with the assistant's turn")
    return messages[:-1], messages[-1].content


def _common(prompt: list[Message], chosen: list[Message], rejected: list[Message]) -> list[Message]:
    """The one prompt of both answers."""
    if chosen != rejected:
        raise _Bad("prompts-differ", _first_difference(chosen, rejected))
    ends = prompt and chosen[-len(prompt) :] == prompt
    if prompt and not ends:
        raise _Bad("prompts-differ", "the answers repeat another prompt than the row's own")
    return chosen


def _first_difference(chosen: list[Message], rejected: list[Message]) -> str:
    for number, (a, b) in enumerate(zip(chosen, rejected, strict=False), start=1):
        if a != b:
            return f"the conversations differ from turn {number} on"
    return f"{len(chosen)} turns come before the chosen answer and {len(rejected)} before the other"


def _messages(turns: Any, which: str, *, last_may_be_empty: bool = False) -> list[Message]:
    last: list[Message] = []
    if last_may_be_empty and isinstance(turns, list) and turns and isinstance(turns[-1], Mapping):
        text = text_of(turns[-1].get("content", turns[-1].get("value")))
        if text is not None and not text.strip():
            label = str(turns[-1].get("role", turns[-1].get("from"))).strip().lower()
            if label in ("assistant", "gpt", "model", "bot", "chatgpt"):
                turns, last = turns[:-1], [Message("assistant", "")]
    found = messages_from_turns(turns)
    if isinstance(found, str):
        raise _Bad("bad-preference", f"{which}: {found}")
    return found + last


def _transcript(text: str, which: str) -> list[Message]:
    r"""Turns of "\n\nHuman: … \n\nAssistant: …"; what a speaker says is without outer space."""
    parts = _TRANSCRIPT.split("\n\n" + text.strip())
    if parts[0].strip():
        raise _Bad("bad-preference", f"{which} has text before its first turn")
    return [
        Message(_SPEAKERS[speaker], clean_text(said.strip()))
        for speaker, said in zip(parts[1::2], parts[2::2], strict=True)
    ]


def _not_empty(messages: list[Message], which: str) -> list[Message]:
    for number, message in enumerate(messages, start=1):
        if not message.content:
            raise _Bad("bad-preference", f"{which}: turn {number} is empty")
    return messages
