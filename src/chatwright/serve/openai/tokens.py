"""The tokens of an answer with their log-probabilities, told with the text that they make."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from chatwright.generate import Completion
from chatwright.generate.params import Chosen
from chatwright.serve.errors import ApiError


@dataclass(frozen=True, slots=True)
class Told:
    """One token: its bytes and log-probability, the likeliest in its place, and where in the text
    it begins (in characters).
    """

    data: bytes
    logprob: float
    top: list[tuple[bytes, float]]
    offset: int

    def entry(self) -> dict[str, Any]:
        """As chat completions and responses tell it."""
        top = [_entry(data, logprob) for data, logprob in self.top]
        return {**_entry(self.data, self.logprob), "top_logprobs": top}


class TokenLog:
    """Lets tokens out with the text that they make.

    The token that ends an answer, and those of a stop string, are no part of its text and are not
    told. A token is told as soon as text of it is.
    """

    def __init__(self, tokenizer: Any) -> None:
        bytes_of = getattr(tokenizer, "token_bytes", None)
        if bytes_of is None:
            raise ApiError(
                400, "this model does not tell its tokens", param="logprobs", code="invalid_value"
            )
        self._bytes_of: Callable[[int], bytes] = bytes_of
        self._special: frozenset[int] = getattr(tokenizer, "special_ids", frozenset())
        self._waiting: deque[tuple[bytes, Chosen]] = deque()
        self._read = 0  # tokens taken over
        self._shown = 0  # characters of the text
        self._told = 0  # characters that the told tokens make
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, text: str, chosen: Iterable[Chosen]) -> list[Told]:
        """More text, and more tokens: those that can be told now."""
        for one in chosen:
            self._read += 1
            self._waiting.append((self._data(one.token), one))
        self._shown += len(text)
        told: list[Told] = []
        while self._waiting and self._told < self._shown:
            data, one = self._waiting.popleft()
            if not data:
                continue  # a special token: nothing of it is shown
            top = [(self._bytes_of(token), logprob) for token, logprob in one.top]
            told.append(Told(data, one.logprob, top, self._told))
            self._told += len(self._decoder.decode(data))
        return told

    def rest(self, text: str, completion: Completion) -> list[Told]:
        """The last text, and the tokens of the whole answer that were not added before."""
        tops = completion.top_logprobs
        logprobs = completion.logprobs or []
        return self.add(
            text,
            [
                Chosen(completion.token_ids[i], logprobs[i], tops[i] if tops else [])
                for i in range(self._read, len(logprobs))
            ],
        )

    def _data(self, token: int) -> bytes:
        if token < 0 or token in self._special:
            return b""
        return self._bytes_of(token)


def _entry(data: bytes, logprob: float) -> dict[str, Any]:
    text = data.decode("utf-8", "replace")
    # JSON knows no infinity; OpenAI writes -9999 for what cannot be
    return {"token": text, "logprob": max(logprob, -9999.0), "bytes": list(data)}
