"""What a recipe may say under `normalise`."""

from __future__ import annotations

from typing import Literal

from chatwright.stage import Settings

Conversion = Literal["t2s", "tw2s", "tw2sp", "hk2s", "hk2sp"]


class NormaliseSettings(Settings):
    """Which edits bring a text into normal form; code, inline code and addresses are never edited.

    Always: controls taken out, mojibake repaired (ftfy), NFC, plain spaces. `width`: full-width
    letters, digits and signs become plain ones, half-width kana full ones. `punctuation`: ASCII
    marks beside Chinese characters become full-width, full-width marks in lines without Chinese or
    Japanese become ASCII. `quotes: straight` makes curly quotes of such lines straight (Chinese
    keeps its curly ones). `chinese` converts traditional to simplified by an OpenCC table: `t2s`
    characters, `tw2s` and `hk2s` Taiwan's and Hong Kong's forms, `tw2sp` and `hk2sp` also their
    words. `spelling` makes the English of a page American or British.
    """

    width: bool = True
    punctuation: bool = True
    quotes: Literal["straight", "keep"] = "straight"
    chinese: Conversion | None = None
    spelling: Literal["american", "british"] | None = None
