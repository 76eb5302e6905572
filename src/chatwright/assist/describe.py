"""An assistant on disk: one JSON file that names its model, its knowledge and its manners."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chatwright.assist.knowledge import Knowledge
from chatwright.errors import DataError, ModelError
from chatwright.records import write_atomic
from chatwright.records.dataset import Parent, read_json
from chatwright.stage import Settings, StageContext, StageSettings
from chatwright.version import __version__
from chatwright.workspace import Workspace

_FORMAT: Literal["chatwright.assistant"] = "chatwright.assistant"


class Retrieval(Settings):
    """How many passages are shown, and to how many words each is shortened."""

    passages: int = Field(default=3, ge=1, le=20)
    max_words: int = Field(default=50, ge=10, le=2_000)


class Sampling(Settings):
    """What a caller gets who asks for nothing; see `SamplingParams`."""

    temperature: float = Field(default=0.0, ge=0, le=10)
    top_k: int = Field(default=0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    repetition_penalty: float = Field(default=1.0, gt=0, le=10)
    max_tokens: int = Field(default=256, ge=1, le=100_000)


class AssistantStageSettings(StageSettings):
    """Settings of an `assistant` stage: a model and, where there is some, knowledge.

    `system` replaces the built-in instruction; `examples` are questions that the chat page offers.
    """

    references: ClassVar[tuple[str, ...]] = ("model", "knowledge")

    model: str
    knowledge: str | None = None
    title: str = ""
    description: str = ""
    system: str | None = None
    examples: list[str] = Field(default_factory=list)
    retrieval: Retrieval = Field(default_factory=Retrieval)
    sampling: Sampling = Field(default_factory=Sampling)


class ParentRecord(BaseModel):
    """A result that the assistant was made from; `path` is relative to the file's folder."""

    name: str
    fingerprint: str
    path: str


class Description(BaseModel):
    """What `assistants/NAME.json` holds. Paths are relative to the workspace.

    `model` is a folder of the workspace or a reference that `load_model` knows; the fingerprints
    are those of model and knowledge as the assistant was put together.
    """

    model_config = ConfigDict(extra="forbid")

    format: Literal["chatwright.assistant"] = _FORMAT
    name: str
    title: str
    description: str = ""
    model: str
    model_fingerprint: str | None = None
    knowledge: str | None = None
    knowledge_fingerprint: str | None = None
    system: str | None = None
    examples: list[str] = Field(default_factory=list)
    retrieval: Retrieval = Field(default_factory=Retrieval)
    sampling: Sampling = Field(default_factory=Sampling)
    fingerprint: str = ""
    parents: list[ParentRecord] = Field(default_factory=list)
    chatwright: str = __version__


def run_assistant(settings: AssistantStageSettings, context: StageContext) -> None:
    """Write the description of an assistant, once its model and knowledge are there and sound."""
    workspace = context.workspace
    folder = context.inputs.get(settings.model) or workspace.model(settings.model)
    model_fingerprint: str | None = None
    if folder is not None:
        model_fingerprint = checkpoint_fingerprint(folder)
        model = _relative(folder, workspace)
    else:
        model = settings.model  # an alias, hf:…, pypi:… or a file: load_model knows
    knowledge: str | None = None
    knowledge_fingerprint: str | None = None
    if settings.knowledge is not None:
        path = context.dataset_path(settings.knowledge)
        knowledge_fingerprint = Knowledge.open(path).fingerprint
        knowledge = _relative(path, workspace)
    description = Description(
        name=context.output.stem,
        title=settings.title or context.recipe,
        description=settings.description,
        model=model,
        model_fingerprint=model_fingerprint,
        knowledge=knowledge,
        knowledge_fingerprint=knowledge_fingerprint,
        system=settings.system,
        examples=settings.examples,
        retrieval=settings.retrieval,
        sampling=settings.sampling,
        fingerprint=context.fingerprint,
        parents=[_record(parent) for parent in context.parents],
    )
    write_atomic(
        context.output,
        json.dumps(description.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n",
    )


def read_description(path: Path) -> Description:
    """Read `assistants/NAME.json`. Raises `DataError` saying what is wrong in it."""
    raw = read_json(path, "assistant's description")
    if raw.get("format") != _FORMAT:
        raise DataError("not the description of an assistant", where=str(path))
    try:
        return Description.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise DataError(
            f"{key}: {first['msg']}", where=str(path), hint="build the assistant again"
        ) from error


def checkpoint_fingerprint(folder: Path) -> str | None:
    """What `lineage.json` of a checkpoint says it is; None for one that is not ours."""
    if not any((folder / name).exists() for name in ("config.json", "model.gguf")):
        raise ModelError("no model here (no config.json and no model.gguf)", where=str(folder))
    file = folder / "lineage.json"
    if not file.exists():
        return None
    value: Any = read_json(file, "lineage").get("fingerprint")
    return value if isinstance(value, str) else None


def _relative(path: Path, workspace: Workspace) -> str:
    path = path.absolute()
    inside = path.is_relative_to(workspace.root)
    return path.relative_to(workspace.root).as_posix() if inside else path.as_posix()


def _record(parent: Parent) -> ParentRecord:
    return ParentRecord(name=parent.name, fingerprint=parent.fingerprint, path=parent.path)
