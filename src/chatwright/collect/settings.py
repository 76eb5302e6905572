"""What a recipe says to collect."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from chatwright.stage import Settings, StageSettings

DATASET = "dataset:"


class SourceSettings(Settings):
    """One source of a collection.

    `source`: a file or folder, `dataset:NAME` (or the folder of one), `pypi:name==version`,
    `hf:owner/name[@revision]` or `https://…`. `license` is brought to its SPDX name; `terms` says
    where the terms of use are. `consent: required` lets only rows pass whose people agreed.
    `include` and `exclude` are globs over the path inside it (`doc/**/*.html`). `uri` is a
    template for the pages' own addresses; `{path}` is the path without the prefix `strip`.
    `text_column`, `id_column`, `uri_column` are for tables; `limit` bounds the rows kept.
    """

    source: str
    sha256: str | None = None
    include: list[str] = Field(default_factory=list)
    exclude: list[str] = Field(default_factory=list)
    license: str | None = None
    terms: str | None = None
    consent: Literal["any", "required"] = "any"
    language: str | None = None
    uri: str | None = None
    strip: str = ""
    text_column: str = "text"
    id_column: str | None = None
    uri_column: str | None = None
    media_type: Literal["text/html", "text/markdown", "text/plain"] | None = None
    limit: int | None = Field(default=None, ge=1)

    @field_validator("uri")
    @classmethod
    def _has_path(cls, value: str | None) -> str | None:
        if value is not None and "{path}" not in value:
            raise ValueError("the template lacks {path}, so all pages would have one address")
        return value


class CollectSettings(StageSettings):
    """`rows`: what tables hold. `max_bytes`: a larger page or row is dropped, with a line.

    `unknown_license` says what becomes of rows whose licence nobody states, where others of the
    collection have one: `apart` puts them into a dataset of their own (`unlicensed/` inside this
    one), `keep` mixes them in, `drop` drops them. A collection in which no source states a licence
    is kept as it is: there is nothing to keep it apart from. `drop` holds there, too. `noindex`:
    whether captures of the web that ask not to be indexed become rows.
    """

    sources: list[SourceSettings] = Field(min_length=1)
    rows: Literal["documents", "conversations", "preferences"] = "documents"
    max_bytes: int = Field(default=20_000_000, ge=1)
    unknown_license: Literal["apart", "keep", "drop"] = "apart"
    noindex: Literal["honour", "ignore"] = "honour"

    def referenced(self) -> list[str]:
        """Datasets that are sources: those made by stages above are parents of this one."""
        names = (source.source for source in self.sources)
        return [n.removeprefix(DATASET) for n in names if n.startswith(DATASET)]
