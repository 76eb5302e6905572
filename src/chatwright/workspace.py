"""Where things live on disk, and how a name becomes a dataset, a model or an assistant."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import platformdirs

from chatwright.errors import ChatwrightError, UsageError

DEFAULT_FOLDER = "chatwright-workspace"


def cache_folder() -> Path:
    """The download cache: `CHATWRIGHT_CACHE`, or the user's own cache folder."""
    told = os.environ.get("CHATWRIGHT_CACHE")
    return Path(told) if told else Path(platformdirs.user_cache_dir("chatwright"))


class Workspace:
    """A folder with `datasets/`, `models/`, `assistants/` and `runs/`.

    Each result of a recipe lies at `<kind>/<recipe>/<stage>`; a name such as `quickstart/curate`
    means that, and any existing path means itself.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        self.root = Path(
            root or os.environ.get("CHATWRIGHT_WORKSPACE") or DEFAULT_FOLDER
        ).absolute()

    @property
    def datasets(self) -> Path:
        return self.root / "datasets"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def assistants(self) -> Path:
        return self.root / "assistants"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    def dataset(self, name: str) -> Path:
        """The folder of a dataset, by name or path. Raises `UsageError` listing what there is."""
        for path in (self.datasets / name, Path(name)):
            if (path / "dataset.json").exists():
                return path
        raise UsageError(
            f"there is no dataset called {name!r}",
            where=str(self.datasets),
            hint=_choices("datasets", self.list_datasets()),
        )

    def model(self, name: str) -> Path | None:
        """The folder of a checkpoint of this workspace, or None where the name is not one."""
        path = self.models / name
        whole = (path / "config.json").exists() or (path / "model.gguf").exists()
        return path if whole else None

    def list_datasets(self) -> list[str]:
        return _names(self.datasets, "dataset.json")

    def list_models(self) -> list[str]:
        found = (*_names(self.models, "config.json"), *_names(self.models, "model.gguf"))
        return sorted(set(found))

    def list_assistants(self) -> list[str]:
        return sorted(p.stem for p in self.assistants.glob("*.json"))

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """One writer at a time for a recipe: a second build of it is refused, not interleaved."""
        self.runs.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self.runs / f".{name}.lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise ChatwrightError(
                f"another process is building {name!r}",
                where=str(self.root),
                hint="wait for it to finish, or stop it",
            ) from error
        try:
            yield
        finally:
            lock.release()


def _names(folder: Path, marker: str) -> list[str]:
    """Names of the results in a folder; a leading dot marks an unfinished one."""
    found = (p.parent.relative_to(folder) for p in folder.rglob(marker))
    return sorted(p.as_posix() for p in found if not any(q.startswith(".") for q in p.parts))


def _choices(what: str, names: list[str]) -> str:
    return (
        f"{what} here: {', '.join(names)}"
        if names
        else f"there are no {what} yet; build a recipe first"
    )
