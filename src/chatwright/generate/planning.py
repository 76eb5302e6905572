"""What a step of continuous batching computes: a token of each answer, a share of each prompt."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass

from chatwright.generate.group import Group
from chatwright.generate.group import Sequence as Row
from chatwright.generate.guessing import propose
from chatwright.generate.memory import Memory
from chatwright.generate.prefill import Reader, leaders, share
from chatwright.generate.runner import Run
from chatwright.generate.speculation import Proposer


@dataclass(slots=True)
class Part:
    """What one sequence computes in a step."""

    group: Group
    sequence: Row
    run: Run


@dataclass(slots=True)
class StepPlanner:
    """Plans one step for the groups of `active`, of which the oldest comes first.

    Where memory ends, the youngest group makes room: `preempt` takes it out of `active` and gives
    its blocks back. `begun` are those that ran before and made room. `context` is the most
    positions of one sequence, `prefill` how many prompt tokens the step reads, when nobody else is
    there and otherwise, and `repeatable` what the `Scheduler` says.
    """

    memory: Memory
    active: list[Group]
    begun: Container[Group]
    preempt: Callable[[Group], None]
    context: int
    block_size: int
    prefill: tuple[int, int]
    repeatable: bool

    def plan(self) -> list[Part]:
        """What every sequence computes in this step; memory for it has been taken."""
        parts: list[Part] = []
        readers: list[Reader] = []
        guessing: list[tuple[Row, Proposer, int]] = []
        deciding: list[tuple[Group, Row]] = []
        for group in self.active:
            ready = True
            if group.together or group.wants_states:
                ready = not group.wants_states and all(
                    len(s.tokens) - s.computed == 1 for s in group.sequences
                )
            for sequence in group.sequences:
                left = len(sequence.tokens) - sequence.computed
                if left > 1 or not ready:
                    # Who decides together waits for the others before the last token.
                    least = 1 if group.together else 0
                    if left > least:
                        readers.append(Reader(group, sequence, left - least))
                    continue
                deciding.append((group, sequence))
                guesser = group.guesser(sequence, self.context - len(sequence.tokens))
                if guesser is not None:
                    guessing.append((sequence, *guesser))
        if guessing:
            propose(guessing)
        stuck: list[Group] = []
        for group, sequence in deciding:
            if group not in self.active:
                continue  # it made room for an older one
            run = self._decide(group, sequence)
            if run is not None:
                parts.append(Part(group, sequence, run))
            else:
                sequence.proposal = None
                stuck.append(group)
        if readers:
            alone = len(readers) == 1 and not deciding
            parts += self._read(readers, self.prefill[0] if alone else self.prefill[1])
        # Some made room, or got none, after a sequence of the group had its part.
        active = set(self.active)
        waits = {group for group in stuck if group.together}
        parts = [part for part in parts if part.group in active and part.group not in waits]
        return parts

    def _decide(self, group: Group, sequence: Row) -> Run | None:
        """The step of a sequence whose next token is wanted; None where it must wait for memory."""
        start = sequence.computed
        if start >= self.context:
            while not self.memory.slide(sequence, group.params.sinks):
                if not self._make_room(group):
                    return None
            start = sequence.computed
        proposal = sequence.proposal
        if proposal is not None:
            end = start + 1 + len(proposal.tokens)
            if self.memory.prepare(sequence, end):
                tokens = [sequence.tokens[-1], *proposal.tokens]
                return Run(tokens, start, sequence.blocks, outputs=len(tokens))
            sequence.proposal = None  # a guess is not worth another's memory
        if not self._reserve(group, sequence, start + 1):
            return None
        return Run(sequence.tokens[-1:], start, sequence.blocks)

    def _reserve(self, group: Group, sequence: Row, end: int) -> bool:
        """Memory up to `end`, which younger groups make room for."""
        while not self.memory.prepare(sequence, end):
            if not self._make_room(group):
                return False
        return True

    def _make_room(self, group: Group) -> bool:
        """Preempt the youngest group that is younger than `group`; False where there is none."""
        youngest = self.active[-1]
        if youngest is group or group not in self.active:
            return False
        self.preempt(youngest)
        return True

    def _read(self, readers: list[Reader], budget: int) -> list[Part]:
        """Runs over the next tokens of prompts."""
        readers = leaders([reader for reader in readers if self._reuse(reader)], self.memory)
        shares = share(budget, [reader.left for reader in readers])
        size = self.block_size
        parts = []
        for reader, length in zip(readers, shares, strict=True):
            group, sequence, left = reader.group, reader.sequence, reader.left
            if length == 0 or group not in self.active:
                continue
            start = sequence.computed
            end = start + length
            whole = end // size * size
            if length < left and whole > start:
                end = whole  # whole blocks are what others can use
            border = (len(sequence.tokens) - 1) // size * size
            if self.repeatable and sequence.named and start < border < end:
                end = border
            if not self._reserve(group, sequence, end):
                continue
            last = end == len(sequence.tokens) and not group.wants_states
            run = Run(
                sequence.tokens[start:end],
                start,
                sequence.blocks,
                outputs=int(last),
                states=group.wants_states,
            )
            parts.append(Part(group, sequence, run))
        return parts

    def _reuse(self, reader: Reader) -> bool:
        """Take what has been computed already; whether something is left to read."""
        group, sequence = reader.group, reader.sequence
        adopted = self.memory.adopt(sequence)
        reader.left -= adopted
        if adopted and group not in self.begun and sequence is group.sequences[0]:
            group.cached_tokens += adopted
        return reader.left > 0
