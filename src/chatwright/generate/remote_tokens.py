"""How many tokens a remote model makes of a prompt: asked of the server, else estimated."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from threading import Lock
from typing import Any, Protocol, overload

from chatwright.errors import ChatwrightError, UsageError
from chatwright.generate.remote_dialects import Server
from chatwright.generate.remote_http import Http, RefusedError, RemoteError, explained
from chatwright.records import Message
from chatwright.tokenizer.chat import as_messages, clean_text

Messages = Sequence[Message | Mapping[str, str]]

# What a chat template may add: marks and role of each message, and an instruction of its own where
# the conversation has none (SmolLM2's and Qwen's do).
_PER_MESSAGE = 8
_OWN_SYSTEM = 40
_PIECES = re.compile(r"[A-Za-z]+|\s+|[\x00-\x7f]|[^\x00-\x7f]+")
_REMEMBERED = 1024


class Tokens(Sequence[int]):
    """A number of tokens whose ids nobody knows: it has a length, and that is all."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[int]: ...
    def __getitem__(self, index: int | slice) -> int | Sequence[int]:
        raise UsageError(
            "the server does not tell the token ids of a prompt",
            hint="give RemoteEngine the model's tokenizer=, or use chat and stream",
        )


class ChatTokenizer(Protocol):
    """What an assistant needs of a tokenizer (`chatwright.tokenizer.Tokenizer` is one)."""

    def chat(self, messages: Any, add_generation_prompt: bool = True) -> Sequence[int]: ...

    def encode(self, text: str) -> Sequence[int]: ...


def estimated_tokens(text: str) -> int:
    """An upper estimate of the tokens of `text` for byte-level BPE of any usual vocabulary.

    A word of letters counts one token for 3 letters, a run of blanks one for 4, other ASCII one
    each, and anything else one per UTF-8 byte (no tokenizer makes more). English
    comes out at about 1.5 times the true number, Chinese at 2 to 4 times.
    """
    total = 0
    for piece in _PIECES.findall(text):
        if not piece.isascii():
            total += len(piece.encode("utf-8", "replace"))
        elif piece[0].isalpha():
            total += -(-len(piece) // 3)
        elif piece.isspace():
            # The blank before a word belongs to the word's token.
            blanks = piece.count(" ")
            total += 0 if piece == " " else 1 + len(piece) - blanks - (-blanks // 4)
        else:
            total += 1
    return total


class RemoteTokenizer:
    """Counts as the server does: vLLM and llama-server give the very ids of a chat, and
    llama-cpp-python the number of a text's tokens; for others, and where that fails, it estimates.

    Answers are remembered: an assistant counts the same turns again and again.
    """

    def __init__(self, http: Http, server: Server) -> None:
        self._http = http
        self._server = server
        self._known: OrderedDict[object, Sequence[int]] = OrderedDict()
        self._lock = Lock()

    def chat(self, messages: Messages, add_generation_prompt: bool = True) -> Sequence[int]:
        """The prompt's tokens, or as many without ids. Raises `DataError` for an unknown role."""
        plain = [{**m, "content": clean_text(m["content"])} for m in as_messages(messages)]
        key = (tuple((m["role"], m["content"]) for m in plain), add_generation_prompt)
        return self._remembered(key, lambda: self._chat(plain, add_generation_prompt))

    def encode(self, text: str) -> Sequence[int]:
        """The text's tokens, or as many without ids."""
        text = clean_text(text)
        return self._remembered(text, lambda: self._encode(text))

    def _chat(self, messages: list[dict[str, str]], open_turn: bool) -> Sequence[int]:
        root, name = self._http.root, self._server.name
        try:
            if name == "vllm":
                body = {
                    "model": self._server.model,
                    "messages": messages,
                    "add_generation_prompt": open_turn,
                }
                return _ids(self._post(f"{root}/tokenize", body))
            if name == "llama-server" and open_turn:
                prompt = self._post(f"{root}/apply-template", {"messages": messages})["prompt"]
                body = {"content": prompt, "add_special": True, "parse_special": True}
                return _ids(self._post(f"{root}/tokenize", body))
        except (ChatwrightError, RefusedError, KeyError, TypeError):
            pass  # an older server without it; the estimate is safe
        total = sum(_PER_MESSAGE + len(self.encode(m["content"])) for m in messages)
        has_system = bool(messages) and messages[0]["role"] == "system"
        return Tokens(total + _PER_MESSAGE + (0 if has_system else _OWN_SYSTEM))

    def _encode(self, text: str) -> Sequence[int]:
        root, name = self._http.root, self._server.name
        try:
            if name == "vllm":
                body = {"model": self._server.model, "prompt": text, "add_special_tokens": False}
                return _ids(self._post(f"{root}/tokenize", body))
            if name == "llama-server":
                body = {"content": text, "add_special": False, "parse_special": False}
                return _ids(self._post(f"{root}/tokenize", body))
            if name == "llama-cpp-python":
                told = self._post(
                    f"{root}/extras/tokenize/count", {"model": self._server.model, "input": text}
                )
                return Tokens(int(told["count"]))
        except (ChatwrightError, RefusedError, KeyError, TypeError, ValueError):
            pass
        return Tokens(estimated_tokens(text))

    def _post(self, url: str, body: Mapping[str, Any]) -> Any:
        return self._http.post(url, body, seconds=10.0, retries=0)

    def _remembered(self, key: object, make: Any) -> Sequence[int]:
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        made: Sequence[int] = make()
        with self._lock:
            self._known[key] = made
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return made


def _ids(told: Any) -> list[int]:
    tokens = told["tokens"]
    if not isinstance(tokens, list) or not all(isinstance(token, int) for token in tokens):
        raise TypeError("no token ids")
    return tokens


def embeddings(
    http: Http, model: str, texts: Iterable[str], models: list[str]
) -> list[list[float]]:
    """A vector for each text, in order, asked for 64 at a time. Raises as `explained` says."""
    rows: list[list[float]] = []
    waiting = list(texts)
    url = f"{http.url}/embeddings"
    for start in range(0, len(waiting), 64):
        part = waiting[start : start + 64]
        body = {"model": model, "input": part, "encoding_format": "float"}
        try:
            value = http.post(url, body, seconds=http.timeouts.first_token)
        except RefusedError as refused:
            raise explained(refused, url, models) from refused
        try:
            data = sorted(value["data"], key=lambda row: int(row["index"]))
            if [row["index"] for row in data] != list(range(len(part))):
                raise ValueError(f"{len(data)} vectors for {len(part)} texts")
            rows += [[float(x) for x in row["embedding"]] for row in data]
        except (KeyError, TypeError, ValueError) as error:
            raise RemoteError(
                f"the server sent something else than one vector for each text ({error!r})",
                where=url,
            ) from error
    return rows
