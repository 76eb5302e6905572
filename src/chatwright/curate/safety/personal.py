"""Whether a page is a list of people's data: a cheap count, not the redactor (`privacy/`).

An item is an e-mail address that is no office's (info@, support@), a telephone number, an identity
card's number or a US social security number. Of a page with n items, x of its lines holding one and
y items in a hundred words, the score is min(1, n/10) times the larger of two ramps: x from 0.2 to
0.6 and y from 4 to 15. A page that ends with three addresses of its authors stays near 0.
"""

from __future__ import annotations

import re

from chatwright.curate.safety.lexicon import ramp

_EMAIL = re.compile(
    r"(?<![a-z0-9._%+-])([a-z0-9._%+-]{1,64})@[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){1,6}"
)
_OFFICE = frozenset(
    ("info", "support", "sales", "contact", "admin", "help", "office", "service", "hello",
     "mail", "press", "media", "webmaster", "noreply", "no-reply", "postmaster", "privacy",
     "legal", "hr", "jobs", "careers", "team", "feedback", "news", "newsletter", "git", "user",
     "example", "name", "you", "your", "email", "someone")
)  # fmt: skip
_DIGITS = re.compile(r"(?<![\w.])[+(]?\d[\d ().-]{6,18}[\dx](?![\w])")
_AMERICAN = re.compile(r"(?:\+?1[ .-]?)?\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}")
_SECURITY = re.compile(r"\d{3}-\d{2}-\d{4}")
_DATE = re.compile(r"(?:19|20)\d\d[ .-]")
_LONG_NUMBER = re.compile(r"\d[\d ().-]{6,18}[\dx]")
_LEAST, _ENOUGH = 3, 10
_READ = 200_000  # characters


def personal_score(lower: str, words: float) -> tuple[float, str]:
    """The score of a lower-case text of so many words, and what was counted."""
    lower = lower[:_READ]
    if lower.count("@") + len(_LONG_NUMBER.findall(lower)) < _LEAST:
        return 0.0, ""
    lines = [line for line in lower.split("\n") if line.strip()]
    emails = numbers = held = 0
    for line in lines:
        of_line = 0
        if "@" in line:
            of_line = sum(m.group(1) not in _OFFICE for m in _EMAIL.finditer(line))
            emails += of_line
        found = sum(_is_number(m.group()) for m in _DIGITS.finditer(line))
        numbers += found
        held += bool(of_line + found)
    items = emails + numbers
    if items < _LEAST:
        return 0.0, ""
    density = 100 * items / max(words, float(items))
    score = min(1.0, items / _ENOUGH) * max(ramp(held / len(lines), 0.2, 0.6), ramp(density, 4, 15))
    return score, f"{emails} addresses, {numbers} numbers"


def _is_number(found: str) -> bool:
    """Whether digits are a person's number rather than a date, a price or a code."""
    if _SECURITY.fullmatch(found) or _AMERICAN.fullmatch(found):
        return True
    digits = "".join(sign for sign in found if sign.isdecimal())
    size = len(digits) + found.endswith("x")
    if found.startswith("+"):
        return 8 <= size <= 15
    if "." in found or _DATE.match(found):
        return False
    gaps = found.count(" ") + found.count("-")
    mobile = size == 11 and digits[0] == "1" and digits[1] in "3456789" and gaps in (0, 2)
    # A Chinese identity card has the year of birth there.
    identity = size == 18 and digits[6:8] in ("19", "20")
    landline = found.startswith(("0", "(0")) and 9 <= size <= 12 and gaps > 0
    return mobile or identity or landline
