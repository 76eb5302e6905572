"""One request on its way through the engine: the caller's end, and how plain answers are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Items
from typing import Self

import numpy as np

from chatwright.errors import ChatwrightError
from chatwright.generate.group import Answer, Group, Pool, Rows, Sequence, Vocabulary
from chatwright.generate.logits import guide, log_probability, top_log_probabilities
from chatwright.generate.params import Chosen, Completion, FinishReason, Piece, SamplingParams
from chatwright.generate.runner import Floats
from chatwright.generate.sampler import Sampler
from chatwright.generate.speculation import Proposer, verify


class _Stream:
    """One answer on its way: its sequence, its chance, its text, and who guesses for it.

    `twin` is the sequence that goes on from the negative prompt (guidance).
    """

    __slots__ = ("answer", "fresh", "last", "proposer", "sampler", "sequence", "total", "twin")

    def __init__(
        self,
        answer: Answer,
        sampler: Sampler,
        sequence: Sequence,
        twin: Sequence | None,
        proposer: Proposer | None,
    ) -> None:
        self.answer = answer
        self.sampler = sampler
        self.sequence = sequence
        self.twin = twin
        self.proposer = proposer
        self.total = 0.0  # log-probability
        self.last = ""  # the text of its last piece
        self.fresh: list[Chosen] = []  # tokens that no piece has told yet

    @property
    def mean(self) -> float:
        """The mean log-probability of its tokens."""
        made = len(self.answer.token_ids)
        return self.total / made if made else -np.inf


class PlainGroup(Group):
    """Independent answers to one prompt, which is computed once.

    `sampler` is that of the first answer; the others' are its forks. With guidance each answer has
    a second sequence, which goes on from the negative prompt; both always get the same tokens.
    """

    def __init__(
        self,
        prompt: Items[int],
        params: SamplingParams,
        vocabulary: Vocabulary,
        sampler: Sampler,
        *,
        limit: int,
        tenant: str = "",
        deadline: float | None = None,
        proposer: Callable[[int], Proposer] | None = None,
    ) -> None:
        self.together = params.guidance != 1.0
        super().__init__(
            prompt,
            params,
            vocabulary,
            limit=limit,
            width=params.answers * (2 if self.together else 1),
            tenant=tenant,
            deadline=deadline,
        )
        self._sampler = sampler
        self._proposer = proposer
        self._ranked = params.answers > params.n  # known only when all are finished
        self._scored = params.best_of is not None
        self._streams: dict[Sequence, _Stream] = {}  # unfinished ones
        self._done: list[_Stream] = []
        if self.together:
            self.sequences.append(Sequence(params.negative_prompt or self.prompt[-1:]))

    def advance(self, rows: list[Rows], pool: Pool) -> None:
        if not self._streams:
            self._begin(rows, pool)
            return
        if self.together:
            given = {sequence: logits.row(at.start) for sequence, logits, at in rows}
            for stream in list(self._streams.values()):
                assert stream.twin is not None
                row, own = given[stream.sequence], given[stream.sequence].copy()
                guide(row, given[stream.twin], self.params.guidance)
                self._choose(stream, row, own)
                self._settle(stream, pool)
            return
        plain = not self.params.logprobs and not self._scored
        for sequence, logits, at in rows:
            stream = self._streams[sequence]
            if sequence.proposal is not None:
                raw = None if plain else [logits.row(i).copy() for i in at]
                made = verify(logits, at, sequence.proposal, stream.sampler)
                for i, token in enumerate(made):
                    self._accept(stream, token, None if raw is None else raw[i])
                    if stream.answer.reason is not None:
                        break
            elif plain and not stream.sampler.needs_row:
                token = int(logits.likeliest[at.start])
                stream.sampler.accept(token)
                self._accept(stream, token, None)
            else:
                row = logits.row(at.start)
                self._choose(stream, row, row if plain else row.copy())
            self._settle(stream, pool)

    def end(self, reason: FinishReason) -> None:
        if not self._streams and not self._done:
            self._start(self._sampler, *self.sequences)
            first = next(iter(self._streams.values()))
            for index in range(1, self.params.answers):
                self._done.append(
                    _Stream(Answer(self, index), first.sampler, first.sequence, None, None)
                )
                self._done[-1].answer.close(reason)
        for stream in list(self._streams.values()):
            stream.answer.close(reason)
            self._done.append(stream)
        for stream in self._done:
            if not self._ranked and stream.answer.reason == reason:
                self._emit_last(stream, "")
        self._finish()

    def guesser(self, sequence: Sequence, most: int) -> tuple[Proposer, int] | None:
        stream = self._streams.get(sequence)
        if stream is None or stream.proposer is None:
            return None
        most = min(most, self.limit - len(stream.answer.token_ids) - 1)
        if self.params.lookup:
            most = min(most, self.params.lookup)
        return (stream.proposer, most) if most > 0 else None

    def release(self) -> None:
        super().release()
        for stream in [*self._streams.values(), *self._done]:
            if stream.proposer is not None:
                stream.proposer.close()

    def _begin(self, rows: list[Rows], pool: Pool) -> None:
        """The first token of every answer, all from the same logits."""
        given = {sequence: logits.row(at.start) for sequence, logits, at in rows}
        prompt, *negative = self.sequences
        own = given[prompt].copy()
        row = given[prompt]
        if negative:
            guide(row, given[negative[0]], self.params.guidance)
        streams = [self._start(self._sampler, *self.sequences)]
        for index in range(1, self.params.answers):
            pair = [pool.fork(sequence) for sequence in (prompt, *negative)]
            self.sequences += pair
            streams.append(self._start(self._sampler.fork(index), *pair))
        for stream in streams:
            self._choose(stream, row.copy(), own)
            self._settle(stream, pool)

    def _start(self, sampler: Sampler, sequence: Sequence, twin: Sequence | None = None) -> _Stream:
        index = len(self._streams)
        proposer = None if self._proposer is None else self._proposer(index)
        stream = _Stream(Answer(self, index), sampler, sequence, twin, proposer)
        self._streams[sequence] = stream
        return stream

    def _choose(self, stream: _Stream, row: Floats, own: Floats) -> None:
        """Take the next token from `row`; `own` is what the model itself said."""
        token = stream.sampler.choose(row)
        stream.sampler.accept(token)
        self._accept(stream, token, own)

    def _accept(self, stream: _Stream, token: int, own: Floats | None) -> None:
        """Add a token that the sampler has accepted, and send on what text it completes."""
        stream.sequence.tokens.append(token)
        if stream.twin is not None:
            stream.twin.tokens.append(token)
        answer = stream.answer
        if own is not None and (self.params.logprobs or self._scored):
            logprob = log_probability(own, token)
            stream.total += logprob
            if self.params.logprobs:
                answer.logprobs.append(logprob)
                top = top_log_probabilities(own, self.params.top_logprobs)
                if self.params.top_logprobs:
                    answer.top_logprobs.append(top)
                stream.fresh.append(Chosen(token, logprob, top))
        text = answer.accept(token)
        if answer.reason is None and stream.sampler.finished:
            text += answer.close("stop")  # the constraint is complete
        if answer.reason is not None:
            stream.last = text
        elif text and not self._ranked:
            self.emit(Piece(text, index=answer.index, chosen=tuple(stream.fresh)))
            stream.fresh.clear()

    def _settle(self, stream: _Stream, pool: Pool) -> None:
        """Give up what a finished answer holds, and only then say that it is finished."""
        if stream.answer.reason is None:
            return
        del self._streams[stream.sequence]
        self._done.append(stream)
        for sequence in (stream.sequence, stream.twin):
            if sequence is not None:
                pool.drop(sequence)
                self.sequences.remove(sequence)
        if stream.proposer is not None:
            stream.proposer.close()
        if not self._ranked:
            self._emit_last(stream, stream.last)
        if not self._streams and len(self._done) == self.params.answers:
            self._finish()

    def _finish(self) -> None:
        if self._ranked:
            ranked = sorted(self._done, key=lambda s: (-s.mean, s.answer.index))
            for index, stream in enumerate(ranked[: self.params.n]):
                stream.answer.index = index
                self._emit_last(stream, None)
        self.finish()

    def _emit_last(self, stream: _Stream, text: str | None) -> None:
        """The last piece of an answer; `text` None: all of it, for it was not streamed."""
        score = stream.mean if self._scored else None
        answer = stream.answer
        completion = answer.completion(self, score=score)
        shown = completion.text if text is None else text
        self.emit(Piece(shown, completion.finish_reason, completion, answer.index))


class Request(Iterator[Piece]):
    """The caller's end: an iterator of pieces, made by `Engine.submit`.

    Reading blocks until the next piece is there and raises what went wrong with the request. With
    n > 1 the pieces of the answers come mixed; `Piece.index` tells them apart. A request that
    nobody holds any more is cancelled. One thread reads; any may cancel.
    """

    def __init__(self, group: Group, engine: object) -> None:
        self._group = group
        self._engine = engine  # an engine that nobody holds closes; this holds it
        self._completions: dict[int, Completion] = {}
        self._error: Exception | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Piece:
        if self._error is not None:
            raise self._error
        if len(self._completions) == self._group.params.n:
            raise StopIteration
        event: Piece | Exception = self._group.events.get()
        if isinstance(event, Exception):
            self._error = event
            raise event
        if event.completion is not None:
            self._completions[event.index] = event.completion
        return event

    @property
    def over(self) -> bool:
        """Whether all has been read: every answer's last piece, or what went wrong."""
        return self._error is not None or len(self._completions) == self._group.params.n

    def when_ready(self, tell: Callable[[], None]) -> None:
        """Call `tell` when something more can be read: in the engine's thread, so it must be quick
        and not raise. Of what is there already it is not told.
        """
        self._group.on_event = tell

    def ready(self) -> list[Piece]:
        """The pieces that nobody has read yet, without waiting for more.

        Raises what went wrong with the request, once what came before it has been read.
        """
        found: list[Piece] = []
        while len(self._completions) < self._group.params.n and not self._group.events.empty():
            try:
                found.append(next(self))
            except Exception:
                if found:
                    break  # the next call raises it again
                raise
        if not found and self._error is not None:
            raise self._error
        return found

    def results(self) -> list[Completion]:
        """Wait for the end and return all n answers, whatever was read before.

        In the order of their `index`: the best first where they are ranked.
        """
        for _ in self:
            pass
        return [self._completions[index] for index in sorted(self._completions)]

    def result(self) -> Completion:
        """Wait for the end and return the (first) answer, whatever was read before."""
        results = self.results()
        if not results:  # the loop ends only with completions or an exception
            raise ChatwrightError("the request ended without an answer")
        return results[0]

    def cancel(self) -> None:
        """Stop making tokens; the last piece then says "cancelled". Does nothing at the end."""
        self._group.cancel()  # the scheduler looks before every step

    close = cancel  # what `contextlib.closing` and users of generators call

    def __del__(self) -> None:
        if hasattr(self, "_group"):
            self.cancel()
