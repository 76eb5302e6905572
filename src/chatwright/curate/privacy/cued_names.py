"""Names that a word announces: titles, introductions, form fields; no model needed."""

from __future__ import annotations

import re
from dataclasses import dataclass

from chatwright.curate.privacy.kinds import Found
from chatwright.curate.privacy.surnames import COMPOUND_SURNAMES, SURNAMES

# It starts with a capital, or with a letter of an alphabet that has none.
_PART = r"(?:[^\W\d_a-z][\w'\u2019-]*\.?)"
_TITLED = re.compile(
    rf"(?<![\w.])(?:Mrs?|Ms|Miss|Mx|Dr|Prof|Professor|Sir|Lady|Judge|Captain|Sergeant)\.? "
    rf"((?:{_PART} ){{0,3}}{_PART})"
)
_INTRODUCED = re.compile(
    r"(?<![\w])(?:[Mm]y name is|[Mm]y name's|[Nn]ame ?:|[Cc]all me|[Ss]igned by"
    r"|[Ss]incerely,|[Rr]egards,)\s{1,3}"
    rf"((?:{_PART} ){{0,3}}{_PART})"
)
_NOBODY_WORDS = (
    "sir madam customer all team friends editor colleagues user the a unknown none anonymous"
)
_NOBODY = frozenset(_NOBODY_WORDS.split())
_FAMILY = "".join(sorted(SURNAMES))
_LONG = "|".join(COMPOUND_SURNAMES)
_TITLED_ZH = re.compile(
    rf"((?:{_LONG})|[{_FAMILY}])(?=先生|女士|小姐|太太|老师|老師|教授|医生|醫生|经理|經理"
    rf"|律师|律師|主任|师傅)"
)
_INTRODUCED_ZH = re.compile(
    rf"(?:我叫|名叫|我的名字是|我的名字叫|姓名|联系人|收件人|收货人)[ "
    rf":\uff1a是为]{{0,2}}((?:(?:{_LONG})"
    rf"|[{_FAMILY}])[\u4e00-\u9fff]{{1,2}})(?![\u4e00-\u9fff])"
)


@dataclass(frozen=True, slots=True)
class CuedRecogniser:
    """Names after a title (Dr Ada Lovelace; 王 of 王先生) and after "my name is", "我叫"."""

    @property
    def languages(self) -> frozenset[str]:
        return frozenset({"en", "zh"})

    def find(self, text: str, language: str | None = None) -> list[Found]:
        """Confidence 0.8 after a title, 0.7 after an introduction."""
        if language is not None and language.startswith("zh"):
            patterns = ((_TITLED_ZH, 0.8), (_INTRODUCED_ZH, 0.75))
        else:
            patterns = ((_TITLED, 0.8), (_INTRODUCED, 0.7))
        found: list[Found] = []
        for pattern, confidence in patterns:
            for m in pattern.finditer(text):
                start, end = m.span(1)
                while end > start and text[end - 1] in ".'\u2019-":
                    end -= 1
                value = text[start:end]
                if len(value) >= 1 and value.split(" ")[0].lower() not in _NOBODY:
                    found.append(Found(start, end, "name", confidence, value))
        return found
