"""Jobs in the database: made, listed, claimed by one worker, and what they tell of themselves."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from chatwright.serve.access import Identity
from chatwright.serve.errors import ApiError, not_found
from chatwright.serve.ids import new_id
from chatwright.serve.store import Keyring
from chatwright.serve.store.tables import Job, JobEvent, now

KIND = "fine_tuning"
OPEN = ("queued", "running")
STALE = timedelta(seconds=15)  # a worker that has said nothing for so long is gone
MOST_OPEN = 10  # jobs of one person that have not ended
MOST_STARTS = 3  # a job whose worker died so often is given up

_LONGEST = 2000


def create(
    session: Session,
    keys: Keyring,
    who: Identity,
    settings: dict[str, Any],
    metadata: dict[str, str] | None,
) -> Job:
    """A new job in the queue. Raises `ApiError` 429 for somebody with many of them."""
    waiting = session.scalar(
        select(func.count())
        .select_from(Job)
        .where(Job.person_id == who.person_id, Job.kind == KIND, Job.status.in_(OPEN))
    )
    if (waiting or 0) >= MOST_OPEN:
        raise ApiError(429, f"{MOST_OPEN} jobs of yours have not ended yet", code="too_many_jobs")
    row_id = new_id("ftjob")
    told = dict(settings)
    if metadata:
        sealer = keys.sealer(session, who.person_id)
        sealed = sealer.seal(json.dumps(metadata), context=f"jobs.metadata:{row_id}")
        told["sealed_metadata"] = base64.b64encode(sealed).decode()
    job = Job(id=row_id, person_id=who.person_id, kind=KIND, settings=told)
    session.add(job)
    session.flush()
    return job


def own(session: Session, who: Identity, job_id: str) -> Job:
    """A job of this person's. Raises `ApiError` 404."""
    job = session.get(Job, job_id) if len(job_id) <= 64 else None
    if job is None or job.person_id != who.person_id or job.kind != KIND:
        raise not_found("job", code="fine_tuning_job_not_found")
    return job


def page(session: Session, who: Identity, after: str | None, limit: int) -> tuple[list[Job], bool]:
    """Jobs of this person's, the newest first, and whether there are more."""
    query = select(Job).where(Job.person_id == who.person_id, Job.kind == KIND)
    if after is not None:
        last = own(session, who, after)
        same = (Job.created_at == last.created_at) & (Job.id < last.id)
        query = query.where((Job.created_at < last.created_at) | same)
    query = query.order_by(Job.created_at.desc(), Job.id.desc()).limit(limit + 1)
    found = list(session.scalars(query))
    return found[:limit], len(found) > limit


def events(
    session: Session, who: Identity, job_id: str, after: str | None, limit: int
) -> tuple[list[JobEvent], bool]:
    """What a job told, the newest first, and whether there is more."""
    job = own(session, who, job_id)
    query = select(JobEvent).where(JobEvent.job_id == job.id)
    if after is not None:
        last = session.get(JobEvent, after) if len(after) <= 64 else None
        if last is None or last.job_id != job.id:
            raise not_found("event", param="after")
        query = query.where(JobEvent.number < last.number)
    found = list(session.scalars(query.order_by(JobEvent.number.desc()).limit(limit + 1)))
    return found[:limit], len(found) > limit


def ask_to_cancel(session: Session, who: Identity, job_id: str) -> Job:
    """Have a job end; one that nobody is at ends now. `ApiError` 404, or 400 if it is over."""
    job = own(session, who, job_id)
    if job.status not in OPEN:
        raise ApiError(400, f"the job is over: it has {job.status}", code="job_is_over")
    job.cancel_asked = True
    session.flush()
    if job.status == "queued" or not _alive(job, now()):
        finish(session, job.id, "cancelled")
    return job


