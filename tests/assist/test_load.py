from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from chatwright.assist import Answer, list_assistants, load_assistant
from chatwright.assist.describe import AssistantStageSettings, read_description, run_assistant
from chatwright.assist.load import check, settings_of
from chatwright.errors import ChatwrightError, DataError, ModelError, UsageError
from chatwright.workspace import Workspace

from .conftest import stage_context


@pytest.fixture
def model_path(workspace: Workspace) -> Path:
    """A checkpoint as far as its name and lineage go; nothing is loaded from it."""
    folder = workspace.models / "demo" / "sft"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "lineage.json").write_text(json.dumps({"fingerprint": "print-sft"}))
    return folder


@pytest.fixture
def described(workspace: Workspace, model_path: Path, knowledge_path: Path) -> Path:
    settings = AssistantStageSettings.model_validate(
        {
            "model": "sft",
            "knowledge": "knowledge",
            "title": "演示 Demo",
            "examples": ["What does flush do?"],
            "retrieval": {"passages": 2},
            "sampling": {"temperature": 0.3, "max_tokens": 99},
        }
    )
    output = workspace.assistants / "demo.json"
    context = stage_context(workspace, output, sft=model_path, knowledge=knowledge_path)
    run_assistant(settings, context)
    return output


def test_a_description_holds_everything_by_relative_paths(
    described: Path, workspace: Workspace
) -> None:
    description = read_description(described)
    assert (description.model, description.knowledge) == (
        "models/demo/sft",
        "datasets/demo/knowledge",
    )
    assert description.model_fingerprint == "print-sft"
    assert description.knowledge_fingerprint == "print-knowledge"
    assert [p.fingerprint for p in description.parents] == ["print-sft", "print-knowledge"]
    assert str(workspace.root) not in described.read_text()
    settings = settings_of(description)
    assert (settings.passages, settings.title, settings.sampling.max_tokens) == (2, "演示 Demo", 99)
    assert settings.sampling.temperature == 0.3 and settings.examples == ("What does flush do?",)


def test_a_moved_workspace_still_works(
    described: Path, workspace: Workspace, tmp_path: Path
) -> None:
    moved = workspace.root.rename(tmp_path / "elsewhere")
    house = Workspace(moved)
    (description,) = list_assistants(house)
    reference, knowledge = check(description, house.assistants / "demo.json", house)
    assert reference == str(moved / "models/demo/sft")
    assert knowledge is not None and knowledge.search("flush", 1)


def test_the_same_build_writes_the_same_bytes(described: Path, workspace: Workspace, model_path: Path, knowledge_path: Path) -> None:  # fmt: skip # noqa: E501
    before = described.read_bytes()
    settings = AssistantStageSettings.model_validate(
        {"model": "sft", "knowledge": "knowledge", "title": "演示 Demo",
         "examples": ["What does flush do?"], "retrieval": {"passages": 2},
         "sampling": {"temperature": 0.3, "max_tokens": 99}}
    )  # fmt: skip
    run_assistant(
        settings, stage_context(workspace, described, sft=model_path, knowledge=knowledge_path)
    )
    assert described.read_bytes() == before


def change(path: Path, **values: object) -> None:
    raw = json.loads(path.read_text())
    path.write_text(json.dumps({**raw, **values}))


def remove(path: Path) -> None:
    for file in path.iterdir():
        file.unlink()
    path.rmdir()


def test_what_is_wrong_is_said(described: Path, workspace: Workspace, model_path: Path) -> None:
    description = read_description(described)
    change(workspace.datasets / "demo" / "knowledge" / "dataset.json", fingerprint="another")
    with pytest.raises(DataError, match="built anew after this assistant") as caught:
        check(description, described, workspace)
    assert "chatwright build" in (caught.value.hint or "")
    change(model_path / "lineage.json", fingerprint="another")
    with pytest.raises(ModelError, match="not the one that this assistant was made with"):
        check(description, described, workspace)
    remove(model_path)
    with pytest.raises(ModelError, match="its model is missing"):
        load_assistant("demo", workspace)


def test_knowledge_that_is_gone(described: Path, workspace: Workspace) -> None:
    (workspace.datasets / "demo" / "knowledge").rename(workspace.datasets / "away")
    with pytest.raises(DataError, match="its knowledge is missing"):
        load_assistant("demo", workspace)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": "chatwright.assistant"}'])
def test_a_broken_description_is_told_and_the_list_goes_on(
    described: Path, workspace: Workspace, text: str
) -> None:
    broken = workspace.assistants / "broken.json"
    broken.write_text(text)
    with pytest.raises(DataError) as caught:
        load_assistant("broken", workspace)
    assert caught.value.where == str(broken)
    assert [d.name for d in list_assistants(workspace)] == ["demo"]


def test_an_unknown_name_lists_what_there_is(described: Path, workspace: Workspace) -> None:
    with pytest.raises(ChatwrightError) as caught:
        load_assistant("nonesuch", workspace)
    assert "nonesuch" in str(caught.value)


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ValidationError, match="temprature"):
        AssistantStageSettings.model_validate({"model": "m", "sampling": {"temprature": 1}})


def test_a_missing_dataset_fails_at_build_time(workspace: Workspace, model_path: Path) -> None:
    settings = AssistantStageSettings(model="sft", knowledge="nowhere")
    output = workspace.assistants / "demo.json"
    with pytest.raises(UsageError, match="no dataset called"):
        run_assistant(settings, stage_context(workspace, output, sft=model_path))
    assert not output.exists()


def test_listing_does_not_pay_for_torch() -> None:
    code = (
        "import sys; from chatwright.assist import list_assistants, STAGES\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_real_model_is_asked_what_was_prepared(
    smollm2_gguf: Path, workspace: Workspace, knowledge_path: Path
) -> None:
    """The default model as it comes: what it says is its own, asked with exactly that prompt."""
    settings = AssistantStageSettings.model_validate(
        {"model": str(smollm2_gguf), "knowledge": "knowledge", "sampling": {"max_tokens": 8}}
    )
    output = workspace.assistants / "real.json"
    run_assistant(settings, stage_context(workspace, output, knowledge=knowledge_path))
    assistant = load_assistant("real", workspace, max_batch=1, context=1024)
    try:
        question = [{"role": "user", "content": "What does `Session.flush()` do?"}]
        *pieces, answer = assistant.stream(question)
        assert isinstance(answer, Answer)
        assert answer.passages[0].title == "Session › Session.flush()"
        prepared = assistant.prepare(question)
        assert answer.completion.prompt_tokens == prepared.prompt_tokens
        alone = assistant.engine.stream(prepared.messages, assistant.settings.sampling).result()
        assert alone.token_ids == answer.completion.token_ids  # temperature 0: the same
        assert answer.text == alone.text.strip() == "".join(p.text for p in pieces).strip()
        assert answer.text != ""
        shown = {p.id for p in answer.passages}
        assert {c.passage.id for c in answer.citations} <= shown
    finally:
        assistant.close()
