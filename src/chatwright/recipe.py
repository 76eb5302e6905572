"""The typed description of a build: a YAML file in, checked stages out.

Every mistake is reported with the file, the line and the key it stands at.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedBase
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from chatwright.errors import RecipeError
from chatwright.stage import StageKind, StageSettings

# Rooms in the order in which data walks through them.
_ROOMS = (
    "collect", "curate", "tokenizer", "train", "assist", "evaluate", "compress", "govern",
    "govern.audit",
)  # fmt: skip
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_TOP_KEYS = ("name", "title", "description", "seed", "stages")


@cache
def stage_kinds() -> dict[str, StageKind]:
    """Every kind of stage that a recipe can name."""
    kinds: dict[str, StageKind] = {}
    for room in _ROOMS:
        for kind in import_module(f"chatwright.{room}.stages").STAGES:
            kinds[kind.kind] = kind
    return kinds


@dataclass(frozen=True, slots=True)
class RecipeStage:
    """One stage: its name in the recipe, its kind and its checked settings."""

    name: str
    kind: StageKind
    settings: StageSettings


@dataclass(frozen=True, slots=True)
class Recipe:
    """A build: stages in order, each referring only to stages before it."""

    name: str
    stages: tuple[RecipeStage, ...]
    title: str = ""
    description: str = ""
    seed: int = 0

    def stage(self, name: str) -> RecipeStage:
        """The stage of that name. Raises `RecipeError` listing the names there are."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise RecipeError(
            f"the recipe {self.name!r} has no stage {name!r}",
            hint="its stages: " + ", ".join(s.name for s in self.stages),
        )


