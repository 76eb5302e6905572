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
# Thanks are thanks also where a question follows; other words may begin one ("Perfect tense …",
# “完美世界是…”), so they must end a clause or go on as praise does.
_THANKS = (
    r"(?:many\s+|much\s+)?thanks?(?:\s+(?:you|a\s+lot|so\s+much|again))?\b"
    r"(?!\s+(?:you\s+)?(?:in\s+which|note|letter|card|speech|e-?mail|message)\b)"
    r"|thx|ty\b|cheers\b|(?:much\s+)?appreciated?\b(?!\s+(?:vs|versus|or)\b)"
    r"|(?:谢谢|多谢|感谢)(?![信语词节卡函状的用在怎]|英语|日语|是)|谢了|(?:非常|太)感谢"
)
_END = r"(?=\W*$|\s*[^\w\s'’-])"
_CONTENT_EN = (
    r"(?:that|it|this|which)(?:['’]s|\s+is|\s+was)?\s*(?:now\s+|all\s+|just\s+|exactly\s+|finally\s+)*"
    r"(?:work(?:s|ed)|perfect|great|what\s+i\s+(?:need|want)|clear|help(?:s|ed|ful)|solve[sd]|"
    r"fixed|did\s+(?:it|the\s+trick)|correct|right\b|makes?\s+sense)"
    r"|works?\s+(?:now|great|perfectly|fine|well)|(?:problem\s+)?solved|makes\s+sense|understood"
    rf"|(?:worked|fixed|perfect|exactly|awesome|excellent|brilliant)\b(?:{_END}|\s+(?:it|that|this|now"
    r"|thanks?|thank|what\s+i|answer|explanation|solution|so\b|like\s+a\s+charm)\b)"
    rf"|got\s+(?:it|that)\b(?!\s+(?:from|for|at|in|as|on)\b)|i\s+(?:see|understand)(?:\s+(?:it|now))*\b(?:{_END}"
    r"|\s+(?:thanks?|what\s+you\s+mean)\b)"
    r"|very\s+helpful|(?:you['’]re|you\s+are)\s+(?:a\s+life\s?saver|great)"
)
_CONTENT_ZH = (
    r"明白了|我?懂了|知道了|(?:了解|清楚)了(?!解)|(?:问题)?(?:已经)?解决了|搞定了?|可以了(?!解)"
    r"|没问题了|太好了|太棒了|成功了(?!解)|正是我?(?:想要|需要)的|就是这个|弄好了|好了$"
    r"|完美(?:地)?解决|(?:很好用?|完美|收到|(?:很|非常|真|太|挺|还)?有(?:用|帮助)"
    rf"|(?:很好|完美)的(?:回答|答案|解释|建议|方法))[了啦啊呀哦哈嘛的]*(?:{_END}|谢)"
)
_OPENS_WITH_THANKS = re.compile(rf"{_LEAD}(?:{_THANKS})", re.IGNORECASE)
_CONTENT = re.compile(rf"{_LEAD}(?:{_CONTENT_EN}|{_CONTENT_ZH})", re.IGNORECASE)
_CONTENT_ANYWHERE = re.compile(
    r"(?<!\w)(?:thank\s*(?:you|s)(?!\s+(?:note|letter|card|speech|e-?mail|message)\b)"
    r"|thx|solved|works\s+now|got\s+it)\b"
    r"|(?:谢谢|多谢|感谢)(?![信语词节卡函状的用在怎]|英语|日语|是)|谢了|明白了|(?:问题|已经|终于)解决了|搞定了",
    re.IGNORECASE,
)
_CLAUSE_END = re.compile(r"[,.!?;:~\n\u3002\uff01\uff1f\uff0c\uff1b\uff1a\uff5e]|$")
_ASKS = re.compile(r"[?\uff1f]\W*$")
_TAG = re.compile(
    r"\W*(?:right|yes|no|ok(?:ay)?|correct|(?:is|does|did|was)(?:n['’]t)?\s+it|对(?:吗|吧|不对)|是吗|是吧|吗)"
    r"\s*[?\uff1f]",
    re.IGNORECASE,
)
# A Chinese question is one without its mark, too.
_ASKS_ZH = re.compile(
    r"(?:吗|么|没有?|呢)$|哪|什么|多久|多少|怎么|如何|是否|能不能|可不可以|为何|几[个天次]"
)
_SHORT_REST = 5  # characters that praise may go on for, where a question follows the comma: " now"
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

    It opens with such words, or is short and holds them. "Thanks, but it still fails", "thanks in
    advance" and questions that begin like praise ("It works on Windows?") are not; "Thanks! And how
    do I …?" is: the question before it was answered.
    """
    text = " ".join(message.split())
    # A condition in the first sentence takes the thanks back; one in the next is a new question.
    first = re.split(r"(?<=[.!?。\uff01\uff1f])\s*", text, maxsplit=1)
    opening = first[0] if len(first[0]) > 3 else text
    if _NOT_YET.search(opening[:120]) or _IN_ADVANCE.search(text) or is_complaint(text):
        return False
    if _YES.match(text):
        return not _ASKS.search(text[-20:])
    if opened := _OPENS_WITH_THANKS.match(text):
        return not _goes_on_as_question(text, opened.end(), longest=len(text))
    if opened := _CONTENT.match(text):
        return not _goes_on_as_question(text, opened.end(), longest=_SHORT_REST)
    short = len(text) <= _SHORT_HAN if not text.isascii() else len(text.split()) <= _SHORT_WORDS
    return short and not _ASKS.search(text) and bool(_CONTENT_ANYWHERE.search(text))


def _goes_on_as_question(text: str, end: int, *, longest: int) -> bool:
    """Whether the clause that the content words begin is, or belongs to, a question.

    "It works on windows?" is; "Got it, where is the invoice?" has one behind its first clause.
    """
    mark = _CLAUSE_END.search(text, end)
    assert mark is not None  # the end of the text is one
    rest = text[end : mark.start()]
    if mark[0] in {"?", "\uff1f"} or _ASKS_ZH.search(rest) or _TAG.match(text, mark.end()):
        return True
    # "It works on Windows or Linux, or both?": one question with a comma in it.
    sentence = re.search(r"[.!?\u3002\uff01\uff1f]|$", text[mark.start() :])
    return len(rest) > longest and sentence is not None and sentence[0] in {"?", "\uff1f"}


def is_complaint(message: str) -> bool:
    """Whether a message says that the answer was wrong or useless, or gives up.

    About the answer only: a sad or angry question is no complaint, so that "my order is broken"
    does not count as a failure of the assistant.
    """
    return bool(_COMPLAINT.search(" ".join(message.split())[:400]))
