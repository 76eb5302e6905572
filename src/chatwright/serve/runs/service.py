"""All runs of this process: begun, found, written down at intervals, forgotten after a while."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import anyio.to_thread

from chatwright.assist.tools.protocol import Definition
from chatwright.generate.params import SamplingParams
from chatwright.serve.access import Identity
from chatwright.serve.errors import ApiError, not_found, short_name
from chatwright.serve.ids import new_id
from chatwright.serve.runs import keeping
from chatwright.serve.runs.keeping import Begun, Order
from chatwright.serve.runs.parts import Verdict
from chatwright.serve.runs.run import Plan, Run
from chatwright.serve.runs.shapes import AnswerRequest, SamplingShape, check_request
from chatwright.serve.runs.subject import Subject, default_model, read_subject

if TYPE_CHECKING:
    from chatwright.serve.service import Service

log = logging.getLogger("chatwright.serve")

SAVE_SECONDS = 0.8  # what a crash may lose of an answer
_ALIVE_SECONDS = 5.0
_LOOK_SECONDS = 15.0  # between two looks for what dead workers left
KEEP_SECONDS = 300.0  # events of a run that is over
KEEP_BYTES = 64 << 20
KEEP_RUNS = 1000
MOST_OF_ONE = 16  # runs under way of one person
MOST_READERS = 5000
_AGAIN = 0.7  # the temperature of another answer, where the assistant's own gives the same again
_WORKER = re.compile(r"run_(w\d{1,3})_[0-9a-f]{32}")


class Peers(Protocol):
    """The other workers: whoever comes to the wrong one is helped by the right one."""

    async def follow(
        self, worker: str, who: Identity, run_id: str, after: int
    ) -> AsyncIterator[bytes] | None: ...

    async def stop(self, worker: str, who: Identity, run_id: str) -> bool: ...

    async def under_way(self, who: Identity) -> list[dict[str, Any]]: ...


class RunService:
    """`service.runs`. `start()` when the application starts, `close()` before its store closes."""

    def __init__(self, service: Service, *, save_seconds: float = SAVE_SECONDS) -> None:
        self._service = service
        self._save_seconds = save_seconds
        self._runs: dict[str, Run] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._contexts: dict[str, int] = {}
        self.readers = 0
        self.peers: Peers | None = None

    async def start(self) -> None:
        """End what a process of this name has left unfinished, and look after the runs from now."""
        store, worker = self._service.store, self._service.options.worker
        left = await store.run(keeping.recover, store.keys, worker)
        if left:
            log.warning("%d answers had been cut off and are kept as they were", left)
        self._keeper = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """Stop every answer and write it down."""
        for run in self._runs.values():
            run.stop()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=5)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=5)
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper

    # -- beginning ---------------------------------------------------------------------------------

    async def answer(self, who: Identity, asked: AnswerRequest) -> dict[str, Any]:
        """Begin what is asked for; the answer's ids. Raises `ApiError` as `POST /answers` says."""
        service, store = self._service, self._service.store
        check_request(asked, service.limits)
        await service.meter.check(who)
        subject: Subject = await store.read(read_subject, store.keys, who, asked)
        if len(subject.turns) > service.limits.messages:
            raise ApiError(
                400, f"this branch has more than {service.limits.messages} messages",
                code="limit_exceeded",
            )  # fmt: skip
        models = await self._models(asked, subject)
        tools = self._tools(who, asked)
        count = len(models)
        if sum(
            r.under_way and r.plan.who.person_id == who.person_id for r in self._runs.values()
        ) > (MOST_OF_ONE - count):
            raise ApiError(
                429, f"{MOST_OF_ONE} of your answers are being written already",
                code="too_many_runs",
            )  # fmt: skip
        places = self._places(who, count)
        try:
            ids = [self._new_id() for _ in models]
            order = Order(who, asked, subject, models, ids)
            begun: Begun | None = None
            if not asked.temporary:
                begun = await store.run(keeping.begin, store.keys, order, service.options.worker)
            return self._launch(order, begun, tools, places)
        except BaseException:
            for place in places:
                place.close()
            raise

    def _launch(
        self,
        order: Order,
        begun: Begun | None,
        tools: tuple[Definition, ...],
        places: Sequence[ExitStack],
    ) -> dict[str, Any]:
        """Start the runs; what the page is told of them."""
        asked, subject, models = order.asked, order.subject, order.models
        prefix, turns = "", subject.turns
        if subject.kept is not None:
            prefix = subject.kept.text
        elif asked.temporary and asked.action == "continue":
            prefix, turns = turns[-1].text, turns[:-1]
        plan = Plan(
            order.who,
            "",
            turns,
            subject.told,
            lambda own: own,
            conversation_id=begun.conversation_id if begun else None,
            collections=tuple(asked.collections),
            tools=() if prefix else tools,
            kept=subject.kept,
            prefix=prefix,
            remembered=begun.remembered if begun else None,
        )
        plan = replace(plan, verdict=self._verdict(plan, begun))
        started: list[dict[str, Any]] = []
        for number, (model, run_id, place) in enumerate(
            zip(models, order.run_ids, places, strict=True)
        ):
            answer_id = begun.answer_ids[number] if begun else None
            own = replace(
                plan,
                model=model,
                answer_id=answer_id or "",
                sampling=self._sampling(asked, subject, number, len(set(models)) == 1),
                title=begun is not None and begun.is_new and number == 0 and not prefix,
            )
            run = self._runs[run_id] = Run(self._service, own, run_id, place)
            task = asyncio.create_task(run.work(), name=f"run {run_id}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            started.append({"run_id": run_id, "answer_id": answer_id})
        return {
            "run_id": started[0]["run_id"],
            "conversation_id": begun.conversation_id if begun else None,
            "question_id": begun.question_id if begun else None,
            "answer_id": started[0]["answer_id"],
            "other": started[1] if len(started) > 1 else None,
        }

    async def _models(self, asked: AnswerRequest, subject: Subject) -> list[str]:
        """Who answers: as the request says, else the persona, the conversation, the default."""
        service = self._service
        names: list[str | None] = [*asked.models] if asked.models else [asked.model]
        if asked.models is None and asked.action == "compare":
            names *= 2
        if None in names:
            names = [name or await self._preferred(subject) for name in names]
        chosen = [str(name) for name in names]
        for name in dict.fromkeys(chosen):
            await anyio.to_thread.run_sync(service.registry.get, name)
        return chosen

    async def _preferred(self, subject: Subject) -> str:
        entries = await anyio.to_thread.run_sync(self._service.registry.entries)
        there = [entry.name for entry in entries]
        told = await self._service.store.read(default_model)
        for name in (subject.model, told, *there):
            if name in there:
                return str(name)
        raise ApiError(404, "there is no model here", param="model", code="model_not_found")

    def _tools(self, who: Identity, asked: AnswerRequest) -> tuple[Definition, ...]:
        if not asked.tools:
            return ()
        known = {}
        if self._service.tools is not None:
            known = {tool.name: tool for tool in self._service.tools.definitions(who)}
        for name in asked.tools:
            if name not in known:
                raise ApiError(
                    400, f"there is no tool {name!r}", param="tools", code="tool_not_found"
                )
        return tuple(known[name] for name in dict.fromkeys(asked.tools))

    def _places(self, who: Identity, count: int) -> list[ExitStack]:
        """So many places among the answers under way. Raises `ApiError` 429."""
        places: list[ExitStack] = []
        try:
            for _ in range(count):
                place = ExitStack()
                place.enter_context(self._service.slots.one(who))
                places.append(place)
        except BaseException:
            for place in places:
                place.close()
            raise
        return places

    def _sampling(
        self, asked: AnswerRequest, subject: Subject, number: int, same_model: bool
    ) -> Callable[[SamplingParams], SamplingParams]:
        limits = self._service.limits
        persona = SamplingShape()
        with suppress(ValueError):  # written by an older version, perhaps
            persona = SamplingShape.model_validate(subject.persona_params)
        again = asked.action == "regenerate" or (asked.action == "compare" and same_model)

        def of(own: SamplingParams) -> SamplingParams:
            made = asked.params.over(persona.over(own, limits), limits)
            if again and made.temperature == 0 and asked.params.temperature is None:
                made = replace(made, temperature=_AGAIN)  # the same answer again helps nobody
            if number and made.seed is not None:
                made = replace(made, seed=(made.seed + number) % 2**63)
            return made

        return of

    def _verdict(self, plan: Plan, begun: Begun | None) -> asyncio.Task[Verdict] | None:
        moderator = self._service.moderator
        if moderator is None or plan.prefix:
            return None
        check: Awaitable[Verdict] = moderator.check(
            [plan.question],
            direction="input",
            identity=plan.who,
            conversation_id=plan.conversation_id,
            message_id=begun.question_id if begun else None,
            stored=begun is not None,
        )
        task = asyncio.ensure_future(check)
        # Where no answer comes so far as to ask for it, nobody else looks at what it raised.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    def _new_id(self) -> str:
        worker = self._service.options.worker
        return new_id("run" if worker == "alone" else f"run_{worker}")

    # -- reading -----------------------------------------------------------------------------------

    async def follow(self, who: Identity, run_id: str, after: int) -> AsyncIterator[bytes]:
        """The events after a number as a stream's bytes. Raises `ApiError` 404 or 503."""
        if self.readers >= MOST_READERS:
            raise ApiError(503, "too many readers; try again in a moment", code="server_busy")
        run = self.own(who, run_id)
        if run is not None:
            return self._counted(run.log.follow(after))
        if (worker := self._elsewhere(run_id)) and self.peers is not None:
            found = await self.peers.follow(worker, who, run_id, after)
            if found is not None:
                return self._counted(found)
        raise self._absent()

    async def stop(self, who: Identity, run_id: str) -> None:
        """Stop a run; nothing happens to one that is over. Raises `ApiError` 404."""
        run = self.own(who, run_id)
        if run is not None:
            run.stop("stopped")
            return
        worker = self._elsewhere(run_id)
        if worker and self.peers is not None and await self.peers.stop(worker, who, run_id):
            return
        raise self._absent()

    async def under_way(self, who: Identity) -> list[dict[str, Any]]:
        """A person's runs, of all workers, the oldest first."""
        mine = self.here(who)
        if self.peers is not None:
            mine += await self.peers.under_way(who)
        return mine

    def here(self, who: Identity) -> list[dict[str, Any]]:
        """A person's runs in this process."""
        return [
            {
                "run_id": run.id,
                "conversation_id": run.plan.conversation_id,
                "answer_id": run.plan.answer_id or None,
                "model": run.plan.model,
            }
            for run in self._runs.values()
            if run.under_way and run.plan.who.person_id == who.person_id
        ]

    def context_of(self, model: str) -> int | None:
        """Tokens that a model reads, as far as it is known yet: it is when it was asked once."""
        return self._contexts.get(model)

    def learn_context(self, model: str, context: int) -> None:
        if len(self._contexts) < KEEP_RUNS:
            self._contexts[model] = context

    def own(self, who: Identity, run_id: str) -> Run | None:
        """A person's run in this process."""
        run = self._runs.get(run_id)
        return run if run is not None and run.plan.who.person_id == who.person_id else None

    def stop_all(self, *, person_id: str | None = None, conversation_id: str | None = None) -> None:
        """Stop a person's or a conversation's runs and write nothing more: it is being deleted."""
        for run in list(self._runs.values()):
            if run.plan.who.person_id == person_id or (
                conversation_id is not None and run.plan.conversation_id == conversation_id
            ):
                run.gone = True
                run.stop()
                if not run.under_way:
                    del self._runs[run.id]

    async def _counted(self, source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        self.readers += 1
        try:
            async for data in source:
                yield data
        finally:
            self.readers -= 1

    def _elsewhere(self, run_id: str) -> str | None:
        found = _WORKER.fullmatch(run_id)
        if found is None or found[1] == self._service.options.worker:
            return None
        return found[1]

    @staticmethod
    def _absent() -> ApiError:
        return not_found("run")

    # -- looking after -----------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Write answers down, say that they are alive, forget old ones, end what others left."""
        told = looked = time.monotonic()
        failing = False
        while True:
            await asyncio.sleep(self._save_seconds)
            now = time.monotonic()
            try:
                await self.save()
                if now - told > _ALIVE_SECONDS:
                    told = now
                    await self._say_alive()
                if now - looked > _LOOK_SECONDS:
                    looked = now
                    store = self._service.store
                    await store.run(keeping.recover, store.keys, None)
                failing = False
            except Exception as error:  # the database is away: the next time it may be back
                if not failing:  # said once, not every second
                    log.error("answers could not be written down: %s", short_name(error))
                failing = True
            self._forget(now)

    async def save(self) -> None:
        """Write down what has changed, all in one transaction."""
        store = self._service.store
        changed = [
            run
            for run in self._runs.values()
            if run.under_way and run.draft.changed and run.plan.answer_id and not run.gone
        ]
        if not changed:
            return
        for run in changed:
            run.draft.changed = False
        # One thing at a time: the end of a run must not be overtaken by an older state of it.
        snapshots = [run.snapshot() for run in changed]
        gone = await store.run(keeping.save_writing, store.keys, snapshots)
        for run in changed:
            if run.plan.answer_id in gone:
                run.gone = True
                run.stop()

    async def _say_alive(self) -> None:
        ids = [run.id for run in self._runs.values() if run.under_way and run.plan.answer_id]
        if ids:
            await self._service.store.run(keeping.alive, ids)

    def _forget(self, now: float) -> None:
        over = [run for run in self._runs.values() if run.ended_at is not None]
        size = sum(run.log.size for run in over)
        for run in over:  # the oldest first
            late = now - (run.ended_at or now) > KEEP_SECONDS
            if late or size > KEEP_BYTES or len(over) > KEEP_RUNS:
                del self._runs[run.id]
                size -= run.log.size
                over = over[1:]
