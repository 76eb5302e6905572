"""The arena over HTTP: judges are shown answers, and never whose they are; no model is loaded."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal, TypeVar

import anyio.to_thread
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from chatwright.errors import ChatwrightError, UsageError
from chatwright.evaluate.arena import (
    REASONS,
    SCALE_TEXTS,
    Comparison,
    Form,
    Place,
    Rating,
    RatingTask,
    Study,
    Vote,
    studies_folder,
    study_path,
)
from chatwright.evaluate.arena.checks import judge as checked_judge
from chatwright.serve.access import Role, allow, identity
from chatwright.serve.bodies import body_schema, read_json
from chatwright.serve.errors import ApiError, as_api_error
from chatwright.serve.limits import Limits
from chatwright.workspace import Workspace

_BODY_BYTES = 64 * 1024  # a comment of the longest kind with every character escaped
_KEPT_OPEN = 32  # each keeps its prompts, answers and votes in memory

# C0 and C1 controls without tab and newline, and the marks that override the reading direction.
_UNSHOWN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

T = TypeVar("T")


@dataclass(slots=True)
class _Open:
    study: Study
    stamp: tuple[int, int]
    results: tuple[tuple[int, int], dict[str, Any]] | None = None


class Studies:
    """A workspace's studies, each opened once and opened anew when it was replaced on disk."""

    def __init__(self, workspace: Workspace | None) -> None:
        self._workspace = workspace
        self._open: dict[str, _Open] = {}
        self._lock = threading.Lock()
        self._summarising = threading.Lock()

    def names(self) -> list[str]:
        """What there is, damaged ones included."""
        if self._workspace is None:
            return []
        folder = studies_folder(self._workspace)
        found = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
        return [name for name in found if self._stamp(name) is not None]

    def get(self, name: str) -> Study:
        """The study of that name. Raises `ApiError` 404, and 500 where its files are damaged."""
        return self._entry(name).study

    def results(self, name: str) -> dict[str, Any]:
        """The results as plain values; worked out again only after another vote or answer."""
        entry = self._entry(name)
        with self._summarising:  # a bootstrap keeps a core busy: one at a time
            study = entry.study
            version = (study.desk.log.read().sequence, len(study.answers))
            if entry.results is None or entry.results[0] != version:
                entry.results = (version, _finite(study.results().to_json()))
            return entry.results[1]

    def close(self) -> None:
        """Close every study's database."""
        with self._lock:
            for entry in self._open.values():
                entry.study.close()
            self._open.clear()

    def _entry(self, name: str) -> _Open:
        with self._lock:
            stamp = self._stamp(name)
            entry = self._open.pop(name, None)
            if entry is not None and entry.stamp != stamp:
                entry.study.close()
                entry = None
            if stamp is None or self._workspace is None:
                raise ApiError(404, f"there is no study {name[:80]!r} here", code="study_not_found")
            if entry is None:
                entry = _Open(Study.open(study_path(self._workspace, name)), stamp)
            self._open[name] = entry  # the last used is the last in order
            while len(self._open) > _KEPT_OPEN:
                self._open.pop(next(iter(self._open))).study.close()
            return entry

    def _stamp(self, name: str) -> tuple[int, int] | None:
        if self._workspace is None:
            return None
        try:
            told = (study_path(self._workspace, name) / "study.json").stat()
        except (UsageError, OSError):
            return None
        return told.st_mtime_ns, told.st_ino


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    judge: str = Field(max_length=200)


B = TypeVar("B", bound=_Shape)


class _NextBody(_Shape):
    form: Literal["compare", "rate"]


class _VoteBody(_Shape):
    comparison: str = Field(max_length=100)
    choice: Literal["left", "right", "tie", "both_bad", "skip"]
    reasons: list[str] = Field(default=[], max_length=50)
    comment: str = Field(default="", max_length=4_000)
    seconds: float | None = Field(default=None, ge=0, le=10_000_000)


class _RatingBody(_Shape):
    rating: str = Field(max_length=100)
    scores: dict[str, Annotated[int, Field(ge=0, le=1000)]] = Field(max_length=20)
    comment: str = Field(default="", max_length=4_000)
    seconds: float | None = Field(default=None, ge=0, le=10_000_000)


