"""Tasks by name: from their YAML to items that can be asked."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from chatwright.errors import DataError, SourceError, UsageError
from chatwright.evaluate.items import choose
from chatwright.evaluate.tasks.rendering import Renderer
from chatwright.evaluate.tasks.schema import Item, Source, Task, TaskSpec
from chatwright.evaluate.tasks.sources import (
    DATA_VARIABLE,
    Bad,
    Row,
    locate,
    read_rows,
    source_digest,
)
from chatwright.progress import Progress, Silent
from chatwright.records import file_digest, fingerprint
from chatwright.workspace import Workspace


def read_task_file(path: Path) -> TaskSpec:
    """Check one task's YAML. Raises `DataError` naming the file, its line and the key."""
    try:
        text = path.read_text(encoding="utf-8")
        raw: Any = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise DataError(f"not YAML: {error.problem or error}", where=f"{path}{line}") from error
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise DataError(f"this task cannot be read: {error}", where=str(path)) from error
    if not isinstance(raw, dict):
        raise DataError("a task is a mapping with `name`, `kind` and `sources`", where=str(path))
    try:
        return TaskSpec.model_validate(YAML(typ="safe").load(text))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            known = list(TaskSpec.model_fields if len(first["loc"]) == 1 else Source.model_fields)
            message = f"unknown key; {_nearest(str(first['loc'][-1]), known)}"
        place = f"{path}{_line(raw, first['loc'])}" + (f" ({key})" if key else "")
        raise DataError(
            message, where=place, hint="docs/guides/evaluate.md explains the keys"
        ) from error


def task_files(workspace: Workspace | None = None) -> dict[str, Path]:
    """Every task that has a name here: the workspace's `tasks/*.yaml` over the built-in ones."""
    built_in = Path(str(files("chatwright.evaluate.tasks") / "catalogue"))
    folders = [built_in] + ([workspace.root / "tasks"] if workspace is not None else [])
    return {p.stem: p for folder in folders for p in sorted(folder.glob("*.yaml"))}


def find_tasks(
    names: Iterable[str], workspace: Workspace | None = None
) -> list[tuple[Path, TaskSpec]]:
    """The tasks of these names or paths, averages' members before them, each once.

    Raises `UsageError` for a name that nothing has, with the nearest ones.
    """
    known = task_files(workspace)
    found: dict[str, tuple[Path, TaskSpec]] = {}

    def add(name: str, base: Path | None, above: tuple[str, ...]) -> str:
        path = _path(name, known, base)
        spec = read_task_file(path)
        if spec.name in above:
            raise DataError(f"the average {spec.name!r} is a member of itself", where=str(path))
        if spec.name in found and found[spec.name][0] != path:
            raise UsageError(
                f"two tasks are called {spec.name!r}", where=f"{found[spec.name][0]} and {path}"
            )
        members = [add(member, path.parent, (*above, spec.name)) for member in spec.members]
        # By their names from here on: a file may have another than its task.
        found.setdefault(spec.name, (path, spec.model_copy(update={"members": members})))
        return spec.name

    for name in names:
        add(name, None, ())
    return list(found.values())


def task_digest(path: Path, spec: TaskSpec) -> str:
    """Names a task's file and its items, as far as they lie on this machine."""
    sources = (*spec.sources, *spec.shot_sources)
    items = [source_digest(source, path.parent) for source in sources]
    return fingerprint("task-files", [file_digest(path), items])


