"""The engine: prompts in, text out. Everything that generates goes through this one."""

from __future__ import annotations

import operator
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np

from chatwright.closing import Closing
from chatwright.errors import ContextError, UsageError
from chatwright.generate.beams import BeamGroup
from chatwright.generate.constraints import compile_constraint
from chatwright.generate.draft import DraftModel
from chatwright.generate.embedding import EmbeddingGroup, Pooling, normalised
from chatwright.generate.group import Group, Vocabulary
from chatwright.generate.params import Completion, SamplingParams
from chatwright.generate.request import PlainGroup, Request
from chatwright.generate.runner import Floats, Runner
from chatwright.generate.sampler import Sampler
from chatwright.generate.scheduler import Scheduler
from chatwright.generate.sizing import BLOCK_SIZE, most_blocks
from chatwright.generate.speculation import NGramProposer, Proposer
from chatwright.records import Message
from chatwright.tokenizer import Tokenizer

if TYPE_CHECKING:
    from typing_extensions import TypeIs

    from chatwright.model import Transformer

__all__ = ["BLOCK_SIZE", "Engine", "Messages"]

Messages = Sequence[Message | Mapping[str, str]]

_DEFAULT = SamplingParams()


class Engine(Closing):
    """Generates with one model for any number of callers and threads at a time.

    `model` is a `Transformer`, which is computed with PyTorch, or a `Runner`, which the engine
    takes over and closes. Up to `max_batch` answers are made together; other requests wait their
    turn, which goes round between tenants. `context` bounds the tokens of one request, prompt and
    answer together (default: the model's own window, less only where memory could not hold one such
    request). `kv_memory` bounds the bytes of keys and values (default: what `max_batch` full
    requests take, but at most half of the machine's memory); they are taken as requests fill them.
    `kv_dtype` is the type they are kept in. With `prefix_reuse` a prompt that begins like an
    earlier one of the same tenant is not computed again. `draft` is a small model with the same
    vocabulary that guesses tokens (speculative decoding: same answers, sooner). `same` is the
    Transformer that a runner was made from, for those who look into `engine.model`.

    A Transformer must not be trained while requests run; its weights are read anew at each step, so
    changes between requests take effect at once.

    >>> with Engine(model, tokenizer) as engine:                        # doctest: +SKIP
    ...     engine.chat([{"role": "user", "content": "Hello"}]).text
    """

    def __init__(
        self,
        model: Transformer | Runner,
        tokenizer: Tokenizer,
        *,
        max_batch: int = 8,
        context: int | None = None,
        kv_memory: int | None = None,
        kv_dtype: str = "auto",
        draft: Transformer | Runner | None = None,
        prefix_reuse: bool = True,
        same: Transformer | None = None,
    ) -> None:
        if max_batch < 1:
            raise UsageError(f"max_batch is {max_batch}; it must be 1 or more")
        if kv_memory is not None and kv_memory < 1:
            raise UsageError(f"kv_memory is {kv_memory}; it must be 1 byte or more")
        self.tokenizer = tokenizer
        self.max_batch = max_batch
        fingerprint: Callable[[], object] | None = None
        if _is_runner(model):
            if kv_memory is not None or kv_dtype != "auto":
                raise UsageError("kv_memory and kv_dtype are the runner's own; give them to it")
            self._model = same
            self.runner: Runner = model
            self.context = _checked_context(context, model.context)
            self.context = min(self.context, model.n_blocks * model.block_size)
        else:
            from chatwright.generate.torch_setup import torch_runner, weights_fingerprint

            self._model = model
            self.context = _checked_context(context, model.config.context)
            self.runner = torch_runner(
                model,
                self.context,
                max_batch,
                tokenizer.vocab_size,
                kv_memory=kv_memory,
                kv_dtype=kv_dtype,
            )
            self.context = self.runner.context
            fingerprint = weights_fingerprint(model)
        self._vocabulary = Vocabulary(
            min(self.runner.vocab_size, tokenizer.vocab_size),
            frozenset(tokenizer.eos_ids),
            tokenizer.detokenizer,
        )
        self._draft: DraftModel | None = None
        if draft is not None:
            self._draft = self._draft_model(draft)
        self._scheduler = Scheduler(
            self.runner,
            max_batch=max_batch,
            context=self.context,
            vocab_size=self._vocabulary.size,
            reuse=prefix_reuse,
            prefill=self._prefill(),
            repeatable=self._model is not None,
            fingerprint=fingerprint,
        )
        # Also runs at exit: a thread inside torch while the interpreter goes down would crash it.
        self._finalizer = weakref.finalize(self, _close, self._scheduler, self.runner, self._draft)

    @property
    def model(self) -> Transformer:
        """The PyTorch model. Raises `UsageError` for an engine over another runner."""
        if self._model is None:
            raise UsageError(
                "this engine computes without PyTorch, and has no Transformer to look into",
                hint="make it from load_model(…) to read losses or hidden states of the model",
            )
        return self._model

    def chat(
        self, messages: Messages, params: SamplingParams = _DEFAULT, *, tenant: str = ""
    ) -> Completion:
        """The assistant's next turn. Raises `ContextError` when the messages do not fit."""
        return self.stream(messages, params, tenant=tenant).result()

    def held(self) -> AbstractContextManager[object]:
        """Within, requests of this thread only queue up; they are begun together at its end.

        So what is computed together does not hang on the clock: with PyTorch the last bits of a
        logit depend on that.
        """
        return self._scheduler.held()

    def chat_many(
        self,
        conversations: Iterable[Messages],
        params: SamplingParams = _DEFAULT,
        *,
        tenant: str = "",
    ) -> list[Completion]:
        """The next turn of each conversation, in order, answered side by side."""
        return self._all([self._chat_ids(messages) for messages in conversations], params, tenant)

    def stream(
        self, messages: Messages, params: SamplingParams = _DEFAULT, *, tenant: str = ""
    ) -> Request:
        """The assistant's next turn, piece by piece; leave it, or `cancel()`, to stop."""
        return self.submit(self._chat_ids(messages), params, tenant=tenant)

    def complete(
        self, prompt: str | list[int], params: SamplingParams = _DEFAULT, *, tenant: str = ""
    ) -> Request:
        """The continuation of one prompt (`generate`), piece by piece."""
        return self.submit(self._prompt_ids(prompt), params, tenant=tenant)

    def generate(
        self,
        prompts: Sequence[str | list[int]],
        params: SamplingParams = _DEFAULT,
        *,
        tenant: str = "",
    ) -> list[Completion]:
        """The continuation of each prompt (text, or token ids), in order, made side by side.

        Special tokens in a text prompt are plain text; give token ids to use them. With n > 1 the
        first answer to each; `submit(…).results()` gives all.
        """
        if isinstance(prompts, str):
            raise UsageError("generate takes a list of prompts", hint="write generate([prompt])")
        return self._all([self._prompt_ids(prompt) for prompt in prompts], params, tenant)

    def submit(
        self,
        prompt_ids: Sequence[int],
        params: SamplingParams = _DEFAULT,
        *,
        tenant: str = "",
    ) -> Request:
        """Queue token ids and return at once. Thread-safe.

        Only requests of the same `tenant` reuse each other's prompts. Raises `ContextError` for a
        prompt that is empty or leaves no room for an answer, and `UsageError` for a token that the
        vocabulary does not have and for what could never fit the KV memory.
        """
        prompt = _token_ids(prompt_ids)
        _check_tenant(tenant)
        limit = self._check(prompt, params)
        group = self._group(prompt, params, limit, tenant)
        self._scheduler.submit(group)
        return Request(group, self)

    def embed(
        self,
        texts: Sequence[str | list[int]],
        pooling: Pooling = "mean",
        normalise: bool = True,
        *,
        tenant: str = "",
    ) -> Floats:
        """Vectors [n, C] of texts (or token ids): the model's final hidden states, pooled.

        `pooling` "mean" is over all tokens; "last" takes the last token's. With `normalise` each
        has length 1, so that a dot product is the cosine. Raises `ContextError` for a text that is
        empty or longer than the context.
        """
        if isinstance(texts, str):
            raise UsageError("embed takes a list of texts", hint="write embed([text])")
        _check_tenant(tenant)
        groups: list[EmbeddingGroup] = []
        for number, text in enumerate(texts):
            ids = self.tokenizer.encode(text) if isinstance(text, str) else _token_ids(text)
            self._check_tokens(ids)
            if not 0 < len(ids) <= self.context:
                raise ContextError(
                    f"text {number} has {len(ids)} tokens; it must have between 1 and "
                    f"{self.context}",
                    hint="embed it in parts" if ids else None,
                )
            groups.append(EmbeddingGroup(ids, self._vocabulary, pooling=pooling, tenant=tenant))
        try:
            for group in groups:
                self._scheduler.submit(group)
            vectors = [group.result() for group in groups]
        finally:
            for group in groups:
                group.cancel()
        if not vectors:
            return np.zeros((0, 0), np.float32)
        stacked: Floats = np.stack(vectors)
        return normalised(stacked) if normalise else stacked

    @property
    def load(self) -> tuple[int, int]:
        """How many requests are being answered, and how many wait for their turn."""
        return self._scheduler.load

    def stats(self) -> dict[str, Any]:
        """Facts for people: load, blocks, steps, tokens, reuse, and the runner's own."""
        active, waiting = self._scheduler.load
        pool = self._scheduler.memory.pool
        return {
            "active": active,
            "waiting": waiting,
            "steps": self._scheduler.steps,
            "tokens": self._scheduler.tokens,
            "preemptions": self._scheduler.preemptions,
            "blocks": {
                "total": pool.n_blocks,
                "used": pool.used,
                "cached": pool.kept,
                "free": pool.n_blocks - pool.used - pool.kept,
                "touched": pool.touched,
                "size": pool.block_size,
                "bytes": self.runner.bytes_per_block,
            },
            "reused_tokens": pool.hits * pool.block_size,
            "runner": self.runner.describe(),
        }

    def close(self) -> None:
        """Cancel what runs and end the engine's thread. May be called again."""
        self._finalizer()

    def _group(self, prompt: list[int], params: SamplingParams, limit: int, tenant: str) -> Group:
        vocabulary = self._vocabulary
        matcher = None
        if params.constraint is not None:
            matcher = compile_constraint(params.constraint, self.tokenizer)
        sampler = Sampler(params, prompt, vocabulary.size, ends=vocabulary.ends, matcher=matcher)
        deadline = None if params.timeout is None else time.monotonic() + params.timeout
        if params.beams > 1:
            return BeamGroup(
                prompt,
                params,
                vocabulary,
                sampler,
                limit=limit,
                tenant=tenant,
                deadline=deadline,
            )
        return PlainGroup(
            prompt,
            params,
            vocabulary,
            sampler,
            limit=limit,
            tenant=tenant,
            deadline=deadline,
            proposer=self._proposer(params),
        )

    def _prefill(self) -> tuple[int, int] | None:
        """Prompt tokens of a step: a GPU reads more in the time that a CPU takes for few."""
        on_cpu = self._model is None or self._model.device.type == "cpu"
        return None if on_cpu else (2048, 512)

    def _proposer(self, params: SamplingParams) -> Callable[[int], Proposer] | None:
        """Who guesses for each answer: the prompt's own text where asked for, else the draft."""
        ends = self._vocabulary.ends_of(params)
        if params.lookup:
            return lambda index: NGramProposer(ends=ends)
        draft = self._draft
        if draft is None or params.guidance != 1.0:
            return None
        return lambda index: draft.proposer(params, ends=ends, index=index)

    def _draft_model(self, draft: Transformer | Runner) -> DraftModel:
        if not _is_runner(draft):
            from chatwright.generate.torch_setup import torch_runner

            context = min(self.context, draft.config.context)
            draft = torch_runner(draft, context, self.max_batch, self.tokenizer.vocab_size)
        if min(draft.vocab_size, self.tokenizer.vocab_size) < self._vocabulary.size:
            raise UsageError(
                f"the draft model has {draft.vocab_size} tokens and the model "
                f"{self._vocabulary.size}; they must have the same vocabulary",
                where="draft",
            )
        return DraftModel(draft, self._vocabulary.size)

    def _chat_ids(self, messages: Messages) -> list[int]:
        if not messages:
            raise ContextError("there are no messages to answer")
        return self.tokenizer.chat(messages, add_generation_prompt=True)

    def _prompt_ids(self, prompt: str | list[int]) -> list[int]:
        if not isinstance(prompt, str):
            return prompt
        ids = self.tokenizer.encode(prompt)
        if not ids and self.tokenizer.bos_id is not None:
            return [self.tokenizer.bos_id]  # "say anything": there is no other way to start
        return ids

    def _check(self, prompt: list[int], params: SamplingParams) -> int:
        """How many tokens each answer may have. Raises for what can never be answered."""
        if not prompt:
            raise ContextError("the prompt is empty", hint="give at least one token")
        negative = params.negative_prompt or prompt[-1:]
        longest = len(prompt)
        if params.guidance != 1.0:
            longest = max(longest, len(negative))
        if longest >= self.context:
            raise ContextError(
                f"the prompt has {longest} tokens, and prompt and answer together may have "
                f"{self.context}",
                hint="shorten the prompt or leave out earlier messages",
            )
        self._check_tokens(prompt)
        self._check_tokens(params.negative_prompt)
        room, size = self.context - longest, self.runner.block_size
        limit = min(params.max_tokens, room)
        if params.window_end == "refuse" and params.max_tokens > room:
            raise ContextError(
                f"the prompt has {longest} tokens and the answer may have {params.max_tokens}, and "
                f"together they may have {self.context}",
                where="window_end",
                hint='shorten the prompt, lower max_tokens, or use window_end="stop" or "slide"',
            )
        if params.window_end == "slide":
            limit = params.max_tokens
            if self.context // size < -(-params.sinks // size) + 2:
                raise UsageError(
                    f"the context of {self.context} tokens is too short to slide: beside "
                    f"{params.sinks} sinks it needs two blocks of {size}",
                    where="window_end",
                )
        needed = most_blocks(
            len(prompt), len(negative), limit, params, context=self.context, size=size
        )
        if needed > self.runner.n_blocks:
            raise UsageError(
                f"the request may need {needed * size} positions of KV memory at once, and there "
                f"are {self.runner.n_blocks * size}",
                hint="ask for fewer answers or beams, a shorter one, or give the engine more "
                "kv_memory",
            )
        return limit

    def _check_tokens(self, tokens: Sequence[int]) -> None:
        size = self._vocabulary.size
        for token in tokens:
            if not 0 <= token < size:
                raise UsageError(f"token {token} is not in the vocabulary of {size} tokens")

    def _all(
        self, prompts: list[list[int]], params: SamplingParams, tenant: str
    ) -> list[Completion]:
        for prompt in prompts:  # all that can be refused is refused before anything starts
            self._check([int(token) for token in prompt], params)
        requests = [self.submit(prompt, params, tenant=tenant) for prompt in prompts]
        try:
            return [request.result() for request in requests]
        finally:  # one failed, or Ctrl-C: the others' answers have no reader
            for request in requests:
                request.cancel()


def _close(scheduler: Scheduler, runner: Runner, draft: DraftModel | None) -> None:
    scheduler.close()
    runner.close()
    if draft is not None:
        draft.close()


def _is_runner(model: Transformer | Runner) -> TypeIs[Runner]:
    return hasattr(model, "bytes_per_block")


def _token_ids(ids: Iterable[int]) -> list[int]:
    try:
        if isinstance(ids, str | bytes):
            raise TypeError
        return [operator.index(token) for token in ids]
    except TypeError as error:
        raise UsageError(
            "a prompt must be token ids (whole numbers)",
            where="prompt_ids",
            hint="`engine.generate([text])` and `engine.chat(messages)` take text",
        ) from error


def _check_tenant(tenant: object) -> None:
    if not isinstance(tenant, str):
        raise UsageError(f"tenant is {tenant!r}; it must be text", where="tenant")


def _checked_context(context: int | None, window: int) -> int:
    if context is not None and not 1 < context <= window:
        raise ContextError(
            f"context is {context}; it must be between 2 and the model's window of {window}"
        )
    return context or window
