"""Random requests for the soak, and clients that send them: some wait, some leave in the middle."""

from __future__ import annotations

import gc
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from chatwright.errors import ChatwrightError, ContextError, UsageError
from chatwright.generate import Engine, SamplingParams
from chatwright.generate.params import Completion, Constraint

Fate = Literal["wait", "cancel", "leave", "refused", "embed"]

# Answers that a lone request must give again, token for token: most of them greedy.
KEPT = 80
TENANTS = ("", "red", "green", "blue")


@dataclass(frozen=True, slots=True)
class Ask:
    """A request, and what its client does with it."""

    kind: str
    ids: list[int]
    params: SamplingParams
    tenant: str
    fate: Fate

    @property
    def repeatable(self) -> bool:
        """Whether the same request alone must give the same tokens."""
        p = self.params
        exact = p.greedy or (p.seed is not None and not p.lookup)
        return self.fate == "wait" and exact and p.timeout is None


@dataclass(slots=True)
class Tally:
    """What became of the requests. Bounded: a soak must not grow by its own notes."""

    ended: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest_refusal: float = 0.0
    kept: list[tuple[Ask, list[Completion]]] = field(default_factory=list)
    seen: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fault(self, what: str) -> None:
        with self.lock:
            if len(self.faults) < 20:
                self.faults.append(what)
            self.ended["fault"] += 1

    def keep(self, ask: Ask, answers: list[Completion], rng: random.Random) -> None:
        """A fair sample of the repeatable ones (reservoir sampling)."""
        with self.lock:
            self.seen += 1
            if len(self.kept) < KEPT:
                self.kept.append((ask, answers))
            elif (place := rng.randrange(self.seen)) < KEPT:
                self.kept[place] = (ask, answers)


