"""Answers in a given form: JSON schema, regular expression or grammar, token by token.

The work is done by llguidance (Microsoft), an Earley parser over a lexer of derivatives: for each
step it says which tokens can still lead to a text of that form. Ours are the budget, the errors,
and how it meets tokens that end an answer (`Sampler`).
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from chatwright.errors import UsageError
from chatwright.generate.logits import Floats
from chatwright.generate.params import Constraint
from chatwright.tokenizer import Tokenizer

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

# JSON on one line, spaced as Python's and most models' examples are. Free white space would be a
# loop that small models do not leave. A schema may say otherwise under "x-guidance".
_JSON_STYLE: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
_KEPT = 32  # compiled constraints per tokenizer
_SIMPLER = "use a simpler constraint: fewer alternatives, and repetitions with smaller bounds"


@dataclass(frozen=True, slots=True)
class Budget:
    """What a constraint may cost. Seconds are of processor time of one thread.

    `text_bytes` is its own size; `grammar_size` the symbols it is compiled to; `lexer_states` what
    its regular expressions may unfold to while an answer is made (1 to 2 kB each); `lexer_fuel`
    and `parser_items` bound one step (14,000 and 20,000 of them take about a millisecond). These
    are checked before, or in, the work itself; `step_seconds` and `total_seconds` (of one answer)
    after each step.
    """

    text_bytes: int = 1 << 18
    grammar_size: int = 200_000
    lexer_states: int = 25_000
    lexer_fuel: int = 200_000
    parser_items: int = 50_000
    step_seconds: float = 1.0
    total_seconds: float = 30.0


DEFAULT_BUDGET = Budget()


class ConstraintMatcher:
    """Where one text stands in a constraint. `Sampler` moves it; one thread at a time uses it."""

    def __init__(self, matcher: LLMatcher, vocab_size: int, budget: Budget) -> None:
        self._matcher = matcher
        self._vocab_size = vocab_size
        self._budget = budget
        self._seconds = 0.0
        self._tokens = 0

    @property
    def accepting(self) -> bool:
        """Whether the text so far has the form, as a whole."""
        return bool(self._matcher.is_accepting())

    @property
    def finished(self) -> bool:
        """Whether it has, and nothing can be added."""
        return bool(self._matcher.is_stopped() and self._matcher.is_accepting())

    def forbid(self, row: Floats) -> None:
        """Set the logits [V] of the tokens that cannot come next to -inf.

        The model's own ends are left where the text may end here. Raises `UsageError` where
        the constraint is over its budget, or is one that no text can have.
        """
        started = time.thread_time()
        mask = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        self._count(time.thread_time() - started)
        size = min(self._vocab_size, len(row))
        forbidden = np.unpackbits(~mask, count=size, bitorder="little").view(np.bool_)
        np.copyto(row[:size], np.float32(-np.inf), where=forbidden)
        row[size:] = -np.inf

    def accept(self, token: int) -> None:
        """Go on with a token that `forbid` left. Raises `UsageError` for any other."""
        started = time.thread_time()
        self._matcher.consume_token(token)
        self._count(time.thread_time() - started)
        self._tokens += 1

    def fork(self) -> Self:
        """A matcher that stands where this one does; what was spent of the budget is spent."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin._matcher = self._matcher.deep_copy()
        return twin

    def _count(self, seconds: float) -> None:
        self._seconds += seconds
        if self._matcher.is_error():
            reason = _short(self._matcher.get_error())
            if "NoExtension" in reason:
                raise UsageError(
                    f"no text of this form goes on after these {self._tokens} tokens",
                    where="constraint",
                    hint="the constraint contradicts itself, or needs an endless text",
                )
            raise UsageError(
                f"it cannot be followed any further, after {self._tokens} tokens: {reason}",
                where="constraint",
                hint=_SIMPLER,
            )
        budget = self._budget
        if seconds > budget.step_seconds or self._seconds > budget.total_seconds:
            raise UsageError(
                f"it takes too long to follow: {seconds:.1f} s for one token and "
                f"{self._seconds:.1f} s for {self._tokens + 1}, where {budget.step_seconds:g} s "
                f"and {budget.total_seconds:g} s are allowed",
                where="constraint",
                hint=_SIMPLER,
            )


def compile_constraint(
    constraint: Constraint, tokenizer: Tokenizer, budget: Budget = DEFAULT_BUDGET
) -> ConstraintMatcher:
    """A matcher at the start of a text. Thread-safe; the last constraints of a tokenizer are kept.

    Raises `UsageError` for a constraint that is not well-formed, asks for what llguidance does not
    support, can be met by no text, or is over its budget from the start.
    """
    return _compilers(tokenizer).compile(constraint, budget)


