"""What a page says about being indexed, mined and licensed: in its headers and in its HTML."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urljoin

from chatwright.collect.decode import decode
from chatwright.collect.licenses import spdx
from chatwright.collect.tags import tags_of

# Product tokens of crawlers that gather for training. A site that names one of them in robots.txt
# or in X-Robots-Tag speaks to what we do, whatever we are called.
AI_AGENTS = (
    *("ai2bot", "anthropic-ai", "applebot-extended", "bytespider", "ccbot", "claudebot"),
    *("cohere-training-data-crawler", "diffbot", "google-extended", "gptbot"),
    *("meta-externalagent", "omgili", "omgilibot"),
)
OUR_AGENT = "chatwright"
_HEARD = {"", "*", "robots", OUR_AGENT, *AI_AGENTS}
_FLAGS = {"noindex", "nofollow", "none", "noai", "noimageai"}
_WITH_VALUE = {"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"}
_HEAD = 1 << 18  # bytes in which the head of a page is looked for
# Words without which a look at the tags finds nothing; bytes are searched far faster than parsed.
_SPEAKS = (b"noindex", b"nofollow", b"noai", b"noimageai", b"tdm-")
_NONE = re.compile(rb"""robots["'\s][^>]{0,200}none|none[^>]{0,200}robots""")
_RIGHTS_SAID = (b"dc.rights", b"dcterms", b"license", b"licence", b"rights")
_REL = re.compile(rb"""rel\s{0,9}=\s{0,9}["']?[^"'<>]{0,60}licen[sc]e""")
_META = re.compile(rb"<meta\b")
_RIGHTS = {"license", "licence", "dc.rights", "dcterms.license", "dcterms.rights", "rights"}
_TAGS = frozenset({"meta", "link", "a"})
_MAX_SAID = 300  # characters of a value that are kept


@dataclass(frozen=True, slots=True)
class Signals:
    """What a page asks for.

    `opt_out` names the signals by which it reserves text and data mining (`tdm-reservation`,
    `noai`), `other` those that concern something else than text (`noimageai`). `license` is what
    the page declares for itself (an SPDX name where there is one), `hint` a Creative Commons
    licence that it links to and that may be that of a picture only.
    """

    noindex: bool = False
    nofollow: bool = False
    opt_out: tuple[str, ...] = ()
    other: tuple[str, ...] = ()
    policy: str | None = None
    license: str | None = None
    license_by: str | None = None
    hint: str | None = None

    @property
    def closed(self) -> tuple[str, str] | None:
        """(rule, detail) where the page may not become a row."""
        if self.opt_out:
            detail = ", ".join(self.opt_out)
            return "opt-out", f"{detail}; policy {self.policy}" if self.policy else detail
        return ("noindex", "the page asks not to be indexed") if self.noindex else None


def page_signals(
    headers: Iterable[tuple[str, str]],
    content: bytes = b"",
    *,
    html: bool = True,
    charset: str | None = None,
    uri: str = "",
) -> Signals:
    """The signals of one captured page: X-Robots-Tag, `tdm-reservation`, `<meta>`, `rel=license`.

    The HTML is parsed only where a look at its bytes says that there is something to find.
    Sources: Google's robots meta and X-Robots-Tag specification; W3C's TDM Reservation Protocol
    (2024); `noai` as DeviantArt defined it (2022).
    """
    found = _Found()
    for name, value in headers:
        lowered = name.strip().lower()
        if lowered == "x-robots-tag":
            found.robots(_of_agent(value), "X-Robots-Tag")
        elif lowered == "tdm-reservation":
            found.tdm(value, "header")
        elif lowered == "tdm-policy":
            found.policy = value.strip()[:_MAX_SAID]
    if html and content:
        _from_html(content, charset, uri, found)
    return found.done()