def claim(session: Session, worker: str) -> Job | None:
    """The oldest job that waits, or whose worker is gone; it is this worker's from now on."""
    moment = now()
    query = (
        select(Job)
        .where(Job.kind == KIND, Job.status.in_(OPEN))
        .order_by(Job.created_at, Job.id)
        .with_for_update(skip_locked=True)
    )
    for job in session.scalars(query):
        if job.status == "running" and _alive(job, moment):
            continue
        if job.cancel_asked:
            finish(session, job.id, "cancelled")
            continue
        crashed = job.status == "running"
        starts = int(job.settings.get("starts", 0)) + 1
        if crashed and starts > MOST_STARTS:
            fail(session, job.id, "server_error", f"the training broke off {MOST_STARTS} times")
            continue
        # Put back in order, it has not failed: only those starts count that ended in silence.
        job.settings = {**job.settings, "starts": starts}
        if crashed:
            tell(
                session, job.id, "The server stopped meanwhile; the training goes on", level="warn"
            )
        job.status, job.worker, job.alive_at = "running", worker, moment
        job.started_at = job.started_at or moment
        session.flush()
        return job
    return None


def release(session: Session, job_id: str, worker: str) -> None:
    """Put a job back into the queue: its worker stops in order."""
    job = session.get(Job, job_id)
    if job is not None and job.status == "running" and job.worker == worker:
        job.settings = {**job.settings, "starts": int(job.settings.get("starts", 1)) - 1}
        job.status, job.alive_at = "queued", None


def beat(session: Session, job_id: str, worker: str, result: dict[str, Any] | None) -> str:
    """Say that the worker is at it. "go", "cancel", or "lost" where the job is not its any more."""
    job = session.get(Job, job_id)
    if job is None or job.status != "running" or job.worker != worker:
        return "lost"
    job.alive_at = now()
    if result is not None:
        job.result = result
    return "cancel" if job.cancel_asked else "go"


def tell(
    session: Session,
    job_id: str,
    message: str,
    *,
    level: str = "info",
    data: dict[str, Any] | None = None,
) -> None:
    """Add an event."""
    last = session.scalar(select(func.max(JobEvent.number)).where(JobEvent.job_id == job_id))
    session.add(
        JobEvent(
            id=new_id("ftevent"),
            job_id=job_id,
            number=(last or 0) + 1,
            level=level,
            kind="message" if data is None else "metrics",
            message=message[:_LONGEST],
            data=data,
        )
    )
    session.flush()


def finish(
    session: Session, job_id: str, status: str, result: dict[str, Any] | None = None
) -> None:
    """End a job that has not ended."""
    done: Any = session.execute(
        update(Job)
        .where(Job.id == job_id, Job.status.in_(OPEN))
        .values(status=status, finished_at=now(), **({} if result is None else {"result": result}))
    )
    if done.rowcount:
        words = {"succeeded": "The job has succeeded", "cancelled": "The job was cancelled"}
        if status in words:
            tell(session, job_id, words[status])


def fail(session: Session, job_id: str, code: str, message: str, param: str | None = None) -> None:
    """End a job with an error in OpenAI's form."""
    told = {"code": code, "message": message[:1000], "param": param}
    session.execute(
        update(Job)
        .where(Job.id == job_id, Job.status.in_(OPEN))
        .values(error=json.dumps(told)[:_LONGEST])
    )
    tell(session, job_id, message[:1000], level="error")
    finish(session, job_id, "failed")


def unfinished(session: Session, ids: Sequence[str]) -> set[str]:
    """Those of `ids` whose jobs have not ended."""
    found = session.scalars(select(Job.id).where(Job.id.in_(ids), Job.status.in_(OPEN)))
    return set(found)


def metadata_of(session: Session, keys: Keyring, job: Job) -> dict[str, str] | None:
    """What the caller noted with the job."""
    sealed = job.settings.get("sealed_metadata")
    if sealed is None:
        return None
    sealer = keys.sealer(session, job.person_id)
    text = sealer.open_text(base64.b64decode(sealed), context=f"jobs.metadata:{job.id}")
    found: dict[str, str] = json.loads(text)
    return found


def _alive(job: Job, moment: datetime) -> bool:
    return job.alive_at is not None and job.alive_at > moment - STALE
