"""Answers in a given form, by a model that knows nothing: random logits, and always the form."""

from __future__ import annotations

import gc
import json
import re
import threading
import time
import weakref
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict, Field

from chatwright.errors import UsageError
from chatwright.generate import SamplingParams, constraints
from chatwright.generate.constraints import Budget, compile_constraint
from chatwright.generate.params import Constraint
from chatwright.generate.sampler import Sampler
from chatwright.tokenizer import Tokenizer


def sampler_for(
    constraint: Constraint, tokenizer: Tokenizer, budget: Budget | None = None, **params: Any
) -> Sampler:
    matcher = compile_constraint(constraint, tokenizer, *([budget] if budget else []))
    return Sampler(
        SamplingParams(constraint=constraint, **{"temperature": 1.0, "seed": 0, **params}),
        [1, 2],
        tokenizer.vocab_size,
        ends=tokenizer.eos_ids,
        matcher=matcher,
    )


def written(
    sampler: Sampler, seed: int, size: int, most: int = 400, favoured: Iterable[int] = ()
) -> tuple[list[int], str]:
    """The tokens that a random model writes, and how it ended: "end", "complete" or "length"."""
    chance = np.random.default_rng(seed)
    tokens: list[int] = []
    while len(tokens) < most:
        row = (chance.standard_normal(size) * 2).astype(np.float32)
        row[list(favoured)] += 20
        token = sampler.choose(row)
        sampler.accept(token)
        if token in sampler.ends:
            return tokens, "end"
        tokens.append(token)
        if sampler.finished:
            return tokens, "complete"
    return tokens, "length"


def answers(constraint: Constraint, tokenizer: Tokenizer, n: int = 12, **params: Any) -> list[str]:
    texts = []
    for seed in range(n):
        sampler = sampler_for(constraint, tokenizer, seed=seed, **params)
        tokens, how = written(sampler, seed, tokenizer.vocab_size)
        assert how != "length"
        texts.append(tokenizer.decode(tokens))
        assert "\ufffd" not in texts[-1]  # characters are whole
    return texts


# -- JSON ----------------------------------------------------------------------------------------


class Address(BaseModel):
    model_config = ConfigDict(extra="forbid")
    city: Literal["北京", "上海", 'New "York"', "Zürich\n"]
    number: int = Field(ge=1, le=250)


class Person(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=1, max_length=6)
    married: bool
    height: float | None
    addresses: list[Address] = Field(min_length=1, max_length=3)
    tags: list[Literal["红", "绿"] | bool] = Field(max_length=2)


class Tree(BaseModel):
    model_config = ConfigDict(extra="forbid")
    left: Tree | None
    code: str = Field(pattern=r"^[A-C]{2}-[0-9]+$", max_length=8)


@pytest.mark.parametrize("shape", [Address, Person, Tree])
def test_json_is_always_valid_under_its_schema(
    shape: type[BaseModel], tokenizer: Tokenizer
) -> None:
    for text in answers(Constraint.json_schema(shape.model_json_schema()), tokenizer):
        shape.model_validate_json(text, strict=True)
        assert list(json.loads(text)) == list(shape.model_fields)  # in the schema's order
        assert "\n" not in text  # on one line


def test_chinese_values_come_as_themselves(tokenizer: Tokenizer) -> None:
    names = ["词元", "缓存", "答案：“是”", "𠮷野家🍜"]
    texts = answers(Constraint.json_schema({"enum": names}), tokenizer, 30)
    assert {json.loads(text) for text in texts} == set(names)
    assert all("\\u" not in text for text in texts)


def test_any_json(tokenizer: Tokenizer) -> None:
    # A model that likes quotes and brackets comes to an end.
    liked = [i for c in '"}]0' if (i := tokenizer.token_id(c)) is not None]
    for seed in range(8):
        sampler = sampler_for(Constraint.json(), tokenizer, seed=seed)
        tokens, how = written(sampler, seed, tokenizer.vocab_size, favoured=liked)
        if how != "length":
            json.loads(tokenizer.decode(tokens))
    sampler = sampler_for(Constraint.json_schema({"type": "object"}), tokenizer)
    tokens, how = written(sampler, 1, tokenizer.vocab_size, favoured=liked)
    assert how == "complete"
    assert isinstance(json.loads(tokenizer.decode(tokens)), dict)


