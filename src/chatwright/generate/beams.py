"""Beam search: the k likeliest beginnings of an answer, continued side by side.

Which tokens are taken, how finished answers are scored and when the search ends is as in
`transformers` 5 (`num_beams=k, do_sample=False`), so that the answers are the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from chatwright.errors import ChatwrightError
from chatwright.generate.group import Answer, Detokenizer, Group, Pool, Rows, Vocabulary
from chatwright.generate.group import Sequence as TokenSequence
from chatwright.generate.logits import largest, log_probabilities, top_log_probabilities
from chatwright.generate.params import Completion, FinishReason, Piece, SamplingParams
from chatwright.generate.runner import Floats
from chatwright.generate.sampler import Sampler

EarlyStopping = bool | Literal["never"]


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """The last token of a beginning; those before it are its `parent`'s, which beams share.

    `beam` is the rank that the parent had among the running beams.
    """

    token: int
    parent: Node | None
    beam: int

    def tokens(self) -> list[int]:
        """The tokens from the answer's first to this one."""
        return [node.token for node in self.path()]

    def path(self) -> list[Node]:
        """The nodes from the answer's first to this one."""
        nodes: list[Node] = []
        node: Node | None = self
        while node is not None:
            nodes.append(node)
            node = node.parent
        return nodes[::-1]


@dataclass(frozen=True, slots=True, eq=False)
class Beam:
    """An unfinished answer: its last token (None: nothing yet) and its summed log-probability."""

    last: Node | None
    total: np.float32


@dataclass(frozen=True, slots=True, eq=False)
class Hypothesis:
    """A finished answer. `score` is the summed log-probability over length^length_penalty."""

    last: Node
    score: np.float32


class BeamSearch:
    """The search for one answer, without the model: log-probabilities in, parents and tokens out.

    `running` are the unfinished answers, best first, of which there is one, the empty one, at the
    beginning; `finished` the best `width` finished ones, best first. An answer ends with a token
    for which `ends(parent, token)` is true (`parent` is an index into `running` before the step),
    or with the `limit`th token. `n_ends` is how many tokens are ends for every beam: so many
    candidates more are looked at, that enough unfinished ones are among them.

    Sums are kept in float32 and equals are ordered by beam, then by token (`transformers` leaves
    that open), so the same numbers give the same answers everywhere.
    """

    def __init__(
        self,
        width: int,
        limit: int,
        *,
        length_penalty: float = 1.0,
        early_stopping: EarlyStopping = False,
        n_ends: int = 1,
    ) -> None:
        self.width = width
        self.limit = limit
        self.length_penalty = length_penalty
        self.early_stopping = early_stopping
        self.running = [Beam(None, np.float32(0.0))]
        self.finished: list[Hypothesis] = []
        self.done = limit < 1
        self._candidates = max(2, 1 + n_ends) * width
        self._made = 0

    def advance(
        self, log_probs: Sequence[Floats], ends: Callable[[int, int], bool]
    ) -> tuple[list[int], list[int]]:
        """Take one step, given a row [V] of log-probabilities for each running beam.

        Returns, for each beam that runs on (none when `done`), the index of the one that it
        continues and its newest token. A log-probability of -inf forbids a token.
        """
        totals = np.stack(
            [row + beam.total for row, beam in zip(log_probs, self.running, strict=True)]
        )
        self._made += 1
        running: list[tuple[int, Beam]] = []
        for rank, (parent, token) in enumerate(best(totals, self._candidates)):
            ended = self._made >= self.limit or ends(parent, token)
            # What ends further down is no answer: it would have been left behind.
            if rank >= self.width if ended else len(running) >= self.width:
                continue
            node = Node(token, self.running[parent].last, parent)
            total: np.float32 = totals[parent, token]
            if ended:
                self.finished.append(Hypothesis(node, total / self._scale(self._made)))
            else:
                running.append((parent, Beam(node, total)))
        # Equals stay in the order in which they were found.
        self.finished = sorted(self.finished, key=lambda h: -h.score)[: self.width]
        self.running = [beam for _, beam in running]
        self.done = self._is_done()
        if self.done:
            return [], []
        return [parent for parent, _ in running], [
            beam.last.token for _, beam in running if beam.last is not None
        ]

    def best_unfinished(self) -> list[Hypothesis]:
        """The running beams as if they ended here, best first: for a search that is cut off."""
        return [
            Hypothesis(beam.last, beam.total / self._scale(self._made))
            for beam in self.running
            if beam.last is not None
        ]

    def _scale(self, length: int) -> np.float32:
        return np.float32(length**self.length_penalty)

    def _is_done(self) -> bool:
        if not self.running:
            return True
        if len(self.finished) < self.width:
            return False
        if self.early_stopping is True:
            return True
        # The best that the best running beam could still reach, if nothing were ever unlikely
        # again: for False, a guess that does not see how a longer answer divides by more.
        hopeful = self.early_stopping == "never" and self.length_penalty > 0.0
        length = self.limit if hopeful else self._made
        return bool(self.running[0].total / self._scale(length) <= self.finished[-1].score)


