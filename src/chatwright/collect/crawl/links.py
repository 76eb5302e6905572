"""The links of a page that may be followed, in order."""

from __future__ import annotations

from chatwright.collect.crawl.addresses import normalise
from chatwright.collect.decode import decode
from chatwright.collect.tags import tags_of

MAX_LINKS = 2_000  # of one page; more is a sitemap in disguise, or a trap
_TAGS = frozenset({"a", "area", "base"})
_KEPT_OFF = {"nofollow", "ugc", "sponsored"}
_MAX_PARSED = 5_000_000  # bytes of HTML in which links are looked for


def links_of(content: bytes, charset: str | None, url: str) -> tuple[list[str], int]:
    """(addresses that a page links to, each once; how many links it asks not to follow).

    Links are taken from `<a>` and `<area>`, relative to `<base>`; `rel=nofollow`, `ugc` and
    `sponsored` ones are left alone.
    """
    decoded = decode(content[:_MAX_PARSED], charset)
    if isinstance(decoded, str):
        return [], 0
    base = url
    found: dict[str, None] = {}
    kept_off = 0
    for tag, attributes in tags_of(decoded.text, _TAGS):
        href = attributes.get("href")
        if not href:
            continue
        if tag == "base":
            base = normalise(href, url) or url
            continue
        if _KEPT_OFF & set(attributes.get("rel", "").lower().split()):
            kept_off += 1
            continue
        address = normalise(href, base)
        if address is not None:
            found[address] = None
        if len(found) >= MAX_LINKS:
            break
    return list(found), kept_off