def load_recipe(path: str | os.PathLike[str]) -> Recipe:
    """Read and check a recipe file. Raises `RecipeError` naming file, line and key."""
    file = Path(path)
    try:
        raw = YAML(typ="rt").load(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecipeError("there is no such recipe", where=str(file), hint=_known(file)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"the recipe cannot be read: {error}", where=str(file)) from error
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise RecipeError(f"not YAML: {error.problem or error}", where=f"{file}{line}") from error
    except YAMLError as error:
        raise RecipeError(f"not YAML: {error}", where=str(file)) from error
    return parse_recipe(raw, str(file))


def parse_recipe(raw: Any, where: str = "recipe") -> Recipe:
    """Check a recipe given as plain or ruamel mappings (which know their lines)."""
    if not isinstance(raw, Mapping):
        raise RecipeError("a recipe is a mapping with `name` and `stages`", where=where)
    for key in raw:
        if key not in _TOP_KEYS:
            raise _unknown_key(raw, (key,), _TOP_KEYS, where)
    name = raw.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise RecipeError(
            "`name` must be lower-case letters, digits, '.', '_' or '-', at most 64",
            where=_place(raw, ("name",), where),
        )
    seed = raw.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise RecipeError(
            "`seed` must be a whole number below 2³²", where=_place(raw, ("seed",), where)
        )
    raw_stages = raw.get("stages")
    if not isinstance(raw_stages, Mapping) or not raw_stages:
        raise RecipeError(
            "`stages` must map stage names to settings", where=_place(raw, ("stages",), where)
        )
    stages: list[RecipeStage] = []
    for stage_name, settings in raw_stages.items():
        stages.append(_parse_stage(raw, stage_name, settings, [s.name for s in stages], where))
    return Recipe(
        name=name,
        stages=tuple(stages),
        title=str(raw.get("title", "")),
        description=str(raw.get("description", "")),
        seed=seed,
    )


def _parse_stage(
    raw: Mapping[str, Any], name: Any, settings: Any, earlier: Sequence[str], where: str
) -> RecipeStage:
    path: tuple[Any, ...] = ("stages", name)
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in ("work", "tune"):
        raise RecipeError(f"{name!r} cannot be a stage's name", where=_place(raw, path, where))
    if not isinstance(settings, Mapping):
        raise RecipeError("a stage is a mapping with `kind`", where=_place(raw, path, where))
    kinds = stage_kinds()
    kind_name = settings.get("kind", name)
    if kind_name not in kinds:
        raise RecipeError(
            f"{kind_name!r} is not a kind of stage",
            where=_place(raw, (*path, "kind") if "kind" in settings else path, where),
            hint=_suggest(str(kind_name), list(kinds)),
        )
    kind = kinds[kind_name]
    values = _plain({key: value for key, value in settings.items() if key != "kind"})
    try:
        values = _filled(values)
    except KeyError as error:
        raise RecipeError(
            f"the environment variable {error.args[0]} is not set",
            where=_place(raw, path, where),
            hint=f"set it, or write ${{{error.args[0]}:-DEFAULT}}",
        ) from None
    try:
        checked = kind.settings.model_validate(values)
    except ValidationError as error:
        raise _explain(error, raw, path, kind, where) from error
    later = set(raw["stages"]) - set(earlier)
    for reference in checked.referenced():
        if reference in later:
            raise RecipeError(
                f"stage {name!r} refers to {reference!r}, which is not before it",
                where=_place(raw, path, where),
                hint="move that stage up: a stage uses only what stands above it",
            )
    return RecipeStage(name, kind, checked)


def _plain(value: Any) -> Any:
    """Ruamel's line-knowing containers and scalars as plain Python values."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    for plain in (bool, int, float, str):
        if isinstance(value, plain):
            return plain(value)
    return value


def _filled(value: Any) -> Any:
    """`${NAME}` and `${NAME:-default}` in every text replaced by what the environment says.

    Raises `KeyError` with the name of a variable that is not set and has no default.
    """
    if isinstance(value, dict):
        return {key: _filled(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item) for item in value]
    if isinstance(value, str):
        return _VARIABLE.sub(_from_environment, value)
    return value


def _from_environment(found: re.Match[str]) -> str:
    value = os.environ.get(found[1]) or found[2]
    if value is None:
        raise KeyError(found[1])
    return value


def _explain(
    error: ValidationError,
    raw: Mapping[str, Any],
    path: tuple[Any, ...],
    kind: StageKind,
    where: str,
) -> RecipeError:
    """The first of pydantic's complaints, in a person's words, at its line."""
    first = error.errors()[0]
    place = (*path, *first["loc"])
    if first["type"] == "extra_forbidden":
        parent = kind.settings.model_fields if len(first["loc"]) == 1 else {}
        return _unknown_key(raw, place, list(parent), where)
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return RecipeError(f"`{key}` is missing", where=_place(raw, place, where))
    message = first["msg"].removeprefix("Value error, ")
    # A rule about several keys at once has no key of its own.
    said = f"`{key}`: {message}" if key else message
    return RecipeError(said, where=_place(raw, place, where))


def _unknown_key(
    raw: Mapping[str, Any], path: tuple[Any, ...], known: Sequence[str], where: str
) -> RecipeError:
    return RecipeError(
        f"unknown key `{path[-1]}`",
        where=_place(raw, path, where),
        hint=_suggest(str(path[-1]), known) if known else "remove it or mend its spelling",
    )


def _suggest(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    start = f"did you mean `{close[0]}`? " if close else ""
    return f"{start}known here: {', '.join(known)}"


def _place(raw: Any, path: Sequence[Any], where: str) -> str:
    """`file:line` of the deepest part of `path` that the YAML has."""
    line: int | None = None
    node = raw
    for part in path:
        try:
            if isinstance(node, CommentedBase):
                spot = node.lc.key(part) if isinstance(node, Mapping) else node.lc.item(part)
                line = spot[0] + 1
            node = node[part]
        except (KeyError, IndexError, TypeError):
            break
    keys = ".".join(str(part) for part in path)
    return f"{where}:{line} ({keys})" if line else f"{where} ({keys})"


def _known(file: Path) -> str:
    beside = sorted(str(p) for p in file.parent.glob("*.yaml")) if file.parent.is_dir() else []
    return f"recipes there: {', '.join(beside)}" if beside else "give the path of a .yaml file"