def best(totals: Floats, count: int) -> Iterator[tuple[int, int]]:
    """The `count` largest of `totals` [n, V] that are not -inf, as (row, column), largest first.

    Equals come in the order of rows and columns.
    """
    flat = totals.reshape(-1)
    bound = largest(flat, count)
    larger = np.flatnonzero(flat > bound)
    equal = np.flatnonzero(flat == bound)[: count - len(larger)]
    chosen = np.concatenate((larger, equal)) if bound > -math.inf else larger
    order = np.lexsort((chosen, -flat[chosen]))
    for index in chosen[order].tolist():
        yield divmod(index, totals.shape[1])


class BeamGroup(Group):
    """A request that is answered by beam search: each running beam is a sequence.

    The prompt is computed once; beams that go on from the same one share its blocks, and a beam
    that is left behind gives its blocks back. Penalties, biases, `min_tokens` and the constraint
    change each beam's log-probabilities, with what that beam has said so far, and scores are sums
    of the changed ones, as in `transformers`. What is shown comes at the end: until then any beam
    may win.
    """

    def __init__(
        self,
        prompt: Sequence[int],
        params: SamplingParams,
        vocabulary: Vocabulary,
        sampler: Sampler,
        *,
        limit: int,
        tenant: str = "",
        deadline: float | None = None,
    ) -> None:
        super().__init__(
            prompt,
            params,
            vocabulary,
            limit=limit,
            width=params.beams,
            tenant=tenant,
            deadline=deadline,
        )
        self.together = True
        self._ends = vocabulary.ends_of(params)
        self._search = BeamSearch(
            params.beams,
            limit,
            length_penalty=params.length_penalty,
            early_stopping=params.early_stopping,
            n_ends=len(self._ends),
        )
        self._states = [_State(sampler, _Tail("", "", ()))]  # of the running beams, as `sequences`
        self._grown: dict[tuple[int, int], _State] = {}  # this step's, by parent and token
        self._notes: dict[Node, _Note] = {}

    def advance(self, rows: list[Rows], pool: Pool) -> None:
        """Take the step's logits, one row for each beam, and go on with the best continuations."""
        found = {id(sequence): (logits, indices) for sequence, logits, indices in rows}
        own, changed = [], []
        for sequence, state in zip(self.sequences, self._states, strict=True):
            logits, indices = found[id(sequence)]
            own.append(log_probabilities(logits.row(indices[-1])))
            if state.sampler.needs_row:
                changed.append(state.sampler.process(own[-1].copy()))
            else:
                changed.append(own[-1])
        parents, tokens = self._search.advance(changed, self._ended)
        if self.params.logprobs:
            self._take_notes(own)
        if self._search.done:
            self._finish(None)
            return
        states = [self._grow(*child) for child in zip(parents, tokens, strict=True)]
        self.sequences = _succeed(self.sequences, parents, pool)
        for sequence, token in zip(self.sequences, tokens, strict=True):
            sequence.tokens.append(token)
        self._states = states
        self._grown.clear()

    def end(self, reason: FinishReason) -> None:
        """Finish with the best answers so far: finished ones, then those that were running."""
        if not self.finished:
            self._finish(reason)

    def _ended(self, parent: int, token: int) -> bool:
        """Whether an answer ends with `token` after the beam `parent`."""
        if token in self._ends:
            return True
        if not self.params.stop and self.params.constraint is None:
            return False
        state = self._grow(parent, token)
        return state.sampler.finished or any(stop in state.tail.text for stop in self.params.stop)

    def _grow(self, parent: int, token: int) -> _State:
        """The beam `parent`'s state after one token more."""
        state = self._grown.get((parent, token))
        if state is None:
            before = self._states[parent]
            sampler, tail = before.sampler, before.tail
            if sampler.needs_row:
                sampler = sampler.fork(0)
                sampler.accept(token)
            if self.params.stop:
                tail = tail.push(
                    token, self.vocabulary.detokenizer(), max(map(len, self.params.stop))
                )
            state = self._grown[parent, token] = _State(sampler, tail)
        return state

    def _take_notes(self, own: list[Floats]) -> None:
        """Write down the model's own log-probabilities of the step's new tokens."""
        most = self.params.top_logprobs
        tops: dict[int, list[tuple[int, float]]] = {}
        new = [beam.last for beam in self._search.running]
        new += [hypothesis.last for hypothesis in self._search.finished]
        for node in new:
            if node is None or node in self._notes:
                continue
            if most and node.beam not in tops:
                tops[node.beam] = top_log_probabilities(own[node.beam], most)
            self._notes[node] = _Note(float(own[node.beam][node.token]), tops.get(node.beam, []))

    def _finish(self, reason: FinishReason | None) -> None:
        """Emit the n best answers. With a `reason` the search was cut off for it."""
        answers = list(self._search.finished)
        if reason is not None or not answers:
            answers += self._search.best_unfinished()
        if not answers and reason is None:
            self.fail(
                ChatwrightError(
                    "no token may follow: the constraint, no_repeat_ngram and logit_bias together "
                    "leave none",
                    hint="ask for less at once",
                )
            )
            return
        for index in range(self.params.n):
            hypothesis = answers[index] if index < len(answers) else None
            completion = self._completion(index, hypothesis, reason)
            self.emit(Piece(completion.text, completion.finish_reason, completion, index))
        self.finish()

    def _completion(
        self, index: int, hypothesis: Hypothesis | None, reason: FinishReason | None
    ) -> Completion:
        """The answer, from its tokens. None: there are fewer answers than were asked for."""
        answer = Answer(self, index)
        for node in hypothesis.last.path() if hypothesis is not None else ():
            answer.accept(node.token)
            if self.params.logprobs:
                note = self._notes[node]
                answer.logprobs.append(note.logprob)
                answer.top_logprobs.append(note.top)
        answer.close(reason or "stop")  # a constraint that is complete, or a stop string held back
        score = None if hypothesis is None else float(hypothesis.score)
        completion = answer.completion(self, score=score)
        return completion if reason is None else replace(completion, finish_reason=reason)