def arena_router(studies: Studies, limits: Limits) -> APIRouter:
    """The arena's routes. All but `…/results` tell nothing that could give a model away."""
    router = APIRouter(prefix="/v1/chatwright/arena", tags=["arena"])
    judges = [allow(Role.annotator, scope="admin")]
    limits = replace(limits, body_bytes=min(limits.body_bytes, _BODY_BYTES))

    async def off_loop(work: Callable[..., T], *arguments: Any) -> T:
        """Files and SQLite are waited for in a thread; errors are told in the API's form."""
        try:
            return await anyio.to_thread.run_sync(work, studies, *arguments)
        except ChatwrightError as error:
            raise as_api_error(error) from error

    async def body(request: Request, shape: type[B]) -> B:
        told = await read_json(request, shape, limits)
        return told.model_copy(update={"judge": judge_of(request, told.judge)})

    @router.get("/studies", dependencies=judges)
    async def list_studies(
        request: Request, judge: str = Query("", max_length=200)
    ) -> dict[str, Any]:
        """The studies there are, and how far `judge` has come in each."""
        return {"object": "list", "data": await off_loop(_list, judge_of(request, judge))}

    @router.get("/studies/{name}", dependencies=judges)
    async def study(name: str) -> dict[str, Any]:
        """What one study asks: guidelines, reasons and scales, in English and Chinese."""
        return await off_loop(_describe, name)

    @router.post(
        "/studies/{name}/next",
        dependencies=judges,
        openapi_extra=body_schema(_NextBody),
    )
    async def next_task(name: str, request: Request) -> dict[str, Any]:
        """What the judge is asked now; the same until it is answered. `task` is null at the end."""
        asked = await body(request, _NextBody)
        return await off_loop(_next, name, asked.judge, asked.form)

    @router.post(
        "/studies/{name}/votes",
        dependencies=judges,
        openapi_extra=body_schema(_VoteBody),
    )
    async def vote(name: str, request: Request) -> dict[str, Any]:
        """Record a choice; answers with what comes next."""
        return await off_loop(_vote, name, await body(request, _VoteBody))

    @router.post(
        "/studies/{name}/ratings",
        dependencies=judges,
        openapi_extra=body_schema(_RatingBody),
    )
    async def rate(name: str, request: Request) -> dict[str, Any]:
        """Record scores (none at all: skipped); answers with what comes next."""
        return await off_loop(_rate, name, await body(request, _RatingBody))

    @router.post(
        "/studies/{name}/undo",
        dependencies=judges,
        openapi_extra=body_schema(_NextBody),
    )
    async def undo(name: str, request: Request) -> dict[str, Any]:
        """Take back the judge's latest vote or rating, and show it again."""
        asked = await body(request, _NextBody)
        return await off_loop(_undo, name, asked.judge, asked.form)

    @router.get("/studies/{name}/results", dependencies=[allow(Role.admin, scope="admin")])
    async def results(name: str) -> dict[str, Any]:
        """What judges found. Names the models: not for somebody who still judges."""
        return await off_loop(Studies.results, name)

    return router


def judge_of(request: Request, told: str) -> str:
    """Who judges: where people have accounts, whoever is signed in, whatever name is told."""
    who = identity(request)
    return told if who.via == "local" else who.person_id


def _list(studies: Studies, judge: str) -> list[dict[str, Any]]:
    name = checked_judge(judge) if judge.strip() else ""
    found: list[dict[str, Any]] = []
    for title in studies.names():
        try:
            study = studies.get(title)
            progress = {form: _progress(study, name, form) for form in study.forms}
        except (ChatwrightError, ApiError) as error:
            # Its folder may have gone in between, or its files are damaged: the others still show.
            found.append({"name": title, "forms": [], "progress": {}, "problem": error.message})
        else:
            forms = list(study.forms)
            found.append({"name": title, "forms": forms, "progress": progress, "problem": None})
    return found


def _describe(studies: Studies, name: str) -> dict[str, Any]:
    study = studies.get(name)
    return {
        "name": study.name,
        "forms": list(study.forms),
        "guidelines": {language: study.guidelines(language) for language in ("en", "zh")},
        "reasons": [asdict(reason) for reason in REASONS],
        "scales": [asdict(scale) for scale in SCALE_TEXTS.values()],
    }


