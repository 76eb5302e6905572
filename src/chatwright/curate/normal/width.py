"""One width for each sign: plain letters and digits, full-width kana.

Full-width signs that are Chinese punctuation stay (`punctuation.py` decides about those), and so do
those whose plain forms would be markup: ＃ ＊ ＿ ｀ ＜ ＞ ［ ］ ｜ ＼ ～ ＄.
"""

from __future__ import annotations

import re
import unicodedata

from chatwright.curate.normal.protect import edit_outside
from chatwright.curate.normal.signs import WIDE, kinds

_WIDE = re.compile("[\u3000\uff02-\uff07\uff0b\uff0d-\uff19\uff1d\uff20-\uff3a\uff41-\uff5a"
                   "\uff61-\uffdc\uffe0-\uffe6]")  # fmt: skip
_HALF_KANA = re.compile("[\uff61-\uffdc]+")
# Digits, letters, " % & ' / = @ and the ideographic space; signs of currencies.
_TABLE = {code: code - 0xFEE0 for code in
          (*range(0xFF10, 0xFF1A), *range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B),
           0xFF02, 0xFF05, 0xFF06, 0xFF07, 0xFF0F, 0xFF1D, 0xFF20)} | {
    0x3000: 0x20, 0xFFE0: 0xA2, 0xFFE1: 0xA3, 0xFFE2: 0xAC, 0xFFE5: 0xA5, 0xFFE6: 0x20A9,
}  # fmt: skip
# A plain + or - that begins a line would make it an item of a list.
_SIGNED = re.compile("(?<=[^\\s>])[\uff0b\uff0d]")
_PLAIN_SIGN = {"\uff0b": "+", "\uff0d": "-"}


def unify_width(run: str) -> str:
    """The text with plain letters, digits and signs; the number of lines stays."""
    if not kinds(run) & WIDE:
        return run
    lines = run.split("\n")
    plain = "\n".join(edit_outside(ln, _plain) if _WIDE.search(ln) else ln for ln in lines)
    return unicodedata.normalize("NFC", plain)  # a plain letter may compose with what follows it


def _plain(text: str) -> str:
    text = _HALF_KANA.sub(lambda m: unicodedata.normalize("NFKC", m.group()), text)
    return _SIGNED.sub(lambda m: _PLAIN_SIGN[m.group()], text.translate(_TABLE))
