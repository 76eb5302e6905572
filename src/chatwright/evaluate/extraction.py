"""Takes a free-text answer apart: a number, a letter, yes or no, a block of code; never a guess.

Every function gives None where the text does not hold what is asked for, or holds two that
contradict each other, so that a harness can tell "no answer" from "a wrong answer".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Literal

# -- numbers -----------------------------------------------------------------------------------

_NUMBER = r"[-+−]?\s?[$€£¥]?\s?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|[-+−]?\s?[$€£¥]?\s?\.\d+"
_ANY_NUMBER = re.compile(rf"(?<![A-Za-z0-9_.])(?:{_NUMBER})(?:\s?%)?")
_STRICT = re.compile(rf"####\s*({_NUMBER})")
_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_SAID = re.compile(
    r"(?:(?:final\s+)?answer\s*(?:is|=|:)|(?:最终|最后)?(?:的)?答案\s*(?:是|为|等于|[::=]))"
    rf"[^\d\n。.]{{0,24}}?({_NUMBER})",
    re.IGNORECASE,
)
_HAN_DIGITS = dict(
    zip("零〇一二两三四五六七八九", (0, 0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9), strict=True)
)


def gsm8k_answer(text: str, mode: Literal["strict", "flexible"] = "flexible") -> str | None:
    r"""The final number of a worked solution, in plain digits (`-1234.5`), or None.

    `strict`: what follows the last `####`, as GSM8K's references end (Cobbe et al. 2021).
    `flexible`: that; or the last `\boxed{}`; or the last "the answer is …" / “答案是…”; or the
    last number of the text. Thousands' commas, currency and percent signs, full-width digits and a
    sentence's full stop are no part of it.

    >>> gsm8k_answer("So she has $1,234.50 left.")
    '1234.50'
    >>> gsm8k_answer("所以答案是42。")
    '42'
    """
    plain = _plain(text)
    if found := _STRICT.findall(plain):
        return _digits(found[-1])
    if mode == "strict":
        return None
    if boxed := _BOXED.findall(plain):
        inside = _ANY_NUMBER.findall(boxed[-1].replace("\\$", "$").replace("{,}", ","))
        if len(inside) == 1:
            return _digits(inside[0])
    if said := _SAID.findall(plain):
        return _digits(said[-1])
    numbers = _ANY_NUMBER.findall(plain)
    return _digits(numbers[-1]) if numbers else None


def parse_number(text: str) -> Decimal | None:
    """A number by itself, as people write it: `$1,200`, `50%` (50), `-3`, `3/4`, `1e3`."""
    plain = _plain(text).strip().rstrip(".").replace("−", "-")
    plain = re.sub(
        r"^[-+]?\s*[$€£¥]|[%\s]+$", lambda m: m[0][:1] if m[0][:1] in "-+" else "", plain
    )
    if re.fullmatch(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?", plain):
        plain = plain.replace(",", "")
    top, slash, bottom = plain.partition("/")
    try:
        value = Decimal(top.strip())
        if slash:
            divisor = Decimal(bottom.strip())
            value = value / divisor
        return value if value.is_finite() else None
    except (InvalidOperation, ZeroDivisionError, ArithmeticError):
        return None


def numbers_equal(left: str | None, right: str | None) -> bool:
    """Whether two texts are the same number: `42`, `42.0` and `$42` are; None equals nothing."""
    if left is None or right is None:
        return False
    first, second = parse_number(left), parse_number(right)
    return first is not None and first == second


def _plain(text: str) -> str:
    """Full-width digits, signs and commas as ASCII; letters and Chinese stay."""
    return unicodedata.normalize("NFKC", text).replace("−", "-")


def _digits(number: str) -> str:
    return re.sub(r"[^\d.\-]", "", number)


# -- choices -----------------------------------------------------------------------------------

_ANSWER_WORDS = (
    r"(?:(?:the\s+)?(?:correct|right|best|final)?\s*(?:answer|option|choice)\s*(?:(?:is|would\s+be)\s*:?|:|=)"
    r"(?:\s*(?:option|choice|letter))?"
    r"|(?:正确|最终|最佳)?(?:的)?(?:答案|选项)\s*(?:应该|应当|应)?(?:是|为|选|[::=】])|(?:应该|应|故|因此|所以)?选(?:择)?(?:项)?)"
)


def choice_letter(text: str, letters: Sequence[str] = "ABCD") -> str | None:
    r"""Which of the letters an answer to a multiple-choice question gives.

    In this order, the first that is there and names one letter only: the answer is nothing but the
    letter (`B`, `(B)`, `**B**`, `B.`); it says so ("The answer is (B)", `答案:B`, `选B`,
    `\boxed{B}`); it begins with a letter and a mark (`B. Paris`, `B)`); one of the letters stands
    in it alone and marked (`(B)`, `**B**`). None where there is none or the answer contradicts
    itself; a bare "A" or "I" within a sentence is a word and no choice.
    """
    allowed = {letter.upper() for letter in letters}
    if not allowed or not all(len(letter) == 1 and letter.isalpha() for letter in allowed):
        raise ValueError("letters must be single letters")
    one = "[" + "".join(sorted(allowed)) + "]"
    plain = unicodedata.normalize("NFKC", text).strip()
    marked = rf"[*_`\"'“(\[{{\s]*(?P<letter>{one})[*_`\"'”)\]}}]*+"
    if whole := re.fullmatch(rf"{marked}[.,:。、,!\s]*", plain, re.IGNORECASE):
        return whole["letter"].upper()
    end = rf"(?![A-Za-z0-9'’])(?!\s*(?:or|and|/|或|和|与)\s*[*(]*{one}(?![A-Za-z]))"
    said = [
        m["letter"].upper()
        for m in re.finditer(rf"{_ANSWER_WORDS}{marked}{end}", plain, re.IGNORECASE)
        # "the answer is a matter of taste": a lower-case letter must be marked as one
        if (m["letter"].isupper() and not _is_article(m, plain)) or _is_marked(m[0])
    ]
    said += [m[1].upper() for m in re.finditer(rf"\\boxed\{{(?:\\text\{{)?\s*({one})", plain)]
    if said:
        return _agreed(said)
    if begins := re.match(
        rf"[*_(\[]*({one})(?:[)\].::、*]|\s*\n)(?![A-Za-z]\.)"
        r"(?!\s*(?:or|and|/|或|和|与)\b)",
        plain,
    ):
        return begins[1]
    alone = re.findall(rf"(?<![A-Za-z0-9])(?:\(({one})\)|\*\*\(?({one})\)?[.:]?\*\*)", plain)
    return _agreed([a or b for a, b in alone])


def _agreed(found: Iterable[str]) -> str | None:
    different = set(found)
    return different.pop() if len(different) == 1 else None


def _is_marked(match: str) -> bool:
    return re.search(r"[(\[*`\"'“{]\s*\w[)\]*`\"'”}]", match) is not None


# "A dog", but not "A because …" nor "A, since …".
_PHRASE = re.compile(r"\s+(?!(?:because|since|as|for|so|due|which|by|from|in|with)\b)[a-z]")


def _is_article(match: re.Match[str], text: str) -> bool:
    """Whether "A" begins a phrase ("The answer is A dog") rather than being the answer."""
    return match["letter"] == "A" and _PHRASE.match(text, match.end()) is not None


# -- yes and no --------------------------------------------------------------------------------

_YES = r"yes|yeah|yep|true|correct|right"
_NO = r"no|nope|false|incorrect|wrong"
_YES_ZH = r"是的|对的|对|是|正确|没错|可以|能"
_NO_ZH = r"不是的|不是|不对|否|不正确|错误|错|不可以|不能|不"
_OPENING = re.compile(
    rf"[\s*_\"'“(]*(?:(?P<no>(?:{_NO})\b|(?:{_NO_ZH})(?!过|仅|但))"
    rf"|(?P<yes>(?:{_YES})\b|(?:{_YES_ZH})(?!于|否|不|啊?吗)))",
    re.IGNORECASE,
)
_STATED = re.compile(
    r"(?:answer\s*(?:is|:)|答案\s*(?:是|为|[::])|判断\s*(?:是|为|[::])|(?:结论|回答)\s*(?:是|为|[::]))"
    rf"[\s*_\"'“(:]*(?:(?P<no>(?:{_NO})\b|{_NO_ZH})|(?P<yes>(?:{_YES})\b|{_YES_ZH}))",
    re.IGNORECASE,
)


def boolean_answer(text: str) -> bool | None:
    """Yes or no, from "Yes, because…", "The answer is no.", “是的”, “不对”; None where neither.

    A stated answer ("so the answer is …") counts before the opening word; two that differ give
    None.
    """
    plain = unicodedata.normalize("NFKC", text).strip()
    stated = {m["yes"] is not None for m in _STATED.finditer(plain)}
    if stated:
        return stated.pop() if len(stated) == 1 else None
    opening = _OPENING.match(plain)
    if opening is None:
        return None
    answer = opening["yes"] is not None
    rest = plain[opening.end() :]
    if re.match(
        rf"\s*(?:or|and|/|或|和)\s*(?:{_YES}|{_NO}|{_YES_ZH}|{_NO_ZH})", rest, re.IGNORECASE
    ):
        return None
    return answer


# -- code --------------------------------------------------------------------------------------

_FENCE = re.compile(
    r"^[ \t]*(?P<fence>`{3,}|~{3,})[ \t]*(?P<language>[\w+#.-]*)[^\n`]*\n"
    r"(?P<code>.*?)(?:^[ \t]*(?P=fence)[ \t]*$|\Z)",
    re.MULTILINE | re.DOTALL,
)


def code_block(text: str, language: str = "python") -> str | None:
    """The code of the first fenced block in that language, else of the first block; None without.

    A block that was never closed (the answer was cut off) ends with the text. Ends with a newline.
    """
    blocks = list(_FENCE.finditer(text.replace("\r\n", "\n")))
    if not blocks:
        return None
    names = {language.lower(), {"python": "py"}.get(language.lower(), language.lower())}
    named = [b for b in blocks if b["language"].lower() in names | {f"{n}3" for n in names}]
    code = (named or blocks)[0]["code"]
    return code if code.endswith("\n") or not code else code + "\n"
