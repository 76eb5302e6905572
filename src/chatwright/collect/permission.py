"""What the people behind a row, and its licence, allow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chatwright.collect.found import Lost, clean_text
from chatwright.collect.licenses import normalised

# Columns by which somebody asks not to be used for training, as exports and data sets name them.
OPT_OUT = {
    *("opt_out", "optout", "opted_out", "opt_out_training", "training_opt_out", "do_not_train"),
    *("no_train", "notrain", "exclude_from_training", "is_do_not_remember"),
}
_YES = ("1", "true", "yes", "y", "\u662f", "\u540c\u610f")
_NO = ("0", "false", "no", "n", "\u5426", "\u4e0d\u540c\u610f")


def truth(value: Any) -> bool | None:
    """True, False, or None where a value says nothing clear."""
    if isinstance(value, bool):
        return value
    if isinstance(value, (int, str)):
        said = str(value).strip().lower()
        return True if said in _YES else False if said in _NO else None
    return None


def consent_of(row: Mapping[str, Any]) -> bool | None:
    """What the row's `consent` column says: True, False, or None where it says nothing clear."""
    return truth(row.get("consent"))


def refused(row: Mapping[str, Any], consent: bool | None, required: bool) -> Lost | None:
    """The ledger's words for a row that its people do not let pass, or None.

    `opt-out`: a column (also one of `meta` or `metadata`) asks not to be used. `consent`: it was
    refused, stated unclearly, or is `required` and not given.
    """
    for place in (row, row.get("meta"), row.get("metadata")):
        for name, value in place.items() if isinstance(place, Mapping) else ():
            plain = str(name).strip().lower().replace("-", "_").replace(" ", "_")
            if plain in OPT_OUT and truth(value):
                return Lost("opt-out", detail=f"the column {str(name)[:60]!r} says so")
    if consent is False:
        return Lost("consent", 0.0, "min 1", "refused")
    if consent is None and row.get("consent") not in (None, ""):
        return Lost("consent", None, "min 1", f"unclear: {str(row['consent'])[:60]!r}")
    if required and consent is not True:
        return Lost("consent", None, "min 1", "required, and not stated")
    return None


def license_of(row: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """(SPDX name, as stated where that differs) of a row's own `license` column."""
    value = row.get("license", row.get("licence"))
    stated = clean_text(value)[:200].strip() if isinstance(value, str) else ""
    name = normalised(stated)
    return name, stated if stated and stated != name else None
