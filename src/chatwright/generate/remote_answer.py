"""The objects of a remote server's stream, put together to an answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from chatwright.generate.params import Completion, FinishReason, SamplingParams
from chatwright.generate.remote_http import RefusedError

_UNTOLD = -1  # the id of a token that the server does not tell


class Collected:
    """What has come of one answer. `read` takes the stream's objects, one after another."""

    def __init__(self, token_of: Callable[[str], int | None] | None = None) -> None:
        self._token_of = token_of
        self.text: list[str] = []
        self.tokens: list[int] = []
        self.logprobs: list[float] = []
        self.tops: list[list[tuple[int, float]]] = []
        self.told = False  # whether `tokens` are the server's own
        self.finish: str | None = None
        self.prompt_tokens: int | None = None
        self.made: int | None = None
        self.cached = 0
        self.chunks = 0

    def read(self, value: Mapping[str, Any]) -> tuple[str, bool]:
        """The new text, and whether any token came (one of hidden reasoning has no text).

        Raises `ValueError` for an object of another shape, and `RefusedError` for an error.
        """
        if value.get("error") is not None or value.get("object") == "error":
            error = value.get("error") or value
            code = error.get("code") if isinstance(error, dict) else None
            raise RefusedError(code if isinstance(code, int) else 400, {"error": error})
        try:
            self._count(value.get("usage"))
            choices = value.get("choices") or []
            if not choices:
                return "", False
            choice = choices[0]
            said = choice.get("delta") or choice.get("message") or choice
            text = said.get("content") if "content" in said else said.get("text")
            thought = said.get("reasoning_content") or said.get("reasoning")
            if isinstance(choice.get("token_ids"), list):
                self.told = True
                self.tokens += [int(token) for token in choice["token_ids"]]
            self._log(choice.get("logprobs"))
            # What comes as a whole message has ended, even where nothing says why.
            whole = "stop" if "message" in choice else None
            self.finish = choice.get("finish_reason") or self.finish or whole
        except (AttributeError, KeyError, TypeError, IndexError) as error:
            raise ValueError(f"no part of an answer ({error!r})") from error
        text = text if isinstance(text, str) else ""
        if text or thought:
            self.chunks += 1
        if text:
            self.text.append(text)
        return text, bool(text or thought)

    def _count(self, usage: Any) -> None:
        if not isinstance(usage, dict):
            return
        self.prompt_tokens = _count(usage.get("prompt_tokens"), self.prompt_tokens)
        self.made = _count(usage.get("completion_tokens"), self.made)
        details = usage.get("prompt_tokens_details")
        if isinstance(details, dict):
            self.cached = _count(details.get("cached_tokens"), self.cached) or 0

    def _log(self, logprobs: Any) -> None:
        if not isinstance(logprobs, dict):
            return
        for entry in logprobs.get("content") or []:  # the chat's form
            self.logprobs.append(float(entry["logprob"]))
            tops = [(self._id(top), float(top["logprob"])) for top in entry["top_logprobs"] or []]
            self.tops.append(tops)
            if not self.told:
                self.tokens.append(self._id(entry))
        texts = logprobs.get("tokens") or []  # the older form, of plain completions
        tops_of = logprobs.get("top_logprobs") or [{}] * len(texts)
        for text, value, tops in zip(
            texts, logprobs.get("token_logprobs") or [], tops_of, strict=False
        ):
            self.logprobs.append(float(value if value is not None else math.nan))
            self.tops.append([(self._id({"token": t}), float(p)) for t, p in (tops or {}).items()])
            if not self.told:
                self.tokens.append(self._id({"token": text}))

    def _id(self, entry: Mapping[str, Any]) -> int:
        known = entry.get("id")
        if isinstance(known, int):
            return known
        found = self._token_of(str(entry["token"])) if self._token_of is not None else None
        return _UNTOLD if found is None else found

    def completion(
        self, params: SamplingParams, reason: FinishReason, index: int, prompt_tokens: int
    ) -> Completion:
        """What there is as a `Completion`; token ids that nobody told are -1."""
        told = len(self.tokens)
        made = told or (self.chunks if self.made is None else self.made)
        asked = params.logprobs
        return Completion(
            text="".join(self.text),
            token_ids=self.tokens if told else [_UNTOLD] * made,
            logprobs=self.logprobs if asked else None,
            finish_reason=reason,
            prompt_tokens=prompt_tokens if self.prompt_tokens is None else self.prompt_tokens,
            top_logprobs=(
                [tops[: params.top_logprobs] for tops in self.tops]
                if asked and params.top_logprobs
                else None
            ),
            cached_tokens=self.cached,
            index=index,
        )


def _count(value: Any, otherwise: int | None) -> int | None:
    return value if isinstance(value, int) and value >= 0 else otherwise