class _Found:
    def __init__(self) -> None:
        self.noindex = self.nofollow = False
        self.opt_out: list[str] = []
        self.other: list[str] = []
        self.policy: str | None = None
        self.declared: tuple[str, str] | None = None
        self.linked: list[str] = []

    def robots(self, words: Iterable[str], where: str) -> None:
        for word in words:
            if word in ("noindex", "none"):
                self.noindex = True
            if word in ("nofollow", "none"):
                self.nofollow = True
            if word == "noai":
                self.opt_out.append(f"noai ({where})")
            if word == "noimageai":
                self.other.append(f"noimageai ({where})")

    def tdm(self, value: str, where: str) -> None:
        if value.strip() == "1":
            self.opt_out.append(f"tdm-reservation ({where})")

    def license(self, said: str, by: str) -> None:
        if said and self.declared is None:
            self.declared = (said, by)

    def done(self) -> Signals:
        name, by, hint = None, None, None
        if self.declared is not None:
            said, by = self.declared
            name = spdx(said) or said[:_MAX_SAID]
        elif len(set(self.linked)) == 1:
            hint = self.linked[0]
        opt_out, other = tuple(dict.fromkeys(self.opt_out)), tuple(dict.fromkeys(self.other))
        return Signals(self.noindex, self.nofollow, opt_out, other, self.policy, name, by, hint)


def _of_agent(value: str) -> list[str]:
    """The directives of an X-Robots-Tag that are meant for everybody, for us, or for AI crawlers.

    `googlebot: noindex, nofollow` speaks to Google alone; `unavailable_after: 25 Jun` is no agent.
    """
    agent, words = "", []
    for part in value.lower().split(","):
        before, colon, after = part.partition(":")
        names_agent = colon and before.strip() not in _WITH_VALUE
        agent = before.strip() if names_agent else agent
        word = (after if names_agent else part).strip()
        if agent in _HEARD and word in _FLAGS:
            words.append(word)
    return words


def _from_html(content: bytes, charset: str | None, uri: str, found: _Found) -> None:
    lowered = content.lower()
    end = min((p for p in map(lowered.find, (b"</head", b"<body")) if p >= 0), default=_HEAD)
    head = lowered[: min(end, _HEAD)]
    speaks = any(word in head for word in _SPEAKS) or (
        b"robots" in head and _NONE.search(head) is not None
    )
    rights = any(word in head for word in _RIGHTS_SAID) and _META.search(head) is not None
    licensed = b"creativecommons.org/" in lowered or (
        b"licen" in lowered and _REL.search(lowered) is not None
    )
    if not (speaks or rights or licensed):
        return
    content = content if licensed else content[: len(head)]
    decoded = decode(content, charset)
    if isinstance(decoded, str):
        return
    for tag, attributes in tags_of(decoded.text, _TAGS):
        if tag == "meta":
            _meta(attributes, found)
        elif licensed:
            _license(attributes, uri, found)


def _meta(attributes: dict[str, str], found: _Found) -> None:
    name = attributes.get("name", attributes.get("property", "")).strip().lower()
    said = attributes.get("content", "").strip()
    if name and name in _HEARD:
        words = [w.strip() for w in said.lower().split(",")]
        found.robots([w for w in words if w in _FLAGS], f"meta {name}")
    elif name == "tdm-reservation":
        found.tdm(said, "meta")
    elif name == "tdm-policy":
        found.policy = said[:_MAX_SAID]
    elif name in _RIGHTS and spdx(said):
        found.license(said, f"meta {name}")


def _license(attributes: dict[str, str], uri: str, found: _Found) -> None:
    relations = attributes.get("rel", "").lower().split()
    target = attributes.get("href", "").strip()
    if not target:
        return
    if "license" in relations or "licence" in relations:
        absolute = _joined(uri, target)
        said = spdx(absolute) or spdx(attributes.get("title", "")) or absolute
        found.license(said, f"rel=license {absolute}")
    elif "creativecommons.org/" in target and (name := spdx(target)):
        found.linked.append(name)


def _joined(base: str, target: str) -> str:
    try:
        return urljoin(base, target)[:_MAX_SAID]
    except ValueError:
        return target[:_MAX_SAID]