@dataclass(frozen=True, slots=True)
class _Note:
    logprob: float
    top: list[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class _Tail:
    """The end of a beam's text, as far as a stop string may still begin in it.

    `text` is all that can be shown of it; `base` is what comes before the tokens `pending`, of
    which the last ends inside a character.
    """

    text: str
    base: str
    pending: tuple[int, ...]

    def push(self, token: int, detokenizer: Detokenizer, longest: int) -> _Tail:
        """With `token` after it; `detokenizer` is a new one, `longest` a stop string's length."""
        pending = (*self.pending, token)
        text = self.base + "".join(map(detokenizer.push, pending))
        if detokenizer.flush():
            return _Tail(text, self.base, pending)
        return _Tail(text, text[-longest:], ())


@dataclass(frozen=True, slots=True)
class _State:
    """What a beam needs beside its tokens."""

    sampler: Sampler
    tail: _Tail


def _succeed(sequences: list[TokenSequence], parents: list[int], pool: Pool) -> list[TokenSequence]:
    """Sequences that continue those of `parents`: each parent's first child takes its place."""
    for parent, sequence in enumerate(sequences):
        if parent not in parents:
            pool.drop(sequence)
    heirs: set[int] = set()
    new = []
    for parent in parents:
        new.append(pool.fork(sequences[parent]) if parent in heirs else sequences[parent])
        heirs.add(parent)
    return new
