"""How two answers are compared as words, in English and in Chinese.

English follows SQuAD's evaluation (Rajpurkar et al. 2016): lower case, without punctuation and the
articles. Chinese has no spaces, so every Han character counts as a word of its own, as CMRC 2018
(Cui et al. 2019) does; Latin runs inside Chinese text stay words.
"""

from __future__ import annotations

import re
import string
import unicodedata

# Han (with the extensions and compatibility forms), kana and Hangul: scripts written without
# spaces between the units that a reader would call words.
_WIDE = (
    "\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
_WIDE_CHARACTER = re.compile(f"[{_WIDE}]")
_ARTICLE = re.compile(r"\b(a|an|the)\b")
_ROUGE_TOKEN = re.compile(f"[{_WIDE}]|[^\\W_{_WIDE}]+")


def is_wide(text: str) -> bool:
    """Whether the text holds Chinese (or Japanese, Korean) characters."""
    return _WIDE_CHARACTER.search(text) is not None


def normalise_answer(text: str) -> str:
    """Lower case, no punctuation, no English article, single spaces; Han characters spaced apart.

    >>> normalise_answer("The  cat's   hat.")
    'cats hat'
    >>> normalise_answer("《红楼梦》,作者是曹雪芹。")
    '红 楼 梦 作 者 是 曹 雪 芹'

    ASCII text gives exactly what SQuAD's `normalize_answer` gives.
    """
    lowered = _unified(text)
    kept = "".join(c for c in lowered if not _is_punctuation(c))
    without_articles = _ARTICLE.sub(" ", kept)
    return " ".join(_WIDE_CHARACTER.sub(lambda found: f" {found[0]} ", without_articles).split())


def answer_tokens(text: str) -> list[str]:
    """The words that token F1 compares."""
    return normalise_answer(text).split()


def rouge_tokens(text: str) -> list[str]:
    """The words that ROUGE compares: runs of letters and digits, and single Han characters.

    ASCII text gives what rouge-score's own tokenizer gives (without stemming); that one drops
    every letter outside a–z, which would leave nothing of a Chinese answer.
    """
    return _ROUGE_TOKEN.findall(_unified(text))


def _unified(text: str) -> str:
    """Lower case, full-width letters and digits (common in Chinese text) as ASCII."""
    return unicodedata.normalize("NFKC", text).lower()


def _is_punctuation(character: str) -> bool:
    # ASCII first: SQuAD counts `$+<=>^`|~` as punctuation, Unicode calls them symbols.
    if character in string.punctuation:
        return True
    return not character.isascii() and unicodedata.category(character).startswith("P")