def test_a_schema_may_ask_for_other_white_space(tokenizer: Tokenizer) -> None:
    schema: dict[str, Any] = {"type": "array", "items": {"const": 1}, "minItems": 3, "maxItems": 3}
    assert answers(Constraint.json_schema(schema), tokenizer, 1) == ["[1, 1, 1]"]
    schema["x-guidance"] = {"item_separator": ",", "whitespace_flexible": False}
    assert answers(Constraint.json_schema(schema), tokenizer, 1) == ["[1,1,1]"]


# -- regular expressions and grammars ------------------------------------------------------------


@pytest.mark.parametrize(
    "pattern",
    [
        r"[0-9]{3}-[a-z]{2,4}",
        r"^(yes|no|maybe)$",
        r"a/b\$",
        r"\\$",
        r"[词元]{2,3}。?",
        r"(19|20)\d\d-(0[1-9]|1[0-2])",
        r"\p{Han}{3}|[α-ω]{5}",
        r"x?",
        "a b\nc",
    ],
)
def test_text_matches_its_pattern_as_a_whole(pattern: str, tokenizer: Tokenizer) -> None:
    import regex

    for text in answers(Constraint.regex(pattern), tokenizer):
        assert regex.fullmatch(pattern, text), text


LARK = """
start: sum
sum: product | sum "+" product
product: NUMBER | product "*" NUMBER
NUMBER: /[1-9][0-9]?/
"""
GBNF = """
root ::= product ("+" product)*
product ::= number ("*" number)*
number ::= [1-9] [0-9]?
"""


@pytest.mark.parametrize("grammar", [LARK, GBNF])
def test_text_is_derived_by_its_grammar(grammar: str, tokenizer: Tokenizer) -> None:
    for seed in range(12):
        sampler = sampler_for(Constraint.grammar(grammar), tokenizer, seed=seed)
        tokens, how = written(sampler, seed, tokenizer.vocab_size, 60, favoured=tokenizer.eos_ids)
        assert how == "end"
        assert re.fullmatch(r"[1-9]\d?([+*][1-9]\d?)*", tokenizer.decode(tokens))


# -- how it meets the ends -----------------------------------------------------------------------


def test_a_complete_text_is_finished_at_once(tokenizer: Tokenizer) -> None:
    sampler = sampler_for(Constraint.regex("ab"), tokenizer, temperature=0)
    assert sampler.needs_row
    tokens, how = written(sampler, 0, tokenizer.vocab_size)
    assert how == "complete"
    assert tokenizer.decode(tokens) == "ab"


def test_before_the_text_is_whole_no_end_can_come(tokenizer: Tokenizer) -> None:
    stop = tokenizer.encode("b")[0]
    likes_ends = np.full(tokenizer.vocab_size, -9, np.float32)
    likes_ends[[*tokenizer.eos_ids, stop]] = 9
    sampler = sampler_for(Constraint.regex("[ab]{3,5}"), tokenizer, stop_tokens=(stop,))
    chosen = []
    while not sampler.finished:
        chosen.append(sampler.choose(likes_ends.copy()))
        sampler.accept(chosen[-1])
    *text, last = chosen
    assert last in sampler.ends
    assert tokenizer.decode(text) == "aaa"  # "b" would have ended the answer too early


def test_a_stop_token_may_end_a_whole_text_that_it_is_no_part_of(tokenizer: Tokenizer) -> None:
    stop = tokenizer.encode("z")[0]
    row = np.zeros(tokenizer.vocab_size, np.float32)
    row[stop] = 99
    sampler = sampler_for(Constraint.regex("a+"), tokenizer, stop_tokens=(stop,))
    first = sampler.choose(row.copy())
    assert first != stop
    sampler.accept(first)
    assert sampler.choose(row.copy()) == stop


def test_a_stop_token_that_the_form_needs_ends_it_only_where_nothing_else_can(
    tokenizer: Tokenizer,
) -> None:
    stop = tokenizer.encode("a")[0]
    sampler = sampler_for(Constraint.regex("a+"), tokenizer, stop_tokens=(stop,))
    tokens, how = written(sampler, 0, tokenizer.vocab_size)
    assert how == "end" or set(tokenizer.decode(tokens)) == {"a"}


