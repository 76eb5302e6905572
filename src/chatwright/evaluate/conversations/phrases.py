"""What people say when they are content, or when they give up: patterns, English and Chinese.

Patterns and no model, so that everybody can read what was counted; the tests hold them against
hand-labelled messages.
"""

from __future__ import annotations

import re

_LEAD = (
    r"^\W*(?:(?:ok(?:ay)?|ah+|oh+|wow|yes|yeah|yep|cool|nice|great|好的?|哦|嗯|啊|哇)"
    r"[\s,.!\uff0c。\uff01~]*)*"
)
_CONTENT_EN = (
    r"(?:many\s+|much\s+)?thanks?(?:\s+(?:you|a\s+lot|so\s+much|again))?|thx|ty\b|cheers\b|appreciate"
    r"|(?:that|it|this|which)(?:['’]s|\s+is|\s+was)?\s*(?:now\s+|all\s+|just\s+|exactly\s+|finally\s+)*"
    r"(?:work(?:s|ed)|perfect|great|what\s+i\s+(?:need|want)|clear|help(?:s|ed|ful)|solve[sd]|"
    r"fixed|did\s+(?:it|the\s+trick)|correct|right\b|makes?\s+sense)"
    r"|works?\s+(?:now|great|perfectly|fine|well)|worked\b|(?:problem\s+)?solved|fixed\b|perfect\b"
    r"|got\s+it|makes\s+sense|i\s+(?:see|understand)(?:\s+now)?\b|understood|exactly\b|awesome\b"
    r"|excellent\b|brilliant\b|very\s+helpful|(?:you['’]re|you\s+are)\s+(?:a\s+life\s?saver|great)"
)
_CONTENT_ZH = (
    r"谢谢|多谢|感谢|谢了|非常感谢|太感谢|明白了|我?懂了|知道了|了解了|清楚了|(?:问题)?(?:已经)?解决了|搞定了?"
    r"|可以了|没问题了|太好了|太棒了|很好|完美|收到|成功了|正是我?(?:想要|需要)的|就是这个|有用|有帮助|弄好了|好了$"
)
_CONTENT = re.compile(rf"{_LEAD}(?:{_CONTENT_EN}|{_CONTENT_ZH})", re.IGNORECASE)
_CONTENT_ANYWHERE = re.compile(
    r"(?<!\w)(?:thank\s*(?:you|s)|thx|solved|works\s+now|got\s+it)\b"
    r"|谢谢|多谢|感谢|谢了|明白了|(?:问题|已经|终于)解决了|搞定了",
    re.IGNORECASE,
)
# "OK" and "好的" alone say yes; with more behind them they only start the next request.
_YES = re.compile(r"^\W*(?:ok(?:ay)?|great|cool|nice|好的?|行|嗯+|👍|👌|🙏)\W*$", re.IGNORECASE)
_NOT_YET = re.compile(
    r"\bbut\b|\bhowever\b|\bstill\b|\bexcept\b|n['’]t\b|\bnot\b|\bno\s+longer\b|\bwrong\b|\berror|"
    r"\bfail|\bbroken\b|\bfor\s+nothing\b|\bno\s+thanks?\b"
    r"|但是?|不过|可是|然而|还是|仍然?|依然|不对|不行|不能|没有?(?:解决|用|效|成功|帮)|错|失败|报错|没用|不了",
    re.IGNORECASE,
)
_IN_ADVANCE = re.compile(r"\bin\s+advance\b|先谢|(?:提前|预先)(?:感谢|谢)", re.IGNORECASE)
_COMPLAINT = re.compile(
    r"\b(?:use|help)less\b|\bnot\s+(?:at\s+all\s+)?(?:helpful|useful|what\s+i\s+(?:asked|meant|want))"
    r"|\b(?:that|this|it|you|answers?|all)(?:['’]s|['’]re|\s+is|\s+was|\s+are)\s+(?:\w+\s+)?wrong\b"
    r"|\b(?:still|completely|totally)\s+wrong\b|^\W*(?:no,?\s+)?wrong\b"
    r"|\b(?:that|it|this)\s+(?:still\s+)?(?:does\s?n['’]?t|does\s+not|did\s?n['’]?t|did\s+not)\s+"
    r"(?:work|help|answer)|\bdid(?:n['’]t|\s+not)\s+answer\b|\bn(?:ot|['’]t)\s+(?:answer|help)"
    r"|\byou(?:['’]re|\s+are)\s+(?:not\s+(?:listening|helping)|useless|wrong)\b"
    r"|\b(?:waste\s+of\s+(?:my\s+)?time|forget\s+it|never\s?mind|i\s+give\s+up|makes\s+no\s+sense)\b"
    r"|\b(?:terrible|awful|horrible|stupid|garbage|rubbish)\s+(?:answer|bot|response|assistant)\b"
    r"|\bthanks?\s+for\s+nothing\b"
    r"|答非所问|没有?(?:任何)?(?:用处?|帮助)|(?:^|[,\uff0c。!\uff01\s你还])(?:不对|错了|不行)[。.!\uff01吧啊呀\s]*$|^(?:不对|错了)[,\uff0c。!\uff01\s吧啊呀]|^不是(?:这个|我)"
    r"|(?:回答|答案|说)(?:得|的)?(?:是|都|完全|根本)*(?:不对|错)|(?:^|[,\uff0c。!\uff01\s])算了(?:吧|[,\uff0c。!\uff01\s]|$)|垃圾(?!分类|桶|箱|邮件|短信|处理|回收|场)|浪费(?:我?的?)?时间|不是我(?:想)?(?:要|问)的"
    r"|(?:还是|仍然|依然)(?:不行|不对|没用|没有?解决|报错|失败)|听不懂|太差|什么(?:破|烂)|废话|没(?:有)?(?:回答|解决)我?的?问题",
    re.IGNORECASE,
)
_SHORT_WORDS, _SHORT_HAN = 8, 20


def is_content(message: str) -> bool:
    """Whether a message thanks, confirms or says that it worked.

    It opens with such words, or is short and holds them. "Thanks, but it still fails" and "thanks
    in advance" are not; "Thanks! And how do I …?" is: the question before it was answered.
    """
    text = " ".join(message.split())
    # A condition in the first sentence takes the thanks back; one in the next is a new question.
    first = re.split(r"(?<=[.!?。\uff01\uff1f])\s*", text, maxsplit=1)
    opening = first[0] if len(first[0]) > 3 else text
    if _NOT_YET.search(opening[:120]) or _IN_ADVANCE.search(text) or is_complaint(text):
        return False
    if _YES.match(text) or _CONTENT.match(text):
        return True
    short = len(text) <= _SHORT_HAN if not text.isascii() else len(text.split()) <= _SHORT_WORDS
    asks = text.rstrip().endswith(("?", "?"))
    return short and not asks and bool(_CONTENT_ANYWHERE.search(text))


def is_complaint(message: str) -> bool:
    """Whether a message says that the answer was wrong or useless, or gives up.

    About the answer only: a sad or angry question is no complaint, so that "my order is broken"
    does not count as a failure of the assistant.
    """
    return bool(_COMPLAINT.search(" ".join(message.split())[:400]))
