"""Quality rules are a table: a measure, its bounds, its source. Here is the function that reads it.

The tables are in `presets/*.yaml`; `load_preset("web")` reads one of them, and a path to a file of
one's own works as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from chatwright.curate.measures import MEASURES
from chatwright.errors import UsageError

ANY = "any"


class Bound(BaseModel):
    """One rule: the least and the most that a measure may be, and who says so."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min: float | None = None
    max: float | None = None
    source: str

    @model_validator(mode="after")
    def _bounds_something(self) -> Bound:
        if self.min is None and self.max is None:
            raise ValueError("a rule needs min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min is above max")
        return self

    def __str__(self) -> str:
        shown = [
            f"{k} {v:.12g}" for k, v in (("min", self.min), ("max", self.max)) if v is not None
        ]
        return ", ".join(shown)


class RepeatedParagraphs(BaseModel):
    """A paragraph of at least `least` letters stays in the first `copies` documents with it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    least: int = Field(default=200, ge=1)
    copies: int = Field(default=1, ge=1)

    def __str__(self) -> str:
        return f"in at most {self.copies} of the pages, from {self.least} letters on"


class Preset(BaseModel):
    """A table of rules: `any` holds for every language, the others for their own on top of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    about: str
    duplicate_paragraphs: RepeatedParagraphs = RepeatedParagraphs()
    rules: dict[str, dict[str, Bound]] = Field(min_length=1)

    @model_validator(mode="after")
    def _known_measures(self) -> Preset:
        named = {measure for table in self.rules.values() for measure in table}
        if unknown := sorted(named - set(MEASURES)):
            raise ValueError(f"no such measure: {', '.join(unknown)}; known: {', '.join(MEASURES)}")
        return self

    def bounds(self, language: str | None) -> dict[str, Bound]:
        """The rules for a document of this language: its own over those for any."""
        return {**self.rules.get(ANY, {}), **self.rules.get(language or ANY, {})}


@dataclass(frozen=True, slots=True)
class Failure:
    """A rule that a document does not meet."""

    rule: str
    value: float
    bound: str


def failures(measures: Mapping[str, float], preset: Preset, language: str | None) -> list[Failure]:
    """Every rule of the preset that the document fails, in the table's order; pure."""
    out = []
    for name, bound in preset.bounds(language).items():
        value = measures[name]
        low = bound.min is not None and value < bound.min
        high = bound.max is not None and value > bound.max
        if low or high:
            out.append(Failure(name, value, str(bound)))
    return out


def preset_names() -> list[str]:
    """The presets that come with Chatwright."""
    folder = resources.files("chatwright.curate") / "presets"
    return sorted(
        f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")
    )


@lru_cache(maxsize=16)
def load_preset(name: str) -> Preset:
    """A preset by name, or from a YAML file of one's own. Raises `UsageError`."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    if name.endswith((".yaml", ".yml")):
        where = name
        try:
            text = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"the preset cannot be read: {error}", where=where) from error
    elif name in preset_names():
        file = resources.files("chatwright.curate") / "presets" / f"{name}.yaml"
        where, text = f"presets/{name}.yaml", file.read_text(encoding="utf-8")
    else:
        raise UsageError(
            f"there is no preset called {name!r}",
            where="preset",
            hint=f"presets: {', '.join(preset_names())}; or the path of a YAML file",
        )
    try:
        value: Any = YAML(typ="safe", pure=True).load(text)
        return Preset.model_validate(value)
    except YAMLError as error:
        raise UsageError(f"the preset is not valid YAML: {error}", where=where) from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{key}: {first['msg']}", where=where) from error
