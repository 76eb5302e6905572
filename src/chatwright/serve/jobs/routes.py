"""The routes of `/v1/fine_tuning/jobs`."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from sqlalchemy.orm import Session

from chatwright.serve.access import Role, allow, identity
from chatwright.serve.bodies import body_schema, read_json
from chatwright.serve.jobs import table
from chatwright.serve.jobs.shapes import (
    Checkpoints,
    EventObject,
    EventObjects,
    JobError,
    JobObject,
    JobObjects,
    JobRequest,
)
from chatwright.serve.service import service_of
from chatwright.serve.store import Keyring
from chatwright.serve.store.tables import Job, JobEvent

_After = Annotated[str | None, Query(max_length=64)]
_Limit = Annotated[int, Query(ge=1, le=100)]


def jobs_router() -> APIRouter:
    """`/v1/fine_tuning/jobs`: for administrators, since training takes the machine."""
    router = APIRouter(prefix="/v1/fine_tuning", tags=["OpenAI"])
    may = [allow(Role.admin, scope="fine_tuning")]

    @router.post("/jobs", dependencies=may, openapi_extra=body_schema(JobRequest))
    async def create_job(request: Request) -> JobObject:
        """Train a served model on a file of `/v1/files`, in the background."""
        service, who = service_of(request), identity(request)
        asked = await read_json(request, JobRequest, service.limits)
        job = await service.jobs.create(who, asked)
        return await service.store.read(_object, service.store.keys, job)

    @router.get("/jobs", dependencies=may)
    async def list_jobs(request: Request, after: _After = None, limit: _Limit = 20) -> JobObjects:
        """The caller's jobs, the newest first."""
        service, who = service_of(request), identity(request)

        def work(session: Session) -> JobObjects:
            found, more = table.page(session, who, after, limit)
            data = [_object(session, service.store.keys, job) for job in found]
            return JobObjects(data=data, has_more=more)

        return await service.store.read(work)

    @router.get("/jobs/{job_id}", dependencies=may)
    async def get_job(job_id: str, request: Request) -> JobObject:
        """How a job stands."""
        service, who = service_of(request), identity(request)

        def work(session: Session) -> JobObject:
            return _object(session, service.store.keys, table.own(session, who, job_id))

        return await service.store.read(work)

    @router.post("/jobs/{job_id}/cancel", dependencies=may)
    async def cancel_job(job_id: str, request: Request) -> JobObject:
        """End a job; its process is gone within seconds."""
        service = service_of(request)
        job = await service.jobs.cancel(identity(request), job_id)
        return await service.store.read(_object, service.store.keys, job)

    @router.get("/jobs/{job_id}/events", dependencies=may)
    async def list_events(
        job_id: str, request: Request, after: _After = None, limit: _Limit = 20
    ) -> EventObjects:
        """What a job told of itself, the newest first."""
        service, who = service_of(request), identity(request)
        found, more = await service.store.read(table.events, who, job_id, after, limit)
        return EventObjects(data=[_event(one) for one in found], has_more=more)

    @router.get("/jobs/{job_id}/checkpoints", dependencies=may)
    async def list_checkpoints(
        job_id: str, request: Request, after: _After = None, limit: _Limit = 10
    ) -> Checkpoints:
        """None: a job keeps its last result alone."""
        await service_of(request).store.read(table.own, identity(request), job_id)
        return Checkpoints()

    return router


def _object(session: Session, keys: Keyring, job: Job) -> JobObject:
    told, result = job.settings, job.result or {}
    error: dict[str, Any] = json.loads(job.error) if job.error else {}
    method = told["method"]
    chosen = told["hyperparameters"]
    over = job.status not in table.OPEN
    return JobObject.model_validate(
        {
            "id": job.id,
            "created_at": int(job.created_at.timestamp()),
            "estimated_finish": None if over else result.get("estimated_finish"),
            "finished_at": int(job.finished_at.timestamp()) if job.finished_at else None,
            "error": JobError(**error) if error else None,
            "fine_tuned_model": result.get("fine_tuned_model"),
            "hyperparameters": {k: v for k, v in chosen.items() if k != "beta"},
            "metadata": table.metadata_of(session, keys, job),
            "method": {"type": method, method: {"hyperparameters": chosen}},
            "model": told["model"],
            "seed": told["seed"],
            "status": job.status,
            "trained_tokens": result.get("trained_tokens"),
            "training_file": told["training_file"],
            "user_provided_suffix": told["suffix"],
            "validation_file": told["validation_file"],
        }
    )


def _event(one: JobEvent) -> EventObject:
    return EventObject.model_validate(
        {
            "id": one.id,
            "created_at": int(one.created_at.timestamp()),
            "level": one.level,
            "message": one.message,
            "type": one.kind,
            "data": one.data,
        }
    )
