"""Letters of a text counted by script, in one vectorised pass."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

# ISO 15924 codes with the ranges of their letters. What no range has is "Zyyy".
_RANGES: dict[str, tuple[tuple[int, int], ...]] = {
    "Latn": ((0x41, 0x24F), (0x1E00, 0x1EFF), (0xFF21, 0xFF5A)),
    "Grek": ((0x370, 0x3FF), (0x1F00, 0x1FFF)),
    "Cyrl": ((0x400, 0x52F), (0x1C80, 0x1C8F)),
    "Armn": ((0x531, 0x58F),),
    "Hebr": ((0x590, 0x5FF),),
    "Arab": ((0x600, 0x6FF), (0x750, 0x77F), (0x8A0, 0x8FF), (0xFB50, 0xFDFF), (0xFE70, 0xFEFC)),
    "Deva": ((0x900, 0x97F),),
    "Beng": ((0x980, 0x9FF),),
    "Guru": ((0xA00, 0xA7F),),
    "Gujr": ((0xA80, 0xAFF),),
    "Taml": ((0xB80, 0xBFF),),
    "Telu": ((0xC00, 0xC7F),),
    "Knda": ((0xC80, 0xCFF),),
    "Mlym": ((0xD00, 0xD7F),),
    "Sinh": ((0xD80, 0xDFF),),
    "Thai": ((0xE00, 0xE7F),),
    "Laoo": ((0xE80, 0xEFF),),
    "Tibt": ((0xF00, 0xFFF),),
    "Mymr": ((0x1000, 0x109F),),
    "Geor": ((0x10A0, 0x10FF), (0x1C90, 0x1CBF)),
    "Hang": ((0x1100, 0x11FF), (0x3131, 0x318E), (0xAC00, 0xD7AF)),
    "Ethi": ((0x1200, 0x139F),),
    "Khmr": ((0x1780, 0x17FF),),
    "Kana": ((0x3041, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9D)),
    "Hani": ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3134F)),
}
SCRIPTS = (*_RANGES, "Zyyy")
_AT = {name: at for at, name in enumerate(SCRIPTS)}
_NO_LETTER = len(SCRIPTS)
_HAN_WEIGHT = 3  # a Chinese character says as much as some three letters of English
_KNOWN = 0x20000  # beyond it are Han, which their ranges tell, and letters that no page uses

# Scripts that write one language, or one so much more than others that the letters decide.
ONE_LANGUAGE = {
    "Grek": "el", "Armn": "hy", "Guru": "pa", "Gujr": "gu", "Taml": "ta", "Telu": "te",
    "Knda": "kn", "Mlym": "ml", "Sinh": "si", "Thai": "th", "Laoo": "lo", "Mymr": "my",
    "Geor": "ka", "Hang": "ko", "Khmr": "km",
}  # fmt: skip
# Scripts of languages that are not written in Latin letters: a vote for one of these against the
# letters of the text is wrong.
SCRIPT_OF = {
    **{code: script for script, code in ONE_LANGUAGE.items()},
    **dict.fromkeys(
        ("ru", "uk", "be", "bg", "mk", "kk", "ky", "mn", "tg", "tt", "ba", "cv"), "Cyrl"
    ),
    **dict.fromkeys(("ar", "fa", "ur", "ps", "ckb", "sd", "ug", "arz", "azb", "pnb"), "Arab"),
    **dict.fromkeys(("hi", "mr", "ne", "sa", "bh", "mai"), "Deva"),
    **dict.fromkeys(("bn", "as", "bpy"), "Beng"),
    **dict.fromkeys(("he", "yi"), "Hebr"),
    **dict.fromkeys(("zh", "ja"), "Hani"),
    **dict.fromkeys(
        ("en", "de", "fr", "es", "it", "pt", "nl", "sv", "da", "no", "nb", "nn", "fi", "pl", "cs",
         "sk", "hu", "ro", "tr", "vi", "id", "ms", "hr", "sl", "et", "lv", "lt", "ca", "gl", "eu",
         "af", "sq", "is", "ga", "cy", "la", "eo", "tl", "sw", "mt", "lb", "ast", "ceb", "war"),
        "Latn",
    ),
}  # fmt: skip


@lru_cache(maxsize=1)
def _table() -> NDArray[Any]:
    import numpy as np

    letters = np.fromiter((chr(code).isalpha() for code in range(_KNOWN)), bool, _KNOWN)
    table = np.full(0x110000, _NO_LETTER, np.uint8)
    table[:_KNOWN][letters] = _AT["Zyyy"]
    for name, ranges in _RANGES.items():
        for first, last in ranges:
            part = table[first : last + 1]
            known = letters[first : last + 1] if last < _KNOWN else np.ones(len(part), bool)
            part[known] = _AT[name]
    return table


def script_letters(text: str) -> dict[str, int]:
    """How many letters a text has of each script that is in it, most first; Han count once."""
    import numpy as np

    if not text:
        return {}
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    counts = np.bincount(_table()[codes], minlength=_NO_LETTER + 1)[:_NO_LETTER]
    order = np.argsort(-counts, kind="stable")
    return {SCRIPTS[at]: int(counts[at]) for at in order if counts[at]}


def line_scripts(text: str) -> list[tuple[str, int]]:
    """For each line, the script that most of its letters are in, and its letters by weight."""
    import numpy as np

    if not text:
        return [("Zyyy", 0)]
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    ends = codes == 10
    line = np.cumsum(ends) - ends
    width, lines = _NO_LETTER + 1, int(ends.sum()) + 1
    counts = np.bincount(line * width + _table()[codes], minlength=lines * width)
    sizes = counts.reshape(-1, width)[:, :_NO_LETTER]
    sizes[:, _AT["Hani"]] *= _HAN_WEIGHT
    most, total = sizes.argmax(1).tolist(), sizes.sum(1).tolist()
    return [(SCRIPTS[at], size) for at, size in zip(most, total, strict=True)]


def weight(letters: dict[str, int]) -> int:
    """Letters, each Chinese character as three."""
    return sum(letters.values()) + (_HAN_WEIGHT - 1) * letters.get("Hani", 0)


def is_chinese(letters: dict[str, int]) -> bool:
    """Han without more than a Japanese name's kana, and not outweighed by other letters."""
    han, kana = letters.get("Hani", 0), letters.get("Kana", 0)
    return han * _HAN_WEIGHT > sum(letters.values()) - han and kana * 20 < han


def main_script(letters: dict[str, int]) -> str | None:
    """The script that most letters are in, by weight; Han and kana together are `Jpan`."""
    if not letters:
        return None
    if is_chinese(letters):
        return "Hani"
    weights = {name: n * (_HAN_WEIGHT if name == "Hani" else 1) for name, n in letters.items()}
    if "Kana" in weights:
        weights["Jpan"] = weights.pop("Kana") + weights.pop("Hani", 0)
    return max(weights, key=lambda name: weights[name])
