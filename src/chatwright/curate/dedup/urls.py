"""One spelling of a web address, so that two rows of one page can be told (RFC 3986, section 6)."""

from __future__ import annotations

import hashlib
import posixpath
import re
from urllib.parse import SplitResult, quote, urlsplit

_PORTS = (None, 80, 443)  # http and https are one, so both of their ports are the default
_LONGEST = 8192  # characters; a longer address is compared as it is
_PERCENT = re.compile("%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_SESSION_IN_PATH = re.compile(r";jsessionid=[^/;]*", re.IGNORECASE)
# What says from where a reader came or who he is, and not which page it is: campaign and click
# identifiers of analytics and advertising services, and session identifiers.
_TRACKING = re.compile(
    r"""utm_.+|hm(?:sr|pl|cu|kw|ci)|spm(?:_id_from)?|scm|vd_source|bd_vid|qz_gdt
    |(?:g|fb|dc|msclk|tw|tt|yc|epi)(?:clid|lid|id)|gclsrc|gbraid|wbraid|_g[al]|_hsenc|_hsmi|hsctatracking
    |mc_(?:cid|eid|tc)|igsh(?:id)?|mkt_tok|oly_(?:anon|enc)_id|vero_id|wickedid|ref_src|ref_url
    |s_cid|ns_(?:mchannel|source|campaign|linkname|fee)|at_(?:medium|campaign|custom\d|link_.+)
    |cmpid|icid|ncid|trk|trackingid|share_token|share_source|phpsessid|jsessionid|aspsessionid.*|cfid|cftoken
    """,
    re.VERBOSE | re.IGNORECASE,
)


def normalise_url(uri: str) -> str | None:
    """The address in one spelling; None for what is no web address.

    `http` and `https` are one; the host is in small letters and punycode, without its default
    port; user names, fragments, tracking and session parameters, dot segments and the trailing
    slash are gone; what is left of the query is sorted by name, and percent-encoding is uniform.
    """
    uri = uri.strip()
    if not uri[:8].lower().startswith(("http://", "https://")):
        return None
    if len(uri) > _LONGEST:
        return uri
    try:
        url = urlsplit(uri)
        host = _host(url)
    except ValueError:  # a port that is no number, a broken IPv6 address
        return None
    if not host:
        return None
    path = _SESSION_IN_PATH.sub("", _percent(url.path))
    if path:
        path = posixpath.normpath("/" + path.lstrip("/")).rstrip("/")
    given = _percent(url.query).split("&")
    pairs = [pair for pair in given if pair and not _is_tracking(pair)]
    query = "&".join(sorted(pairs, key=lambda pair: pair.split("=", 1)[0]))
    return f"https://{host}{path}" + (f"?{query}" if query else "")


def url_key(uri: str) -> bytes | None:
    """16 bytes, equal for addresses of one page; None for what is no web address."""
    url = normalise_url(uri)
    if url is None:
        return None
    return hashlib.blake2b(url.encode("utf-8", "replace"), digest_size=16).digest()


def _host(url: SplitResult) -> str:
    host = (url.hostname or "").rstrip(".")
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:  # no name that could be looked up: compared as it is
            host = host.lower()
    if ":" in host:
        host = f"[{host}]"
    port = url.port
    return host if port in _PORTS else f"{host}:{port}"


def _is_tracking(pair: str) -> bool:
    return _TRACKING.fullmatch(pair.split("=", 1)[0]) is not None


def _percent(part: str) -> str:
    """Unreserved characters plain, everything else in %XX with capital letters."""

    def one(match: re.Match[str]) -> str:
        char = chr(int(match.group(1), 16))
        return char if char in _UNRESERVED else match.group().upper()

    return quote(_PERCENT.sub(one, part), safe="/%:@!$&'()*+,;=?-._~[]", errors="surrogatepass")