class _Compiler:
    """The vocabulary in llguidance's own form, and the constraints compiled for it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        import json

        from llguidance import LLTokenizer

        if not tokenizer.eos_ids:
            raise UsageError(
                "this model's vocabulary has no token that ends an answer, so a constraint could "
                "not end one",
                where="constraint",
            )
        self._size = tokenizer.vocab_size
        self._vocabulary: LLTokenizer = LLTokenizer(
            json.dumps(tokenizer.spec, ensure_ascii=False),
            n_vocab=self._size,
            eos_token=sorted(tokenizer.eos_ids),
        )
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[Constraint, Budget], ConstraintMatcher] = OrderedDict()

    def compile(self, constraint: Constraint, budget: Budget) -> ConstraintMatcher:
        key = (constraint, budget)
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
                return kept.fork()
        made = self._compile(constraint, budget)
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return made.fork()

    def _compile(self, constraint: Constraint, budget: Budget) -> ConstraintMatcher:
        from llguidance import LLMatcher, LLParserLimits

        size = len(constraint.text.encode("utf-8", "surrogatepass"))
        if size > budget.text_bytes:
            raise UsageError(
                f"it has {size} bytes, and may have {budget.text_bytes}",
                where="constraint",
                hint=_SIMPLER,
            )
        limits = LLParserLimits(
            initial_lexer_fuel=5 * budget.lexer_fuel,
            step_lexer_fuel=budget.lexer_fuel,
            step_max_items=budget.parser_items,
            max_lexer_states=budget.lexer_states,
            max_grammar_size=budget.grammar_size,
            verbose_errors=False,
        )
        grammar = _grammar(constraint)
        matcher = LLMatcher(self._vocabulary, grammar, log_level=0, limits=limits)
        if matcher.is_error():
            raise UsageError(
                f"this {_NAMES[constraint.kind]} cannot be used: {_short(matcher.get_error())}",
                where="constraint",
            )
        made = ConstraintMatcher(matcher, self._size, budget)
        # The first step is tried here, in the caller's own time: what no text can satisfy, or what
        # is far too large, is refused before it holds up anyone.
        row = np.zeros(self._size, dtype=np.float32)
        made.forbid(row)
        if row.max() == -np.inf:
            raise UsageError("no text of this form can be written", where="constraint")
        return made


_NAMES = {"json_schema": "JSON schema", "regex": "regular expression", "grammar": "grammar"}
_COMPILERS: weakref.WeakKeyDictionary[Tokenizer, _Compiler] = weakref.WeakKeyDictionary()
_COMPILERS_LOCK = threading.Lock()


def _compilers(tokenizer: Tokenizer) -> _Compiler:
    with _COMPILERS_LOCK:
        compiler = _COMPILERS.get(tokenizer)
        if compiler is None:
            compiler = _COMPILERS[tokenizer] = _Compiler(tokenizer)
        return compiler


def _grammar(constraint: Constraint) -> str:
    """The constraint as llguidance writes grammars. Raises `UsageError`."""
    from llguidance import LLMatcher

    text = constraint.text
    try:
        text.encode()
        if constraint.kind == "json_schema":
            return str(LLMatcher.grammar_from_json_schema(text, defaults=_JSON_STYLE))
        if constraint.kind == "regex":
            return str(LLMatcher.grammar_from_regex(_without_anchors(text)))
        return str(LLMatcher.grammar_from_lark(_as_lark(text)))
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"this {_NAMES[constraint.kind]} cannot be used: {_short(str(error))}",
            where="constraint",
        ) from error


def _without_anchors(pattern: str) -> str:
    """The whole text is matched anyway; llguidance knows no anchors, and people write them."""
    pattern = pattern.removeprefix("^")
    body = pattern.removesuffix("$")
    escapes = len(body) - len(body.rstrip("\\"))
    return body if escapes % 2 == 0 else pattern


def _as_lark(text: str) -> str:
    """Grammars in llama.cpp's GBNF are turned into Lark; what is Lark already stays as it is."""
    from llguidance.gbnf_to_lark import any_to_lark

    try:
        return str(any_to_lark(text))
    except Exception as error:  # it raises bare exceptions of its own
        raise ValueError(f"GBNF: {error}") from error


def _short(message: str) -> str:
    message = " ".join(message.replace("<non-verbose/>", "").split())
    return message if len(message) <= 400 else message[:397] + "…"
