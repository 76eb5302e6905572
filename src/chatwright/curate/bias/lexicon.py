"""Which groups of people and which kinds of words a sentence names, in English and Chinese."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator

from chatwright.curate.words import HAN, is_chinese
from chatwright.errors import DataError
from chatwright.stage import Settings

Code = Literal["en", "zh"]
LANGUAGES: tuple[Code, ...] = ("en", "zh")

_END = re.compile("[.!?\u3002\uff01\uff1f\uff1b;\u2026\n]+")
# The apostrophe parts "she's" into "she" and "s".
_WORD = re.compile("[^\\W\\d_]+(?:-[^\\W\\d_]+)*")
_HAN_RUN = re.compile(f"[{HAN}]+")
_LONGEST_RUN = 400  # characters segmented together
_GENDERED = ("\u5973", "\u7537")  # woman, man: before an occupation
_MOST_WORDS = 3
_LONGEST_SENTENCE = 2_000  # characters; more without an end is no sentence but a table or a log


class Lists(Settings):
    """The words of one language, as `lists/en.yaml` has them; one's own file may stand in.

    `groups`: dimension → group → words. `attributes`: kind → words. `swaps`, `parallel` and `held`
    serve counterfactual copies (`swap.py`).
    """

    language: Code
    groups: dict[str, dict[str, list[str]]] = Field(min_length=1)
    attributes: dict[str, list[str]] = Field(min_length=1)
    swaps: dict[str, list[tuple[str, str]]] = Field(default_factory=dict)
    parallel: dict[str, list[list[str]]] = Field(default_factory=dict)
    held: dict[str, list[str]] = Field(default_factory=dict)

    @field_validator("parallel")
    @classmethod
    def _same_forms(cls, value: dict[str, list[list[str]]]) -> dict[str, list[list[str]]]:
        for name, rows in value.items():
            if len({len(row) for row in rows}) > 1:
                raise ValueError(f"the lines of {name!r} must have the same number of forms")
        return value


@lru_cache(maxsize=16)
def load_lists(language: Code, path: str | None = None) -> Lists:
    """The word lists of a language: ours, or those of a YAML file. Raises `DataError`."""
    if path is not None:
        return read_lists(Path(path))
    file = resources.files("chatwright.curate.bias") / "lists" / f"{language}.yaml"
    return _parsed(file.read_text(encoding="utf-8"), f"lists/{language}.yaml")


def read_lists(path: Path) -> Lists:
    """Word lists of one's own. Raises `DataError` where the file holds none."""
    try:
        return _parsed(path.read_text(encoding="utf-8-sig"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the word lists cannot be read: {error}", where=str(path)) from error


def _parsed(text: str, where: str) -> Lists:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return Lists.model_validate(YAML(typ="safe", pure=True).load(text))
    except (YAMLError, ValidationError) as error:
        raise DataError(f"these are no word lists: {error}", where=where) from error


@dataclass(frozen=True, slots=True)
class Target:
    """What is counted: a group of a dimension ("gender", "women"), or a kind of attribute words."""

    dimension: str | None
    name: str


@dataclass(frozen=True, slots=True)
class _Phrase:
    """A word or words of a list; `cased` where it counts only with its capital."""

    words: tuple[str, ...]
    target: int
    cased: bool


@dataclass(slots=True)
class Lexicon:
    """The words of one language, ready to be looked up. Groups first, then attributes."""

    language: Code
    targets: list[Target] = field(default_factory=list)
    groups: int = 0
    _phrases: dict[str, list[_Phrase]] = field(default_factory=dict)

    @classmethod
    def of(cls, lists: Lists) -> Lexicon:
        found = cls(lists.language)
        for dimension, groups in lists.groups.items():
            for name, words in groups.items():
                found._add(Target(dimension, name), words)
        found.groups = len(found.targets)
        for name, words in lists.attributes.items():
            found._add(Target(None, name), words)
        return found

    def _add(self, target: Target, words: Sequence[str]) -> None:
        number = len(self.targets)
        self.targets.append(target)
        for word in words:
            if self.language == "zh":
                phrase = _Phrase((word,), number, False)
            else:
                phrase = _Phrase(tuple(word.lower().split()), number, word[:1].isupper())
            self._phrases.setdefault(phrase.words[0], []).append(phrase)

    def find(self, sentence: str) -> Iterator[int]:
        """The targets that a sentence names, once for each time."""
        return self._chinese(sentence) if self.language == "zh" else self._english(sentence)

    def _english(self, sentence: str) -> Iterator[int]:
        words = _WORD.findall(sentence)
        lowered = [word.lower() for word in words]
        for place, word in enumerate(lowered):
            for phrase in self._phrases.get(word, ()):
                if phrase.cased and not words[place][0].isupper():
                    continue
                count = len(phrase.words)
                if count == 1 or tuple(lowered[place : place + count]) == phrase.words:
                    yield phrase.target

    def _chinese(self, sentence: str) -> Iterator[int]:
        for run in _HAN_RUN.finditer(sentence):
            words = han_words(run.group()[:_LONGEST_SENTENCE])
            for place, word in enumerate(words):
                yield from self._named(word)
                for count in range(2, _MOST_WORDS + 1):  # what the dictionary has cut apart
                    joined = "".join(words[place : place + count])
                    if place + count <= len(words) and joined in self._phrases:
                        yield from self._named(joined)

    def _named(self, word: str) -> Iterator[int]:
        phrases = self._phrases.get(word)
        if phrases is not None:
            yield from (phrase.target for phrase in phrases)
        if len(word) > 2 and word[0] in _GENDERED:
            # 女医生 is one word of the dictionary: a woman, and a doctor.
            for part in (word[1:], *(() if phrases else (word[0],))):
                yield from (phrase.target for phrase in self._phrases.get(part, ()))


def han_words(run: str) -> list[str]:
    """A run of Han characters as words, in order."""
    import rjieba  # reads its dictionary (0.3 s): only where there is Chinese

    words: list[str] = []
    for at in range(0, len(run), _LONGEST_RUN):
        words += rjieba.cut(run[at : at + _LONGEST_RUN])
    return words


def sentences(text: str) -> Iterator[tuple[Code, str]]:
    """The text's sentences, each with the language that its letters say it is in."""
    for part in _END.split(text):
        if not part or part.isspace():
            continue
        for at in range(0, len(part), _LONGEST_SENTENCE):
            piece = part[at : at + _LONGEST_SENTENCE]
            yield ("zh" if not piece.isascii() and is_chinese(piece) else "en"), piece


def lexicons(
    languages: Sequence[Code] = LANGUAGES, files: Mapping[Code, str] | None = None
) -> dict[Code, Lexicon]:
    """A lexicon for each language; `files` names YAML files that stand in for ours."""
    own: Mapping[Code, str] = files or {}
    return {code: Lexicon.of(load_lists(code, own.get(code))) for code in languages}
