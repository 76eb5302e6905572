"""Traditional to simplified Chinese, and which of the two a text is in; both by OpenCC's tables."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from chatwright.curate.normal.protect import edit_outside, protected
from chatwright.curate.normal.settings import Conversion
from chatwright.curate.words import HAN

_HAN = re.compile(f"[{HAN}]")
_KANA = re.compile("[\u3041-\u3096\u309d-\u30fa\u30fd-\u30ff]")
_PASSES = 4  # a converted phrase may make another: two passes settled every text we tried


@lru_cache(maxsize=8)
def _converter(table: str) -> Any:
    import opencc

    return opencc.OpenCC(table)


def simplify(run: str, table: Conversion = "t2s") -> str:
    """Traditional characters made simplified; lines with kana and protected parts stay.

    The number of lines stays. Converting again changes nothing.
    """
    if not _HAN.search(run):
        return run
    lines = run.split("\n")
    chinese = [at for at, line in enumerate(lines) if _HAN.search(line) and not _KANA.search(line)]
    plain = [at for at in chinese if protected(lines[at]) is None]
    if plain:  # one call for all of them
        found = _convert("\n".join(lines[at] for at in plain), table).split("\n")
        for at, line in zip(plain, found, strict=True):
            lines[at] = line
    for at in set(chinese).difference(plain):
        lines[at] = edit_outside(lines[at], lambda text: _convert(text, table))
    return "\n".join(lines)


def _convert(text: str, table: str) -> str:
    for _ in range(_PASSES):
        found = str(_converter(table).convert(text))
        if found == text or found.count("\n") != text.count("\n"):
            break
        text = found
    return text


def is_japanese(text: str) -> bool:
    """Whether a text has kana beside its Han, and not just a Japanese name or two."""
    kana = len(_KANA.findall(text))
    return kana > 0 and kana * 20 >= len(_HAN.findall(text))


@lru_cache(maxsize=1)
def _telling() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Characters that only a traditional, and those that only a simplified text has."""
    every = [chr(code) for code in range(0x4E00, 0xA000)]
    column = "\n".join(every)
    simple = str(_converter("t2s").convert(column)).split("\n")
    complex_ = str(_converter("s2t").convert(column)).split("\n")
    traditional = {a for a, b in zip(every, simple, strict=True) if a != b}
    simplified = {a for a, b in zip(every, complex_, strict=True) if a != b}
    both = traditional & simplified
    return tuple(  # type: ignore[return-value]
        re.compile(f"[{''.join(sorted(one - both))}]") for one in (traditional, simplified)
    )


def chinese_script(text: str) -> str:
    """ISO 15924 code of a Chinese text: `Hant`, `Hans`, or `Hani` where neither or both show."""
    traditional, simplified = (len(kind.findall(text)) for kind in _telling())
    told = traditional + simplified
    if told and traditional >= 0.8 * told:
        return "Hant"
    return "Hans" if told and simplified >= 0.8 * told else "Hani"
