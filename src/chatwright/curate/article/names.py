"""What class names and short texts say: this is furniture of the page, not its article."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from chatwright.curate.markup import DROPPED_CLASSES, names

GENERATOR_CLASSES = names(
    """headerlink documentwrapper md-content theme-doc-markdown markdown-body rst-content
    bd-article mw-parser-output sect1 book-body rustdoc"""
)
_LONGEST = 100  # characters of a name that are looked at
_PARTS = re.compile(r"[a-z]+|[A-Z]+(?![a-z])|[A-Z][a-z]+")

# A part of a name ("share" in `post-share-bar`, `postShareBar`) that says furniture.
_WORDS = names(
    """ad ads adv advert adverts addthis adsense author authors bio breadcrumb breadcrumbs byline
    caption consent cookie cookies copyright credit credits crumb crumbs dfp disclaimer disqus foot
    footnav gdpr hidden login logo masthead menu menus meta modal nav navbar navigation ndn
    outbrain overlay pager paging pagination popup print printable promo promos promoted pullquote
    ranking rating ratings readmore register share shares sharebar shared sharing sidebar signup
    social socials sponsor sponsored submenu subscribe subscriber subscription subscriptions
    taboola tag tags teaser teasers timestamp toolbar tooltip topbar trending widget widgets
    fenxiang pinglun xiangguan guanggao tuijian daohang mianbaoxie paihang bianji zeren erweima"""
)
# How a part may begin: `relatedposts`, `commentlist`, `newsletterform`.
_STARTS = (
    "comment", "related", "sharebutton", "sharelink", "sharetool", "sidebar", "newsletter",
    "social", "subscrib", "breadcrumb", "advert", "sponsor", "recommend", "trending", "outbrain",
    "taboola", "footer", "cookie", "paginat", "disqus", "recirc", "popular", "qrcode", "authorbox",
    "readmore",
)  # fmt: skip
_NOT = names("commentary commentaries commentator commentators socialism socialist advertiser")
# Parts that say it only together.
_PAIRS = re.compile(
    r"-(?:read-(?:more|next|also)|more-(?:from|in|on|stories|news|posts)|most-(?:read|viewed|shared)"
    r"|up-next|you-may|also-(?:like|read)|see-also|sign-up|log-in|sign-in|inline-(?:story|promo)"
    r"|side-bar|prev-next|next-prev|follow-us|call-to|pull-quote|hot-(?:news|list|posts)"
    r"|people-block|story-link|screen-reader|article-list|news-list|post-list|rank-list)-"
)


# What these name is not the article even where it holds most of the page's text.
_SURE_STARTS = ("comment", "disqus", "modal", "popup", "cookie", "consent", "pinglun", "gdpr")
# With one of these beside it, the name may be that of the article with its share buttons.
_CONTENT_WORDS = names("article body column content entry main post story text")
_FURNITURE, _SURE, _CONTENT, _POST = 1, 2, 4, 8
_MOST = 50  # names of one element
_HARDLY, _MAYBE, SURELY = 0.1, 0.4, 0.8


class Judgement(NamedTuple):
    """What the names of an element say.

    `bound`: how much of a page's prose it may hold and still be the furniture that it is named
    after; 0 where no name says furniture. `dropped`: no reader sees it. `generated`: a
    documentation generator wrote it.
    """

    bound: float
    dropped: bool
    generated: bool


@lru_cache(maxsize=8192)
def judge(classes: str | None, identifier: str | None) -> Judgement:
    """Judge an element by its class attribute and its id."""
    dropped = generated = False
    says = 0
    for name in (classes or "").split()[:_MOST]:
        says |= _says(name)
        dropped = dropped or name in DROPPED_CLASSES
        generated = generated or name in GENERATOR_CLASSES
    if identifier:
        says |= _says(identifier)
    bound = 0.0
    # WordPress says a post's tags and author in the post's own class.
    if says & _FURNITURE and not says & _POST:
        bound = SURELY if says & _SURE else _HARDLY if says & _CONTENT else _MAYBE
    return Judgement(bound, dropped, generated)


@lru_cache(maxsize=16384)
def _says(name: str) -> int:
    """The flags of one name, by its parts."""
    says = 0
    parts = [part.lower() for part in _PARTS.findall(name[:_LONGEST])]
    for part in parts:
        if part in _WORDS or (part.startswith(_STARTS) and part not in _NOT):
            says |= _FURNITURE | (_SURE if part.startswith(_SURE_STARTS) else 0)
        elif part in _CONTENT_WORDS:
            says |= _CONTENT
        elif part == "hentry":
            says |= _POST
    if len(parts) > 1 and not says & _FURNITURE and _PAIRS.search(f"-{'-'.join(parts)}-"):
        says |= _FURNITURE
    return says


_SAYS = re.compile(
    r"\s*(?:advert(?:isement)?s?\b|(?:read|see|find out|learn) (?:more|also|next)\b|also read\b"
    r"|related\s*(?::|articles?|stories|posts|news|content)|more\s*:"
    r"|recommended (?:for you|stories)"
    r"|sign up (?:for|to|here)|subscribe (?:to|now|here)|click here|share (?:this|on)\b"
    r"|follow (?:us|me|him|her) on|don.t miss\b|(?:you may|you might) (?:also )?like"
    r"|this slideshow requires|loading\.\.\.|enable javascript|all rights reserved"
    r"|copyright\b|\u00a9|sponsored\b|promoted\b|story continues below|scroll down"
    r"|\u76f8\u5173(?:\u9605\u8bfb|\u65b0\u95fb|\u63a8\u8350|\u6587\u7ae0|\u94fe\u63a5)"
    r"|\u4e0a\u4e00[\u7bc7\u9875]|\u4e0b\u4e00[\u7bc7\u9875]|\u5206\u4eab\u5230|\u626b\u4e00\u626b"
    r"|\u8d23\u4efb\u7f16\u8f91|\uff08\u8d23\u4efb\u7f16\u8f91|\u7248\u6743(?:\u6240\u6709|\u58f0\u660e)"
    r"|\u70b9\u51fb(?:\u67e5\u770b|\u8fdb\u5165|\u8ba2\u9605)|\u70ed\u95e8(?:\u63a8\u8350|\u8bc4\u8bba)"
    r"|\u63a8\u8350\u9605\u8bfb|\u5ef6\u4f38\u9605\u8bfb|\u731c\u4f60\u559c\u6b22|\u5e7f\u544a\s*$)",
    re.I,
)


def is_furniture_text(text: str) -> bool:
    """Whether a short text begins as what stands between an article's paragraphs does."""
    return _SAYS.match(text) is not None