def load_task(
    path: Path,
    spec: TaskSpec,
    *,
    limit: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Task:
    """The task with its items, `limit` of them (or the spec's own limit) chosen by `seed`.

    The choice depends on the items' contents and not on their order, and a larger limit only adds
    to it. Raises `SourceError` where no source can be had and `DataError` where no item can be
    asked; rows that cannot are listed in `skipped`.
    """
    progress = progress or Silent()
    renderer = Renderer(spec, str(path))
    items, skipped, origin = _items(spec, spec.sources, path, renderer, progress)
    limit = limit if limit is not None else spec.limit
    task = Task(spec, [], skipped, {}, origin, path)
    shots: dict[str, list[Item]] = {}
    if spec.shots:
        pool = items
        if spec.shot_sources:
            pool, lost, _ = _items(spec, spec.shot_sources, path, renderer, progress)
            task.skipped += lost
        for group in dict.fromkeys(item.group for item in items):
            there = [item for item in pool if item.group == group]
            shots[group] = choose(there, spec.shots, seed, Item.digest)
            if len(shots[group]) < spec.shots:
                where = f" for {group}" if group else ""
                raise DataError(
                    f"{spec.shots} worked examples are wanted{where} and there are {len(there)}",
                    where=str(path),
                    hint="lower `shots`",
                )
        if not spec.shot_sources:  # what was shown is not asked
            shown = {item.id for chosen in shots.values() for item in chosen}
            items = [item for item in items if item.id not in shown]
    for group in dict.fromkeys(item.group for item in items):
        worked = [renderer.example(item) for item in shots.get(group, ())]
        task.examples[group] = spec.instruction + spec.separator.join([*worked, ""])
    task.items = choose(items, limit, seed, Item.digest)
    if not task.items:
        first = f"; the first: {skipped[0][0]}: {skipped[0][1]}" if skipped else ""
        raise DataError(f"no item of this task can be asked{first}", where=f"{path} ({origin})")
    return task


def _items(
    spec: TaskSpec,
    sources: Sequence[Source],
    path: Path,
    renderer: Renderer,
    progress: Progress,
) -> tuple[list[Item], list[tuple[str, str]], str]:
    """Items and bad rows of the first source that can be had, and what it was."""
    problems: list[str] = []
    for source in sources:
        reference = locate(source, path.parent)
        if reference is None:
            problems.append(f"{source.source}: {DATA_VARIABLE} is not set, or lacks it")
            continue
        try:
            rows = list(read_rows(source, reference, progress))
        except SourceError as error:
            problems.append(f"{source.source}: {error.message}")
            continue
        return *_render(spec, source, rows, renderer), source.source
    raise SourceError(
        f"the items of {spec.name!r} cannot be had: " + "; ".join(problems),
        where=str(path),
        hint=f"set {DATA_VARIABLE} to a folder that holds them, connect to the hub, or give the "
        "task a source of your own",
    )


def _render(
    spec: TaskSpec, source: Source, rows: Sequence[Row | Bad], renderer: Renderer
) -> tuple[list[Item], list[tuple[str, str]]]:
    items: list[Item] = []
    skipped: list[tuple[str, str]] = []
    for number, row in enumerate(rows):
        if isinstance(row, Bad):
            skipped.append((row.where, row.reason))
            continue
        try:
            fields = renderer.fields(source, row)
            if fields is None:
                continue
            items.append(renderer.item(f"{spec.name}/{number}", row, fields))
        except ValueError as error:
            skipped.append((row.where, str(error)))
    return items, skipped


def _path(name: str, known: dict[str, Path], base: Path | None) -> Path:
    if name.endswith((".yaml", ".yml")):
        for path in ([base / name] if base else []) + [Path(name)]:
            if path.exists():
                return path
        raise UsageError("there is no such task file", where=name)
    if base is not None and (base / f"{name}.yaml").exists():
        return base / f"{name}.yaml"
    if name in known:
        return known[name]
    raise UsageError(
        f"there is no task called {name!r}",
        hint=f"{_nearest(name, list(known))}; or give the path of a .yaml file",
    )


def _nearest(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=3)
    return f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known)}"


def _line(raw: Any, loc: Sequence[Any]) -> str:
    """`:line` of the deepest part of `loc` that the YAML has."""
    line = ""
    node = raw
    for part in loc:
        try:
            lines: Any = node.lc  # ruamel's containers know their lines
            place = lines.key(part) if isinstance(node, dict) else lines.item(part)
            line = f":{place[0] + 1}"
            node = node[part]
        except (KeyError, IndexError, TypeError, AttributeError):
            break
    return line
