"""How passages and a question become one prompt, and how citations are read out of an answer.

Fine-tuning, evaluation and the served assistant must show the model the same shape, so the shape
is fixed here, in the room that all of them import.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

SYSTEM_PROMPT = (
    "Answer from the numbered passages. Say only what they say, and cite the passage you used, "
    "like [1]. If they do not hold the answer, say so."
)
SYSTEM_PROMPT_ZH = (
    "根据编号的段落回答。只说段落里说的，并注明所用的段落，例如 [1]。如果段落里没有答案，就直说。"
)
REFUSAL = "The passages do not answer this question."
REFUSAL_ZH = "这些段落没有回答这个问题。"

_CITATION = re.compile(r"[\[【](\d{1,2}(?:\s*[,，、]\s*\d{1,2})*)[\]】](?!\()")
_CODE = re.compile(r"(`{3,})[\s\S]*?(?:\1|\Z)|(`+)[^`\n]*?\2")
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk that an answer may cite. `id` is the chunk's row id, `uri` the page (with anchor)."""

    id: str
    title: str
    uri: str
    text: str


def system_prompt(question: str) -> str:
    """The instruction for grounded answers, in the question's language."""
    return SYSTEM_PROMPT_ZH if _HAN.search(question) else SYSTEM_PROMPT


def refusal(question: str) -> str:
    """What is said when the passages do not hold the answer, in the question's language."""
    return REFUSAL_ZH if _HAN.search(question) else REFUSAL


def grounded_prompt(question: str, passages: Sequence[Passage]) -> str:
    """The user's turn: passages numbered from 1, then the question."""
    shown = [f"[{n}] {p.title}\n{p.text}" for n, p in enumerate(passages, start=1)]
    label = "问题：" if _HAN.search(question) else "Question: "
    return "\n\n".join([*shown, f"{label}{question}"])


def cited_numbers(answer: str, available: int) -> list[int]:
    """The passage numbers that an answer cites, in order, once each, within 1…`available`.

    `[1]`, `[1, 3]` and `【1】` are citations; `[0]` inside code and `[1](…)` are not.
    """
    found = _CITATION.findall(_CODE.sub(" ", answer))
    numbers = (int(n) for group in found for n in re.findall(r"\d+", group))
    return list(dict.fromkeys(n for n in numbers if 1 <= n <= available))


def without_citations(answer: str) -> str:
    """The answer's words alone, for metrics that compare words. Code stays as it is."""
    kept: list[str] = []
    at = 0
    for code in _CODE.finditer(answer):
        kept += [_strip(answer[at : code.start()]), code.group()]
        at = code.end()
    return "".join([*kept, _strip(answer[at:])]).strip()


def _strip(text: str) -> str:
    return re.sub(rf"[ \t]*{_CITATION.pattern}", "", text)
