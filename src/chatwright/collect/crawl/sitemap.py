"""Addresses in sitemaps: XML, gzipped XML, indexes of sitemaps, plain lists."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

from chatwright.collect.crawl.fetch import gunzip

MAX_BYTES = 50_000_000  # unpacked (sitemaps.org: 50 MB and 50,000 addresses)
MAX_ADDRESSES = 50_000


@dataclass(slots=True)
class Sitemap:
    """`pages` and further `sitemaps`; `fault` says why some or all of it could not be read."""

    pages: list[str] = field(default_factory=list)
    sitemaps: list[str] = field(default_factory=list)
    fault: str | None = None


def read_sitemap(body: bytes) -> Sitemap:
    """The addresses of a sitemap. A damaged or swelling one gives what it gave until then.

    Entities are not expanded and nothing is loaded from elsewhere.
    """
    data = gunzip(body, MAX_BYTES)
    if data is None:
        return Sitemap(fault=f"unpacked, it has more than {MAX_BYTES} bytes")
    if len(data) > MAX_BYTES:
        return Sitemap(fault=f"it has more than {MAX_BYTES} bytes")
    if not data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return _plain(data)
    return _xml(data)


def _plain(data: bytes) -> Sitemap:
    lines = (line.strip() for line in data.decode("utf-8", "replace").splitlines())
    found = [line for line in lines if line.startswith(("http://", "https://"))]
    return _bounded(Sitemap(found, fault=None if found else "neither XML nor a list of addresses"))


def _xml(data: bytes) -> Sitemap:
    from lxml import etree

    found = Sitemap()
    events = etree.iterparse(
        io.BytesIO(data), events=("end",), resolve_entities=False, no_network=True,
        load_dtd=False, huge_tree=False, recover=False,
    )  # fmt: skip
    try:
        for _, element in events:
            name = etree.QName(element).localname if isinstance(element.tag, str) else ""
            if name == "loc" and element.text:
                parent = element.getparent()
                kind = "" if parent is None else etree.QName(parent).localname
                into = found.sitemaps if kind == "sitemap" else found.pages
                if kind in ("url", "sitemap"):
                    into.append(element.text.strip())
            elif name in ("url", "sitemap"):
                element.clear()
                while element.getprevious() is not None:
                    del element.getparent()[0]
            if len(found.pages) + len(found.sitemaps) > MAX_ADDRESSES:
                break
    except etree.XMLSyntaxError as error:
        found.fault = str(error)[:200]
    return _bounded(found)


def _bounded(found: Sitemap) -> Sitemap:
    if len(found.pages) + len(found.sitemaps) > MAX_ADDRESSES:
        found.pages = found.pages[:MAX_ADDRESSES]
        found.sitemaps = found.sitemaps[: MAX_ADDRESSES - len(found.pages)]
        found.fault = f"more than {MAX_ADDRESSES} addresses: the rest is left out"
    return found
