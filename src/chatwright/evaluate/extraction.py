"""Takes a free-text answer apart: a number, a letter, yes or no, a block of code; never a guess.

Every function gives None where the text does not hold what is asked for, or holds two that
contradict each other, so that a harness can tell "no answer" from "a wrong answer".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Literal

# -- numbers -----------------------------------------------------------------------------------

_PLAIN = r"(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:e[-+]?\d+(?![\w.]))?|\.\d+)"
_MONTH = (
    r"(?-i:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?"
    r"|Sept?(?:ember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)\b\.?"
)
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
# What is written with digits and is no number: else the last part of a date would count as one,
# and every first of a month would equal every other.
_NO_NUMBER = (
    r"\d{4}-(?:0[1-9]|1[0-2])(?:-\d{1,2})?(?![\d-])|\d{1,2}-\d{1,2}-\d{4}(?!\d)|\d+(?:/\d+){2,}"
    r"|\d{2,4}\s?年\s?\d{1,2}\s?月(?:\s?\d{1,2}\s?[日号]?)?|\d{1,2}\s?月\s?\d{1,2}\s?[日号]"
    rf"|{_DAY}\s+(?:of\s+)?{_MONTH}(?:,?\s+\d{{4}}\b)?"
    r"|\d+(?::\d+)+|\d+(?:\.\d+){2,}"
)
# A day after its month, where no thing follows that it could count ("in May 20 came").
_MONTH_FIRST = rf"{_MONTH}\s+{_DAY}(?:,?\s+\d{{4}}\b|(?=\s*(?:[.,;:!?)]|$)))"
_TOKEN = re.compile(
    rf"\b(?:{_MONTH_FIRST})"
    rf"|(?<![A-Za-z0-9_.^])(?:(?P<no>{_NO_NUMBER})"
    rf"|(?:(?<![)\]%])(?P<sign>[-+]))?(?:[$€£¥]\s?)?(?:(?P<parts>\d+)分之(?P<of>\d+)"
    rf"|(?:(?P<whole>\d+)\s)?(?P<top>{_PLAIN})\s?/\s?(?P<bottom>{_PLAIN})(?!\s?/\s?\d)"
    rf"|(?P<plain>{_PLAIN}))(?:\s?\\?%)?)",
    re.IGNORECASE,
)
_SPACED_MINUS = re.compile(r"(?:[=:是为]|\bis)\s*-\s+(?:[$€£¥]\s?)?$")
_STRICT = re.compile(r"####\s*(?=[-+$€£¥.\d])")
_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_FRACTION = re.compile(r"\\[dtc]?frac\s*\{\s*(\d+)\s*\}\s*\{\s*(\d+)\s*\}")
# One clause: up to a mark that stands in no number.
_SAID = re.compile(
    r"(?:(?:final\s+)?answer\s*(?:is|=|:)|(?:最终|最后)?(?:的)?答案\s*(?:是|为|等于|[:=]))"
    r"(?P<clause>(?:[^;!?。\n,.]|,(?=\d{3}(?!\d))|\.(?=\d))*)",
    re.IGNORECASE,
)
_REASON = re.compile(r"\b(?:because|since|where)\b|因为|由于", re.IGNORECASE)
_OPERATOR = re.compile(r"\s*[-+*/×÷^]\s*")
_RESULT = re.compile(
    r"(?:[=≈]|\b(?:equals?|makes|gives|but)\b|等于|得到?|而?是)(?:\s|[^\w\s.-]|约|about\b)*$",
    re.IGNORECASE,
)


def gsm8k_answer(text: str, mode: Literal["strict", "flexible"] = "flexible") -> str | None:
    r"""The final number of a worked solution, in plain digits (`-1234.5`, `3/4`), or None.

    `strict`: what follows the last `####`, as GSM8K's references end (Cobbe et al. 2021).
    `flexible`: that; or the last `\boxed{}`; or the last "the answer is …" / “答案是…”; or the
    last number of the text. Of an equation its result counts. Thousands' commas, currency and
    percent signs, full-width digits and a sentence's full stop are no part of it. A fraction is one
    number; a date, a time, a ratio and a version are none.

    >>> gsm8k_answer("So she has $1,234.50 left.")
    '1234.50'
    >>> gsm8k_answer("所以答案是3+4=7。")
    '7'
    >>> gsm8k_answer("So 1/4 is left on 2024-05-01.")
    '1/4'
    """
    plain = _plain(text)
    if marks := list(_STRICT.finditer(plain)):
        rest = plain[marks[-1].end() :].partition("\n")[0]
        found = _numbers(rest, before="=")
        return found[0].value if found and rest[: found[0].start].strip(" -") == "" else None
    if mode == "strict":
        return None
    if boxed := _BOXED.findall(plain):
        inside = boxed[-1].replace("\\$", "$").replace("{,}", ",")
        if len(found := _numbers(inside)) == 1 or "=" in inside:
            return _result(inside, found)
    for said in reversed(list(_SAID.finditer(plain))):
        clause = _REASON.split(said["clause"], maxsplit=1)[0]
        if found := _numbers(clause, before=said[0][: said.start("clause") - said.start()]):
            return _result(clause, found)
    found = _numbers(plain)
    return next((one.value for one in reversed(found) if one.value is not None), None)


def parse_number(text: str) -> Decimal | None:
    """A number by itself, as people write it: `$1,200`, `50%` (50), `-3`, `3/4`, `1 1/2`, `1e3`."""
    plain = _plain(text).strip().rstrip(".")
    plain = re.sub(
        r"^[-+]?\s*[$€£¥]|[%\s]+$", lambda m: m[0][:1] if m[0][:1] in "-+" else "", plain
    )
    if re.fullmatch(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?", plain):
        plain = plain.replace(",", "")
    if mixed := re.fullmatch(r"([-+]?)(\d+)\s(\d+)/(\d+)", plain):
        plain = mixed[1] + _improper(mixed[2], mixed[3], mixed[4])
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


@dataclass(frozen=True, slots=True)
class _Found:
    """Digits in a text. `value` is None for a date and the like, which are no number."""

    start: int
    end: int
    value: str | None


def _numbers(text: str, before: str = "") -> list[_Found]:
    out = []
    for token in _TOKEN.finditer(text):
        if token["plain"] is not None:
            digits: str | None = _digits(token["plain"])
        elif token["parts"] is not None:
            digits = f"{token['of']}/{token['parts']}"
        elif token["top"] is not None:
            digits = f"{_digits(token['top'])}/{_digits(token['bottom'])}"
            if token["whole"] is not None:
                digits = _improper(token["whole"], *digits.split("/"))
        else:
            digits = None
        if digits is not None:
            near = text[max(0, token.start() - 12) : token.start()]
            spaced = _SPACED_MINUS.search(near if token.start() > 12 else before + near)
            digits = ("-" if token["sign"] == "-" or spaced else "") + digits
        known = digits is not None and parse_number(digits) is not None
        out.append(_Found(token.start(), token.end(), digits if known else None))
    return out


def _result(clause: str, found: Sequence[_Found]) -> str | None:
    """What a clause comes to: the number after its last "=" or "equals", else its first number.

    Terms of a sum that is not worked out lead to its last one. What follows the result explains it
    ("12 since there are 3 boxes").
    """
    for i in range(len(found) - 1, 0, -1):
        if _RESULT.search(clause, found[i - 1].end, found[i].start):
            return found[i].value
    place = 0
    while place + 1 < len(found) and (
        _OPERATOR.fullmatch(clause, found[place].end, found[place + 1].start)
    ):
        place += 1
    return found[place].value if found else None


def _improper(whole: str, top: str, bottom: str) -> str:
    """`1 1/2` as `3/2`; not a number where the parts are none."""
    if not all(part.isdecimal() and len(part) < 20 for part in (whole, top, bottom)):
        return ""
    return f"{int(whole) * int(bottom) + int(top)}/{int(bottom)}"


def _plain(text: str) -> str:
    """Full-width digits, signs and commas as ASCII, fractions as `1/2`; letters and Chinese stay.

    A full-width colon or comma parts what ASCII ones join: “步骤1:3个” holds no ratio.
    """
    # 1½ is not 11/2, and 10² not 102.
    text = re.sub(r"(?<=\d)(?=[¼-¾⅐-⅞])", " ", text)
    text = re.sub(r"(?=[⁰¹²³⁴-⁹])(?<![⁰¹²³⁴-⁹])", "^", text)
    text = re.sub(r"\uff1a|(?<![\uff10-\uff19])\uff0c", lambda m: m[0] + " ", text)
    text = unicodedata.normalize("NFKC", text).replace("−", "-").replace("⁄", "/")
    if "frac" not in text:
        return text
    return _FRACTION.sub(r"\1/\2", re.sub(r"(?<=\d)(?=\\[dtc]?frac)", " ", text))


def _digits(number: str) -> str:
    return re.sub(r"[^\d.e\-+]", "", number.lower())


# -- choices -----------------------------------------------------------------------------------

_ANSWER_WORDS = (
    r"(?:(?:the\s+)?(?:correct|right|best|final)?\s*(?:answer|option|choice)\s*(?:(?:is|would\s+be)\s*:?|:|=)"
    r"(?:\s*(?:option|choice|letter))?"
    r"|(?:正确|最终|最佳)?(?:的)?(?:答案|选项)\s*(?:应该|应当|应)?(?:是|为|选|[:=】]+)|(?:应该|应|故|因此|所以)?选(?:择)?(?:项)?)"
)


def choice_letter(text: str, letters: Sequence[str] = "ABCD") -> str | None:
    r"""Which of the letters an answer to a multiple-choice question gives.

    In this order, the first that is there and names one letter only: the answer is nothing but the
    letter (`B`, `(B)`, `【B】`, `**B**`, `B.`); it says so ("The answer is (B)", `答案是B`,
    `选B`, `\boxed{B}`); it begins with a letter and a mark (`B. Paris`, `B)`); one of the letters
    stands in it alone and marked (`(B)`, `【B】`, `**B**`). None where there is none or the answer
    contradicts itself; a bare "A" or "I" within a sentence is a word and no choice.
    """
    allowed = {letter.upper() for letter in letters}
    if not allowed or not all(len(letter) == 1 and letter.isalpha() for letter in allowed):
        raise ValueError("letters must be single letters")
    one = "[" + "".join(sorted(allowed)) + "]"
    plain = unicodedata.normalize("NFKC", text).strip()
    marked = rf"[*_`\"'“(\[{{【\s]*(?P<letter>{one})[*_`\"'”)\]}}】]*+"
    if whole := re.fullmatch(rf"{marked}[.,:。、!\s]*", plain, re.IGNORECASE):
        return whole["letter"].upper()
    end = rf"(?![A-Za-z0-9'’])(?!\s*(?:or|and|/|或|和|与)\s*[*(【]*{one}(?![A-Za-z]))"
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
        rf"[*_(\[]*({one})(?:[)\].:、*]|\s*\n)(?![A-Za-z]\.)"
        r"(?!\s*(?:or|and|/|或|和|与)\b)",
        plain,
    ):
        return begins[1]
    alone = re.findall(
        rf"(?<![A-Za-z0-9])(?:\(({one})\)|【({one})】|\*\*\(?({one})\)?[.:]?\*\*)", plain
    )
    return _agreed([letter for found in alone for letter in found if letter])


def _agreed(found: Iterable[str]) -> str | None:
    different = set(found)
    return different.pop() if len(different) == 1 else None


def _is_marked(match: str) -> bool:
    return re.search(r"[(\[*`\"'“{【]\s*\w[)\]*`\"'”}】]", match) is not None


# "A dog", but not "A because …" nor "A, since …".
_PHRASE = re.compile(r"\s+(?!(?:because|since|as|for|so|due|which|by|from|in|with)\b)[a-z]")


def _is_article(match: re.Match[str], text: str) -> bool:
    """Whether "A" begins a phrase ("The answer is A dog") rather than being the answer."""
    return match["letter"] == "A" and _PHRASE.match(text, match.end()) is not None


# -- yes and no --------------------------------------------------------------------------------

_YES = r"yes|yeah|yep|true|correct|right"
_NO = r"no|nope|false|incorrect|wrong"
# Words that only begin like "yes" or "no" (“对于”, “能力”), and doubt, which is neither ("no idea",
# “不一定”).
_NOT_NO = r"(?!\s+(?:idea|clue|one\b|(?:clear|definite|simple|single)\b|answer|information|doubt))"
_DOUBT = (
    r"(?:太|是很|很|能|敢|可能|大|完全|好)?(?:知道|一定|清楚|确定|肯定|确信|好说|明确|明白|了解|晓得|懂|详"
    r"|记得|敢说|判断|断定|回答|说|见得)|过|仅|但|管|论|同的|少|妨|如|久|料|愧|止|只|光|单|得不|由|断"
)
_YES_ZH = (
    r"是的|对的|没错|不错(?!的)|对(?=\W|$|[啊呀吧呢了])|是(?!于|否|不|啊?吗|谁|什么|哪)"
    r"|正确(?!答案|选项|率|与?否|的?做法|的?说法)|(?:可以|能)(?!说|力|源|量|否|不|手|耗|干|吗)"
)
_NO_ZH = rf"错误|错(?!过|开|觉|综)|否(?!则)|不(?!{_DOUBT}|错|是吗)(?:是的?)?"
_YES_OR_NO = rf"(?:(?P<no>(?:{_NO})\b{_NOT_NO}|{_NO_ZH})|(?P<yes>(?:{_YES})\b|{_YES_ZH}))"
_OPENING = re.compile(rf"[\s*_\"'“(]*{_YES_OR_NO}", re.IGNORECASE)
_STATED = re.compile(
    r"(?:answer\s*(?:is|:)|(?:答案|判断|结论|回答)\s*(?:是|为|:))" + rf"[\s*_\"'“(:]*{_YES_OR_NO}",
    re.IGNORECASE,
)


def boolean_answer(text: str) -> bool | None:
    """Yes or no, from "Yes, because…", "The answer is no.", “是的”, “不对”; None where neither.

    A stated answer ("so the answer is …") counts before the opening word; two that differ give
    None. "No idea" and “不一定” are no "no".
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
