"""One answer from its question to its last event, whether or not anybody listens."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from chatwright.assist import Assistant
from chatwright.assist.answer import Prepared
from chatwright.assist.tools.protocol import (
    Definition,
    ToolCall,
    ToolCallReader,
    called,
    offered,
    with_tools,
)
from chatwright.generate.params import Piece, SamplingParams
from chatwright.records import Message
from chatwright.serve.access import Identity
from chatwright.serve.errors import as_api_error, short_name
from chatwright.serve.history.store import Turn as KeptTurn
from chatwright.serve.runs import gathering, prompt
from chatwright.serve.runs.checking import OutputCheck
from chatwright.serve.runs.draft import Draft
from chatwright.serve.runs.events import EventLog
from chatwright.serve.runs.keeping import Snapshot, end, keep_title
from chatwright.serve.runs.parts import Verdict
from chatwright.serve.runs.reasons import reason_for, remembered_note, unsaved_note
from chatwright.serve.runs.titles import TITLE_PARAMS, first_words, good_title, title_messages
from chatwright.serve.runs.writing import Writing, write_whole

if TYPE_CHECKING:
    from chatwright.serve.service import Service

log = logging.getLogger("chatwright.serve")

MOST_ROUNDS = 4  # of tool calls in one answer
_TITLE_SECONDS = 30.0
_TOOL_SECONDS = 60.0  # a tool has its own, shorter limit; this one is for tools that have none


@dataclass(frozen=True, slots=True)
class Plan:
    """What one answer is to be made of, as it was decided when it was asked for."""

    who: Identity
    model: str
    turns: list[prompt.Turn]
    told: prompt.Instructions
    sampling: Callable[[SamplingParams], SamplingParams]
    conversation_id: str | None = None
    answer_id: str = ""
    collections: tuple[str, ...] = ()
    tools: tuple[Definition, ...] = ()
    kept: KeptTurn | None = None
    prefix: str = ""  # the text of an answer that is continued
    title: bool = False  # whether the conversation wants one
    verdict: asyncio.Task[Verdict] | None = None  # on the question, for all answers to it
    remembered: str | None = None  # what the question asked to keep in mind

    @property
    def question(self) -> str:
        return next((t.text for t in reversed(self.turns) if t.role == "user"), "")


@dataclass(slots=True)
class _Pass:
    """What one pass of the model gave."""

    text: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    reason: str | None = None


class Run:
    """An answer under way. `log` tells it to readers; `draft` is what there is of it."""

    def __init__(self, service: Service, plan: Plan, run_id: str, held: ExitStack) -> None:
        self.id = run_id
        self.plan = plan
        self.log = EventLog()
        self.draft = Draft(self.log, prefix=plan.prefix)
        self.ended_at: float | None = None  # monotonic
        self.gone = False  # its message was deleted: nothing more is written down
        self._service = service
        self._held = held  # its place among the answers under way
        self._writing: Writing | None = None
        self._short: gathering.ShortAnswers | None = None
        self._stopped = ""  # why: "stopped" by somebody, "interrupted" by the server's end
        self._withdrawn = False  # moderation has taken back a part of it
        self._check: OutputCheck | None = None
        self._titling: asyncio.Task[None] | None = None

    @property
    def under_way(self) -> bool:
        return self.draft.status == "writing"

    def stop(self, why: str = "interrupted") -> None:
        """End it with what there is. Returns at once; may be called again."""
        self._stopped = self._stopped or why
        if self._writing is not None:
            self._writing.cancel()
        if self._short is not None:
            self._short.cancel()
        if self._titling is not None:
            self._titling.cancel()

    cancel = stop  # what the service calls when it goes down

    def snapshot(self) -> Snapshot:
        """The answer as it is, to be written down."""
        draft = self.draft
        return Snapshot(
            self.plan.answer_id,
            self.plan.who.person_id,
            draft.content(),
            draft.status,
            draft.prompt_tokens or None,
            draft.completion_tokens or None,
        )

    async def work(self) -> None:
        """Make the answer and tell it. Never raises but when it is cancelled."""
        service, draft = self._service, self.draft
        try:
            with self._held, service.slots.running(self):
                async with service.registry.lease(self.plan.model) as assistant:
                    try:
                        await self._answer(assistant)
                    except Exception as error:
                        self._fail(error)
                    await self._close()
                    await self._finish_title()
        except asyncio.CancelledError:
            self.stop()
            raise
        except Exception as error:  # the model could not be loaded, or the end not be written
            self._fail(error)
        finally:
            with anyio.CancelScope(shield=True):
                if draft.status == "writing":
                    await self._close()
                if self._titling is not None:
                    self._titling.cancel()
                self.log.end()
                self.ended_at = time.monotonic()

    # -- the answer --------------------------------------------------------------------------------

    async def _answer(self, assistant: Assistant) -> None:
        plan, draft = self.plan, self.draft
        params = plan.sampling(assistant.settings.sampling)
        if plan.kept is not None:
            draft.notes = list(plan.kept.content.notes)
            draft.tool_calls = list(plan.kept.content.tool_calls)
            draft.completion_tokens = plan.kept.completion_tokens or 0
            grounded = gathering.with_kept_passages(assistant, plan.kept)
        elif await self._input_blocked():
            return
        else:
            grounded = await gathering.with_passages(
                assistant, plan.turns, self._service.collections, plan.collections, plan.who
            )
        draft.collection_of = grounded.collection_of
        turns, notes = await gathering.with_files(assistant, plan.turns)
        said = prompt.conversation(turns)
        if plan.kept is not None:
            for call in plan.kept.content.tool_calls:
                said += prompt.call_messages(call)
        else:
            said = await self._summarised(assistant, said, params)
        messages = [*prompt.system_messages(plan.told, plan.question), *said]
        if self._service.moderator is not None:
            self._check = OutputCheck(self._look, self._block)
        try:
            await self._rounds(grounded.assistant, messages, params, notes)
            if self._check is not None:
                await self._check.finish()
        finally:
            if self._check is not None:
                await self._check.close()

    async def _summarised(
        self, assistant: Assistant, said: list[Message], params: SamplingParams
    ) -> list[Message]:
        """A long conversation with its beginning summed up."""
        plan = self.plan
        earlier = next((t.summary for t in reversed(plan.turns) if t.summary is not None), None)
        short = self._short = gathering.ShortAnswers(assistant.engine)
        if self._stopped:
            short.cancel()
        work = partial(
            gathering.summarised,
            assistant,
            said,
            earlier,
            short,
            most_tokens=params.max_tokens,
            tenant=plan.who.tenant,
        )
        messages, made = await anyio.to_thread.run_sync(work)
        for read, written in short.tokens:
            await self._service.meter.add(plan.who, plan.model, read, written)
        if made is not None:
            self.draft.summary = {"messages": made.messages, "text": made.text}
            self.draft.tell("summary", dict(self.draft.summary))
        return messages

    async def _rounds(
        self,
        assistant: Assistant,
        messages: list[Message],
        params: SamplingParams,
        notes: list[str],
    ) -> None:
        """The model writes, tools are called, the model goes on, until it calls none."""
        draft = self.draft
        template = getattr(assistant.engine.tokenizer, "chat_template", None)
        for number in range(MOST_ROUNDS + 1):
            tools = self.plan.tools if number < MOST_ROUNDS else ()
            asked, _ = with_tools(messages, tools, "auto" if tools else "none", template=template)
            prepared = await anyio.to_thread.run_sync(assistant.prepare, asked, params)
            if number == 0:
                self._tell_start(assistant, prepared, notes)
            made = await self._write(assistant, prepared, params, tools)
            draft.finish_reason = made.reason
            if not made.calls or self._stopped or self._withdrawn:
                return
            messages.append(called(made.text, made.calls))
            for call in made.calls:
                messages.append(await self._call(call))
            if draft.text and not draft.text.endswith("\n"):
                draft.say("\n\n")

    def _tell_start(self, assistant: Assistant, prepared: Prepared, notes: list[str]) -> None:
        draft = self.draft
        draft.passages = list(prepared.passages)
        if self.plan.remembered is not None:
            notes = [remembered_note(self.plan.remembered), *notes]
        draft.notes = [*draft.notes, *notes, *prepared.left_out]
        draft.prompt_tokens = prepared.prompt_tokens
        self._service.runs.learn_context(self.plan.model, assistant.engine.context)
        told = {
            "model": self.plan.model,
            "prompt_tokens": prepared.prompt_tokens,
            "context": assistant.engine.context,
            "retrieved": draft.retrieved(),
            "notes": list(draft.notes),
            "prefix": self.plan.prefix,  # what a continued answer goes on from
        }
        draft.tell("start", told)

    async def _write(
        self,
        assistant: Assistant,
        prepared: Prepared,
        params: SamplingParams,
        tools: Sequence[Definition],
    ) -> _Pass:
        """One pass of the model, told as it comes."""
        plan, tenant = self.plan, self.plan.who.tenant

        def start() -> Iterator[Piece]:
            if plan.prefix:
                return prompt.continued(
                    assistant.engine, prepared.messages, plan.prefix, params, tenant
                )
            pieces: Iterator[Piece] = assistant.engine.stream(
                prepared.messages, params, tenant=tenant
            )
            return pieces

        made = _Pass()
        reader = ToolCallReader(offered(tools)) if tools else None
        writing = self._writing = Writing(start)
        if self._stopped:
            writing.cancel()
        try:
            async for batch in writing:
                text = "".join(piece.text for piece in batch)
                self._hear(made, reader.push(text) if reader else [text])
                if not self._stopped and self._titling is None and self.plan.title:
                    self._titling = asyncio.create_task(self._make_title(assistant))
            if reader:
                self._hear(made, reader.end())
        finally:
            await writing.let_go()
            self._writing = None
            if (whole := writing.completion) is not None:
                made.reason = whole.finish_reason
                self.draft.prompt_tokens = whole.prompt_tokens
                self.draft.completion_tokens += len(whole.token_ids)
                await self._service.meter.add(
                    plan.who, plan.model, whole.prompt_tokens, len(whole.token_ids)
                )
        return made

    def _hear(self, made: _Pass, parts: Sequence[str | ToolCall]) -> None:
        for part in parts:
            if isinstance(part, ToolCall):
                made.calls.append(part)
            elif not self._withdrawn:
                made.text += part
                self.draft.say(part)
                if self._check is not None:
                    self._check.push(part)

    async def _call(self, call: ToolCall) -> Message:
        """Call a tool as the person who asks; what goes wrong is told to the model and the page."""
        arguments = json.loads(call.arguments)
        told: dict[str, Any] = {"id": call.id, "name": call.name, "arguments": arguments}
        if any(getattr(t, "simulated", False) for t in self.plan.tools if t.name == call.name):
            told["simulated"] = True
        self.draft.tool(dict(told))
        try:
            with anyio.fail_after(_TOOL_SECONDS):
                given = await self._service.tools.call(self.plan.who, call.name, arguments)
            told |= prompt.outcome(given)
        except TimeoutError:
            told["error"] = "the tool did not answer in time"
        except Exception as error:
            told["error"] = as_api_error(error).message
        self.draft.tool(told)
        return prompt.call_messages(told)[1]

    # -- moderation --------------------------------------------------------------------------------

    async def _input_blocked(self) -> bool:
        if self.plan.verdict is None:
            return False
        verdict = await asyncio.shield(self.plan.verdict)
        if not verdict.blocked:
            return False
        self._tell_verdict("input", verdict)
        self.draft.finish_reason = "content_filter"
        return True

    async def _look(self, text: str) -> Verdict:
        verdict: Verdict = await self._service.moderator.check(
            [text],
            direction="output",
            identity=self.plan.who,
            conversation_id=self.plan.conversation_id,
            message_id=self.plan.answer_id or None,
            stored=self.plan.conversation_id is not None,
        )
        return verdict

    def _block(self, start: int, verdict: Verdict) -> None:
        self._withdrawn = True
        self.draft.withdraw(start)
        self._tell_verdict("output", verdict)
        if self._writing is not None:
            self._writing.cancel()

    def _tell_verdict(self, direction: str, verdict: Verdict) -> None:
        told = {
            "direction": direction,
            "blocked": True,
            "categories": list(verdict.categories),
            "reason": reason_for(direction, self.plan.question),
            "event_id": verdict.event_id,
        }
        self.draft.moderation = told
        self.draft.tell("moderation", dict(told))

    # -- the end -----------------------------------------------------------------------------------

    def _fail(self, error: Exception) -> None:
        if self.draft.status != "writing":  # it was told already
            _log("the end of an answer failed", error)
            return
        told = as_api_error(error)
        if told.status >= 500:
            _log("an answer failed", error)
        self.draft.error = {"message": told.message, "code": told.code or "server_error"}

    async def _close(self) -> None:
        """Settle how it ended, write that down, and only then tell it."""
        draft = self.draft
        if draft.error is not None:
            draft.status = "failed"
        elif self._withdrawn:
            draft.status, draft.finish_reason = "done", "content_filter"
        elif self._stopped or draft.finish_reason == "cancelled":
            draft.status, draft.finish_reason = "stopped", self._stopped or "interrupted"
        else:
            draft.status = "done"
        if draft.finish_reason == "timeout":
            draft.finish_reason = "length"
        store = self._service.store
        if self.plan.conversation_id is not None and not self.gone:
            try:
                await store.run(end, store.keys, self.id, self.snapshot())
            except Exception as error:  # told all the same: readers must not wait for ever
                _log("an answer could not be kept", error)
                draft.notes.append(unsaved_note(self.plan.question))
        draft.tell(*draft.last_event())

    async def _make_title(self, assistant: Assistant) -> None:
        plan, question = self.plan, self.plan.question
        title = first_words(question)
        with suppress(Exception), anyio.move_on_after(_TITLE_SECONDS):
            made = await write_whole(
                lambda: assistant.engine.stream(
                    title_messages(question), TITLE_PARAMS, tenant=plan.who.tenant
                )
            )
            await self._service.meter.add(
                plan.who, plan.model, made.prompt_tokens, len(made.token_ids)
            )
            title = good_title(made.text, question) or title
        await self._give_title(title)

    async def _give_title(self, title: str) -> None:
        store = self._service.store
        assert self.plan.conversation_id is not None
        told = bool(title) and await store.run(
            keep_title, store.keys, self.plan.who, self.plan.conversation_id, title
        )
        if told:
            self.log.add("title", {"title": title})

    async def _finish_title(self) -> None:
        if not self.plan.title or self.gone:
            return
        if self._titling is not None:
            if self._stopped:
                self._titling.cancel()
            await asyncio.wait({self._titling})
            if not self._titling.cancelled():
                self._titling.result()
                return
        # The model was not asked for one, or not waited for.
        await self._give_title(first_words(self.plan.question))


def _log(what: str, error: BaseException) -> None:
    """Where it happened, and the kind of error; its text may hold somebody's words."""
    log.error("%s: %s", what, short_name(error), exc_info=error)
