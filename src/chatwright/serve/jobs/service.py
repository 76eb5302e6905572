"""`service.jobs`: the queue of fine-tuning jobs, and the worker that goes through it."""

from __future__ import annotations

import asyncio
import logging
import math
import shutil
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import anyio.to_thread
import filelock
from sqlalchemy.orm import Session

from chatwright.errors import ChatwrightError, DataError
from chatwright.serve.access import Identity, Role
from chatwright.serve.errors import ApiError
from chatwright.serve.jobs import table
from chatwright.serve.jobs.base import base_of
from chatwright.serve.jobs.recipe import Hyperparameters, decide, model_name
from chatwright.serve.jobs.rows import TrainingRows, read_rows
from chatwright.serve.jobs.running import Order, Step, Training, jobs_folder
from chatwright.serve.jobs.shapes import JobRequest
from chatwright.serve.service import Service
from chatwright.serve.store.tables import Job, StoredFile
from chatwright.workspace import Workspace

log = logging.getLogger("chatwright.serve")

T = TypeVar("T")

_LOOK_SECONDS = 2.0
_BEAT_SECONDS = 0.5
_MOST_METRICS = 500  # events with figures that one job leaves
_STOP_SECONDS = 10.0  # for the step under way when the server stops


class Jobs:
    """Goes through the queue; at most `options.training_jobs` at a time in a workspace.

    Workers of one workspace take turns: whoever holds a slot's file lock, which ends with its
    process, claims the oldest job in the database.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._wake = asyncio.Event()
        self._looker: asyncio.Task[None] | None = None
        self._slots: dict[int, asyncio.Task[None]] = {}
        self._closing = False
        self._worker = f"{service.options.worker}-{id(self):x}"

    @property
    def workspace(self) -> Workspace:
        """Where models are. Raises `ApiError` 400 where this server has nowhere to put them."""
        if self._service.workspace is None or self._service.options.training_jobs < 1:
            raise ApiError(
                400,
                "this server does not train: start it with --training-jobs 1 and models of its own",
                code="training_is_off",
            )
        return self._service.workspace

    async def start(self) -> None:
        """Go through the queue from now on; what an earlier process was at is gone on with."""
        if self._service.workspace is not None and self._service.options.training_jobs > 0:
            self._looker = asyncio.create_task(self._look())

    async def close(self) -> None:
        """Stop. Jobs under way are saved and go back into the queue."""
        self._closing = True
        if self._looker is not None:
            self._looker.cancel()
            with suppress(asyncio.CancelledError):
                await self._looker
        await asyncio.gather(*self._slots.values(), return_exceptions=True)

    async def create(self, who: Identity, asked: JobRequest) -> Job:
        """Check everything and put a job into the queue. Raises `ApiError` 400, 404 or 429."""
        workspace, service = self.workspace, self._service
        await _in_thread(base_of, service.registry, workspace, asked.model)
        rows = await self._rows(who, asked.training_file, asked.kind, "training_file")
        if asked.validation_file is not None:
            await self._rows(who, asked.validation_file, asked.kind, "validation_file")
        chosen = decide(asked.kind, rows.count, **asked.parameters())
        settings = {
            "model": asked.model,
            "training_file": asked.training_file,
            "validation_file": asked.validation_file,
            "suffix": asked.suffix,
            "seed": asked.seed if asked.seed is not None else 1,
            "method": asked.kind,
            "hyperparameters": chosen.to_json(),
        }

        def work(session: Session) -> Job:
            job = table.create(session, service.store.keys, who, settings, asked.metadata)
            table.tell(session, job.id, f"Created fine-tuning job: {job.id}")
            table.tell(session, job.id, f"The files are in order: {rows.count} rows to learn")
            if service.audit is not None:
                told = {"model": asked.model, "file": asked.training_file}
                service.audit.record(session, who, "job_created", target=job.id, details=told)
            return job

        job = await service.store.run(work)
        self._wake.set()
        return job

    async def cancel(self, who: Identity, job_id: str) -> Job:
        """Have a job end. Raises `ApiError` 404, or 400 where it is over."""

        def work(session: Session) -> Job:
            job = table.ask_to_cancel(session, who, job_id)
            if self._service.audit is not None:
                self._service.audit.record(session, who, "job_cancelled", target=job.id)
            session.refresh(job)
            return job

        return await self._service.store.run(work)

    async def _rows(self, who: Identity, file_id: str, method: Any, param: str) -> TrainingRows:
        def read(session: Session) -> tuple[bytes, str]:
            row = session.get(StoredFile, file_id)
            data = self._service.collections.open_file(session, who, file_id)
            return data, "" if row is None else row.purpose

        try:
            data, purpose = await self._service.store.read(read)
        except ApiError as error:
            raise ApiError(
                400, f"there is no file {file_id}", param=param, code="file_not_found"
            ) from error
        if purpose != "fine-tune":
            raise ApiError(
                400, f"the file's purpose is {purpose}, not fine-tune", param=param,
                code="invalid_file_purpose",
            )  # fmt: skip
        try:
            return await _in_thread(read_rows, data, method)
        except DataError as error:
            hint = f" ({error.hint})" if error.hint else ""
            message = f"{error.message}{hint}"
            raise ApiError(400, message, param=param, code="invalid_file_format") from error

    # -- going through the queue -----------------------------------------------------------------

    async def _look(self) -> None:
        await self._guarded(self._sweep)
        while True:
            await self._guarded(self._turn)
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._wake.wait()
            self._wake.clear()

    async def _guarded(self, act: Callable[[], Any]) -> None:
        try:
            await act()
        except Exception as error:  # the database is away: there is a next time
            log.error("the queue of jobs: %s", type(error).__name__)

    async def _sweep(self) -> None:
        """Remove folders of jobs that are over or gone."""
        place = jobs_folder(self.workspace)
        ids = [p.name for p in place.iterdir() if p.is_dir()] if place.is_dir() else []
        if ids:
            open_ones = await self._service.store.read(table.unfinished, ids)
            for name in set(ids) - open_ones:
                await _in_thread(lambda name=name: shutil.rmtree(place / name, ignore_errors=True))

    async def _turn(self) -> None:
        for number in range(self._service.options.training_jobs):
            if number in self._slots:
                continue
            lock = await _in_thread(self._slot, number)
            if lock is None:
                continue
            job = None
            try:
                job = await self._service.store.run(table.claim, self._worker)
            finally:
                if job is None:
                    lock.release()
            if job is None:
                return
            self._slots[number] = asyncio.create_task(self._work(number, lock, job))

    def _slot(self, number: int) -> filelock.BaseFileLock | None:
        place = jobs_folder(self.workspace)
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = filelock.FileLock(place / f".slot-{number}", thread_local=False, mode=0o600)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            return None
        return lock

    async def _work(self, number: int, lock: filelock.BaseFileLock, job: Job) -> None:
        try:
            await self._run(job)
        except ApiError as error:
            await self._fail(job.id, error.code or "server_error", error.message, error.param)
        except Exception as error:
            log.error("a job failed: %s", type(error).__name__, exc_info=error)
            await self._fail(job.id, "server_error", f"the job failed ({type(error).__name__})")
        finally:
            lock.release()
            self._slots.pop(number, None)
            self._wake.set()

    async def _fail(self, job_id: str, code: str, message: str, param: str | None = None) -> None:
        with suppress(Exception):  # where the database is away, whoever comes next says it
            await self._service.store.run(table.fail, job_id, code, message, param)

    async def _run(self, job: Job) -> None:
        known = job.result or {}
        training = Training(
            await self._order(job), self.workspace, known.get("total_steps"), known.get("step", 0)
        )
        try:
            if not training.kept():
                await _in_thread(training.start)
                ended = await self._follow(job.id, training)
                if ended == "pause":
                    await self._service.store.run(table.release, job.id, self._worker)
                    return
                if ended != "done":
                    await _in_thread(training.clean)
                    if ended == "cancel":
                        await self._service.store.run(table.finish, job.id, "cancelled")
                    elif ended == "failed":
                        said = training.error or "the training ended without saying why"
                        raise ApiError(500, said, code="training_failed")
                    return
                await _in_thread(training.keep)
            result = {"fine_tuned_model": training.order.name, "trained_tokens": training.tokens}
            said = f"New fine-tuned model created: {training.order.name}"

            def succeed(session: Session) -> None:
                table.tell(session, job.id, said)
                table.finish(session, job.id, "succeeded", result)

            await self._service.store.run(succeed)
            await _in_thread(training.clean)
        except (ApiError, OSError, ChatwrightError):
            await _in_thread(training.clean)
            raise
        finally:
            await _in_thread(training.stop)

    async def _follow(self, job_id: str, training: Training) -> str:
        """Until it has ended: "done" or "failed"; "cancel", "lost", or "pause" by the server."""
        every = 1
        while True:
            running = training.running()
            lines: list[tuple[str, dict[str, Any] | None]] = []
            for one in await _in_thread(training.news):
                if isinstance(one, str):
                    lines.append((one, None))
                    continue
                every = max(1, math.ceil((one.total or 1) / _MOST_METRICS))
                training.tokens = one.tokens
                if one.step % every == 0 or one.step in (1, one.total) or one.validation_loss:
                    lines.append(_metrics(one))
            estimate = training.estimate()
            result = {
                "estimated_finish": None if estimate is None else int(estimate),
                "step": training.step,
                "total_steps": training.total,
            }

            def beat(
                session: Session,
                lines: list[tuple[str, dict[str, Any] | None]] = lines,
                result: dict[str, Any] = result,
            ) -> str:
                told = table.beat(session, job_id, self._worker, result)
                for message, data in lines if told != "lost" else ():
                    table.tell(session, job_id, message, data=data)
                return told

            try:
                told = await self._service.store.run(beat)
            except Exception as error:  # the training goes on; what it tells is in its own log
                log.error("a job could not be noted: %s", type(error).__name__)
                told = "go"
            if told in ("cancel", "lost"):
                await _in_thread(training.stop)
                return told
            if not running:
                return "done" if await _in_thread(training.succeeded) else "failed"
            if self._closing:
                await _in_thread(lambda: training.stop(_STOP_SECONDS))
                return "pause"
            await asyncio.sleep(_BEAT_SECONDS)

    async def _order(self, job: Job) -> Order:
        """What the job says, read anew. Raises `ApiError` where something is gone meanwhile."""
        told = job.settings
        who = Identity(job.person_id, "", Role.admin, "local")
        base = await _in_thread(base_of, self._service.registry, self.workspace, told["model"])
        method = told["method"]
        training = await self._rows(who, told["training_file"], method, "training_file")
        validation = None
        if told["validation_file"] is not None:
            validation = await self._rows(who, told["validation_file"], method, "validation_file")
        ids = [told[n] for n in ("training_file", "validation_file") if told[n] is not None]
        origin = {
            "job": job.id,
            "person": job.person_id,
            "base_model": told["model"],
            "method": method,
            "hyperparameters": told["hyperparameters"],
            "files": await self._service.store.read(_content_ids, ids),
        }
        return Order(
            job.id,
            model_name(told["model"], told["suffix"] or "", job.id),
            base,
            method,
            Hyperparameters(**told["hyperparameters"]),
            told["seed"],
            training,
            validation,
            origin,
        )


def _content_ids(session: Session, ids: list[str]) -> list[dict[str, str]]:
    found = (session.get(StoredFile, one) for one in ids)
    return [{"id": row.id, "content_id": row.content_id} for row in found if row is not None]


def _metrics(one: Step) -> tuple[str, dict[str, Any]]:
    """An event as OpenAI words it."""
    of = f"/{one.total}" if one.total else ""
    data = {"step": one.step, "total_steps": one.total, "train_loss": one.loss}
    said = "" if one.loss is None else f": training loss={one.loss:.4f}"
    if one.validation_loss is not None:
        data["full_valid_loss"] = one.validation_loss
        said += f", validation loss={one.validation_loss:.4f}"
    return f"Step {one.step}{of}{said}", data


async def _in_thread(function: Callable[..., T], *arguments: Any) -> T:
    return await anyio.to_thread.run_sync(function, *arguments)
