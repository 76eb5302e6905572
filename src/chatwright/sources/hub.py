"""Data sets and weights of the Hugging Face hub, pinned to a commit and kept in the cache.

`HF_ENDPOINT` (a mirror), `HF_TOKEN` and `HF_HUB_OFFLINE` mean what they mean to huggingface_hub.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fnmatch
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from chatwright.errors import SourceError, UsageError
from chatwright.progress import Progress, Silent
from chatwright.records import write_atomic
from chatwright.sources.download import sha256_of
from chatwright.workspace import cache_folder

RepoType = Literal["model", "dataset"]
T = TypeVar("T")

_REFERENCE = re.compile(r"(?:hf:)?(?P<name>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[\w./-]+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
WEIGHTS = ("*.safetensors", "*.json", "tokenizer.model", "*.jinja", "*.gguf")


class HubUnreachableError(SourceError):
    """The hub gave no answer, or a server error: what was fetched before may still do."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a repository; `sha256` is known for large files (git LFS) only."""

    path: str
    size: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class HubRepo:
    """A repository at one commit. `time` is the commit's (ISO 8601), `license` its card's."""

    name: str
    kind: RepoType
    commit: str
    time: str | None
    license: str | None
    files: tuple[HubFile, ...]

    @property
    def date(self) -> dt.datetime | None:
        return dt.datetime.fromisoformat(self.time) if self.time else None


def parse_hub_reference(reference: str) -> tuple[str, str | None]:
    """(`owner/name`, revision or None) of `hf:owner/name[@revision]`; else `UsageError`."""
    match = _REFERENCE.fullmatch(reference.strip())
    if match is None:
        raise UsageError(
            "not a repository of the hub",
            where=reference,
            hint="write hf:owner/name or hf:owner/name@revision",
        )
    return match["name"], match["revision"]


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


def _cache() -> Path:
    """The hub library's own cache where the user has set one, else ours."""
    told = os.environ.get("HF_HUB_CACHE")
    return Path(told) if told else cache_folder() / "hub"


def open_repo(name: str, kind: RepoType, revision: str | None = None) -> HubRepo:
    """The repository at `revision` (a branch, tag or commit; default: its main branch).

    What a commit holds never changes, so a listing by commit is kept and needs no network again.
    Raises `SourceError` where the hub cannot be reached, has no such repository or revision, or
    asks for a login.
    """
    if revision and _COMMIT.fullmatch(revision):
        listing = _listing_file(name, kind, revision)
        if listing.exists():
            return _read_listing(listing)
    latest = _listing_file(name, kind, f"latest-{revision or 'default'}")
    try:
        repo = _asking_hub(f"hf:{name}", lambda: _list_repo(name, kind, revision))
    except HubUnreachableError:
        if latest.exists():  # offline, a branch means what it meant last time
            return _read_listing(latest)
        raise
    for file in (_listing_file(name, kind, repo.commit), latest):
        write_atomic(file, json.dumps(asdict(repo), indent=1))
    return repo


def _listing_file(name: str, kind: RepoType, revision: str) -> Path:
    file = f"{kind}--{name}@{revision}.json".replace("/", "--")
    return cache_folder() / "hub-listings" / file


def _read_listing(path: Path) -> HubRepo:
    raw = json.loads(path.read_text(encoding="utf-8"))
    raw["files"] = tuple(HubFile(**file) for file in raw["files"])
    return HubRepo(**raw)


def _list_repo(name: str, kind: RepoType, revision: str | None) -> HubRepo:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    api = HfApi(endpoint=_endpoint())
    info: Any = api.repo_info(name, repo_type=kind, revision=revision)
    tree = api.list_repo_tree(name, repo_type=kind, revision=info.sha, recursive=True)
    files = [
        HubFile(entry.path, entry.size, entry.lfs.sha256 if entry.lfs else None)
        for entry in tree
        if isinstance(entry, RepoFile)
    ]
    modified: dt.datetime | None = info.last_modified
    card_license = info.card_data.get("license") if info.card_data else None
    return HubRepo(
        name=name,
        kind=kind,
        commit=info.sha,
        time=modified.replace(microsecond=0).isoformat() if modified else None,
        license=card_license if isinstance(card_license, str) else None,
        files=tuple(sorted(files, key=lambda file: file.path)),
    )