def test_min_tokens_makes_the_text_longer_but_never_wrong(tokenizer: Tokenizer) -> None:
    row = np.zeros(tokenizer.vocab_size, np.float32)
    row[list(tokenizer.eos_ids)] = 99
    sampler = sampler_for(Constraint.regex("x*"), tokenizer, min_tokens=7)
    made = []
    while (token := sampler.choose(row.copy())) not in sampler.ends:
        sampler.accept(token)
        made.append(token)
    assert len(made) == 7
    # A form that is complete earlier ends earlier.
    sampler = sampler_for(Constraint.regex("xy?"), tokenizer, min_tokens=7)
    tokens, how = written(sampler, 0, tokenizer.vocab_size)
    assert how == "complete"
    assert tokenizer.decode(tokens) == "xy"


def test_where_the_models_ends_are_ignored_the_form_goes_on(tokenizer: Tokenizer) -> None:
    row = np.zeros(tokenizer.vocab_size, np.float32)
    row[list(tokenizer.eos_ids)] = 99
    sampler = sampler_for(Constraint.regex("x{1,5}"), tokenizer, ignore_end=True)
    made: list[int] = []
    while not sampler.finished:
        token = sampler.choose(row.copy())
        sampler.accept(token)
        made.append(token)
    assert tokenizer.decode(made) == "xxxxx"


def test_special_tokens_are_never_part_of_the_text(tokenizer: Tokenizer) -> None:
    sampler = sampler_for(Constraint.regex("(.|\n)*"), tokenizer)
    row = sampler.process(np.zeros(tokenizer.vocab_size, np.float32))
    allowed = set(np.flatnonzero(np.isfinite(row)).tolist())
    assert allowed & tokenizer.special_ids == tokenizer.eos_ids


def test_forks_go_their_own_ways(tokenizer: Tokenizer) -> None:
    sampler = sampler_for(Constraint.regex("a(b|c)d"), tokenizer)
    sampler.accept(tokenizer.encode("a")[0])
    fork = sampler.fork(1)
    for one, letters in ((sampler, "bd"), (fork, "cd")):
        for letter in letters:
            assert not one.finished
            one.accept(tokenizer.encode(letter)[0])
        assert one.finished


def test_a_matcher_is_always_at_the_start(tokenizer: Tokenizer) -> None:
    constraint = Constraint.regex("ab")
    first = compile_constraint(constraint, tokenizer)
    first.accept(tokenizer.encode("a")[0])
    assert answers(constraint, tokenizer, 2) == ["ab", "ab"]


def test_the_rows_padding_is_forbidden(tokenizer: Tokenizer) -> None:
    row = np.zeros(tokenizer.vocab_size + 13, np.float32)
    compile_constraint(Constraint.regex(".*"), tokenizer).forbid(row)
    assert np.isneginf(row[tokenizer.vocab_size :]).all()


# -- what is refused, and the budget -------------------------------------------------------------


