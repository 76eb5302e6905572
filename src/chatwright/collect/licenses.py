"""Names of licences: from what people and pages write to SPDX identifiers.

Source of the names: the SPDX License List (https://spdx.org/licenses/), as `packaging` ships it.
"""

from __future__ import annotations

import functools
import re

_CC = re.compile(
    r"creativecommons\.org/(?:licenses/(?P<kind>by(?:-(?:nc|nd|sa))*)/(?P<version>\d\.\d)"
    r"(?:/(?P<port>[a-z]{2,3}))?|publicdomain/(?P<free>zero|mark)/1\.0)",
    re.I,
)
_CC_NAME = re.compile(
    r"cc[ _-]?(?P<kind>by(?:[ _-](?:nc|nd|sa))*)[ _-](?:v(?:ersion)? ?)?(?P<version>\d\.\d)"
    r"(?:[ _-](?:international|unported|deed))?",
    re.I,
)
_PORTS = {"de", "at", "nl", "us", "jp", "fr", "igo", "au"}  # the SPDX list has some of the ports
# What says that nothing is known: such a value is no licence.
_UNKNOWN = {
    *("", "-", "?", "n/a", "na", "none", "null", "nil", "other", "unknown", "unlicensed", "tbd"),
    *("noassertion", "not specified", "unspecified", "see source", "other-license", "various"),
    *("\u672a\u77e5", "\u65e0", "\u4e0d\u8be6"),  # unknown, none, not clear
}
# Only names that mean one licence: `bsd` and `cc-by` stay as they are written.
_NAMES = {
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache-2": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "apache software license 2.0": "Apache-2.0",
    "mit license": "MIT",
    "the mit license": "MIT",
    "expat": "MIT",
    "bsd 2-clause": "BSD-2-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "new bsd": "BSD-3-Clause",
    "modified bsd": "BSD-3-Clause",
    "simplified bsd": "BSD-2-Clause",
    "gplv2": "GPL-2.0-only",
    "gplv3": "GPL-3.0-only",
    "gpl-2.0": "GPL-2.0-only",
    "gpl-3.0": "GPL-3.0-only",
    "gpl-2.0+": "GPL-2.0-or-later",
    "gpl-3.0+": "GPL-3.0-or-later",
    "lgpl-2.1": "LGPL-2.1-only",
    "lgpl-3.0": "LGPL-3.0-only",
    "agpl-3.0": "AGPL-3.0-only",
    "mpl 2.0": "MPL-2.0",
    "mozilla public license 2.0": "MPL-2.0",
    "cc0": "CC0-1.0",
    "cc0 1.0": "CC0-1.0",
    "cc-zero": "CC0-1.0",
    "cc zero": "CC0-1.0",
    "the unlicense": "Unlicense",
    "odc-by": "ODC-By-1.0",
    "odbl": "ODbL-1.0",
    "pddl": "PDDL-1.0",
    "psf": "PSF-2.0",
    "python software foundation license": "PSF-2.0",
    "isc license": "ISC",
    "wtfpl": "WTFPL",
}
_URLS = (
    ("apache.org/licenses/license-2.0", "Apache-2.0"),
    ("opensource.org/licenses/apache-2.0", "Apache-2.0"),
    ("opensource.org/licenses/mit", "MIT"),
    ("opensource.org/license/mit", "MIT"),
    ("opensource.org/licenses/bsd-3-clause", "BSD-3-Clause"),
    ("opensource.org/licenses/bsd-2-clause", "BSD-2-Clause"),
    ("gnu.org/licenses/gpl-3.0", "GPL-3.0-only"),
    ("gnu.org/licenses/agpl-3.0", "AGPL-3.0-only"),
    ("gnu.org/licenses/lgpl-3.0", "LGPL-3.0-only"),
    ("gnu.org/licenses/old-licenses/gpl-2.0", "GPL-2.0-only"),
    ("gnu.org/licenses/fdl-1.3", "GFDL-1.3-only"),
    ("gnu.org/copyleft/fdl", "GFDL-1.3-or-later"),
    ("mozilla.org/mpl/2.0", "MPL-2.0"),
    ("unlicense.org", "Unlicense"),
)
_MAX_NAME = 300


def known_license(said: str | None) -> str | None:
    """A licence as stated, or None where the words say that it is not known."""
    if said is None or said.strip().lower() in _UNKNOWN:
        return None
    return said.strip()


def normalised(said: str | None) -> str | None:
    """The SPDX name of a stated licence; one that SPDX does not know stays as it is written.

    None where the words say that nothing is known (`unknown`, `NOASSERTION`).
    """
    stated = known_license(said)
    return None if stated is None else (spdx(stated) or stated)


@functools.lru_cache(maxsize=4096)
def spdx(said: str) -> str | None:
    """The SPDX expression that a name, a label or an address stands for, or None."""
    text = said.strip()
    if not text or len(text) > _MAX_NAME:
        return None
    lowered = text.lower()
    if (match := _CC.search(lowered)) is not None:
        return _creative_commons(match)
    if "://" in lowered or lowered.startswith(("www.", "//")):
        bare = lowered.partition("://")[2].removeprefix("www.")
        return next((name for start, name in _URLS if bare.startswith(start)), None)
    plain = re.sub(r"[\s_]+", " ", lowered.replace(",", " ")).strip(" .")
    for name in (plain, plain.removesuffix(" license"), plain.replace(" ", "-")):
        if name in _NAMES:
            return _NAMES[name]
    if (match := _CC_NAME.fullmatch(plain)) is not None:
        kind = re.sub(r"[ _]", "-", match["kind"])
        return _listed(f"CC-{kind}-{match['version']}")
    return _listed(text)


def _creative_commons(match: re.Match[str]) -> str | None:
    if match["free"]:
        return "CC0-1.0" if match["free"] == "zero" else "LicenseRef-PublicDomainMark-1.0"
    name = f"CC-{match['kind']}-{match['version']}"
    port = match["port"]
    if port in _PORTS and (ported := _listed(f"{name}-{port}")):
        return ported
    return _listed(name)


def _listed(name: str) -> str | None:
    """The name as the SPDX list spells it (an expression with AND, OR and WITH too)."""
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    try:
        return str(canonicalize_license_expression(name))
    except InvalidLicenseExpression:
        return None
