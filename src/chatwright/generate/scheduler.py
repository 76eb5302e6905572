"""Continuous batching: one thread, one forward pass at a time, whoever is there takes part.

Every step carries the newest token of each answer and a share of the prompts that are being read.
Requests join as soon as there is room and memory for them, and leave when they end. Where memory
runs out, the youngest makes room and is computed again later: never an error, never a deadlock.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable

from chatwright.errors import ChatwrightError
from chatwright.generate.failures import engine_error, not_a_number
from chatwright.generate.fairness import FairQueue
from chatwright.generate.group import Group, Rows, StepLogits
from chatwright.generate.memory import Memory
from chatwright.generate.params import FinishReason
from chatwright.generate.planning import Part, StepPlanner
from chatwright.generate.runner import Runner, StepResult

# Prompt tokens read in one step: many when nobody else is there, few otherwise, so that a long
# prompt slows the others' streams down but never stalls them, and a short prompt that comes while
# a long one is read has its first token after the step that runs and one short step.
PREFILL_ALONE = 256
PREFILL_SHARED = 64


class Scheduler:
    """Runs groups through a runner. All but `submit`, `close` and `load` happen in its thread.

    `max_batch` bounds how many sequences are computed side by side; a group that is wider than that
    runs alone. `context` is the most positions of one sequence and `vocab_size` how many numbers of
    a row of logits stand for tokens. `prefill` is how many prompt tokens a step reads, when nobody
    else is there and otherwise. `repeatable` is for a runner whose numbers depend on how many
    tokens a step has (rounding in bfloat16): what a second request would not find in the cache is
    read in a step of its own by the first as well, so that asked again, alone, the answer is the
    same.
    `fingerprint` names the present weights: when it changes while
    nothing runs, what was kept for reuse is forgotten.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        max_batch: int,
        context: int,
        vocab_size: int,
        reuse: bool = True,
        keep: int | None = None,
        prefill: tuple[int, int] | None = None,
        repeatable: bool = False,
        fingerprint: Callable[[], object] | None = None,
    ) -> None:
        self.memory = Memory(runner, reuse=reuse, keep=keep)
        self.steps = 0
        self.tokens = 0
        self.preemptions = 0
        self._runner = runner
        self._max_batch = max_batch
        self._context = context
        self._vocab_size = vocab_size
        self._prefill = prefill
        self._repeatable = repeatable
        self._fingerprint = fingerprint
        self._weights: object = None if fingerprint is None else fingerprint()
        self._changed = threading.Condition()
        self._inbox: deque[Group] = deque()
        self._queue = FairQueue()
        self._active: list[Group] = []  # the oldest first
        self._begun: set[Group] = set()  # those that ran before and made room
        self._stalled = 0  # steps in a row without anything to compute
        self._look = False  # something was cancelled
        self._deadline = math.inf  # the earliest of all
        self._thread: threading.Thread | None = None
        self._closed = False
        self._process = os.getpid()
        self._numbers = itertools.count(1)

    def held(self) -> threading.Condition:
        """A lock under which this thread may add requests before any of them is begun."""
        return self._changed

    def submit(self, group: Group) -> None:
        """Queue a request. Raises `ChatwrightError` once closed."""
        if os.getpid() != self._process:  # its thread stayed behind, and its lock may be held
            raise ChatwrightError(
                "the engine belongs to the process that this one was forked from",
                hint="make a new Engine after the fork",
            )
        group.on_cancel = self._cancelled
        group.number = next(self._numbers)
        with self._changed:
            if self._closed:
                raise ChatwrightError("the engine is closed", hint="make a new Engine")
            self._inbox.append(group)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="chatwright-engine", daemon=True
                )
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Cancel everything and wait for the thread. May be called again."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    @property
    def load(self) -> tuple[int, int]:
        """How many requests are being computed, and how many wait."""
        return len(self._active), len(self._queue) + len(self._inbox)

    def _cancelled(self) -> None:
        self._look = True

    def _run(self) -> None:
        try:
            while self._wait_for_work():
                self.turn()
        except BaseException as error:
            # A bug in the scheduler itself. Nobody may be left waiting for it.
            self._end_all(error)
            raise
        self._end_all(None)

    def turn(self) -> None:
        """Take in what came, drop what is not wanted any more, and compute one step."""
        while self._inbox:
            group = self._inbox[0]
            if group.deadline is not None:
                self._deadline = min(self._deadline, group.deadline)
            try:
                self.memory.admit(group)
                self._queue.push(group)
            except Exception as error:  # what is wrong with one stays with that one
                group.fail(engine_error(error))
                group.release()
            self._inbox.popleft()  # only now: it is always somewhere
        self._drop_cancelled()
        self._admit()
        if self._active:
            self._guarded_step()

    def _wait_for_work(self) -> bool:
        """Block until there is something to do. False when closed."""
        if not self._active or self._inbox or self._closed:
            with self._changed:
                while not (self._closed or self._active or self._inbox or len(self._queue)):
                    self._changed.wait()
                return not self._closed
        return True

    def _end_all(self, error: BaseException | None) -> None:
        with self._changed:
            self._closed = True
            left = [*self._active, *self._queue, *self._inbox]
            self._active.clear()
            self._queue = FairQueue()
            self._inbox.clear()
        for group in left:
            if group.finished:
                continue
            if error is not None:
                group.fail(engine_error(error))
                group.release()
            else:
                self._end(group, "cancelled")

    # -- who takes part -----------------------------------------------------------------------

    def _drop_cancelled(self) -> None:
        """End what nobody wants any more, and what took too long."""
        late = self._deadline < math.inf and time.monotonic() >= self._deadline
        if not (self._look or late):
            return
        self._look = False  # before looking: who cancels meanwhile is seen in the next step
        now = time.monotonic()

        def over(group: Group) -> bool:
            return group.cancelled or (group.deadline is not None and group.deadline <= now)

        waiting = self._queue.remove(over)
        for group in waiting:
            self._begun.discard(group)
        for group in [*waiting, *filter(over, self._active)]:
            self._end(group, "cancelled" if group.cancelled else "timeout")
        deadlines = (g.deadline for g in [*self._active, *self._queue] if g.deadline is not None)
        self._deadline = min(deadlines, default=math.inf)

    def _end(self, group: Group, reason: FinishReason) -> None:
        try:
            group.end(reason)
        except Exception as error:
            group.fail(engine_error(error))
        self._leave(group)

    def _admit(self) -> None:
        if not len(self._queue):
            return
        if not self._active and self._fingerprint is not None:
            weights = self._fingerprint()
            if weights != self._weights:
                self.memory.pool.forget_all()
                self._weights = weights
        while (group := self._queue.peek()) is not None and self._fits(group):
            self._active.append(group)
            self._queue.pop()

    def _fits(self, group: Group) -> bool:
        """Whether there is room, and memory to compute its tokens while the others go on."""
        if not self._active:
            return True  # what could never fit was refused
        if sum(g.width for g in self._active) + group.width > self._max_batch:
            return False
        # So much is spoken for: prompts that are being read, and a block to go on for each.
        promised = sum(
            max(0, self.memory.lacks(sequence)) for g in self._active for sequence in g.sequences
        )
        needed = self.memory.needs(group) + len(group.sequences)
        return needed + promised <= self.memory.pool.available

    def _leave(self, group: Group, *, tainted: bool = False) -> None:
        """Take a group that is over out, and give its blocks back."""
        for sequence in group.sequences:
            if tainted:
                self.memory.discard(sequence)
            else:
                self.memory.drop(sequence)
        group.release()
        if group in self._active:
            self._active.remove(group)
            self._queue.leave(group)
            self._begun.discard(group)

    def _preempt(self, group: Group) -> None:
        """Take the blocks of a group that runs; it waits, and is computed again."""
        for sequence in group.sequences:
            sequence.proposal = None
            self.memory.drop(sequence)
        self._active.remove(group)
        self._queue.push_back(group)
        self._begun.add(group)
        self.preemptions += 1

    # -- a step -------------------------------------------------------------------------------

    def _guarded_step(self) -> None:
        """One step; when it fails (out of memory, a broken model), its requests fail with it."""
        parts: list[Part] = []
        try:
            parts = self._plan()
            if not parts:
                self._no_progress()
                return
            self._stalled = 0
            result = self._runner.step([part.run for part in parts])
        except Exception as error:
            for group in dict.fromkeys(part.group for part in parts) or list(self._active):
                group.fail(engine_error(error))
                self._leave(group, tainted=True)
            return
        self.steps += 1
        self._take(parts, result)

    def _no_progress(self) -> None:
        """Nothing was computed: everything was found in the cache, once; or there is a bug."""
        self._stalled += 1
        if self._stalled > 3 and self._active:  # the oldest always gets what it was promised
            oldest = self._active[0]
            oldest.fail(ChatwrightError("the KV memory does not suffice for this request alone"))
            self._leave(oldest)

    def _plan(self) -> list[Part]:
        """What every sequence computes in this step; memory for it has been taken."""
        return StepPlanner(
            self.memory,
            self._active,
            self._begun,
            self._preempt,
            context=self._context,
            block_size=self._runner.block_size,
            prefill=self._prefill or (PREFILL_ALONE, PREFILL_SHARED),
            repeatable=self._repeatable,
        ).plan()

    def _take(self, parts: list[Part], result: StepResult) -> None:
        """Give each group its logits. What is wrong with one stays with that one."""
        logits = StepLogits(result.logits, self._vocab_size)
        finite = logits.finite
        all_finite = bool(finite.all())
        rows: dict[Group, list[Rows]] = {}
        at = 0
        for part, states in zip(parts, result.states, strict=True):
            group, sequence, run = part.group, part.sequence, part.run
            n = len(run.tokens)
            sequence.computed += n
            self.tokens += n
            self._queue.charge(group, n)
            if run.outputs:
                end = at + run.outputs
                rows.setdefault(group, []).append((sequence, logits, range(at, end)))
                at = end
            else:
                rows.setdefault(group, [])
                if states is not None:
                    self._guarded(group, group.take_states, sequence, states)
        for group, own in rows.items():
            if not own or group.finished:
                pass
            elif not all_finite and not all(finite[i] for _, _, at_ in own for i in at_):
                group.fail(not_a_number(group))
                self._leave(group, tainted=True)
                continue
            else:
                self._guarded(group, group.advance, own, self.memory)
            if group.finished:
                self._leave(group)
                continue
            for sequence in group.sequences:
                if sequence.proposal is not None:
                    sequence.proposal = None
                    # What was proposed and not accepted is in the cache, but does not count.
                    sequence.computed = min(sequence.computed, len(sequence.tokens) - 1)
                self.memory.register(sequence)

    def _guarded(self, group: Group, call: Callable[..., None], *arguments: object) -> None:
        try:
            call(*arguments)
        except Exception as error:
            group.fail(engine_error(error))
