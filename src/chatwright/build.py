"""Runs a recipe's stages: skips what is done, resumes what was cut off, records what it took."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import psutil

from chatwright.errors import ChatwrightError
from chatwright.progress import Progress, Silent
from chatwright.recipe import Recipe, RecipeStage
from chatwright.records import Parent, fingerprint, result_fingerprint, write_atomic
from chatwright.stage import StageContext, StageKind, StageSettings
from chatwright.train.together import Run, follow, leading
from chatwright.train.world import current_world
from chatwright.workspace import Workspace

State = Literal["done", "changed", "new", "unfinished"]


@dataclass(frozen=True, slots=True)
class PlannedStage:
    """A stage, where its result goes, and whether it stands there already."""

    stage: RecipeStage
    output: Path
    scratch: Path
    fingerprint: str
    inputs: dict[str, Path]
    parents: list[Parent]
    state: State


@dataclass(slots=True)
class BuildResult:
    """What a build did: stage → seconds for those that ran, and those that were up to date."""

    ran: dict[str, float] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    outputs: dict[str, Path] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)


def output_path(recipe: str, stage: RecipeStage, workspace: Workspace) -> Path:
    """Where a stage's result lies in the workspace."""
    if stage.kind.output == "assistants":
        return workspace.assistants / f"{recipe}.json"
    return workspace.root / stage.kind.output / recipe / stage.name


def plan(
    recipe: Recipe,
    workspace: Workspace,
    *,
    from_stage: str | None = None,
    check: Callable[[PlannedStage], None] | None = None,
) -> list[PlannedStage]:
    """What a build would do. `from_stage` and all stages after it count as changed."""
    if from_stage is not None:
        recipe.stage(from_stage)
    planned: dict[str, PlannedStage] = {}
    forced = False
    for stage in recipe.stages:
        forced = forced or stage.name == from_stage
        inputs = {n: planned[n].output for n in stage.settings.referenced() if n in planned}
        output = output_path(recipe.name, stage, workspace)
        parents = [
            Parent(name, planned[name].fingerprint, os.path.relpath(path, _base(output)))
            for name, path in inputs.items()
        ]
        external = stage.kind.external
        made_of = {
            "settings": stage.settings.model_dump(mode="json"),
            "seed": recipe.seed,
            "revision": stage.kind.revision,
            "external": external(stage.settings, workspace) if external else None,
        }
        name = fingerprint(stage.kind.kind, made_of, [p.fingerprint for p in parents])
        scratch = workspace.runs / recipe.name / "work" / stage.name
        found = result_fingerprint(output)
        state: State = "new"
        if found == name and not forced:
            state = "done"
        elif found is not None:
            state = "changed"
        elif _scratch_fingerprint(scratch) == name:
            state = "unfinished"
        item = PlannedStage(stage, output, scratch, name, inputs, parents, state)
        planned[stage.name] = item
        if check is not None:
            check(item)
    return list(planned.values())


def build(
    recipe: Recipe,
    workspace: Workspace,
    *,
    progress: Progress | None = None,
    from_stage: str | None = None,
) -> BuildResult:
    """Make every stage's result that is not there yet, in order.

    A stage whose fingerprint is unchanged is skipped. Interrupted at any point (Ctrl-C, SIGKILL)
    and called again, it goes on: finished stages stand, training resumes at its last checkpoint.
    Under torchrun all processes call it: the main one builds, and all of them train.
    Raises what the stage raises, with the stage named.
    """
    progress = progress or Silent()
    result = BuildResult()
    world = current_world()
    if not world.is_main:
        follow(world, workspace, lambda name: _kind_and_settings(recipe, name))
        return result
    with workspace.lock(recipe.name), leading(world) as run:
        items = plan(recipe, workspace, from_stage=from_stage)
        for number, item in enumerate(items, start=1):
            title = f"[{number}/{len(items)}] {item.stage.name}"
            result.outputs[item.stage.name] = item.output
            result.fingerprints[item.stage.name] = item.fingerprint
            if item.state == "done":
                progress.line(f"{title}: unchanged, skipped")
                result.skipped.append(item.stage.name)
                continue
            resumed = " (going on where it stopped)" if item.state == "unfinished" else ""
            progress.line(f"{title}: {item.stage.kind.kind}{resumed}")
            seconds, peak = _run(recipe, item, workspace, progress, run)
            result.ran[item.stage.name] = seconds
            _record(workspace, recipe.name, item, seconds, peak)
            progress.line(f"{title}: done in {seconds:.1f} s, {peak / 2**20:.0f} MiB at most")
    return result


def _kind_and_settings(recipe: Recipe, name: str) -> tuple[StageKind, StageSettings]:
    stage = recipe.stage(name)
    return stage.kind, stage.settings


def _run(
    recipe: Recipe, item: PlannedStage, workspace: Workspace, progress: Progress, run: Run
) -> tuple[float, int]:
    """Run one stage. Returns its seconds and the peak memory of the process tree in bytes."""
    if _scratch_fingerprint(item.scratch) != item.fingerprint:
        shutil.rmtree(item.scratch, ignore_errors=True)
        write_atomic(item.scratch / "fingerprint", item.fingerprint)
    context = StageContext(
        recipe=recipe.name,
        stage=item.stage.name,
        seed=recipe.seed,
        output=item.output,
        scratch=item.scratch,
        fingerprint=item.fingerprint,
        workspace=workspace,
        inputs=item.inputs,
        parents=item.parents,
        progress=progress,
    )
    started = time.monotonic()
    with _peak_memory() as peak:
        try:
            run(item.stage.kind, item.stage.settings, context)
        except ChatwrightError as error:
            error.where = f"stage {item.stage.name}: {error.where or item.output}"
            raise
    if result_fingerprint(item.output) != item.fingerprint:
        raise AssertionError(f"stage {item.stage.name} left no result at {item.output}")
    return time.monotonic() - started, peak()


def _base(output: Path) -> Path:
    """The folder that a result's relative paths start from."""
    return output.parent if output.suffix == ".json" else output


def _scratch_fingerprint(scratch: Path) -> str | None:
    try:
        return (scratch / "fingerprint").read_text(encoding="utf-8")
    except OSError:
        return None


def _record(
    workspace: Workspace, recipe: str, item: PlannedStage, seconds: float, peak: int
) -> None:
    """Add a stage's time and memory to `runs/<recipe>/build.json`."""
    file = workspace.runs / recipe / "build.json"
    stages = read_build_record(workspace, recipe)
    stages[item.stage.name] = {
        "kind": item.stage.kind.kind,
        "fingerprint": item.fingerprint,
        "seconds": round(seconds, 2),
        "peak_bytes": peak,
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_atomic(file, json.dumps({"recipe": recipe, "stages": stages}, indent=1) + "\n")


def read_build_record(workspace: Workspace, recipe: str) -> dict[str, Any]:
    """Stage → seconds, peak memory and time of its last run (empty where none was recorded)."""
    try:
        text = (workspace.runs / recipe / "build.json").read_text(encoding="utf-8")
        return dict(json.loads(text)["stages"])
    except (OSError, ValueError, KeyError):
        return {}


@contextmanager
def _peak_memory(every: float = 0.2) -> Iterator[Callable[[], int]]:
    """Watch the resident memory of this process and its children; call the result for bytes."""
    me = psutil.Process()
    done = threading.Event()
    peak = 0

    def watch() -> None:
        nonlocal peak
        while True:
            total = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    total += process.memory_info().rss
                except psutil.Error:  # ended between listing and asking
                    continue
            peak = max(peak, total)
            if done.wait(every):
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield lambda: peak
    finally:
        done.set()
        thread.join()
