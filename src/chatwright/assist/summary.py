"""A long chat is summarised before it overflows the context window.

The oldest messages are replaced by one that tells what was said in them. A summary is kept and
grows: the next one is made of the last one and the messages since.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chatwright.generate.params import SamplingParams
from chatwright.records import Message

SHARE = 0.75  # of the room for the prompt: beyond it, a summary is made
KEPT_SHARE = 0.35  # of the room: what stays as it was said
TOKENS = 200  # of a summary, at most
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
_ASK = {
    "en": "Summarise the conversation below in at most 120 words. Keep names, numbers, decisions "
    "and what the user wants. Write only the summary.\n\n{text}",
    "zh": "用不超过200字概括下面的对话\uff0c保留人名\u3001数字\u3001决定和用户的要求\u3002"
    "只写概要\u3002\n\n{text}",
}
_HEAD = {
    "en": "Summary of the earlier conversation:\n{text}",
    "zh": "此前对话的概要\uff1a\n{text}",
}
_WHO = {
    "en": {"user": "User", "assistant": "Assistant", "tool": "Tool"},
    "zh": {"user": "用户", "assistant": "助手", "tool": "工具"},
}


@dataclass(frozen=True, slots=True)
class Summary:
    """`text` stands for the first `messages` messages of the conversation."""

    messages: int
    text: str


def messages_to_fold(sizes: Sequence[int], room: int) -> int:
    """How many of the oldest messages must be summarised; 0 where all fit well.

    `sizes` are the tokens of each message, `room` the tokens that a prompt may have. The newest
    stay within `KEPT_SHARE` of it, and the last message always stays.
    """
    if sum(sizes) <= SHARE * room:
        return 0
    kept, total = 0, 0
    for size in reversed(sizes):
        if kept and total + size > KEPT_SHARE * room:
            break
        total += size
        kept += 1
    return len(sizes) - kept


def summary_request(messages: Sequence[Message], earlier: str, longest: int) -> list[Message]:
    """What the model is asked for a summary: `earlier` is the last summary or empty; the text is
    cut in the middle of each message to at most `longest` characters in all.
    """
    language = _language(messages)
    each = max(80, longest // max(1, len(messages)))
    lines = [_HEAD[language].format(text=earlier)] if earlier else []
    for message in messages:
        who = _WHO[language].get(message.role)
        if who is not None and message.content.strip():
            lines.append(f"{who}: {_shortened(' '.join(message.content.split()), each)}")
    return [Message("user", _ASK[language].format(text="\n".join(lines)))]


def summarise(
    engine: Any, messages: Sequence[Message], earlier: Summary | None, *, tenant: str = ""
) -> Summary:
    """A summary of `messages`, the first of the conversation; `earlier` covers the first of them.

    Blocking. What the model writes is used as it is; where it writes nothing, the summary is made
    of the first words of each message, so that the conversation can always go on.
    """
    done = earlier.messages if earlier is not None else 0
    text = earlier.text if earlier is not None else ""
    fresh = list(messages[done:])
    room = max(200, engine.context - TOKENS - 64)
    asked = summary_request(fresh, text, longest=2 * room)
    # Two characters a token is cautious for English and much for Chinese: shorten until it fits.
    longest = 2 * room
    while longest > 200 and _count(engine, asked) > room:
        longest //= 2
        asked = summary_request(fresh, text[:longest], longest=longest)
    params = SamplingParams(temperature=0.0, max_tokens=TOKENS, repetition_penalty=1.1)
    written = engine.chat(asked, params, tenant=tenant).text.strip()
    if not written:
        written = " / ".join(_shortened(" ".join(m.content.split()), 80) for m in fresh)
    return Summary(len(messages), written)


def summary_message(summary: Summary) -> Message:
    """The message that stands for what was summarised."""
    language = "zh" if _HAN.search(summary.text) else "en"
    return Message("system", _HEAD[language].format(text=summary.text))


def _language(messages: Sequence[Message]) -> str:
    """The language of the person's words."""
    said = "".join(m.content[:500] for m in messages if m.role == "user")
    return "zh" if len(_HAN.findall(said)) * 4 > len(said) else "en"


def _shortened(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    half = max(1, (longest - 3) // 2)
    return f"{text[:half]} \u2026 {text[-half:]}"


def _count(engine: Any, messages: Sequence[Message]) -> int:
    return len(engine.tokenizer.chat(list(messages), add_generation_prompt=True))
