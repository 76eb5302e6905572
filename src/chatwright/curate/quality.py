"""Quality rules are a table: a measure, its bounds, its source. Here is the function that reads it.

The tables are in `presets/*.yaml`; `load_preset("web")` reads one of them, and a path to a file of
one's own works as well. Several together (`load_presets(["gopher", "c4"])`) are one preset that
asks for everything that any of them asks for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from chatwright.curate.measures import MEASURES
from chatwright.curate.measuring.lines import LineRules
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

    def both(self, other: Bound) -> Bound:
        """What meets both bounds. Raises `ValueError` where nothing can."""
        low = max((b.min for b in (self, other) if b.min is not None), default=None)
        high = min((b.max for b in (self, other) if b.max is not None), default=None)
        if low is not None and high is not None and low > high:
            raise ValueError(f"{self} and {other} cannot both be met")
        used = [b for b in (self, other) if b.asks_for(low, high)]
        sources = dict.fromkeys(b.source for b in used)
        return Bound(min=low, max=high, source="; ".join(sources))

    def asks_for(self, low: float | None, high: float | None) -> bool:
        """Whether one of the two is this bound's own."""
        return (low is not None and self.min == low) or (high is not None and self.max == high)


class RepeatedParagraphs(BaseModel):
    """A paragraph of at least `least` letters stays in the first `copies` documents with it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    least: int = Field(default=200, ge=1)
    copies: int = Field(default=1, ge=1)

    def __str__(self) -> str:
        return f"in at most {self.copies} of the pages, from {self.least} letters on"

    def both(self, other: RepeatedParagraphs) -> RepeatedParagraphs:
        """The stricter of each."""
        return RepeatedParagraphs(
            least=min(self.least, other.least), copies=min(self.copies, other.copies)
        )


class Preset(BaseModel):
    """A table of rules: `any` holds for every language, the others for their own on top of it.

    `includes` names other presets whose rules hold as well. `lines` says, by language, which lines
    are taken out before anything is measured.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    about: str
    includes: tuple[str, ...] = ()
    duplicate_paragraphs: RepeatedParagraphs = RepeatedParagraphs()
    lines: dict[str, LineRules] = {}
    rules: dict[str, dict[str, Bound]] = Field(min_length=1)

    @model_validator(mode="after")
    def _known_measures(self) -> Preset:
        named = {measure for table in self.rules.values() for measure in table}
        if unknown := sorted(named - set(MEASURES)):
            raise ValueError(f"no such measure: {', '.join(unknown)}; known: {', '.join(MEASURES)}")
        return self

    def bounds(self, language: str | None) -> dict[str, Bound]:
        """The rules for a document of this language: its own over those for any."""
        return {**self.rules.get(ANY, {}), **self.rules.get(_code(language), {})}

    def line_rules(self, language: str | None) -> LineRules | None:
        """What is done to the lines of a document of this language; its own instead of any's."""
        return self.lines.get(_code(language), self.lines.get(ANY))

    def needs(self, language: str | None) -> frozenset[str]:
        """The measures that its rules for this language bound."""
        return frozenset(self.bounds(language))

    def languages(self) -> list[str]:
        """The languages that have rules of their own."""
        return sorted({*self.rules, *self.lines} - {ANY})

    def both(self, other: Preset, name: str | None = None) -> Preset:
        """One preset that asks for everything that either asks for, language by language.

        Raises `ValueError` where two bounds exclude each other.
        """
        rules: dict[str, dict[str, Bound]] = {}
        lines: dict[str, LineRules] = {}
        for language in dict.fromkeys((ANY, *self.languages(), *other.languages())):
            table = dict(self.bounds(language))
            for measure, bound in other.bounds(language).items():
                try:
                    table[measure] = table[measure].both(bound) if measure in table else bound
                except ValueError as error:
                    raise ValueError(f"{measure} ({language}): {error}") from error
            rules[language] = table
            mine, its = self.line_rules(language), other.line_rules(language)
            if mine is not None and its is not None:
                lines[language] = mine.union(its)
            elif (either := mine or its) is not None:
                lines[language] = either
        return Preset(
            name=name or f"{self.name} + {other.name}",
            about=f"{self.about} {other.about}",
            duplicate_paragraphs=self.duplicate_paragraphs.both(other.duplicate_paragraphs),
            lines=lines,
            rules=rules,
        )


def _code(language: str | None) -> str:
    """The table's name for a language: that of `zh-Hans` is `zh`."""
    return (language or ANY).partition("-")[0].lower()


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


def load_presets(names: str | Sequence[str]) -> Preset:
    """One preset, or several as one that asks for everything that any of them asks for.

    Raises `UsageError` for an unknown one, or where two bounds exclude each other.
    """
    wanted = [names] if isinstance(names, str) else list(dict.fromkeys(names))
    if not wanted:
        raise UsageError(
            "name a preset", where="preset", hint=f"presets: {', '.join(preset_names())}"
        )
    try:
        return reduce(Preset.both, map(load_preset, wanted))
    except ValueError as error:
        raise UsageError(f"these presets contradict each other: {error}", where="preset") from error


@lru_cache(maxsize=64)
def load_preset(name: str) -> Preset:
    """A preset by name, or from a YAML file of one's own, with those that it includes.

    Raises `UsageError`.
    """
    return _load(name, ())


def _load(name: str, within: tuple[str, ...]) -> Preset:
    if name in within:
        raise UsageError(f"includes itself: {' > '.join((*within, name))}", where=name)
    preset, where = _read_preset(name)
    others = [_load(other, (*within, name)) for other in preset.includes]
    if not others:
        return preset
    try:
        whole = reduce(lambda one, other: one.both(other), [preset, *others])
    except ValueError as error:
        raise UsageError(f"contradicts what it includes: {error}", where=where) from error
    own = {"name": preset.name, "about": preset.about, "includes": preset.includes}
    repeats = {"duplicate_paragraphs": preset.duplicate_paragraphs}
    return whole.model_copy(update={**own, **repeats})


def _read_preset(name: str) -> tuple[Preset, str]:
    """What one file says, and where it is."""
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
        return Preset.model_validate(value), where
    except YAMLError as error:
        raise UsageError(f"the preset is not valid YAML: {error}", where=where) from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{key}: {first['msg']}", where=where) from error
