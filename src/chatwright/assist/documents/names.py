"""File names as somebody typed them, made safe to keep and to show."""

from __future__ import annotations

import re
import unicodedata

_LONGEST = 200
# Controls, and what turns the direction of writing: `gpj.exe` must not read as `exe.jpg`.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


def clean_name(name: str, *, default: str = "document") -> str:
    r"""The last part of a path, composed (NFC), without what cannot be seen, at most 200 letters.

    >>> clean_name("../../etc/p\u202Eassed.pdf"), clean_name("C:\\papers\\notes.md")
    ('passed.pdf', 'notes.md')
    """
    last = re.split(r"[/\\]", name)[-1]
    plain = " ".join(_UNSEEN.sub("", unicodedata.normalize("NFC", last)).split()).strip(". ")
    if len(plain) > _LONGEST:
        stem, dot, ending = plain.rpartition(".")
        keep = dot + ending if stem and len(ending) <= 10 else ""
        plain = plain[: _LONGEST - len(keep)] + keep
    return plain or default