class Traffic:
    """Makes requests. `longest` bounds a prompt's tokens, `answer` an answer's."""

    def __init__(self, engine: Engine, *, seed: int, longest: int, answer: int) -> None:
        rng = random.Random(seed)
        self.longest, self.answer = longest, answer
        self.vocab = min(engine.tokenizer.vocab_size, engine.runner.vocab_size)
        self.context = engine.context
        self.positions = engine.runner.n_blocks * engine.runner.block_size
        # Beginnings that many prompts share, as system prompts and passages do.
        lengths = [max(1, int(longest * share)) for share in (0.05, 0.1, 0.2, 0.5)]
        self.beginnings = [self.tokens(rng, n) for n in lengths]
        self.kinds: dict[str, tuple[int, Callable[[random.Random], SamplingParams]]] = {
            "greedy": (30, lambda r: SamplingParams(temperature=0.0, ignore_end=r.random() < 0.5)),
            "sampled": (12, lambda r: SamplingParams(seed=r.randrange(9999), top_p=0.95, top_k=40)),
            "penalised": (
                6,
                lambda r: SamplingParams(
                    temperature=0.0, repetition_penalty=1.2, no_repeat_ngram=3, logprobs=True
                ),
            ),
            "unseeded": (5, lambda r: SamplingParams(min_p=0.05)),
            "several": (6, lambda r: SamplingParams(seed=r.randrange(9999), n=3)),
            "best-of": (3, lambda r: SamplingParams(seed=r.randrange(9999), n=1, best_of=3)),
            "beams": (6, lambda r: SamplingParams(temperature=0.0, beams=3, n=2)),
            "stops": (8, lambda r: SamplingParams(temperature=0.0, stop=("e", " the", "\n\n"))),
            "guided": (4, lambda r: SamplingParams(temperature=0.0, guidance=1.5)),
            "copying": (6, lambda r: SamplingParams(temperature=0.0, lookup=4)),
            "constrained": (
                6,
                lambda r: SamplingParams(
                    temperature=0.0,
                    constraint=r.choice(
                        (
                            Constraint.regex("(yes|no|perhaps)[a-z ]{0,12}"),
                            Constraint.json_schema(
                                {
                                    "type": "object",
                                    "properties": {"a": {"type": "integer"}},
                                    "required": ["a"],
                                }
                            ),
                        )
                    ),
                ),
            ),
            "deadline": (5, lambda r: SamplingParams(timeout=r.uniform(0.01, 0.6))),
        }

    def tokens(self, rng: random.Random, count: int) -> list[int]:
        return [rng.randrange(self.vocab) for _ in range(count)]

    def next(self, rng: random.Random) -> Ask:
        """The next request of a client."""
        draw = rng.random()
        if draw < 0.06:
            return self._impossible(rng)
        tenant = rng.choices(TENANTS, (6, 1, 1, 1))[0]
        prompt = self._prompt(rng)
        if draw < 0.09:
            return Ask("embed", prompt, SamplingParams(), tenant, "embed")
        names = list(self.kinds)
        kind = rng.choices(names, [self.kinds[name][0] for name in names])[0]
        made = self.kinds[kind][1](rng)
        length = rng.randint(1, self.answer)
        fate: Fate = rng.choices(("wait", "cancel", "leave"), (70, 18, 12))[0]
        return Ask(kind, prompt, replace(made, max_tokens=length), tenant, fate)

    def _prompt(self, rng: random.Random) -> list[int]:
        # Many short ones, few long ones.
        length = min(self.longest, max(5, int(self.longest ** rng.uniform(0.25, 1.0))))
        ids = self.tokens(rng, length)
        if rng.random() < 0.6:
            beginning = rng.choice(self.beginnings)[: length - 1]
            ids = [*beginning, *ids[len(beginning) :]]
        return ids

    def _impossible(self, rng: random.Random) -> Ask:
        greedy = SamplingParams(temperature=0.0, max_tokens=self.answer)
        wide = replace(greedy, temperature=1.0, n=1 + self.positions // self.answer)
        endless = replace(greedy, max_tokens=self.context, window_end="refuse")
        choices: dict[str, tuple[list[int], SamplingParams]] = {
            "too long": (self.tokens(rng, self.context), greedy),
            "empty": ([], greedy),
            "no such token": ([self.vocab + 7], greedy),
            "cannot fit": (self.tokens(rng, 9), endless),
            "too wide": (self.tokens(rng, 9), wide),
        }
        kind = rng.choice(list(choices))
        return Ask(f"impossible: {kind}", *choices[kind], "", "refused")


class Client(threading.Thread):
    """Sends one request after another, with pauses, until `ends` (monotonic seconds)."""

    def __init__(
        self,
        engine: Engine,
        traffic: Traffic,
        tally: Tally,
        *,
        seed: int,
        ends: float,
        pause: float,
    ) -> None:
        super().__init__(name=f"client-{seed}", daemon=True)
        self._engine, self._traffic, self._tally = engine, traffic, tally
        self._rng, self._ends, self._pause = random.Random(seed), ends, pause

    def run(self) -> None:
        while time.monotonic() < self._ends:
            ask = self._traffic.next(self._rng)
            try:
                became = self._do(ask)
            except Exception as error:
                self._tally.fault(f"{ask.kind}: {type(error).__name__}: {error}")
            else:
                with self._tally.lock:
                    self._tally.ended[became] += 1
                    self._tally.kinds[ask.kind] += 1
            time.sleep(self._rng.expovariate(1 / self._pause))

    def _do(self, ask: Ask) -> str:
        if ask.fate == "refused":
            return self._refused(ask)
        if ask.fate == "embed":
            vector = self._engine.embed([ask.ids], tenant=ask.tenant)
            assert abs(float((vector**2).sum()) - 1.0) < 1e-3, "an embedding has not length 1"
            return "embedded"
        request = self._engine.submit(ask.ids, ask.params, tenant=ask.tenant)
        if ask.fate == "wait":
            answers = request.results()
            for answer in answers:
                check(ask, answer)
            if ask.repeatable:
                self._tally.keep(ask, answers, self._rng)
            return answers[0].finish_reason
        if self._rng.random() < 0.5:
            time.sleep(self._rng.expovariate(1 / self._pause))
        else:
            for _ in range(self._rng.randint(1, 6)):
                if next(request, None) is None:
                    break
        if ask.fate == "leave":
            del request  # a client that went away: nobody holds it any more
            return "left"
        request.cancel()
        for answer in request.results():
            assert answer.finish_reason in ("cancelled", "stop", "length", "timeout")
        return "cancelled by its client"

    def _refused(self, ask: Ask) -> str:
        started = time.perf_counter()
        try:
            request = self._engine.submit(ask.ids, ask.params)
        except (ContextError, UsageError) as error:
            seconds = time.perf_counter() - started
            assert str(error), "a refusal without a reason"
            with self._tally.lock:
                self._tally.slowest_refusal = max(self._tally.slowest_refusal, seconds)
            return "refused"
        request.cancel()
        raise ChatwrightError("it was taken, and can never be answered")


def check(ask: Ask, answer: Completion) -> None:
    """What holds for every answer, whatever the model says."""
    p = ask.params
    assert len(answer.token_ids) <= p.max_tokens, "more tokens than max_tokens"
    assert answer.prompt_tokens == len(ask.ids)
    reasons = ("stop", "length", "timeout") if p.timeout is not None else ("stop", "length")
    assert answer.finish_reason in reasons, answer.finish_reason
    assert not any(stop in answer.text for stop in p.stop), "a stop string was sent"
    if p.logprobs:
        assert len(answer.logprobs or ()) == len(answer.token_ids)
    if p.constraint is not None and p.constraint.kind == "regex":
        assert "yesnoperhaps".find(answer.text[:1]) >= 0, answer.text


def alone(engine: Engine, kept: list[tuple[Ask, list[Completion]]], *, sampled: bool) -> Any:
    """How many of the kept answers were asked for again, alone, and which differ.

    `sampled` also those that were drawn with a seed.
    """
    compared: Counter[str] = Counter()
    different: list[str] = []
    for ask, before in kept:
        if not (ask.params.greedy or sampled):
            continue
        again = engine.submit(ask.ids, ask.params, tenant=ask.tenant).results()
        compared["greedy" if ask.params.greedy else "sampled"] += 1
        for one, other in zip(before, again, strict=True):
            if one.token_ids != other.token_ids or one.text != other.text:
                at = next(
                    (
                        i
                        for i, (a, b) in enumerate(
                            zip(one.token_ids, other.token_ids, strict=False)
                        )
                        if a != b
                    ),
                    min(len(one.token_ids), len(other.token_ids)),
                )
                different.append(
                    f"{ask.kind}, {len(ask.ids)} prompt tokens, answer {one.index}: token {at}"
                )
    return compared, different


def fill(engine: Engine, traffic: Traffic, rng: random.Random) -> None:
    """Everything once, and long prompts side by side until the whole pool has been used.

    What is taken from the system only the first time (blocks, tables of constraints) is then there.
    """
    for _, make in traffic.kinds.values():
        params = replace(make(rng), max_tokens=8, timeout=None)
        engine.submit(traffic.tokens(rng, 9), params).results()
    engine.embed([traffic.tokens(rng, traffic.longest)])
    endless = SamplingParams(temperature=0.0, ignore_end=True, max_tokens=engine.context)
    requests = [
        engine.submit(traffic.tokens(rng, traffic.longest), endless)
        for _ in range(engine.max_batch)
    ]
    ends = time.monotonic() + 120
    while time.monotonic() < ends and engine.load != (0, 0):
        blocks = engine.stats()["blocks"]
        if blocks["touched"] == blocks["total"]:
            break
        time.sleep(0.01)
    for request in requests:
        request.cancel()
        request.result()


def settle(engine: Engine, seconds: float = 30.0) -> dict[str, Any]:
    """The engine's facts once nothing is left to do."""
    ends = time.monotonic() + seconds
    gc.collect()  # requests that clients left in a cycle
    while time.monotonic() < ends and (engine.load != (0, 0) or engine.stats()["blocks"]["used"]):
        time.sleep(0.02)
    return engine.stats()
