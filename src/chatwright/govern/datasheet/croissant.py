"""A dataset's description in Croissant (MLCommons, versions 1.0 and 1.1): JSON-LD for machines.

Only what is known is written. Nobody's name, no address and no date of publication is made up:
where the specification wants `url`, `creator` and `datePublished`, they are there when `answers`
gives them; `citeAs` is left empty. The RAI extension (1.0) holds what was counted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from chatwright.govern.datasheet.facts import SheetFacts

CONFORMS = ("http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0")
EXTRA_KEYS = ("url", "creator", "published", "description", "license", "version")
_TYPES = {
    "string": "sc:Text",
    "double": "sc:Float",
    "bool": "sc:Boolean",
    "timestamp[s, tz=UTC]": "sc:DateTime",
}
_COLUMNS = {
    "id": "BLAKE2b-128 of source and original content; a derived row's own",
    "text": "the text",
    "messages": "the messages in order, each with its role and content",
    "prompt": "the messages that were answered",
    "chosen": "the answer that was preferred",
    "rejected": "the answer that was not",
    "judge": "who or what preferred it",
    "uri": "where the row is from",
    "source": "the collection that it came with",
    "license": "the row's licence; empty where none is known",
    "language": "ISO 639 code, as detected",
    "collected_at": "when the source was captured",
    "parents": "ids of the rows that this one was made from",
    "meta": "JSON: measures, scores, title and what else is known of the row",
    "consent": "whether the people who wrote agreed; empty: none took part, or it is not known",
}
_ABOUT = "rows"
_MOST_NAMED = 20


def croissant(facts: SheetFacts, *, answers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The JSON-LD as plain values; `json_text` makes the file.

    `answers` may hold `EXTRA_KEYS` and those of the data sheet's questions.
    """
    given = {key: value.strip() for key, value in (answers or {}).items() if value.strip()}
    licenses = [given["license"]] if "license" in given else _licenses(facts)
    out: dict[str, Any] = {
        "@context": _context(),
        "@type": "sc:Dataset",
        "name": _name(facts.name),
        "description": given.get("description") or _description(facts),
        "conformsTo": list(CONFORMS),
        "citeAs": "",
        "version": given.get("version", f"0.0.0+{facts.fingerprint[:12]}"),
        "identifier": facts.fingerprint,
        "dateCreated": facts.created_at,
        "inLanguage": [g.name for g in facts.languages if g.name],
        "isBasedOn": list(dict.fromkeys(s.source for s in facts.sources if s.source)),
    }
    if licenses:
        out["license"] = licenses if len(licenses) > 1 else licenses[0]
    if "url" in given:
        out["url"] = given["url"]
    if creator := given.get("creator"):
        out["creator"] = {"@type": "sc:Organization", "name": creator}
    if "published" in given:
        out["datePublished"] = given["published"]
    out |= _rai(facts, given)
    out["distribution"] = _distribution(facts)
    out["recordSet"] = [_record_set(facts)] if facts.parts else []
    return {key: value for key, value in out.items() if value or key == "citeAs"}


def open_keys(description: Mapping[str, Any]) -> list[str]:
    """What the specification asks of every dataset and only people can say."""
    wanted = ("license", "url", "creator", "datePublished")
    return [key for key in wanted if key not in description]


def json_text(description: Mapping[str, Any]) -> str:
    """The file's text; the same for the same facts."""
    return json.dumps(description, ensure_ascii=False, indent=1) + "\n"


def _context() -> dict[str, Any]:
    """The context of the specification's appendix 1, and the RAI terms."""
    own = (
        "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field",
        "fileProperty", "fileObject", "fileSet", "format", "includes", "isArray", "isLiveDataset",
        "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex",
        "repeated", "replace", "samplingRate", "separator", "source", "subField", "transform",
    )  # fmt: skip
    return {
        "@language": "en",
        "@vocab": "https://schema.org/",
        "sc": "https://schema.org/",
        "cr": "http://mlcommons.org/croissant/",
        "rai": "http://mlcommons.org/croissant/RAI/",
        "dct": "http://purl.org/dc/terms/",
        "conformsTo": "dct:conformsTo",
        "data": {"@id": "cr:data", "@type": "@json"},
        "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
        "examples": {"@id": "cr:examples", "@type": "@json"},
        "name": {"@container": "@language"},
        "description": {"@container": "@language"},
        **{term: f"cr:{term}" for term in own},
    }


