"""What a recipe may say under `language`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from chatwright.stage import Settings


class LanguageSettings(Settings):
    """Which languages and scripts stay, and how they are told.

    `keep`: ISO 639 codes; a page of another language is dropped, one whose language cannot be told
    stays. `confidence`: the least that a page of those needs. `scripts`: ISO 15924 codes (`Latn`,
    `Hans`, `Hant`, …) that stay; a Chinese text that shows neither script passes for both. Where
    fastText is less sure than `unsure` a second detector votes. `lines`: whether the
    language of each line is told: `auto` where the page is unsure or mixes scripts. `drop_lines`
    takes out the lines of other languages than the page's own (of any in `keep`, where that is
    given).
    """

    keep: list[str] | None = None
    confidence: float = Field(default=0.0, ge=0, le=1)
    scripts: list[str] | None = None
    unsure: float = Field(default=0.7, ge=0, le=1)
    lines: Literal["auto", "always", "never"] = "auto"
    drop_lines: bool = False