def _next(studies: Studies, name: str, judge: str, form: Form) -> dict[str, Any]:
    study = studies.get(name)
    task = study.next_comparison(judge) if form == "compare" else study.next_rating(judge)
    return {
        "form": form,
        "task": None if task is None else _task(task),
        "progress": _progress(study, checked_judge(judge), form, task.place if task else None),
    }


def _vote(studies: Studies, name: str, told: _VoteBody) -> dict[str, Any]:
    study = studies.get(name)
    with _refused(study, told.judge, told.comparison, "compare"):
        study.vote(
            told.judge,
            told.comparison,
            told.choice,
            reasons=told.reasons,
            comment=told.comment,
            seconds=told.seconds,
        )
    return _next(studies, name, told.judge, "compare")


def _rate(studies: Studies, name: str, told: _RatingBody) -> dict[str, Any]:
    study = studies.get(name)
    with _refused(study, told.judge, told.rating, "rate"):
        study.rate(told.judge, told.rating, told.scores, comment=told.comment, seconds=told.seconds)
    return _next(studies, name, told.judge, "rate")


def _undo(studies: Studies, name: str, judge: str, form: Form) -> dict[str, Any]:
    study = studies.get(name)
    taken = study.undo(judge)
    said: dict[str, Any]
    if isinstance(taken, Vote):
        said = {"choice": taken.choice, "reasons": list(taken.reasons), "comment": taken.comment}
        return {**_next(studies, name, judge, "compare"), "undone": said}
    if isinstance(taken, Rating):
        said = {"scores": dict(taken.scores), "comment": taken.comment}
        return {**_next(studies, name, judge, "rate"), "undone": said}
    return {**_next(studies, name, judge, form), "undone": None}


def _task(task: Comparison | RatingTask) -> dict[str, Any]:
    """What a judge sees, field by field: a field that is added to the core stays at home."""
    shown: dict[str, Any] = {
        "id": task.id,
        "messages": [{"role": m.role, "content": _plain(m.content)} for m in task.messages],
        "language": task.language,
        "context": None if task.context is None else _plain(task.context),
        "reference": None if task.reference is None else _plain(task.reference),
    }
    if isinstance(task, Comparison):
        return {**shown, "left": _plain(task.left), "right": _plain(task.right)}
    return {**shown, "answer": _plain(task.answer), "scales": list(task.scales)}


def _progress(study: Study, judge: str, form: Form, place: Place | None = None) -> dict[str, int]:
    """How far a judge has come; asking enters nobody in the log. `skipped` are among `done`."""
    said: list[bool]
    if form == "compare":
        said = [vote.choice == "skip" for vote in study.votes("person") if vote.judge == judge]
    else:
        said = [rating.skipped for rating in study.ratings("person") if rating.judge == judge]
    if place is None:
        total = len(study.desk.available(form))
        place = Place(min(len(said), total), total)
    return {"done": place.done, "total": place.total, "skipped": sum(said)}


@contextmanager
def _refused(study: Study, judge: str, task: str, form: Form) -> Iterator[None]:
    """A refusal with its status: 404 not shown to this judge, 409 judged already, 400 other."""
    try:
        yield
    except UsageError as error:
        told = as_api_error(error)
        state = study.desk.log.read()
        shown = state.shown.get(task)
        if shown is None or shown.form != form or shown.judge != checked_judge(judge):
            # One that another judge was shown is as unknown here as one that never was.
            kind = "comparison" if form == "compare" else "rating"
            raise ApiError(
                404, f"you were shown no such {kind}; ask for the next one", code="task_not_found"
            ) from error
        if task in state.standing:
            raise ApiError(409, told.message, code="already_judged") from error
        raise ApiError(400, told.message, param=error.where, code="invalid_value") from error


def _plain(text: str) -> str:
    """Text as it may be shown: no control characters, and none that turn the reading direction."""
    return _UNSHOWN.sub("", text).encode("utf-8", "replace").decode()


def _finite(value: Any) -> Any:
    """Plain values for JSON, which knows no NaN and no infinity."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