@pytest.mark.parametrize(
    ("constraint", "told"),
    [
        (Constraint.json_schema({"type": "objct"}), "objct"),
        (Constraint.json_schema({"not": {"type": "string"}}), "not"),
        (Constraint.json_schema({"type": "string", "minLength": 5, "maxLength": 3}), "minLength"),
        (Constraint.json_schema({"$ref": "https://example.com/schema.json"}), "retriev"),
        (Constraint.json_schema({"$ref": "#"}), "no text of this form"),
        (Constraint.regex("([a-z"), "unclosed"),
        (Constraint.regex("(?=a)b"), "look-around"),
        (Constraint.regex("\ud800"), "surrogates"),
        (Constraint.grammar("start: foo"), "foo"),
        (Constraint.grammar("start: start"), "no text of this form"),
        (Constraint.grammar("root ::= ("), "GBNF"),
        (Constraint.grammar(""), "root"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(
    constraint: Constraint, told: str, tokenizer: Tokenizer
) -> None:
    with pytest.raises(UsageError, match=re.escape(told)) as caught:
        compile_constraint(constraint, tokenizer)
    assert caught.value.where == "constraint"


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


def product(n: int) -> dict[str, Any]:
    """A schema that stands for 6ⁿ different objects."""

    def one(key: str) -> dict[str, Any]:
        return {"type": "object", "properties": {key: {"type": "string"}}, "required": [key]}

    return {"allOf": [{"anyOf": [one(f"k{i}_{j}") for j in range(6)]} for i in range(n)]}


HARD = {
    "deep": Constraint.json_schema(nested(200)),
    "many values": Constraint.json_schema({"enum": [f"value {i} 值" for i in range(8000)]}),
    "too many values": Constraint.json_schema({"enum": [f"value {i} 值" for i in range(50_000)]}),
    "product": Constraint.json_schema(product(8)),
    "endless": Constraint.json_schema({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}),
    "repetitions of repetitions": Constraint.regex("((x{1000}){1000}){1000}"),
    "optional repetitions": Constraint.regex("(a?){500}a{500}"),
    "ambiguous": Constraint.regex("(a|ab|abc|[a-z]{1,50}){1,1000}"),
    "subsets": Constraint.regex("[ab]*a[ab]{60}"),
    "backtracking": Constraint.regex("(a*)*b|(a|a)*c|(a|aa)+d"),
    "dots": Constraint.regex("(.*a.{20}){5}"),
    "ambiguous grammar": Constraint.grammar('start: start start start | "a" | "b" | ""'),
    "nested groups": Constraint.grammar("root ::= " + "(" * 5000 + '"a"' + ")" * 5000),
    "alternatives": Constraint.regex("|".join(f"word{i}" for i in range(20_000))),
}


@pytest.mark.parametrize("name", HARD)
def test_hard_ones_end_within_the_budget(name: str, tokenizer: Tokenizer) -> None:
    started, slowest = time.thread_time(), 0.0
    try:
        sampler = sampler_for(HARD[name], tokenizer)
        chance = np.random.default_rng(0)
        for _ in range(150):
            before = time.thread_time()
            row = chance.standard_normal(tokenizer.vocab_size).astype(np.float32)
            token = sampler.choose(row)
            sampler.accept(token)
            slowest = max(slowest, time.thread_time() - before)
            if sampler.finished or token in sampler.ends:
                break
    except UsageError as error:
        assert error.where == "constraint"
        assert len(str(error)) < 1000
    assert slowest < 1.0
    assert time.thread_time() - started < 8


def test_over_the_size(tokenizer: Tokenizer) -> None:
    constraint = Constraint.regex("a|" * 600)
    with pytest.raises(UsageError, match="1200 bytes, and may have 1000"):
        compile_constraint(constraint, tokenizer, Budget(text_bytes=1000))


def test_over_the_time(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10_000))
    monkeypatch.setattr(constraints.time, "thread_time", lambda: next(clock) * 0.1)
    sampler = sampler_for(
        Constraint.regex("[a-z]*!"), tokenizer, Budget(total_seconds=0.95, step_seconds=0.5)
    )
    with pytest.raises(UsageError, match="too long") as caught:
        written(sampler, 0, tokenizer.vocab_size)
    assert caught.value.where == "constraint"
    assert sampler.made == 4  # with the first look, ten looks and steps of 0.1 s
    monkeypatch.setattr(constraints.time, "thread_time", lambda: next(clock) * 10.0)
    with pytest.raises(UsageError, match="too long"):
        compile_constraint(Constraint.regex("[a-z]*"), tokenizer)


# -- the compiled ones ---------------------------------------------------------------------------


def test_many_threads_compile_at_once(tokenizer: Tokenizer) -> None:
    results: list[str] = []

    def work(seed: int) -> None:
        constraint = Constraint.regex(f"[a-c]{{{seed % 3 + 1}}}")
        sampler = sampler_for(constraint, tokenizer, seed=seed)
        tokens, how = written(sampler, seed, tokenizer.vocab_size)
        results.append(f"{how} {len(tokenizer.decode(tokens)) == seed % 3 + 1}")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["complete True"] * 12


def test_a_vocabulary_is_let_go_with_its_tokenizer() -> None:
    own = Tokenizer.train(["some text"], 300)
    compile_constraint(Constraint.regex("a"), own)
    gone = weakref.ref(own)
    held = len(constraints._COMPILERS)
    del own
    gc.collect()
    assert gone() is None
    assert len(constraints._COMPILERS) == held - 1


def test_only_so_many_are_kept(tokenizer: Tokenizer) -> None:
    for i in range(constraints._KEPT + 5):
        compile_constraint(Constraint.regex(f"a{{{i + 1}}}"), tokenizer)
    assert len(constraints._compilers(tokenizer)._kept) == constraints._KEPT
