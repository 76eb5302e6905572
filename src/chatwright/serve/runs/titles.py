"""A conversation's title: the model's proposal where it is one, else the question's first words."""

from __future__ import annotations

import re

from chatwright.curate.words import search_words
from chatwright.generate.params import SamplingParams
from chatwright.records import Message

TITLE_PARAMS = SamplingParams(temperature=0.0, max_tokens=24, stop=("\n",))

_MOST_READ = 1500  # characters of the question that the model is shown
_MOST_WIDTH = 60  # a Han character is two wide
_MOST_WORDS = 10
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
_LABEL = re.compile(r"^\s*(?:title|\u6807\u9898)\s*[:\uff1a]\s*", re.I)
_EDGES = (
    " \t\r\n\"'`*_#>-\u201c\u201d\u2018\u2019\u300a\u300b\u300c\u300d.\u3002,\uff0c;\uff1b:\uff1a"
)
_MARKS = re.compile(r"[`*_#>|\[\]<]+|\s+")


def title_messages(question: str) -> list[Message]:
    """What the model is asked, in the question's language."""
    if _HAN.search(question):
        ask = "用不超过十个字概括下面这个问题\uff0c作为标题\u3002只写标题\u3002"
    else:
        ask = "Write a title of two to six words for the question below. Write only the title."
    return [Message("user", f"{ask}\n\n{question[:_MOST_READ]}")]


def good_title(proposal: str, question: str) -> str | None:
    """The model's title, tidied; None where it is none: too long, in another script than the
    question, or about something that the question does not mention.
    """
    text = _MARKS.sub(" ", _LABEL.sub("", proposal.strip())).strip(_EDGES)
    if not text or _width(text) > _MOST_WIDTH or len(text.split()) > _MOST_WORDS:
        return None
    if bool(_HAN.search(text)) != bool(_HAN.search(question)):
        return None
    if not set(search_words(text)) & set(search_words(question)):
        return None
    return text


def first_words(question: str) -> str:
    """The beginning of the question, cut between words."""
    text = _MARKS.sub(" ", question.strip()[:400]).strip(_EDGES)
    if _width(text) <= _MOST_WIDTH:
        return text
    size, upto = 0, 0
    for upto, character in enumerate(text):  # noqa: B007 (where it stopped is what is wanted)
        size += _width(character)
        if size > _MOST_WIDTH - 2:
            break
    cut = text[:upto]
    space = cut.rfind(" ")
    if space > len(cut) // 2:
        cut = cut[:space]
    return f"{cut.rstrip(_EDGES)}\u2026"


def _width(text: str) -> int:
    return sum(2 if _HAN.match(c) else 1 for c in text)
