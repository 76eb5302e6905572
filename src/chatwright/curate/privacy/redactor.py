"""Find personal data in a text and put something else in its place."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain

from chatwright.curate.privacy.kinds import (
    LEAST_CONFIDENCE,
    MODES,
    NAME_TYPES,
    PATTERN_TYPES,
    PII_TYPES,
    Found,
    Mode,
    PiiType,
    Redacted,
    Span,
    without_overlaps,
)
from chatwright.curate.privacy.pseudonyms import Pseudonyms
from chatwright.curate.privacy.recognisers import Recogniser, installed_recognisers
from chatwright.curate.privacy.view import View
from chatwright.errors import UsageError

_HAN = re.compile("[\u4e00-\u9fff]")


@dataclass(frozen=True, slots=True)
class Redactor:
    """Takes personal data out of texts; picklable, without state, equal in every process.

    `types`: which ones (default: all patterned ones, and names where there are recognisers).
    `least`: per type, the confidence from which on (default 0.5). `modes`: per type, another mode
    than `mode`. `key`: what pseudonyms are derived with (HMAC-SHA256); it never leaves the process.
    """

    mode: Mode = "tag"
    types: frozenset[PiiType] = frozenset(PII_TYPES)
    modes: Mapping[PiiType, Mode] = field(default_factory=dict)
    least: Mapping[PiiType, float] = field(default_factory=dict)
    recognisers: tuple[Recogniser, ...] = ()
    key: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name in self.types | set(self.modes) | set(self.least):
            if name not in PII_TYPES:
                hint = f"the types are {', '.join(PII_TYPES)}"
                raise UsageError(f"there is no type of personal data {name!r}", hint=hint)
        for mode in (self.mode, *self.modes.values()):
            if mode not in MODES:
                raise UsageError(
                    f"there is no mode {mode!r}", hint=f"the modes are {', '.join(MODES)}"
                )
        if self.key is None and "pseudonym" in (self.mode, *self.modes.values()):
            hint = (
                "give key=…: some 32 random bytes that you keep; the same key, the same pseudonyms"
            )
            raise UsageError("pseudonyms need a key", hint=hint)

    def find(self, text: str, language: str | None = None) -> list[Found]:
        """What personal data is in a text, by position and without overlaps."""
        if not text:
            return []
        found = [f for f in find_patterns(text) if self._wants(f)]
        if self.recognisers and not self.types.isdisjoint(NAME_TYPES):
            if language is None:
                language = "zh" if _HAN.search(text) else "en"
            language = language.split("-")[0]
            for recogniser in self.recognisers:
                if language in recogniser.languages:
                    found += [f for f in recogniser.find(text, language) if self._wants(f)]
        return without_overlaps(found)

    def redact(self, text: str, language: str | None = None) -> Redacted:
        """The text with every finding replaced as its type's mode says."""
        found = self.find(text, language)
        if not found:
            return Redacted(text, ())
        pseudonyms = Pseudonyms(self.key) if self.key is not None else None
        pieces: list[str] = []
        spans: list[Span] = []
        at = 0
        dropped = False
        for item in found:
            mode = self.modes.get(item.type, self.mode)
            dropped = dropped or mode == "drop"
            replacement = _replacement(mode, item, text, pseudonyms)
            pieces += text[at : item.start], replacement
            spans.append(Span(item.start, item.end, item.type, replacement, item.confidence))
            at = item.end
        pieces.append(text[at:])
        return Redacted("" if dropped else "".join(pieces), tuple(spans), dropped)

    def _wants(self, found: Found) -> bool:
        return found.type in self.types and found.confidence >= self.least.get(
            found.type, LEAST_CONFIDENCE
        )


def find_patterns(text: str) -> list[Found]:
    """Every patterned finding, whatever its confidence, overlaps among them; linear in the text."""
    from chatwright.curate.privacy import (
        addresses,
        addresses_zh,
        credentials,
        handles,
        identity,
        network,
        numbers,
        phones,
    )

    view = View(text)
    return list(
        chain(
            credentials.find_private_keys(view),
            credentials.find_api_keys(view),
            network.find_emails(view),
            network.find_ipv4(view),
            network.find_ipv6(view),
            network.find_macs(view),
            numbers.find_id_cards(view),
            numbers.find_bank_cards(view),
            numbers.find_ibans(view),
            numbers.find_us_ssns(view),
            phones.find_phones(view),
            identity.find_passports(view),
            identity.find_car_plates(view),
            handles.find_social(view),
            addresses.find_addresses(view),
            addresses_zh.find_addresses_zh(view),
        )
    )


def _replacement(mode: Mode, found: Found, text: str, pseudonyms: Pseudonyms | None) -> str:
    value = text[found.start : found.end]
    if mode == "mask":
        return re.sub(r"\S", "*", value)
    if mode == "pseudonym" and pseudonyms is not None:
        return pseudonyms.of(found.type, found.value, value)
    return "" if mode == "drop" else f"[{found.type.upper()}]"


def redact(
    text: str,
    language: str | None = None,
    *,
    mode: Mode = "tag",
    types: Collection[PiiType] | None = None,
    modes: Mapping[PiiType, Mode] | None = None,
    least: Mapping[PiiType, float] | None = None,
    names: bool = False,
    recognisers: Sequence[Recogniser] = (),
    key: bytes | str | None = None,
) -> Redacted:
    """A text without its personal data, and where it was: `.text`, `.spans`.

    Each span has `start` and `end` (character offsets in the input), `type`, `replacement` and
    `confidence`. `mode`: `tag` (`[EMAIL]`), `mask` (stars, so that offsets stay), `pseudonym` (an
    invented value of the same form; `key` decides which, and the same value always has the same) or
    `drop` (an empty text with `.dropped`, for rows that must go). `language` (`en`, `zh`, …; None:
    told by the script) chooses the recogniser of names. `types`, `modes` and `least` (confidence)
    are per type; see `Redactor`. `names` asks the recognisers that are installed for names, places
    and organisations; `recognisers` gives others. Raises `UsageError` for an unknown type or mode,
    for pseudonyms without a key, and for names where nothing is installed for them.
    """
    chosen: tuple[Recogniser, ...] = tuple(recognisers)
    if names:
        chosen += installed_recognisers()
    if types is None:
        types = PII_TYPES if chosen else PATTERN_TYPES
    secret = key.encode() if isinstance(key, str) else key
    redactor = _redactor(mode, frozenset(types), chosen, secret)
    if modes or least:
        redactor = Redactor(
            mode, frozenset(types), dict(modes or {}), dict(least or {}), chosen, secret
        )
    return redactor.redact(text, language)


@lru_cache(maxsize=16)
def _redactor(
    mode: Mode, types: frozenset[PiiType], recognisers: tuple[Recogniser, ...], key: bytes | None
) -> Redactor:
    return Redactor(mode, types, {}, {}, recognisers, key)
