"""Whether an answer says that it has no answer."""

from __future__ import annotations

import re

# What people and models write for "the passages do not say". Said about the passages or about
# knowing at all; "you cannot use X" is an answer, so verbs of ability alone do not count.
_SAYS = (
    "say|state|mention|hold|contain|include|provide|give|have|specify|describe|explain|answer|cover"
)
_ENGLISH = re.compile(
    r"\b(?:do|does|did)(?:\s+not|n['’]t)\s+"
    rf"(?:(?:seem|appear)\s+to\s+)?(?:explicitly\s+|directly\s+)?(?:{_SAYS})\b"
    r"[^.]{0,60}\b(?:answer|information|this|that|it|question|details?|anything|about)\b"
    r"|\b(?:passages?|text|context|documents?|pages?)\b[^.]{0,40}"
    rf"\b(?:do|does)(?:\s+not|n['’]t)\s+(?:{_SAYS})\b"
    r"|\bI\s+(?:do\s+not|don['’]t)\s+(?:know|have\s+(?:any\s+|enough\s+)?information)"
    r"|\b(?:can\s?not|can['’]t|unable\s+to|not\s+able\s+to)\s+(?:find|answer|determine)\b"
    r"[^.]{0,60}\b(?:answer|question|passages?|information|this|that|it)\b"
    r"|\bno\s+(?:answer|information|mention)\b[^.]{0,60}"
    r"\b(?:passages?|text|context|available|given|provided|found)\b"
    r"|\bnot\s+(?:found|mentioned|stated|answered|given|contained)\s+in\s+the\b"
    r"[^.]{0,20}\b(?:passages?|text|context|documents?)\b",
    re.IGNORECASE,
)
_CHINESE = re.compile(
    r"(?:段落|文中|资料|材料|文档|上下文|内容|原文|信息|以上|上述)[^。!?\uff01\uff1f\n]{0,12}"
    r"(?:没有|并未|未|不)(?:能)?(?:提到|提及|说明|说到|包含|给出|提供|涉及|回答|记载|介绍|答案)"
    r"|(?:无法|不能|难以)(?:从[^。]{0,15}中?)?(?:回答|确定|得知|判断|找到答案|找到)"
    r"|(?:我)?不知道(?:答案)?[。,!\uff0c\uff01]?$|没有(?:找到|提供)?(?:相关|足够)(?:的)?(?:信息|内容|答案|资料)"
    r"|没有(?:提到|提及|说明|给出)(?:这|该|相关|答案)",
)
# A refusal comes first; an answer that ends with "this page does not mention X" is an answer.
_OPENING = 240


def is_refusal(answer: str) -> bool:
    """Whether the answer's opening says that the passages (or the model) do not hold an answer.

    A pattern over English and Chinese phrasings, not a judgement: it is checked against hand-
    labelled answers in the tests. An empty answer is no refusal.
    """
    opening = answer.strip()[:_OPENING]
    return bool(_ENGLISH.search(opening) or _CHINESE.search(opening))
