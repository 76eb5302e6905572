"""Whether a person had to ask again: a turn that rephrases an earlier one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chatwright.curate.words import count_words, is_chinese, phrase_words

# Chosen on the hand-labelled pairs of tests/evaluate/test_conversations_words.py, for precision: a
# question with one word exchanged ("capital of France", "capital of Australia") is another one.
WORD_OVERLAP = 0.7
PART_OVERLAP = 0.4
CHARACTER_OVERLAP = 0.75
EMBEDDING_COSINE = 0.975  # of e5, whose cosines are crowded near 1
_LEAST_WORDS = 2

Similarity = Callable[[str, str], float]

# Words around a question, which come and go when it is put again.
_FILLING = """
again said ask asked asking already repeat question now s e t
再 问 再问 我问 说 说过 现在 该 应该 能不能 不能 会不会 不会
怎样才能 才能 后 之后 以后 需要 想 请教 帮
"""
_FILLER = frozenset(_FILLING.split())
_CARRY_ON = re.compile(
    r"^\W*(?:please\s+)?(?:continue|go\s+on|carry\s+on|keep\s+going|more|next|try\s+again)\b"
    r"|^\W*请?(?:你)?(?:继续|接着|再来|下一)",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")


def repeated_turns(
    messages: Sequence[str], similarity: Similarity | None = None, bound: float = EMBEDDING_COSINE
) -> tuple[int, ...]:
    """Places of the messages that rephrase an earlier message of the same person.

    Two messages are one question when their words (English endings folded, Chinese segmented, stop
    words off) have a Jaccard similarity of 0.7, or of 0.4 where one has all the words of the other;
    or when their character trigrams (bigrams in Chinese) have one of 0.75. Other numbers make
    another question. `similarity` (a cosine of embeddings, say) adds what neither sees. "Go on"
    twice is no question asked twice.
    """
    out: list[int] = []
    seen: list[_Asked] = []
    for place, message in enumerate(messages):
        if _CARRY_ON.match(message) or count_words(message) < _LEAST_WORDS:
            continue
        asked = _Asked.of(message)
        if any(_same(asked, earlier, similarity, bound) for earlier in seen):
            out.append(place)
        seen.append(asked)
    return tuple(out)


@dataclass(frozen=True, slots=True)
class _Asked:
    text: str
    words: frozenset[str]
    grams: frozenset[str]
    numbers: frozenset[str]

    @classmethod
    def of(cls, text: str) -> _Asked:
        folded = unicodedata.normalize("NFKC", text)
        return cls(
            text,
            frozenset(phrase_words(text)) - _FILLER,
            _character_grams(text),
            frozenset(_NUMBER.findall(folded)),
        )


def _same(a: _Asked, b: _Asked, similarity: Similarity | None, bound: float) -> bool:
    if a.numbers and b.numbers and a.numbers != b.numbers:
        return False
    if jaccard(a.grams, b.grams) >= CHARACTER_OVERLAP:
        return True
    if min(len(a.words), len(b.words)) >= _LEAST_WORDS:
        overlap = jaccard(a.words, b.words)
        whole = a.words <= b.words or b.words <= a.words
        if overlap >= (PART_OVERLAP if whole else WORD_OVERLAP):
            return True
    return similarity is not None and similarity(a.text, b.text) >= bound


def embedding_similarity() -> Similarity:
    """Cosine of sentence embeddings, each text embedded once.

    Raises `UsageError` where embeddings are not installed (`chatwright[embeddings]`).
    """
    from functools import lru_cache

    from chatwright.curate.textmodels import Embedder

    embedder = Embedder()
    vector = lru_cache(maxsize=4_096)(lambda text: embedder.embed([text])[0])
    return lambda a, b: float(vector(a) @ vector(b))


def jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    """Size of the intersection over size of the union; 0 for two empty sets."""
    union = len(first | second)
    return len(first & second) / union if union else 0.0


def _character_grams(text: str) -> frozenset[str]:
    flat = unicodedata.normalize("NFKC", text).lower()
    kept = " ".join("".join(c if c.isalnum() else " " for c in flat).split())
    n = 2 if is_chinese(text) else 3
    return frozenset(kept[i : i + n] for i in range(len(kept) - n + 1))
