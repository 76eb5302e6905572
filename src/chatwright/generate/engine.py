"""The engine: prompts in, text out. Everything that generates goes through this one."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Self

from chatwright.errors import ContextError, UsageError
from chatwright.generate.cache import KVCache, bytes_per_position, physical_memory
from chatwright.generate.params import Completion, SamplingParams
from chatwright.generate.request import Request, RequestState
from chatwright.generate.scheduler import Scheduler
from chatwright.model import Transformer
from chatwright.records import Message
from chatwright.tokenizer import Tokenizer

Messages = Sequence[Message | Mapping[str, str]]

_DEFAULT = SamplingParams()


class Engine:
    """Generates with one model for any number of callers and threads at a time.

    Up to `max_batch` requests are answered together; others wait their turn. `context` bounds the
    tokens of one request, prompt and answer together (default: the model's own window, less only
    where the machine's memory could not hold one such request). The model must not be trained
    while requests run; its weights are read anew at each step, so changes take effect at once.

    >>> with Engine(model, tokenizer) as engine:                        # doctest: +SKIP
    ...     engine.chat([{"role": "user", "content": "Hello"}]).text
    """

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        *,
        max_batch: int = 8,
        context: int | None = None,
    ) -> None:
        if max_batch < 1:
            raise UsageError(f"max_batch is {max_batch}; it must be 1 or more")
        window = model.config.context
        if context is not None and not 1 < context <= window:
            raise ContextError(
                f"context is {context}; it must be between 2 and the model's window of {window}"
            )
        self.model = model.eval()
        self.tokenizer = tokenizer
        max_batch, self.context = _fit_memory(model, max_batch, context or window)
        cache = KVCache(model.config, max_batch, self.context, model.dtype, model.device)
        self._vocab_size = min(model.config.vocab_size, tokenizer.vocab_size)
        self._scheduler = Scheduler(model, cache, self._vocab_size)
        self.max_batch = max_batch
        # Also runs at exit: a thread inside torch while the interpreter goes down would crash it.
        self._finalizer = weakref.finalize(self, self._scheduler.close)

    def chat(self, messages: Messages, params: SamplingParams = _DEFAULT) -> Completion:
        """The assistant's next turn. Raises `ContextError` when the messages do not fit."""
        return self.stream(messages, params).result()

    def chat_many(
        self, conversations: Iterable[Messages], params: SamplingParams = _DEFAULT
    ) -> list[Completion]:
        """The next turn of each conversation, in order, answered side by side."""
        return self._all([self._chat_ids(messages) for messages in conversations], params)

    def stream(self, messages: Messages, params: SamplingParams = _DEFAULT) -> Request:
        """The assistant's next turn, piece by piece; leave it, or `cancel()`, to stop."""
        return self.submit(self._chat_ids(messages), params)

    def generate(
        self, prompts: Sequence[str | list[int]], params: SamplingParams = _DEFAULT
    ) -> list[Completion]:
        """The continuation of each prompt (text, or token ids), in order, made side by side.

        Special tokens in a text prompt are plain text; give token ids to use them.
        """
        if isinstance(prompts, str):
            raise UsageError("generate takes a list of prompts", hint="write generate([prompt])")
        return self._all([self._prompt_ids(prompt) for prompt in prompts], params)

    def submit(self, prompt_ids: Sequence[int], params: SamplingParams = _DEFAULT) -> Request:
        """Queue token ids and return at once. Thread-safe.

        Raises `ContextError` for a prompt that leaves no room for an answer, or is empty, and
        `UsageError` for a token that the vocabulary does not have.
        """
        prompt = [int(token) for token in prompt_ids]
        self._check(prompt)
        state = RequestState(
            prompt,
            params,
            limit=min(params.max_tokens, self.context - len(prompt)),
            detokenizer=self.tokenizer.detokenizer(),
            ends=self.tokenizer.eos_ids,
        )
        self._scheduler.submit(state)
        return Request(state, self)

    @property
    def load(self) -> tuple[int, int]:
        """How many requests are being answered, and how many wait for a free slot."""
        return self._scheduler.load

    def close(self) -> None:
        """Cancel what runs and end the engine's thread. May be called again."""
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

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

    def _check(self, prompt: list[int]) -> None:
        if not prompt:
            raise ContextError("the prompt is empty", hint="give at least one token")
        if len(prompt) >= self.context:
            raise ContextError(
                f"the prompt has {len(prompt)} tokens, and prompt and answer together may have "
                f"{self.context}",
                hint="shorten the prompt or leave out earlier messages",
            )
        for token in prompt:
            if not 0 <= token < self._vocab_size:
                raise UsageError(
                    f"token {token} is not in the vocabulary of {self._vocab_size} tokens"
                )

    def _all(self, prompts: list[list[int]], params: SamplingParams) -> list[Completion]:
        for prompt in prompts:  # all that can be refused is refused before anything starts
            self._check(prompt)
        requests = [self.submit(prompt, params) for prompt in prompts]
        try:
            return [request.result() for request in requests]
        finally:  # one failed, or Ctrl-C: the others' answers have no reader
            for request in requests:
                request.cancel()


def _fit_memory(model: Transformer, max_batch: int, context: int) -> tuple[int, int]:
    """Slots and context whose cache takes at most half of the machine's memory: fewer slots first.

    Requests then wait for a slot; a shorter context, which would refuse them, is the last resort.
    """
    memory = physical_memory()
    if memory is None or model.device.type != "cpu":
        return max_batch, context
    positions = memory // 2 // bytes_per_position(model.config, model.dtype)
    slots = max(1, min(max_batch, positions // context))
    return slots, max(2, min(context, positions // slots))
