"""From a name to an assistant that answers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatwright.assist.describe import Description, checkpoint_fingerprint, read_description
from chatwright.assist.knowledge import Knowledge
from chatwright.errors import DataError, ModelError, UsageError
from chatwright.records import Dataset
from chatwright.workspace import Workspace

if TYPE_CHECKING:  # these bring torch, which a list of assistants does not need
    from chatwright.assist.answer import Assistant, AssistantSettings


def list_assistants(workspace: Workspace | None = None) -> list[Description]:
    """The assistants of a workspace, by name. A description that cannot be read is left out here;
    `load_assistant` says what is wrong with it.
    """
    workspace = workspace or Workspace()
    found: list[Description] = []
    for name in workspace.list_assistants():
        try:
            found.append(read_description(workspace.assistants / f"{name}.json"))
        except DataError:
            continue
    return found


def find_description(
    name: str | os.PathLike[str], workspace: Workspace
) -> tuple[Description, Path] | None:
    """The description that a name or a path to a `.json` file means, or None."""
    path = Path(name)
    if path.suffix != ".json":
        path = workspace.assistants / f"{name}.json"
    return (read_description(path), path) if path.is_file() else None


def load_assistant(
    name: str | os.PathLike[str],
    workspace: Workspace | None = None,
    *,
    max_batch: int = 16,
    context: int | None = None,
    weights: str = "auto",
    kv_dtype: str = "auto",
    backend: str | None = None,
) -> Assistant:
    """An assistant of the workspace by name or file; or any model, to chat with it plainly.

    A model may be on another server (`openai:http://localhost:8080/v1#model`); so may, with a
    `backend` of that form, what answers in an assistant's name: its own model is then not loaded.
    `weights` and `kv_dtype` are those of `load_engine`.

    Raises `UsageError` for an unknown name, `ModelError` for a missing or damaged model and
    `DataError` where the knowledge is not the one that the assistant was made with.
    """
    from chatwright.assist.answer import Assistant

    workspace = workspace or Workspace()
    found = find_description(name, workspace)
    options: dict[str, Any] = {
        "max_batch": max_batch,
        "context": context,
        "weights": weights,
        "kv_dtype": kv_dtype,
    }
    if found is None:
        return _plain(str(name), workspace, backend, options)
    description, path = found
    reference, knowledge = check(description, path, workspace)
    reference = backend or reference
    engine = _engine(reference, workspace, options)
    return Assistant(engine, knowledge, settings_of(description))


def check(
    description: Description, path: Path, workspace: Workspace
) -> tuple[str, Knowledge | None]:
    """The model's reference and the knowledge of a description, once both are what it names."""
    again = "build the assistant again: `chatwright build` makes only what is missing"
    folder = workspace.root / description.model
    reference = description.model
    if folder.exists():
        reference = str(folder)
        is_checkpoint = any((folder / file).exists() for file in ("config.json", "model.gguf"))
        now = checkpoint_fingerprint(folder) if is_checkpoint else None
        if description.model_fingerprint not in (None, now):
            raise ModelError(
                "the model is not the one that this assistant was made with "
                f"(fingerprint {now}, was {description.model_fingerprint})",
                where=str(path),
                hint=again,
            )
    elif description.model_fingerprint is not None:
        raise ModelError(f"its model is missing: {folder}", where=str(path), hint=again)
    if description.knowledge is None:
        return reference, None
    where = workspace.root / description.knowledge
    if not where.exists():
        raise DataError(f"its knowledge is missing: {where}", where=str(path), hint=again)
    fingerprint = Dataset.open(where).fingerprint
    if description.knowledge_fingerprint not in (None, fingerprint):
        raise DataError(
            "the knowledge was built anew after this assistant was made with it "
            f"(fingerprint {fingerprint}, was {description.knowledge_fingerprint})",
            where=str(path),
            hint=again,
        )
    return reference, Knowledge.open(where)


def settings_of(description: Description) -> AssistantSettings:
    """A description's manners, as the assistant takes them."""
    from chatwright.assist.answer import AssistantSettings
    from chatwright.generate import SamplingParams

    return AssistantSettings(
        name=description.name,
        title=description.title,
        description=description.description,
        system=description.system,
        examples=tuple(description.examples),
        passages=description.retrieval.passages,
        max_words=description.retrieval.max_words,
        sampling=SamplingParams(**description.sampling.model_dump()),
    )


def _plain(
    name: str, workspace: Workspace, backend: str | None, options: Mapping[str, Any]
) -> Assistant:
    from chatwright.assist.answer import Assistant, AssistantSettings
    from chatwright.generate import SamplingParams

    known = workspace.list_assistants()
    reference = backend or name
    try:
        engine = _engine(reference, workspace, options)
    except UsageError as error:
        if reference.startswith("openai:"):
            raise  # it was found, and says what is wrong
        hint = f"assistants here: {', '.join(known)}" if known else error.hint
        raise UsageError(
            f"there is no assistant or model called {name!r}", where=str(workspace.root), hint=hint
        ) from error
    settings = AssistantSettings(name=name, title=name, sampling=SamplingParams(temperature=0.7))
    return Assistant(engine, None, settings)


def _engine(reference: str, workspace: Workspace, options: Mapping[str, Any]) -> Any:
    from chatwright.generate.remote import is_remote, open_remote

    if is_remote(reference):
        return open_remote(reference, max_batch=options["max_batch"], context=options["context"])
    from chatwright.generate.load import load_engine

    return load_engine(reference, workspace=workspace, **options)
