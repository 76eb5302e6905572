"""From bytes to text: which encoding a page really has, and whether it is text at all.

What a page declares is often wrong, more so for Chinese and Japanese pages: GB18030 declared as
UTF-8 or ISO-8859-1, Shift_JIS that is really EUC-JP. So the order is: byte order mark; UTF-8 where
the bytes are valid UTF-8 (other encodings hardly ever are, by accident); then the reading, among
what is declared and what a detector guesses, that looks most like text somebody would write.
"""

from __future__ import annotations

import codecs
import functools
import re
import unicodedata
from dataclasses import dataclass

from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16: its mark begins with UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_META = re.compile(
    rb"""<(?:meta|\?xml)[^>]{0,200}?(?:charset|encoding)\s*=\s*["']?\s*([\w:.-]+)""", re.I
)
_HEAD = 4096  # bytes in which a page has to declare its encoding (the standard says 1024)
_SAMPLE = 1 << 16
# Tried where nothing is declared or the declared one does not fit. Order breaks ties.
_USUAL = ("gb18030", "big5hkscs", "euc_jp", "cp932", "euc_kr", "cp1252")
# Browsers read these labels as their supersets (WHATWG Encoding Standard); so do we.
_SUPERSETS = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "iso8859-1": "cp1252",
    "ascii": "cp1252",
    "latin_1": "cp1252",
}
_BINARY = (
    *(b"%PDF-", b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"wOFF", b"OggS", b"ID3"),
    *(b"PK\x03\x04", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x7fELF", b"MZ\x90", b"\x00\x00\x01\x00"),
)
MAX_REPLACED = 0.3  # above this share of broken characters it is no text
MAX_CONTROL = 0.02  # control characters other than these
_HARMLESS = "\t\n\r\f\v\x1a\x1b"  # white space, the end mark of DOS, terminal colours
_CONTROL_BYTES = bytes(byte for byte in range(0x20) if chr(byte) not in _HARMLESS)
_CONTROLS = re.compile(f"[{re.escape(_CONTROL_BYTES.decode())}]")


@dataclass(frozen=True, slots=True)
class Decoded:
    """Text, the encoding it was read in, and the share of its characters that were broken."""

    text: str
    encoding: str
    replaced: float = 0.0


def decode(data: bytes, declared: str | None = None) -> Decoded | str:
    """The text of a page, or the reason (a short phrase) why it is none.

    `declared` is the charset of the HTTP header, if any. Broken bytes become U+FFFD.
    """
    if data.startswith(_BINARY):
        return "it begins like a binary file"
    decoded = _decode(data, declared)
    if decoded.replaced > MAX_REPLACED:
        return f"{decoded.replaced:.0%} of its characters are broken"
    sample = decoded.text[:_SAMPLE]
    controls = len(_CONTROLS.findall(sample))
    if controls > MAX_CONTROL * len(sample):
        return f"{controls / len(sample):.0%} of it are control characters"
    return decoded


def _decode(data: bytes, declared: str | None) -> Decoded:
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return _forced(data[len(mark) :], encoding)
    if (wide := _wide(data)) is not None:
        return wide
    try:
        return Decoded(data.decode("utf-8"), "utf-8")
    except UnicodeDecodeError as error:
        fault = error
    labels = [known_encoding(declared), _meta_encoding(data)]
    declared_codecs = [label for label in labels if label]
    # A UTF-8 page that was cut inside a character, or has one bad byte, is still UTF-8.
    mostly = _forced(data, "utf-8")
    if mostly.replaced < 0.01 and _plausible_utf8(data, fault):
        return mostly
    detected = known_encoding(detect_encoding(data[:_SAMPLE]))
    candidates = list(dict.fromkeys([*declared_codecs, detected, *_USUAL, "utf-8"]))
    sample = data[:_SAMPLE]
    costs: dict[str, float] = {}
    for position, encoding in enumerate(c for c in candidates if c):
        reading = sample.decode(encoding, "replace")
        trust = 0.1 * (encoding in declared_codecs) + 0.2 * (encoding == detected)
        costs[encoding] = _strangeness(reading) - trust + position * 1e-6
    return _forced(data, min(costs, key=costs.__getitem__))


def _forced(data: bytes, encoding: str) -> Decoded:
    """Decode whatever happens; `replaced` counts the characters that came out broken."""
    try:
        return Decoded(data.decode(encoding), encoding)
    except UnicodeDecodeError:
        text = data.decode(encoding, "replace")
        return Decoded(text, encoding, text.count("\ufffd") / max(1, len(text)))


def _plausible_utf8(data: bytes, fault: UnicodeDecodeError) -> bool:
    """Whether much of what is not ASCII is valid UTF-8 (of a few stray bytes, none is)."""
    wide = sum(byte >= 0x80 for byte in data[:_SAMPLE])
    text = data[:_SAMPLE].decode("utf-8", "ignore")
    valid = sum(len(c.encode()) for c in text if c >= "\x80")
    return wide > 0 and valid / wide > 0.8


def _wide(data: bytes) -> Decoded | None:
    """UTF-16 without a mark, or ISO-2022-JP: both look like ASCII with control characters."""
    sample = data[: min(len(data), 4096) & ~1]
    if b"\x1b$B" in sample and sample.isascii():
        return _forced(data, "iso2022_jp")
    controls = len(sample) - len(sample.translate(None, _CONTROL_BYTES))
    if len(sample) < 4 or controls < len(sample) * MAX_CONTROL:
        return None
    costs = {e: _strangeness(sample.decode(e, "replace")) for e in ("utf-16-le", "utf-16-be")}
    best = min(costs, key=costs.__getitem__)
    # Bytes of any binary file make "characters" as well, but not common ones.
    return _forced(data, best) if costs[best] < 0.15 else None


def known_encoding(label: str | None) -> str | None:
    """Python's codec for a declared label, or None for one that browsers would not accept.

    Only names of the WHATWG list pass: Python also has codecs (`zip`, `rot13`, `idna`) that a
    page has no business to name.
    """
    if not label:
        return None
    mapped = map_encoding_to_html5(label.strip(" \t\"'").lower(), fallback_utf8=False)
    if not mapped:
        return None
    try:
        name = codecs.lookup(mapped).name
    except LookupError:
        return None
    return _SUPERSETS.get(name, name)


def _meta_encoding(data: bytes) -> str | None:
    match = _META.search(data[:_HEAD])
    encoding = known_encoding(match[1].decode("ascii", "replace")) if match else None
    # The declaration itself was read as ASCII, so it cannot be right in calling itself UTF-16.
    return None if encoding is None or encoding.startswith("utf-16") else encoding


@functools.cache
def _common_han() -> frozenset[str]:
    """The frequent characters, as those who made the national sets chose them: level 1 of each.

    GB 2312 rows 16–55, Big5 A440–C67E, JIS X 0208 rows 16–47. Text read in the wrong encoding
    falls outside about half the time.
    """
    found: set[str] = set()
    for codec, first, last, trails in (
        ("gb2312", 0xB0, 0xD7, range(0xA1, 0xFF)),
        ("big5", 0xA4, 0xC6, [*range(0x40, 0x7F), *range(0xA1, 0xFF)]),
        ("euc_jp", 0xB0, 0xCF, range(0xA1, 0xFF)),
    ):
        for lead in range(first, last + 1):
            found.update(bytes((lead, trail)).decode(codec, "ignore") for trail in trails)
    return frozenset(found)


def _strangeness(text: str) -> float:
    """How unlike written text this is, per character that is not ASCII: 0 is fine, 1 is garbage."""
    common = _common_han()
    points, count, hangul = 0.0, 0, 0
    padded = f" {text} "
    for position, c in enumerate(padded):
        if c >= "\x80":
            alone = padded[position - 1].isascii() and padded[position + 1].isascii()
            inside = alone and padded[position - 1].isalpha() and padded[position + 1].isalpha()
            points += _cost(c, common, inside)
            count += 1
            hangul += "\uac00" <= c <= "\ud7a3"
    # Korean reads as frequent Chinese characters in GB 18030; Chinese never reads as all Hangul.
    bonus = 0.05 if hangul > 0.9 * count > 0 else 0.0
    return points / max(1, count) - bonus


def _cost(c: str, common: frozenset[str], inside_latin: bool) -> float:  # noqa: PLR0911
    if c == "\ufffd":
        return 3.0
    if "\u4e00" <= c <= "\u9fff":
        # One Han character within a Latin word is an accented letter, read wrongly.
        return 1.0 if inside_latin else 0.0 if c in common else 0.7
    if "\u3040" <= c <= "\u30ff" or "\uac00" <= c <= "\ud7a3":
        return 0.0
    if "\uff61" <= c <= "\uff9f":  # half-width katakana: what Shift_JIS makes of everything
        return 0.6
    kind = unicodedata.category(c)
    if kind in ("Co", "Cn", "Cs", "Cc"):
        return 2.0
    if c <= "\u024f":  # accented Latin: a word has a few, a misread page nothing else
        return 0.05 if inside_latin else 0.3
    return 0.4 if kind[0] == "L" and c > "\u3100" else 0.1
