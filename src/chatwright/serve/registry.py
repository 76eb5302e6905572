"""What is served: names, what they are, and one engine each, loaded when first asked for."""

from __future__ import annotations

import re
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import anyio
import anyio.to_thread

from chatwright.assist import Assistant, Description, list_assistants, load_assistant
from chatwright.errors import UsageError
from chatwright.evaluate.arena import list_studies
from chatwright.serve.errors import ApiError, as_api_error
from chatwright.workspace import Workspace

_SCHEME = re.compile(r"(hf|pypi|file|https|openai):")


@dataclass(frozen=True, slots=True)
class Served:
    """One entry of `/v1/models`. `stamp` changes when what lies behind the name was rebuilt."""

    name: str
    kind: Literal["assistant", "model"]
    title: str
    description: str = ""
    examples: tuple[str, ...] = ()
    created: int = 0
    knowledge: Path | None = None
    stamp: str = ""


@dataclass(slots=True)
class _Loaded:
    assistant: Assistant
    stamp: str
    users: int = 0
    last_use: int = 0


class Registry:
    """Names to assistants. At most `most_loaded` stay in memory; one in use is never closed.

    `entries` is asked each time, so that an assistant built while the server runs appears;
    `load` is called in a thread, one at a time.
    """

    def __init__(
        self,
        entries: Callable[[], list[Served]],
        load: Callable[[str], Assistant],
        *,
        most_loaded: int = 2,
    ) -> None:
        self._entries = entries
        self._load = load
        self._most = most_loaded
        self._loaded: dict[str, _Loaded] = {}
        self._retired: list[_Loaded] = []
        self._one_at_a_time = anyio.Lock()
        self._clock = 0

    def entries(self) -> list[Served]:
        return self._entries()

    def get(self, name: str) -> Served:
        """The entry of that name. Raises `ApiError` 404."""
        for entry in self.entries():
            if entry.name == name:
                return entry
        raise ApiError(
            404,
            f"there is no model {name[:100]!r} here; /v1/models lists what there is",
            param="model",
            code="model_not_found",
        )

    @asynccontextmanager
    async def lease(self, name: str) -> AsyncIterator[Assistant]:
        """The assistant of that name, loaded if need be and kept open while the block runs."""
        loaded = await self._acquire(self.get(name))
        try:
            yield loaded.assistant
        finally:
            loaded.users -= 1
            self._close_idle()

    async def _acquire(self, entry: Served) -> _Loaded:
        loaded = self._current(entry)
        if loaded is None:
            async with self._one_at_a_time:
                loaded = self._current(entry)  # another request may have loaded it meanwhile
                if loaded is None:
                    loaded = await self._load_now(entry)
        self._clock += 1
        loaded.last_use = self._clock
        loaded.users += 1
        self._close_idle()
        return loaded

    def _current(self, entry: Served) -> _Loaded | None:
        loaded = self._loaded.get(entry.name)
        return loaded if loaded is not None and loaded.stamp == entry.stamp else None

    async def _load_now(self, entry: Served) -> _Loaded:
        old = self._loaded.pop(entry.name, None)
        if old is not None:
            self._retired.append(old)
        try:
            # Not abandoned when the caller leaves: the next one will want the model as well.
            assistant = await anyio.to_thread.run_sync(self._load, entry.name)
        except Exception as error:
            raise as_api_error(error, loading=True) from error
        loaded = self._loaded[entry.name] = _Loaded(assistant, entry.stamp)
        return loaded

    def _close_idle(self) -> None:
        """Close what was replaced, and the longest unused beyond `most_loaded`."""
        spare = len(self._loaded) - self._most
        idle = sorted(
            (name for name, one in self._loaded.items() if one.users == 0),
            key=lambda name: self._loaded[name].last_use,
        )
        self._retired.extend(self._loaded.pop(name) for name in idle[: max(spare, 0)])
        closing = [one for one in self._retired if one.users == 0]
        self._retired = [one for one in self._retired if one.users > 0]
        for one in closing:
            threading.Thread(target=one.assistant.close, daemon=True).start()

    def close(self) -> None:
        """Close every engine."""
        for one in [*self._loaded.values(), *self._retired]:
            one.assistant.close()
        self._loaded.clear()
        self._retired.clear()


def workspace_registry(
    workspace: Workspace,
    names: Sequence[str] = (),
    *,
    most_loaded: int = 2,
    **options: Any,
) -> Registry:
    """What a workspace has: the assistants and models named, or all of them when none is.

    A name that is neither may be anything that `load_model` knows (an alias, a folder, a `.gguf`).
    `options` are those of `load_assistant`: with a `backend` that server's model answers for all.
    Raises `UsageError` for one that is nothing, and where there is nothing to serve or to judge.
    """
    for name in names:
        _check_name(name, workspace)

    def entries() -> list[Served]:
        assistants = {d.name: _assistant(d, workspace) for d in list_assistants(workspace)}
        if not names:
            models = [_model(name, workspace) for name in workspace.list_models()]
            return [*assistants.values(), *models]
        tuned = [name for name in _tuned(workspace) if name not in names]
        return [assistants.get(name) or _model(name, workspace) for name in (*names, *tuned)]

    if not entries() and not list_studies(workspace):  # a place may be there for judging alone
        raise UsageError(
            "there is no assistant or model to serve",
            where=str(workspace.root),
            hint="build one first (`chatwright build recipes/quickstart.yaml`), or name a model "
            "(`chatwright serve smollm2-135m-instruct`)",
        )
    return Registry(
        entries,
        lambda name: load_assistant(name, workspace, **options),
        most_loaded=most_loaded,
    )


def _tuned(workspace: Workspace) -> list[str]:
    """What `/v1/fine_tuning/jobs` has made of served models: it is served as well."""
    found = sorted(path.name for path in workspace.models.glob("ft:*"))
    return [name for name in found if workspace.model(name) is not None]


def _check_name(name: str, workspace: Workspace) -> None:
    if name in workspace.list_assistants() or workspace.model(name) is not None:
        return
    from chatwright.model.references import KNOWN_MODELS  # imports torch: only when needed

    if name not in KNOWN_MODELS and not _SCHEME.match(name) and not Path(name).exists():
        known = [*workspace.list_assistants(), *workspace.list_models(), *KNOWN_MODELS]
        raise UsageError(
            f"there is no assistant or model called {name!r}",
            where=str(workspace.root),
            hint=f"there are: {', '.join(known)}",
        )


def _assistant(description: Description, workspace: Workspace) -> Served:
    made = (workspace.assistants / f"{description.name}.json").stat()
    return Served(
        name=description.name,
        kind="assistant",
        title=description.title or description.name,
        description=description.description,
        examples=tuple(description.examples),
        created=int(made.st_mtime),
        knowledge=workspace.root / description.knowledge if description.knowledge else None,
        stamp=f"{description.fingerprint}:{made.st_mtime_ns}",
    )


def _model(name: str, workspace: Workspace) -> Served:
    folder = workspace.model(name)
    made = 0
    if folder is not None:
        files = (folder / name for name in ("config.json", "model.gguf"))
        made = max(file.stat().st_mtime_ns for file in files if file.exists())
    return Served(name, "model", name, created=made // 10**9, stamp=str(made))
