"""E-mail, IP and MAC addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from chatwright.curate.privacy.kinds import Found
from chatwright.curate.privacy.view import View

# Latin with accents, Greek, Cyrillic: letters of addresses that do not stand next to an address as
# Chinese and Japanese do, which put no space between.
_LETTERS = "A-Za-z\u00c0-\u024f\u0370-\u03ff\u0400-\u04ff"
_DOMAIN_HEAD = re.compile(f"[{_LETTERS}0-9.-]{{1,253}}")
_LABEL = re.compile(f"[{_LETTERS}0-9](?:[{_LETTERS}0-9-]{{0,61}}[{_LETTERS}0-9])?")
_TOP = re.compile(f"[{_LETTERS}]{{2,24}}|xn--[a-z0-9-]{{1,59}}", re.I)
_AT_IN_WORDS = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9._%+-]{0,63}) ?[\[({] ?(?:at|@) ?[\])}] ?"
    r"([A-Za-z0-9-]{1,63}(?:(?:\.| ?[\[({] ?(?:dot|\.) ?[\])}] ?)[A-Za-z0-9-]{1,63}){1,4})",
    re.I,
)
_AT_ANCHOR = re.compile(r"[\[({] ?(?:at|@) ?[\])}]", re.I)
_DOT_IN_WORDS = re.compile(r" ?[\[({] ?(?:dot|\.) ?[\])}] ?", re.I)
# `logo@2x.png`, `left-pad@1.3.0.tgz`: a file's ending, not a domain.
_FILE_ENDINGS_WORDS = (
    "png jpg jpeg gif webp svg bmp ico css js mjs ts tsx jsx json html htm tgz gz zip tar whl "
    "md txt xml yaml yml toml map woff ttf pdf mp3 mp4"
)
_FILE_ENDINGS = frozenset(_FILE_ENDINGS_WORDS.split())
# `ssh://git@host`, `https://user:password@host`: `api_key` has the password.
_IN_URL = re.compile(r"://(?:[A-Za-z0-9._%+~-]*:)?\Z")
_USUAL_TOPS_WORDS = (
    "com net org edu gov io cn de uk fr jp us co info biz me hk tw eu ru nl se ch at it es"
)
_USUAL_TOPS = frozenset(_USUAL_TOPS_WORDS.split())
_LONGEST_LOCAL = 64


def find_emails(view: View) -> Iterator[Found]:
    """E-mail addresses (RFC 5321's dot-atoms, 64 characters before the @), also `name [at] host`.

    Not `git@host:path`, not `icon@2x.png`, not the password in a URL (`api_key` has that).
    """
    text = view.text
    at = text.find("@")
    floor = 0  # an address does not reach into the one before it
    while at >= 0:
        found = _email_around(text, at, floor)
        if found is not None:
            yield found
            floor = found.end
        at = text.find("@", max(at + 1, floor))
    floor = 0
    for anchor in _AT_ANCHOR.finditer(text):
        # The name before the bracket is sought in its last 65 characters.
        for m in _AT_IN_WORDS.finditer(text, max(floor, anchor.start() - 65), anchor.end() + 330):
            host = _DOT_IN_WORDS.sub(".", m[2])
            if "." in host and _TOP.fullmatch(host.rpartition(".")[2]):
                yield Found(*m.span(), "email", 0.8, f"{m[1]}@{host}".lower())
            floor = m.end()
            break


def _email_around(text: str, at: int, floor: int) -> Found | None:
    """The address whose @ stands at `at`; it begins at `floor` or later."""
    start = at
    least = max(floor, at - _LONGEST_LOCAL)
    while start > least and _is_local(text[start - 1]):
        start -= 1
    while start < at and text[start] in ".%+'~-":
        start += 1
    local = text[start:at]
    labels = _domain(text, at + 1)
    if not local or local.endswith(".") or ".." in local or not labels:
        return None
    if _IN_URL.search(text, max(0, start - 80), start):
        return None
    domain = ".".join(labels)
    end = at + 1 + len(domain)
    if local.lower() == "git" and text[end : end + 1] in (":", "/"):
        return None
    if start and text[start - 1] == "@":  # @user@server: a handle of the fediverse
        return Found(start - 1, end, "social", 0.9, f"@{local}@{domain}".lower())
    return Found(start, end, "email", 0.99, f"{local}@{domain}".lower())


def _is_local(c: str) -> bool:
    return c in _ATOM or "\u00c0" <= c <= "\u024f" or "\u0370" <= c <= "\u04ff"


_ATOM = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._%+'~-")


def _domain(text: str, at: int) -> list[str]:
    """The labels of the domain that begins at `at`; none where there is no domain."""
    head = _DOMAIN_HEAD.match(text, at)
    labels: list[str] = []
    for label in head[0].split(".") if head else ():
        if _LABEL.fullmatch(label) is None:
            # `a@b.com-` and `a@b.com.`: the sentence's marks. Letters before a hyphen still count.
            labels += [whole for whole in [label.rstrip("-")] if _LABEL.fullmatch(whole)]
            break
        labels.append(label)
    # "Write to a@b.com.Please do": the next sentence's word is no domain.
    for i in range(1, len(labels) - 1):
        if labels[i] in _USUAL_TOPS and labels[i + 1][:1].isupper() and labels[i + 1][1:].islower():
            labels = labels[: i + 1]
            break
    while len(labels) > 1 and _TOP.fullmatch(labels[-1]) is None:
        labels.pop()  # `a@b.com.2`
    return [] if len(labels) < 2 or labels[-1].lower() in _FILE_ENDINGS else labels


_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"(?<![0-9A-Za-z._])(?:{_OCTET}\.){{3}}{_OCTET}(?![0-9A-Za-z_]|\.[0-9A-Za-z])")
_VERSION_BEFORE = re.compile(
    r"(?:(?<![a-z])v|version|ver\.?|release|build|firmware|driver|section|chapter|clause|table|figure|oid"
    r"|upgraded? (?:to|from)|update|sdk|版本号?|版|升级到?|章节?|节|固件"
    r"|[a-z]/)[ :\uff1a=]{0,2}(?:to |from |v)?\Z|\u00a7 ?\Z|[a-z0-9]-\Z"
)
_SECTION_AFTER = re.compile(" ?[章节節版]")
_IP_BEFORE = re.compile(
    r"(?<![a-z])ip(?![a-z])|ipv4|address|server|host|client|gateway|dns|ping|ssh|://|地址|服务器|网关"
)


def find_ipv4(view: View) -> Iterator[Found]:
    """IPv4 addresses, but for those that stand for no machine (0.0.0.0/8, loopback, 240.0.0.0/4…).

    `1.2.3.4` with four single digits is a section or a version unless words say address.
    """
    for start, end in view.numbers:
        if end - start < 7 or view.text.count(".", start, end) < 3:
            continue
        for m in _IPV4.finditer(view.text, start, min(len(view.text), end + 2)):
            if m.end() > end:
                continue
            number = int(IPv4Address(m[0]))
            if number >> 24 in (0, 127) or number >> 28 >= 0xE:
                continue
            before = view.before(m.start(), 24)
            certain = _IP_BEFORE.search(before) is not None
            if _is_version(view, m, before) or (before.endswith("@") and not certain):
                continue  # left-pad@1.3.0.2, but ssh root@10.0.0.5
            if len(m[0]) > 7 or certain:
                yield Found(*m.span(), "ip", 0.95 if certain else 0.85, m[0])


def _is_version(view: View, m: re.Match[str], before: str) -> bool:
    if _SECTION_AFTER.match(view.text, m.end()):
        return True
    return _VERSION_BEFORE.search(before) is not None and "://" not in before


_V6_ANCHOR = re.compile(r":[0-9A-Fa-f]{0,4}:")
_V6_CHARACTERS = frozenset("0123456789abcdefABCDEF:.")


def find_ipv6(view: View) -> Iterator[Found]:
    """IPv6 addresses in every spelling of RFC 4291; loopback and `::` stand for no machine."""
    text, floor = view.text, 0
    anchor = _V6_ANCHOR.search(text)
    while anchor is not None:
        start, end = anchor.span()
        # 45 characters is the longest spelling; a longer run is something else.
        while start > floor and start > anchor.start() - 46 and text[start - 1] in _V6_CHARACTERS:
            start -= 1
        while end < len(text) and end < anchor.start() + 46 and text[end] in _V6_CHARACTERS:
            end += 1
        found = _ipv6(text, start, end)
        if found is not None:
            yield found
        floor = end
        anchor = _V6_ANCHOR.search(text, end)


def _ipv6(text: str, start: int, end: int) -> Found | None:
    """The address in a run of hex digits, colons and dots, without the sentence's marks."""
    while end > start and text[end - 1] == ".":
        end -= 1
    if text.endswith(":", start, end) and not text.endswith("::", start, end):
        end -= 1
    if text.startswith(":", start, end) and not text.startswith("::", start, end):
        start += 1
    run = text[start:end]
    if not 4 <= len(run) <= 45 or not _looks_v6(run):
        return None
    if _part_of_word(text[max(0, start - 1) : start]) or _part_of_word(text[end : end + 1]):
        return None
    try:
        address = IPv6Address(run)
    except (AddressValueError, ValueError):
        return None
    if address.is_loopback or address.is_unspecified:
        return None
    return Found(start, end, "ip", 0.95, str(address))


def _looks_v6(run: str) -> bool:
    """Not `a[1::2]`, `10::20` and `ab::cd`, which are code: three groups, or one that is long."""
    groups = [group for group in run.split(":") if group]
    long = any(len(g) == 4 or (len(g) == 3 and not g.isdecimal()) for g in groups)
    return (len(groups) >= 3 or long) and any(c.isdecimal() for c in run)


def _part_of_word(c: str) -> bool:
    return bool(c) and (c == "_" or (c.isascii() and c.isalnum()))


_MAC_ANCHOR = re.compile(r"[:-][0-9A-Fa-f]{2}[:-][0-9A-Fa-f]{2}[:-]")
_MAC = re.compile(
    r"(?<![0-9A-Za-z_])(?<![0-9A-Za-z][:-])[0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}"
    r"(?![0-9A-Za-z_]|[:-][0-9A-Fa-f])"
)
_CISCO_ANCHOR = re.compile(r"\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}")
_CISCO = re.compile(
    r"(?<![0-9A-Za-z_.])[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}(?![0-9A-Za-z_]"
    r"|\.[0-9A-Za-z])"
)


def find_macs(view: View) -> Iterator[Found]:
    """MAC addresses (EUI-48) with colons, hyphens or Cisco's dots; not all zeros, not broadcast."""
    text = view.text
    anchor = _MAC_ANCHOR.search(text)
    while anchor is not None:
        m = _MAC.match(text, max(0, anchor.start() - 2))
        if m is not None:
            found = _mac(m, 0.95)
            if found is not None:
                yield found
        anchor = _MAC_ANCHOR.search(text, m.end() if m else anchor.start() + 1)
    for anchor in _CISCO_ANCHOR.finditer(text):
        m = _CISCO.match(text, max(0, anchor.start() - 4))
        # Without a hex letter it is a number with dots.
        if m is not None and re.search("[A-Fa-f]", m[0]):
            found = _mac(m, 0.9)
            if found is not None:
                yield found


def _mac(m: re.Match[str], confidence: float) -> Found | None:
    value = re.sub("[^0-9a-f]", "", m[0].lower())
    if value in ("0" * 12, "f" * 12):
        return None
    return Found(*m.span(), "mac", confidence, value)
