"""The builder itself, with small stages made for the purpose."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from chatwright.build import build, plan, read_build_record
from chatwright.errors import ChatwrightError, DataError, RecipeError
from chatwright.recipe import Recipe, RecipeStage
from chatwright.records import (
    Dataset,
    Document,
    content_id,
    result_fingerprint,
    write_dataset,
)
from chatwright.stage import StageContext, StageKind, StageSettings
from chatwright.workspace import Workspace


class WriteSettings(StageSettings):
    texts: list[str]
    fail: bool = False


class JoinSettings(StageSettings):
    references: ClassVar[tuple[str, ...]] = ("inputs",)
    inputs: list[str]


ran: list[str] = []


def _save(context: StageContext, settings: StageSettings, texts: list[str]) -> None:
    with write_dataset(
        context.output,
        Document,
        stage=context.stage,
        fingerprint=context.fingerprint,
        settings=settings.model_dump(mode="json"),
        parents=context.parents,
    ) as out:
        for text in texts:
            out.write(Document(content_id("test", text), text, f"test:{text}", "test"))


def _write(settings: WriteSettings, context: StageContext) -> None:
    ran.append(context.stage)
    if settings.fail:
        raise DataError("told to fail", where="here", hint="do not tell it")
    _save(context, settings, settings.texts)


def _join(settings: JoinSettings, context: StageContext) -> None:
    ran.append(context.stage)
    texts = [
        row.text for name in settings.inputs for row in Dataset.open(context.inputs[name]).rows
    ]
    _save(context, settings, ["+".join(texts)])


WRITE = StageKind("write", WriteSettings, _write, "datasets")
JOIN = StageKind("join", JoinSettings, _join, "datasets")


def recipe(texts: list[str], *, fail: bool = False, seed: int = 0) -> Recipe:
    return Recipe(
        "r",
        (
            RecipeStage("a", WRITE, WriteSettings(texts=texts)),
            RecipeStage("b", WRITE, WriteSettings(texts=["x"], fail=fail)),
            RecipeStage("c", JOIN, JoinSettings(inputs=["a", "b"])),
        ),
        seed=seed,
    )


@pytest.fixture(autouse=True)
def _forget() -> None:
    ran.clear()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "w")


def test_stages_run_in_order_and_know_their_parents(workspace: Workspace) -> None:
    result = build(recipe(["1", "2"]), workspace)
    assert ran == ["a", "b", "c"]
    joined = Dataset.open(result.outputs["c"])
    assert [row.text for row in joined.rows] == ["1+2+x"]
    assert [p.name for p in joined.parents] == ["a", "b"]
    for parent in joined.parents:
        assert Dataset.open(joined.path / parent.path).fingerprint == parent.fingerprint


def test_a_second_build_does_nothing(workspace: Workspace) -> None:
    first = build(recipe(["1"]), workspace)
    ran.clear()
    second = build(recipe(["1"]), workspace)
    assert ran == []
    assert second.skipped == ["a", "b", "c"]
    assert second.fingerprints == first.fingerprints


def test_a_changed_setting_rebuilds_it_and_what_follows_only(workspace: Workspace) -> None:
    build(recipe(["1"]), workspace)
    ran.clear()
    result = build(recipe(["2"]), workspace)
    assert ran == ["a", "c"]
    assert [row.text for row in Dataset.open(result.outputs["c"]).rows] == ["2+x"]


def test_from_a_stage(workspace: Workspace) -> None:
    first = build(recipe(["1"]), workspace)
    ran.clear()
    second = build(recipe(["1"]), workspace, from_stage="b")
    assert ran == ["b", "c"]
    assert second.fingerprints == first.fingerprints
    with pytest.raises(RecipeError, match="its stages: a, b, c"):
        build(recipe(["1"]), workspace, from_stage="z")


def test_a_failure_names_the_stage_and_keeps_what_was_there(workspace: Workspace) -> None:
    build(recipe(["1"]), workspace)
    ran.clear()
    with pytest.raises(DataError, match="stage b: here: told to fail"):
        build(recipe(["2"], fail=True), workspace)
    assert ran == ["a", "b"]
    assert len(Dataset.open(workspace.datasets / "r" / "b")) == 1
    assert [row.text for row in Dataset.open(workspace.datasets / "r" / "c").rows] == ["1+x"]
    leftovers = [p for p in workspace.root.rglob("*.partial")]
    assert leftovers == []


def test_plan_tells_and_does_nothing(workspace: Workspace) -> None:
    assert [i.state for i in plan(recipe(["1"]), workspace)] == ["new"] * 3
    assert ran == []
    build(recipe(["1"]), workspace)
    assert [i.state for i in plan(recipe(["1"]), workspace)] == ["done"] * 3
    assert [i.state for i in plan(recipe(["2"]), workspace)] == ["changed", "done", "changed"]


def test_the_seed_is_part_of_every_fingerprint(workspace: Workspace) -> None:
    one = plan(recipe(["1"], seed=1), workspace)
    two = plan(recipe(["1"], seed=2), workspace)
    assert all(a.fingerprint != b.fingerprint for a, b in zip(one, two, strict=True))


def test_equal_inputs_give_equal_bytes(tmp_path: Path) -> None:
    digests = []
    for name in ("one", "two"):
        result = build(recipe(["1", "二"]), Workspace(tmp_path / name))
        digests.append(
            {n: Dataset.open(path).info.content_digest for n, path in result.outputs.items()}
        )
    assert digests[0] == digests[1]


def test_two_builds_of_one_recipe_are_refused(workspace: Workspace) -> None:
    with workspace.lock("r"), pytest.raises(ChatwrightError, match="another process"):
        build(recipe(["1"]), workspace)


def test_time_and_memory_are_recorded(workspace: Workspace) -> None:
    build(recipe(["1"]), workspace)
    record = read_build_record(workspace, "r")
    assert set(record) == {"a", "b", "c"}
    assert all(r["seconds"] >= 0 and r["peak_bytes"] > 10**6 for r in record.values())


def test_a_damaged_description_is_no_result(workspace: Workspace) -> None:
    result = build(recipe(["1"]), workspace)
    (result.outputs["a"] / "dataset.json").write_text("{")
    assert result_fingerprint(result.outputs["a"]) is None
    ran.clear()
    build(recipe(["1"]), workspace)
    assert ran == ["a"]
