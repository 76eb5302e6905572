"""Accounts on social networks, by the words before them and by profile addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator

from chatwright.curate.privacy.kinds import Found
from chatwright.curate.privacy.view import View

# Between the network's name and the account: "号", "ID", "是", ":" and the like.
_LINK = (
    r"(?: ?(?:id|number|no\.?|account|handle|user ?name|name|me|us|him|her|"
    "账号|帐号|号码|公众号|号|群|群号|联系|搜索|备注|好友))?"
    "(?: ?(?:is|was|as|at|on|是|为|加|搜|即))?"
    r"[ \t]{0,2}[:\uff1a=\u3010\[(\uff08\"\u201c-]?[ \t]{0,2}"
)
_WECHAT = re.compile(
    rf"(?:we ?chat|wei ?xin|微信|威信|薇信|微 x"
    rf"|(?<![a-z0-9])(?:wx|vx|v信|加v|加微|v(?=[:\uff1a]))){_LINK}"
    r"(?<![a-z0-9])([a-z][-_a-z0-9]{5,19})(?![a-z0-9_@]|\.[a-z])"
)
_WECHAT_PHONE = re.compile(
    rf"(?:we ?chat|微信|(?<![a-z0-9])(?:wx|vx)){_LINK}(?<![a-z0-9])(1[3-9][0-9]{{9}})(?![a-z0-9_@])"
)
_SAYS_ACCOUNT = re.compile("[:\uff1a号是]|id|account|handle")
_WXID = re.compile("wxid_[a-z0-9]{10,20}(?![a-z0-9_])")
_QQ = re.compile(
    rf"(?:(?<![a-z0-9])qq|扣扣|企鹅){_LINK}(?<![a-z0-9])([1-9][0-9]{{4,10}})(?![a-z0-9_@]|\.[0-9])"
)
_AT = re.compile(
    r"(?:(?<![a-z])(?:twitter|x\.com|instagram|insta|ig|telegram|tg|weibo|tiktok|snapchat"
    r"|snap|skype|discord"
    r"|threads|facebook|fb|signal|line|kik|youtube|github|linkedin|reddit|mastodon|bluesky)"
    "|微博|抖音|小红书|知乎|快手|b站)"
    rf"{_LINK}(@[a-z0-9_][a-z0-9_.]{{1,29}})(?<![.])(?![a-z0-9_@])"
)
_NAMED = re.compile(
    r"(?:(?<![a-z])(?:twitter|instagram|telegram|tiktok|snapchat|skype|discord|weibo|kik)"
    "|微博|抖音号|小红书号|快手号)"
    "(?: (?:id|handle|account|user ?name|name)| ?(?:账号|帐号|号|id))"
    r"(?: is| ?是| ?为)?[ ]{0,2}[:\uff1a]?[ "
    r"]{0,2}(?<![a-z0-9])((?:live:)?[a-z0-9_](?=[a-z0-9_.#-]{0,30}[0-9_.#])[a-z0-9_.#-]{3,30})(?<![.-])"
)
_PROFILE = re.compile(
    r"(?:linkedin\.com/in/|(?<![a-z])t\.me/|(?<!pic\.)(?:twitter|(?<![a-z])x|instagram"
    r"|tiktok)\.com/@?|weibo\.com/(?:u/|n/))"
    r"([a-z0-9_\-%][a-z0-9_.\-%]{2,60})(?<![.])"
)
_NO_PERSON_WORDS = (
    "share intent search explore about login signup home hashtag privacy terms joinchat tos i "
    "settings help download features official account accounts official_account reel stories "
    "video videos proxy"
)
_NO_PERSON = frozenset(_NO_PERSON_WORDS.split())
_NO_ACCOUNT_WORDS = (
    "official account number payment wallet message messages group groups moments contact "
    "contacts public channel service support mini-program miniprogram program platform wechat "
    "weixin please username article articles developer developers openid unionid appid friend "
    "friends before because through should instead cannot without another within article "
    "sticker stickers window windows server client"
)
_NO_ACCOUNT = frozenset(_NO_ACCOUNT_WORDS.split())
_MARKS = (
    "v:",
    "v\uff1a",
    "wechat",
    "we chat",
    "weixin",
    "微信",
    "威信",
    "薇信",
    "wx",
    "vx",
    "v信",
    "加v",
    "加微",
)


_NETWORKS = (
    *("twitter", "instagram", "telegram", "tiktok", "snapchat", "skype", "discord", "weibo"),
    *("微博", "抖音", "小红书", "快手"),
)


def find_social(view: View) -> Iterator[Found]:
    """WeChat and QQ accounts after their words; @names after a network's name; profile addresses.

    A bare `@name` in running text is left alone: on most pages it is code or a package's name.
    """
    lower = view.lower
    if any(mark in lower for mark in _MARKS):
        yield from _wechat(lower)
    if "qq" in lower or "扣扣" in lower or "企鹅" in lower:
        for m in _QQ.finditer(lower):
            yield Found(*m.span(1), "social", 0.9, f"qq:{m[1]}")
    if "@" in lower:
        for m in _AT.finditer(lower):
            yield Found(*m.span(1), "social", 0.85, m[1])
    if any(name in lower for name in _NETWORKS):
        for m in _NAMED.finditer(lower):
            yield Found(*m.span(1), "social", 0.75, f"@{m[1]}")
    if ".com/" in lower or "t.me/" in lower:
        for m in _PROFILE.finditer(lower):
            if m[1] not in _NO_PERSON:
                yield Found(*m.span(1), "social", 0.8, f"@{m[1]}")


def _wechat(lower: str) -> Iterator[Found]:
    for m in _WECHAT.finditer(lower):
        account = m[1]
        if account in _NO_ACCOUNT or account.startswith(("http", "www")):
            continue
        # "WeChat payment": an account has a digit or a mark in it, or a colon or 号 before it.
        said = _SAYS_ACCOUNT.search(lower, m.start() + 2, m.start(1))
        if said or not account.isalpha():
            yield Found(*m.span(1), "social", 0.85 if said else 0.7, f"wechat:{account}")
    for m in _WXID.finditer(lower):
        yield Found(*m.span(), "social", 0.95, f"wechat:{m[0]}")
    for m in _WECHAT_PHONE.finditer(lower):
        yield Found(*m.span(1), "phone", 0.92, f"+86{m[1]}")
