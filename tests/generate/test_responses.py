"""The response cache: what makes a key, who may see what, what stays and what goes."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.errors import ContextError, UsageError
from chatwright.generate.cached_engine import CachedEngine
from chatwright.generate.params import Completion, Constraint, Piece, SamplingParams
from chatwright.generate.responses import ResponseCache, is_deterministic, response_key
from chatwright.records import Message

GREEDY = SamplingParams(temperature=0.0)
SEEDED = SamplingParams(seed=3)
HI = [{"role": "user", "content": "Hi"}]


def done(text: str, **more: Any) -> Completion:
    facts: dict[str, Any] = {"token_ids": [1, 2], "logprobs": None, "finish_reason": "stop"}
    return Completion(**{"text": text, "prompt_tokens": 4, **facts, **more})


class Pieces(Iterator[Piece]):
    """Words of an answer, one whenever `gate` lets it; counts how it is treated."""

    def __init__(self, engine: Counting, text: str, params: SamplingParams) -> None:
        self._engine = engine
        self._params = params
        self._words = [f"{word} " for word in text.split()]
        self._said = 0
        self._over = False
        self.cancelled = False

    def __next__(self) -> Piece:
        if self._over:
            raise StopIteration
        if not self._engine.gate.wait(5):
            raise AssertionError("nobody opened the gate")
        if self._engine.breaks_at == self._said:
            raise RuntimeError("the engine broke")
        if self.cancelled or self._said == len(self._words):
            self._over = True
            text = "".join(self._words[: self._said])
            reason: Any = "cancelled" if self.cancelled else "stop"
            return Piece("", reason, done(text, finish_reason=reason))
        self._said += 1
        return Piece(self._words[self._said - 1])

    def result(self) -> Completion:
        last = [p.completion for p in self if p.completion is not None]
        return last[-1]

    def cancel(self) -> None:
        self.cancelled = True
        self._engine.cancels += 1


@dataclass
class Counting:
    """An engine that says its question back, and how often it was asked."""

    asked: int = 0
    cancels: int = 0
    context: int = 100
    tokenizer: Any = "a tokenizer"
    breaks_at: int | None = None
    gate: threading.Event = field(default_factory=threading.Event)
    tenants: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate.set()

    def stream(
        self, messages: Sequence[Any], params: SamplingParams, *, tenant: str = ""
    ) -> Pieces:
        if not messages:
            raise ContextError("there are no messages to answer")
        last = messages[-1]
        self.asked += 1
        self.tenants.append(tenant)
        content = last.content if isinstance(last, Message) else last["content"]
        return Pieces(self, f"{self.asked} {content} 好 " + "word " * 9, params)

    def submit(self, ids: Sequence[int], params: SamplingParams, *, tenant: str = "") -> Pieces:
        return self.stream([{"content": str(ids)}], params, tenant=tenant)

    def generate(
        self, prompts: Sequence[Any], params: SamplingParams, *, tenant: str = ""
    ) -> list[Completion]:
        self.asked += len(prompts)
        return [done(f"{prompt}!") for prompt in prompts]

    def chat_many(
        self, many: Sequence[Any], params: SamplingParams, *, tenant: str = ""
    ) -> list[Completion]:
        return [self.stream(messages, params).result() for messages in many]

    def close(self) -> None: ...


@pytest.fixture(params=["memory", "file"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ResponseCache]:
    path = tmp_path / "answers.db" if request.param == "file" else None
    made = ResponseCache(path=path)
    yield made
    made.close()


# --- keys

CHANGES: dict[str, Any] = {
    "temperature": 0.25, "top_k": 5, "top_p": 0.5, "min_p": 0.1, "typical_p": 0.9,
    "repetition_penalty": 1.2, "frequency_penalty": 0.5, "presence_penalty": 0.5,
    "no_repeat_ngram": 3, "logit_bias": {4: -1.0}, "min_tokens": 2, "max_tokens": 9,
    "stop": ("END",), "stop_tokens": (3,), "ignore_end": True, "seed": 1, "n": 2, "best_of": 2,
    "beams": 2, "length_penalty": 0.5, "early_stopping": True, "logprobs": True, "top_logprobs": 2,
    "guidance": 1.5, "negative_prompt": (1,), "constraint": Constraint.regex("a"), "lookup": 4,
    "window_end": "slide", "sinks": 8, "timeout": 1.0,
}  # fmt: skip
NEEDS: dict[str, dict[str, Any]] = {
    "beams": {"temperature": 0.0}, "length_penalty": {"temperature": 0.0, "beams": 2},
    "early_stopping": {"temperature": 0.0, "beams": 2}, "top_logprobs": {"logprobs": True},
    "negative_prompt": {"guidance": 1.5},
}  # fmt: skip


@pytest.mark.parametrize("name", [f.name for f in fields(SamplingParams)])
def test_any_changed_setting_changes_the_key(name: str) -> None:
    plain = SamplingParams(**NEEDS.get(name, {}))
    changed = SamplingParams(**NEEDS.get(name, {}), **{name: CHANGES[name]})
    assert response_key(b"s", "", "m", "p", plain) != response_key(b"s", "", "m", "p", changed)


prompts = st.one_of(
    st.text(max_size=8),
    st.lists(st.integers(0, 50), max_size=4),
    st.lists(
        st.fixed_dictionaries(
            {"role": st.sampled_from(["user", "assistant"]), "content": st.text()}
        ),
        max_size=3,
    ),
)
parts = st.tuples(
    st.binary(min_size=1, max_size=4),
    st.text(max_size=4),
    st.text(max_size=4),
    prompts,
    st.builds(
        SamplingParams,
        temperature=st.sampled_from([0.0, 0.5, 0.5000000000000001, 1.0]),
        top_k=st.integers(0, 3),
        seed=st.one_of(st.none(), st.integers(0, 3)),
        stop=st.lists(st.text(min_size=1, max_size=2), max_size=2).map(tuple),
        stop_tokens=st.lists(st.integers(0, 12), max_size=3).map(tuple),
        logit_bias=st.dictionaries(st.integers(0, 3), st.sampled_from([1.0, float("-inf")])),
        constraint=st.one_of(
            st.none(), st.text(max_size=2).map(Constraint.regex), st.just(Constraint.grammar("a"))
        ),
    ),
)


@given(parts, parts)
def test_keys_are_equal_exactly_where_everything_is(one: Any, two: Any) -> None:
    assert (response_key(*one) == response_key(*two)) == (one == two)
    mixed = (*one[:3], two[3], one[4])  # one part changed
    assert (response_key(*mixed) == response_key(*one)) == (mixed == one)
    assert len(response_key(*one)) == 32


def test_a_key_tells_nothing_without_the_secret() -> None:
    assert response_key(b"a", "t", "m", "p", GREEDY) != response_key(b"b", "t", "m", "p", GREEDY)
    with pytest.raises(UsageError, match="fingerprint"):
        CachedEngine(Counting(), ResponseCache(), "")


def test_what_may_be_kept() -> None:
    assert is_deterministic(GREEDY)
    assert is_deterministic(SEEDED)
    assert not is_deterministic(SamplingParams())
    assert not is_deterministic(replace(GREEDY, timeout=3.0))


# --- through an engine


def test_an_answer_is_computed_once_and_streamed_again(cache: ResponseCache) -> None:
    inner = Counting()
    engine = CachedEngine(inner, cache, "model 1")
    first = engine.chat(HI, GREEDY)
    request = engine.stream([Message("user", "Hi")], GREEDY)  # the same in other clothes
    pieces = list(request)
    assert inner.asked == 1
    assert len(pieces) > 1
    assert "".join(p.text for p in pieces) == first.text == request.result().text
    assert [p.finish_reason for p in pieces] == [None] * (len(pieces) - 1) + ["stop"]
    assert pieces[-1].completion == replace(first, cached_tokens=4)
    assert engine.context == 100
    assert engine.tokenizer == "a tokenizer"
    assert engine.cancels == 0  # anything else is the engine's own
    assert (cache.stats.hits, cache.stats.misses, cache.stats.entries) == (1, 1, 1)


def test_other_models_questions_settings_and_tenants_get_their_own(cache: ResponseCache) -> None:
    inner = Counting()
    engine, other = CachedEngine(inner, cache, "one"), CachedEngine(inner, cache, "two")
    for _ in range(2):
        engine.chat(HI, GREEDY)
        engine.chat(HI, SEEDED)
        engine.chat(HI, GREEDY, tenant="ann")
        engine.chat(HI, GREEDY, tenant="ben")
        engine.chat([*HI, {"role": "assistant", "content": "Yes"}, *HI], GREEDY)
        engine.submit([1, 2], GREEDY).result()
        engine.submit([1, 23], GREEDY).result()
        other.chat(HI, GREEDY)
    assert inner.asked == 8
    assert inner.tenants.count("ann") == 1
    assert cache.stats.entries == 8


def test_sampling_without_a_seed_is_never_kept(cache: ResponseCache) -> None:
    inner = Counting()
    engine = CachedEngine(inner, cache, "m")
    assert engine.chat(HI).text != engine.chat(HI).text
    assert len(engine.chat_many([HI, HI])) == 2
    assert engine.generate(["a"])[0].text == "a!"
    assert (inner.asked, cache.stats.entries) == (5, 0)


def test_many_at_once_ask_for_what_is_missing_once_each(cache: ResponseCache) -> None:
    inner = Counting()
    engine = CachedEngine(inner, cache, "m")
    asked = [[{"role": "user", "content": c}] for c in "abab"]
    one, two, again, twice = engine.chat_many(asked, GREEDY)
    assert inner.asked == 2
    assert (one, two) == (again, twice)
    assert one.text != two.text
    assert engine.chat(asked[0], GREEDY).text == one.text
    assert [c.text for c in engine.generate(["x", [1], "x"], GREEDY)] == ["x!", "[1]!", "x!"]
    engine.generate(["x", "y"], GREEDY)
    assert inner.asked == 5
    with pytest.raises(UsageError, match="list"):
        engine.generate("x", GREEDY)


def test_equal_requests_at_the_same_time_are_computed_once(cache: ResponseCache) -> None:
    inner = Counting()
    inner.gate.clear()
    engine = CachedEngine(inner, cache, "m")
    texts: list[str] = []
    threads = [
        threading.Thread(target=lambda: texts.append(engine.chat(HI, GREEDY).text))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 5
    while cache.stats.shared + inner.asked < 6 and time.monotonic() < end:
        time.sleep(0.005)
    inner.gate.set()
    for thread in threads:
        thread.join(5)
    assert len(texts) == 6
    assert len(set(texts)) == 1
    assert inner.asked - inner.cancels == 1  # a second one, begun at the same moment, is called off
    mine = engine.stream(HI, GREEDY, tenant="ann")
    assert inner.tenants[-1] == "ann"  # another tenant's is another's
    mine.cancel()


def test_who_reads_first_does_not_matter(cache: ResponseCache) -> None:
    engine = CachedEngine(Counting(), cache, "m")
    first, second = engine.stream(HI, GREEDY), engine.stream(HI, GREEDY)
    assert next(second).text == next(first).text == "1 "
    assert second.result() == first.result()
    assert cache.stats.shared == 1


def test_cancelling_one_of_two_leaves_the_other(cache: ResponseCache) -> None:
    inner = Counting()
    engine = CachedEngine(inner, cache, "m")
    first, second = engine.stream(HI, GREEDY), engine.stream(HI, GREEDY)
    next(first), next(first)
    first.cancel()
    cut = first.result()
    assert (cut.text, cut.finish_reason) == ("1 Hi ", "cancelled")
    assert second.result().finish_reason == "stop"
    assert (inner.asked, inner.cancels, cache.stats.entries) == (1, 0, 1)


def test_cancelling_the_last_ends_it_and_keeps_nothing(cache: ResponseCache) -> None:
    inner = Counting()
    engine = CachedEngine(inner, cache, "m")
    request = engine.stream(HI, GREEDY)
    next(request)
    request.close()
    assert request.result().finish_reason == "cancelled"
    held = engine.stream(HI, GREEDY)
    next(held)
    del held  # nobody holds it: it is called off as well
    assert (inner.cancels, cache.stats.entries) == (2, 0)
    assert engine.chat(HI, GREEDY).finish_reason == "stop"
    assert inner.asked == 3


def test_an_error_reaches_all_who_wait_and_is_not_kept(cache: ResponseCache) -> None:
    inner = Counting(breaks_at=2)
    engine = CachedEngine(inner, cache, "m")
    first, second = engine.stream(HI, GREEDY), engine.stream(HI, GREEDY)
    for request in (first, second, first):
        with pytest.raises(RuntimeError, match="broke"):
            request.result()
    inner.breaks_at = None
    assert engine.chat(HI, GREEDY).finish_reason == "stop"
    with pytest.raises(ContextError):  # at once, as the engine does
        engine.stream([], GREEDY)


def test_several_answers_are_kept_together(cache: ResponseCache) -> None:
    answers = [done("a", index=0, score=-0.5), done("b", index=1, finish_reason="length")]
    key = cache.key("", "m", "p", GREEDY)
    cache.put("", key, answers)
    assert cache.get(key) == [replace(a, cached_tokens=4) for a in answers]
    logged = done("x", logprobs=[-0.1, -1e-9], top_logprobs=[[(3, -0.1)], []])
    cache.put("", b"k" * 32, [logged])
    assert cache.get(b"k" * 32) == [replace(logged, cached_tokens=4)]


@pytest.mark.parametrize("reason", ["cancelled", "timeout"])
def test_what_was_cut_off_is_not_kept(cache: ResponseCache, reason: Any) -> None:
    cache.put("", b"k" * 32, [done("half", finish_reason=reason)])
    assert cache.get(b"k" * 32) is None


def test_with_the_engine_itself(model: Any, tokenizer: Any, cache: ResponseCache) -> None:
    from chatwright.generate import Engine

    with CachedEngine(Engine(model, tokenizer), cache, "tiny") as engine:
        params = SamplingParams(max_tokens=12, seed=5, n=2, logprobs=True, top_logprobs=2)
        made = engine.engine.stream(HI, params).results()
        for _ in range(2):
            kept = engine.stream(HI, params).results()
            assert [replace(c, cached_tokens=0) for c in kept] == [
                replace(c, cached_tokens=0) for c in made
            ]
        assert cache.stats.hits == 1
        ids = tokenizer.encode("The engine")
        assert engine.generate([ids], GREEDY)[0].text == engine.submit(ids, GREEDY).result().text
        assert cache.stats.hits == 2


# --- bounds


@pytest.mark.parametrize("where", ["memory", "file"])
def test_the_least_recently_used_goes_first(where: str, tmp_path: Path) -> None:
    path = tmp_path / "a.db" if where == "file" else None
    cache = ResponseCache(max_entries=3, path=path)
    for name in b"abc":
        cache.put("", bytes([name]), [done(chr(name))])
    assert cache.get(b"a") is not None
    cache.put("", b"d", [done("d")])
    assert [cache.get(bytes([n])) is not None for n in b"abcd"] == [True, False, True, True]
    cache.close()
    small = ResponseCache(max_bytes=2500, path=tmp_path / "b.db" if path else None)
    for name in b"abc":
        small.put("", bytes([name]), [done("x" * 600)])
    assert small.stats.bytes <= 2500
    assert [small.get(bytes([n])) is not None for n in b"abc"] == [False, True, True]
    small.put("", b"h", [done("x" * 5000)])  # larger than everything together
    assert small.get(b"h") is None
    assert small.get(b"c") is not None
    small.close()


def test_a_time_to_live(cache: ResponseCache, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.seconds = 10.0
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    cache.put("", b"k", [done("x")])
    monkeypatch.setattr(time, "time", lambda: now + 9.9)
    assert cache.get(b"k") is not None
    monkeypatch.setattr(time, "time", lambda: now + 10.1)
    assert cache.get(b"k") is None
    assert cache.stats.entries == 0


@pytest.mark.parametrize(
    "wrong", [{"max_entries": 0}, {"max_bytes": 0}, {"seconds": 0.0}, {"seconds": float("nan")}]
)
def test_bounds_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        ResponseCache(**wrong)
    assert caught.value.where in wrong


# --- forgetting


def test_a_tenant_is_forgotten_and_others_are_not(cache: ResponseCache) -> None:
    inner = Counting()
    engine = CachedEngine(inner, cache, "m")
    for tenant in ("ann", "ann", "ben"):
        engine.chat(HI, GREEDY, tenant=tenant)
        engine.chat([{"role": "user", "content": "Bye"}], GREEDY, tenant=tenant)
    assert inner.asked == 4
    assert engine.forget("ann") == 2
    assert engine.forget("nobody") == 0
    engine.chat(HI, GREEDY, tenant="ben")
    assert inner.asked == 4
    engine.chat(HI, GREEDY, tenant="ann")
    assert inner.asked == 5
    cache.clear()
    assert cache.stats.entries == 0


def test_what_was_under_way_when_it_was_forgotten_is_not_kept(cache: ResponseCache) -> None:
    inner = Counting()
    engine = CachedEngine(inner, cache, "m")
    request = engine.stream(HI, GREEDY, tenant="ann")
    next(request)
    engine.forget("ann")
    assert request.result().finish_reason == "stop"
    assert cache.stats.entries == 0
    engine.chat(HI, GREEDY, tenant="ann")
    assert inner.asked == 2


# --- the file


def test_answers_outlive_the_process_and_hold_no_question(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "answers.db"
    first = ResponseCache(path=path)
    secret = [{"role": "user", "content": "the question nobody may read"}]
    CachedEngine(Counting(), first, "m").chat(secret, GREEDY, tenant="ann-the-tenant")
    first.close()
    assert first.get(b"k") is None  # closed: nothing is there, and nothing breaks
    inner = Counting(asked=50)
    second = ResponseCache(path=path)
    assert CachedEngine(inner, second, "m").chat(secret, GREEDY, tenant="ann-the-tenant")
    assert inner.asked == 50
    second.forget("ann-the-tenant")
    second.close()
    raw = b"".join(f.read_bytes() for f in path.parent.iterdir())
    for private in (b"ann-the-tenant", b"question nobody", b"word word"):
        assert private not in raw
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "damage",
    ["noise", "truncated", "other tables", "newer", "middle"],
)
def test_a_damaged_file_is_set_aside(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "answers.db"
    cache = ResponseCache(path=path)
    for i in range(200):
        cache.put("", bytes([i]) * 32, [done("text " * 50)])
    cache.close()
    raw = bytearray(path.read_bytes())
    if damage == "noise":
        path.write_bytes(b"no database at all" * 1000)
    elif damage == "truncated":
        path.write_bytes(bytes(raw[: len(raw) // 2]))
    elif damage == "middle":
        raw[4096:] = bytes(b ^ 0x5A for b in raw[4096:])
        path.write_bytes(bytes(raw))
    else:
        path.unlink()
        connection = sqlite3.connect(path)
        if damage == "newer":
            connection.execute("PRAGMA user_version = 99")
        else:
            connection.execute("CREATE TABLE answers (something TEXT)")
        connection.commit()
        connection.close()
    cache = ResponseCache(path=path)
    for i in range(200):
        cache.get(bytes([i]) * 32)  # whatever it says, it does not break
        cache.put("", bytes([i]) * 32, [done("new")])
    assert cache.get(bytes([7]) * 32) == [done("new", cached_tokens=4)]
    cache.close()
    assert len(list(tmp_path.glob("answers.db.damaged-*"))) == 1


def test_a_file_that_cannot_be_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path, tmp_path / "file" / "answers.db"):
        with pytest.raises(UsageError, match="cannot be used"):
            ResponseCache(path=path)


WORK = """
import sys
from chatwright.generate.params import Completion, SamplingParams
from chatwright.generate.responses import ResponseCache
cache = ResponseCache(path=sys.argv[1], max_entries=40)
for i in range(150):
    key = cache.key("t", "m", i % 60, SamplingParams(temperature=0.0))
    found = cache.get(key)
    assert found is None or found[0].text == f"answer {i % 60}", found
    if found is None:
        cache.put("t", key, [Completion(f"answer {i % 60}", [1], None, "stop", 1)])
print(cache.stats.entries)
"""


def test_several_processes_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "answers.db"
    running = [
        subprocess.Popen([sys.executable, "-c", WORK, str(path)], stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    for process in running:
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert int(out) <= 40
    cache = ResponseCache(path=path)
    assert 30 <= cache.stats.entries <= 40
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    cache.close()
    assert not list(tmp_path.glob("*damaged*"))


def test_a_file_that_another_process_holds_does_not_stop_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatwright.generate.responses_file._BUSY", 0.05)
    cache = ResponseCache(path=tmp_path / "answers.db")
    engine = CachedEngine(Counting(), cache, "m")
    holder = sqlite3.connect(tmp_path / "answers.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    assert engine.chat(HI, GREEDY).finish_reason == "stop"
    with pytest.raises(UsageError, match="could not be removed"):
        engine.forget("")  # who asks for that must know
    holder.execute("ROLLBACK")
    holder.close()
    assert engine.chat(HI, GREEDY).finish_reason == "stop"
    assert cache.stats.entries == 1
    cache.close()
