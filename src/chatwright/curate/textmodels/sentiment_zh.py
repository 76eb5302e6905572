"""The tone of one Chinese sentence, by a lexicon with rules after VADER's manner."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from chatwright.curate.textmodels.lexicon_zh import (
    DEGREES,
    FOLLOWING_DEGREES,
    NEGATION_STARTS,
    NEGATIONS,
    NOT_NEGATIONS,
    TURNS,
    VALENCES,
)
from chatwright.curate.words import HAN

_HAN = re.compile(f"[{HAN}]+")
_CLAUSE = re.compile(r"[,，、:：;；。\n]+")
_QUESTION = re.compile(r"[?？]\s*$|吗\W*$")
_TURNED = -0.74  # VADER's: "not good" is weaker than "bad"
_REACH = 4  # tokens over which negation and degree carry
_ASKED = 0.2  # "is it good?" praises little
_EXCLAIMED = 1.15


def chinese_valence(sentence: str) -> float:
    """The sum of the valences of a sentence's words, not yet brought to −1 … 1."""
    values: list[float] = []
    for clause in _CLAUSE.split(sentence):
        tokens = _tokens(clause)
        turn = next((at for at, token in enumerate(tokens) if token in TURNS), None)
        if turn is None:
            values.append(_clause_valence(tokens))
        else:
            # As in VADER: what comes before a "but" counts half, what follows half as much again.
            values = [0.5 * v for v in [*values, _clause_valence(tokens[:turn])]]
            values.append(1.5 * _clause_valence(tokens[turn + 1 :]))
    total = sum(values)
    if _QUESTION.search(sentence):
        total *= _ASKED
    return total * _EXCLAIMED if "！" in sentence or "!" in sentence else total


def _clause_valence(tokens: Sequence[str]) -> float:
    """Each word of the lexicon counts as the words before it leave it."""
    total = 0.0
    for at, token in enumerate(tokens):
        if token not in VALENCES:
            continue
        after = tokens[at + 1] if at + 1 < len(tokens) else ""
        if token == "好" and after in VALENCES:
            continue  # "so …", no praise
        factor = FOLLOWING_DEGREES.get(after, 1.0)
        for place in range(at - 1, max(-1, at - 1 - _REACH), -1):
            before = tokens[place]
            if before in VALENCES and before != "好":
                break
            if _negates(before):
                # "Never have I been so happy" denies nothing.
                praised_so = "这么" in tokens[place:at] or "如此" in tokens[place:at]
                factor *= 1.25 if praised_so and "过" in tokens[at:] else _TURNED
            else:
                factor *= DEGREES.get(before, 1.25 if before == "好" else 1.0)
        total += VALENCES[token] * factor
    return total


def _negates(token: str) -> bool:
    if token in NEGATIONS:
        return True
    return (
        token.startswith(NEGATION_STARTS)
        and len(token) <= 3
        and token not in NOT_NEGATIONS
        and token not in VALENCES
    )


@lru_cache(maxsize=1)
def _long_words() -> re.Pattern[str]:
    return re.compile("|".join(sorted((w for w in VALENCES if len(w) > 1), key=len, reverse=True)))


def _tokens(clause: str) -> list[str]:
    """Words by rjieba; a word of the lexicon that it cuts into several is put together again.

    A single character counts only where it is a word of its own: 好 is in 爱好 and praises nothing.
    """
    import rjieba

    tokens: list[str] = []
    for run in _HAN.findall(clause):
        # Without the hidden Markov model, which joins words that the dictionary does not know.
        words: list[str] = rjieba.cut(run, False)
        ends: list[int] = []
        for word in words:
            ends.append((ends[-1] if ends else 0) + len(word))
        start = index = 0
        while index < len(words):
            match = _long_words().match(run, start)
            if match and match.end() in ends:
                index = ends.index(match.end()) + 1
                tokens.append(match.group())
            else:
                tokens.extend(_apart(words[index]))
                index += 1
            start = ends[index - 1]
    return tokens


def _apart(word: str) -> list[str]:
    """The dictionary's longer words ("味道不好", "气死我了") at the seams that matter here."""
    if word in VALENCES or word in NOT_NEGATIONS or word in DEGREES:
        return [word]
    if word[1:] in VALENCES and (word[0] in DEGREES or word[0] in NEGATION_STARTS):
        return [word[0], word[1:]]
    inner = _long_words().search(word) if len(word) > 3 else None
    if inner:
        around = (word[: inner.start()], word[inner.end() :])
        return [*_apart(around[0]), inner.group(), *_apart(around[1])]
    before, last = word[-2:-1], word[-1:]
    if len(word) > 3 and last in VALENCES and (before in DEGREES or before in NEGATION_STARTS):
        return [word[:-2], before, last]
    return [word] if word else []
