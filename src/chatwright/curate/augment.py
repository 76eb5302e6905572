"""Copies of rows with words swapped, left out and inserted: more data from little.

Wei and Zou 2019, EDA, without its synonyms: WordNet is English and large, so an inserted word is
one that the same text uses elsewhere, which needs no resource and works in every language.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from chatwright.curate.spans import Word, free_words, held_spans
from chatwright.records import (
    Document,
    Message,
    Preference,
    Row,
    canonical_json,
    content_id,
)

_TRIES = 6
_FEWEST_WORDS = 3


@dataclass(frozen=True, slots=True)
class Rates:
    """Shares of a text's free words (`spans.free_words`) that each operation takes.

    `max_change` bounds them together (a swap changes two words); two words may always change, so
    that a short question has a copy too.
    """

    swap: float = 0.1
    delete: float = 0.1
    insert: float = 0.1
    max_change: float = 0.3


@dataclass(frozen=True, slots=True)
class Changed:
    """A changed text and how many words were swapped in pairs, deleted and inserted."""

    text: str
    swapped: int = 0
    deleted: int = 0
    inserted: int = 0

    @property
    def words(self) -> int:
        """How many words are not what or where they were."""
        return 2 * self.swapped + self.deleted + self.inserted


def augment_text(text: str, rates: Rates, chooser: random.Random) -> Changed | None:
    """A copy of `text` with some words changed, or None where nothing can be.

    Words are swapped within a sentence; the last two words of a sentence stay; what is no running
    text (`spans.held_spans`) comes out as it went in.
    """
    words = free_words(text)
    if len(words) < _FEWEST_WORDS:
        return None
    held = held_spans(text)
    for _ in range(_TRIES):
        changed = _Edit(text, words, chooser).change(rates)
        if changed.text != text and held_spans(changed.text) == held:
            return changed
    return None


class _Edit:
    """One attempt at a text: each word is taken by one operation at most."""

    def __init__(self, text: str, words: Sequence[Word], chooser: random.Random) -> None:
        self._text = text
        self._words = words
        self._chooser = chooser
        self._order = list(range(len(words)))
        chooser.shuffle(self._order)
        self._now: dict[int, str] = {}  # what stands in a word's place
        self._together: dict[tuple[int, str], list[int]] = defaultdict(list)
        for i, word in enumerate(words):
            self._together[word.sentence, word.script].append(i)

    def change(self, rates: Rates) -> Changed:
        swaps, deletions, insertions = _how_many(rates, len(self._words))
        deleted = self._delete(deletions)
        swapped = self._swap(swaps)
        inserted = self._insert(insertions)
        return Changed(self._written(), swapped, deleted, inserted)

    def _free(self) -> Iterator[int]:
        return (i for i in self._order if i not in self._now)

    def _delete(self, wanted: int) -> int:
        left = Counter(word.sentence for word in self._words)
        done = 0
        for i in self._free():
            if done == wanted:
                break
            word = self._words[i]
            if word.removable and left[word.sentence] > 2:
                self._now[i] = ""
                left[word.sentence] -= 1
                done += 1
        return done

    def _swap(self, wanted: int) -> int:
        done = 0
        for i in self._free():
            if done == wanted:
                break
            word = self._words[i]
            mates = self._together[word.sentence, word.script]
            for j in self._chooser.sample(mates, min(len(mates), _TRIES)):
                other = self._words[j]
                if j not in self._now and other.text.casefold() != word.text.casefold():
                    self._now[i], self._now[j] = other.text, word.text
                    done += 1
                    break
        return done

    def _insert(self, wanted: int) -> int:
        by_script: dict[str, list[str]] = defaultdict(list)
        for word in self._words:
            if word.script == "han" or word.text.islower():
                by_script[word.script].append(word.text)
        done = 0
        for i in self._free():
            if done == wanted:
                break
            word = self._words[i]
            pool = by_script[word.script]
            if not pool:
                continue
            more = self._chooser.choice(pool)
            self._now[i] = word.text + ("" if word.script == "han" else " ") + more
            done += 1
        return done

    def _written(self) -> str:
        out: list[str] = []
        at = 0
        for i, word in enumerate(self._words):
            if i not in self._now:
                continue
            start = word.start
            if not self._now[i] and word.script == "spaced":
                while start > at and self._text[start - 1] in " \t":
                    start -= 1
            out += [self._text[at:start], self._now[i]]
            at = word.end
        return "".join([*out, self._text[at:]])


def _how_many(rates: Rates, words: int) -> tuple[int, int, int]:
    """Swaps, deletions and insertions: what the rates ask, cut to what may change together."""
    counts = [
        max(1, round(rate * words)) if rate else 0
        for rate in (rates.swap, rates.delete, rates.insert)
    ]
    room = max(2, int(rates.max_change * words))
    while 2 * counts[0] + counts[1] + counts[2] > room:
        largest = max(range(3), key=lambda k: (counts[k] * (2 if k == 0 else 1), k == 0))
        counts[largest] -= 1
    return counts[0], counts[1], counts[2]


def augment_row(
    row: Row, rates: Rates, *, copies: int, seed: int, roles: Sequence[str] = ("user",)
) -> list[tuple[Row, Changed]]:
    """Up to `copies` changed copies of a row, all different, each with what was changed in it.

    A document's text is changed; of a conversation, and of the prompt of a preference, the messages
    of `roles`. Answers that people compared (`chosen`, `rejected`) never are. A copy has an id of
    its own and the row's as its only parent. What comes out depends on the row, the rates and
    `seed`, not on other rows.
    """
    made: dict[str, tuple[Row, Changed]] = {}
    for number in range(copies):
        for attempt in range(_TRIES):
            chooser = random.Random(_digest(f"{seed}\n{row.id}\n{number}\n{attempt}"))
            copy = _copy(row, rates, chooser, roles)
            if copy is None:
                return list(made.values())
            content, changed, change = copy
            name = content_id(row.source, f"augmented\n{row.id}\n{canonical_json(content)}")
            if name in made:
                continue
            new = change(row)
            new.id, new.parents = name, [row.id]
            new.meta = {**row.meta, "augmented": {"copy": number + 1, **_counts(changed)}}
            made[name] = (new, changed)
            break
    return list(made.values())


Content = str | list[str]


def _copy(
    row: Row, rates: Rates, chooser: random.Random, roles: Sequence[str]
) -> tuple[Content, Changed, Callable[[Any], Any]] | None:
    """The content of one copy, what was changed in all, and how to put it into a copied row."""
    if isinstance(row, Document):
        changed = augment_text(row.text, rates, chooser)
        if changed is None:
            return None
        text = changed.text
        return text, changed, lambda old: replace(old, text=text)
    field = "prompt" if isinstance(row, Preference) else "messages"
    messages: list[Message] = getattr(row, field)
    total = Changed("")
    out: list[Message] = []
    for message in messages:
        found = augment_text(message.content, rates, chooser) if message.role in roles else None
        if found is not None:
            total = Changed(
                "",
                total.swapped + found.swapped,
                total.deleted + found.deleted,
                total.inserted + found.inserted,
            )
        out.append(message if found is None else Message(message.role, found.text))
    if not total.words:
        return None
    return [m.content for m in out], total, lambda old: replace(old, **{field: out})


def _counts(changed: Changed) -> dict[str, int]:
    return {
        "swapped": changed.swapped,
        "deleted": changed.deleted,
        "inserted": changed.inserted,
    }


def _digest(text: str) -> int:
    data = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=16).digest(), "big")