def fetch_hub_file(repo: HubRepo, file: HubFile) -> Path:
    """One file of `repo`, from the cache or downloaded (with resume) and checked.

    Raises `SourceError`; a download whose size or SHA-256 is not the listed one is removed.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    known = try_to_load_from_cache(
        repo.name, file.path, cache_dir=_cache(), revision=repo.commit, repo_type=repo.kind
    )
    if isinstance(known, str) and Path(known).stat().st_size == file.size:
        return Path(known)
    where = f"hf:{repo.name}/{file.path}"
    with _no_progress_bars():  # the hub's own would break into ours
        path = Path(
            _asking_hub(
                where,
                lambda: hf_hub_download(
                    repo.name,
                    file.path,
                    repo_type=repo.kind,
                    revision=repo.commit,
                    cache_dir=_cache(),
                    endpoint=_endpoint(),
                    force_download=isinstance(known, str),  # its size is wrong: a damaged copy
                ),
            )
        )
    wrong = path.stat().st_size != file.size
    if wrong or (file.sha256 is not None and sha256_of(path) != file.sha256):
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise SourceError(
            "the downloaded file is not the one that the hub lists; it was removed",
            where=where,
            hint="run again; if it stays so, the mirror (HF_ENDPOINT) serves a wrong file",
        )
    return path


@contextlib.contextmanager
def _no_progress_bars() -> Iterator[None]:
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    before = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not before:
            enable_progress_bars()


def fetch_snapshot(
    repo_id: str,
    revision: str | None = None,
    patterns: Sequence[str] = WEIGHTS,
    *,
    kind: RepoType = "model",
    progress: Progress | None = None,
) -> Path:
    """A folder with the files of a hub repository whose paths match one of `patterns`.

    `repo_id` is `owner/name`, with or without `hf:` and `@revision`. Pickled weights match no
    default pattern. Raises `SourceError`.
    """
    name, told = parse_hub_reference(repo_id)
    repo = open_repo(name, kind, revision or told)
    files = [f for f in repo.files if any(fnmatch.fnmatch(f.path, p) for p in patterns)]
    if not files:
        raise SourceError(
            f"no file matches {', '.join(patterns)}",
            where=f"hf:{name}",
            hint="it holds " + (", ".join(f.path for f in repo.files[:8]) or "nothing"),
        )
    folder: Path | None = None
    with (progress or Silent()).task(f"download hf:{name}", sum(f.size for f in files)) as task:
        for file in files:
            task.status(file.path)
            path = fetch_hub_file(repo, file)
            folder = path.parents[file.path.count("/")]
            task.advance(file.size)
    assert folder is not None
    return folder


def _asking_hub(where: str, ask: Callable[[], T]) -> T:
    """Run `ask`; whatever goes wrong between here and the hub becomes a `SourceError`."""
    import httpx2
    from huggingface_hub import errors

    try:
        return ask()
    except errors.GatedRepoError as error:
        raise SourceError(
            "this repository asks for a login",
            where=where,
            hint="accept its terms on the hub, then set HF_TOKEN",
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise SourceError(
            "the hub has no such repository, or it is private",
            where=where,
            hint="check the name; for a private one set HF_TOKEN",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise SourceError(
            "the hub has no such revision", where=where, hint="check what follows the @"
        ) from error
    except errors.HFValidationError as error:
        raise UsageError(f"not a repository name: {error}", where=where) from error
    except (httpx2.HTTPError, errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError) as error:
        status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else 503
        failure = HubUnreachableError if status in (408, 429) or status >= 500 else SourceError
        raise failure(
            f"the hub cannot give this: {_first_line(error)}",
            where=where,
            hint="check the network, HF_ENDPOINT and HF_HUB_OFFLINE, and run again",
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(
            f"this could not be fetched: {_first_line(error)}",
            where=where,
            hint="check the network, HF_ENDPOINT and the free disk space, and run again",
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