def _distribution(facts: SheetFacts) -> list[dict[str, Any]]:
    """Every part with its digest, and the set of them that the rows are read from."""
    files = [
        {
            "@type": "cr:FileObject",
            "@id": part.file,
            "name": part.file,
            "contentUrl": part.file,
            "contentSize": f"{part.bytes} B",
            "encodingFormat": "application/x-parquet",
            "sha256": part.sha256,
        }
        for part in facts.parts
    ]
    if not files:
        return []
    together = {
        "@type": "cr:FileSet",
        "@id": "parts",
        "name": "parts",
        "description": "All parts, in order of their names.",
        "encodingFormat": "application/x-parquet",
        "includes": "part-*.parquet",
    }
    return [*files, together]


def _record_set(facts: SheetFacts) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": _ABOUT,
        "name": _ABOUT,
        "description": f"{facts.rows} {facts.kind}s.",
        "key": {"@id": f"{_ABOUT}/id"},
        "field": [_field(name, kind) for name, kind in facts.columns],
    }


def _field(name: str, kind: str) -> dict[str, Any]:
    out: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": f"{_ABOUT}/{name}",
        "name": f"{_ABOUT}/{name}",
        "description": _COLUMNS.get(name, name),
        "dataType": _TYPES.get(kind, "sc:Text"),
        "source": {"fileSet": {"@id": "parts"}, "extract": {"column": name}},
    }
    if kind.startswith("list"):
        out |= {"isArray": True, "arrayShape": "-1"}
    if "role" in kind:
        source = out.pop("source")
        del out["dataType"]
        out["subField"] = [
            {
                "@type": "cr:Field",
                "@id": f"{_ABOUT}/{name}/{part}",
                "name": f"{_ABOUT}/{name}/{part}",
                "dataType": "sc:Text",
                "source": source | {"transform": {"jsonPath": part}},
            }
            for part in ("role", "content")
        ]
    return out


def _licenses(facts: SheetFacts) -> list[str]:
    """The rows' licences; none are named while some rows have none, for then the whole has none."""
    if facts.unlicensed_rows or not facts.rows:
        return []
    return [g.name for g in facts.licenses if g.name]


def _description(facts: SheetFacts) -> str:
    languages = ", ".join(
        f"{g.name or 'not known'} {g.rows:,}" for g in facts.languages[:_MOST_NAMED]
    )
    parts = [
        f"{facts.rows:,} {facts.kind}s, {facts.characters:,} characters.",
        f"Rows by language: {languages}." if languages else "",
        f"{facts.unlicensed_rows:,} rows have no known licence." if facts.unlicensed_rows else "",
        f"Made by Chatwright {facts.chatwright}; every row and every row left out has a line in "
        "the ledger beside it.",
    ]
    return " ".join(part for part in parts if part)


def _rai(facts: SheetFacts, given: Mapping[str, str]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    if facts.sources:
        named = "; ".join(
            f"{s.source or 'not stated'} ({s.license or 'no known licence'}, {s.rows:,} rows)"
            for s in facts.sources[:_MOST_NAMED]
        )
        more = len(facts.sources) - _MOST_NAMED
        out["rai:dataCollection"] = f"Collected from: {named}" + (
            f"; and {more} more." if more > 0 else "."
        )
    if facts.first and facts.last:
        out["rai:dataCollectionTimeframe"] = [facts.first, facts.last]
    steps = []
    for stage in facts.stages:
        gone = [f"{r.rule} {r.lines:,}" for r in stage.rules if r.action == "drop"]
        if gone:
            steps.append(f"{stage.name}: dropped by {', '.join(gone)}.")
    if steps:
        out["rai:dataPreprocessingProtocol"] = steps
    if facts.personal:
        found = "; ".join(f"{p.type} {p.found:,} ({p.done})" for p in facts.personal)
        out["rai:personalSensitiveInformation"] = f"Found by patterns: {found}."
    elif facts.searched:
        out["rai:personalSensitiveInformation"] = "Looked for by patterns; none found."
    else:
        out["rai:personalSensitiveInformation"] = "Not looked for."
    asked = {
        "rai:dataUseCases": "suitable",
        "rai:dataLimitations": "unsuitable",
        "rai:dataReleaseMaintenancePlan": "updates",
    }
    return out | {term: given[key] for term, key in asked.items() if key in given}


def _name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-") or "dataset"
