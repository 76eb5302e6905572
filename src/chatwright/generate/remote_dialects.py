"""What OpenAI-compatible servers have in common, and what each of them adds or leaves out."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from chatwright.errors import ChatwrightError, ContextError, UsageError
from chatwright.generate.params import Constraint, SamplingParams
from chatwright.generate.remote_http import Http, RefusedError, RemoteError, explained

ServerName = Literal["openai", "vllm", "llama-server", "llama-cpp-python", "ollama", "unknown"]

_DEFAULTS = {f.name: f.default for f in fields(SamplingParams)}
# Fields beyond OpenAI's own, and what each server calls them. They are sent whether asked for or
# not: the servers have defaults of their own (llama.cpp: top_k 40, min_p 0.05), ours are neutral.
_EXTRAS: dict[ServerName, dict[str, str]] = {
    "openai": {},
    "vllm": {
        "top_k": "top_k",
        "min_p": "min_p",
        "repetition_penalty": "repetition_penalty",
        "min_tokens": "min_tokens",
        "stop_tokens": "stop_token_ids",
        "ignore_end": "ignore_eos",
    },
    "llama-server": {
        "top_k": "top_k",
        "min_p": "min_p",
        "typical_p": "typical_p",
        "repetition_penalty": "repeat_penalty",
        "ignore_end": "ignore_eos",
    },
    "llama-cpp-python": {
        "top_k": "top_k",
        "min_p": "min_p",
        "repetition_penalty": "repeat_penalty",
        "min_tokens": "min_tokens",
    },
    "ollama": {},
    "unknown": {},
}
_COMMON = {
    "temperature", "top_p", "frequency_penalty", "presence_penalty", "logit_bias", "max_tokens",
    "stop", "seed", "logprobs", "top_logprobs",
}  # fmt: skip
# Done on this side of the wire; `lookup` asks for speed alone, never for another answer.
_OURS = {"n", "best_of", "timeout", "lookup", "constraint", "window_end", "sinks"}
_MISSING: dict[ServerName, set[str]] = {"ollama": {"logit_bias"}}
_LIMITS = {  # api.openai.com; the others say themselves what they do not take
    "temperature": (0.0, 2.0), "frequency_penalty": (-2.0, 2.0), "presence_penalty": (-2.0, 2.0),
}  # fmt: skip
_GUESSED_CONTEXT = {"llama-cpp-python": 2048}  # its default, which it does not tell


@dataclass(frozen=True, slots=True)
class Server:
    """What a server told of itself. `context` is None where it does not say."""

    name: ServerName
    model: str
    models: list[str] = field(default_factory=list)
    context: int | None = None
    version: tuple[int, ...] = ()

    @property
    def usable_context(self) -> int:
        """Tokens of prompt and answer: what it told, else a cautious guess."""
        return self.context or _GUESSED_CONTEXT.get(self.name, 4096)

    @property
    def takes_token_ids(self) -> bool:
        """Whether a prompt may be token ids."""
        return self.name in ("vllm", "llama-server")

    @property
    def interrupts(self) -> bool:
        """Whether a second request breaks off the first (its `--interrupt_requests` default)."""
        return self.name == "llama-cpp-python"

    @property
    def cuts_prompts(self) -> bool:
        """Whether a prompt that is too long is shortened without a word."""
        return self.name == "ollama"


def request_body(params: SamplingParams, server: Server, *, chat: bool = True) -> dict[str, Any]:
    """OpenAI's fields for `params`, with the server's extras; without the prompt.

    Raises `UsageError` naming the field where the server cannot do what is asked for.
    """
    _check_fields(params, server)
    most = "max_completion_tokens" if server.name == "openai" and chat else "max_tokens"
    body: dict[str, Any] = {
        "model": server.model,
        "temperature": params.temperature,
        "top_p": params.top_p,
        most: params.max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    for name in ("frequency_penalty", "presence_penalty", "seed"):
        if getattr(params, name) != _DEFAULTS[name]:
            body[name] = getattr(params, name)
    if params.stop:
        body["stop"] = list(params.stop)
    if params.logit_bias:
        # JSON has no -inf; -100 is what OpenAI's protocol calls a ban.
        pairs = dict(params.logit_bias)
        body["logit_bias"] = {str(token): max(bias, -100.0) for token, bias in pairs.items()}
    if params.logprobs or params.best_of is not None:
        tops = params.top_logprobs
        body |= {"logprobs": True, "top_logprobs": tops} if chat else {"logprobs": tops}
    return body | _extras(params, server)


def _check_fields(params: SamplingParams, server: Server) -> None:
    known = (_COMMON | _OURS | _EXTRAS[server.name].keys()) - _MISSING.get(server.name, set())
    for name, default in _DEFAULTS.items():
        if name not in known and getattr(params, name) != default:
            raise UsageError(
                f"this server ({server.name}) cannot do {name}",
                where=name,
                hint="leave it out, or generate with an engine that can",
            )
    if params.window_end == "slide":
        raise UsageError(f"this server ({server.name}) cannot slide its window", where="window_end")
    if server.name == "openai":
        _check_limits(params)


def _extras(params: SamplingParams, server: Server) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for name, theirs in _EXTRAS[server.name].items():
        value = getattr(params, name)
        body[theirs] = list(value) if isinstance(value, tuple) else value
    if server.name == "vllm":
        body["top_k"] = params.top_k or -1
        body["return_token_ids"] = True
    if server.name == "llama-server" and params.repetition_penalty != 1.0:
        body["repeat_last_n"] = -1  # the whole text, as ours; its default is the last 64 tokens
    return body | (_constraint(params.constraint, server) if params.constraint else {})


def _check_limits(params: SamplingParams) -> None:
    for name, (low, high) in _LIMITS.items():
        if not low <= getattr(params, name) <= high:
            raise UsageError(f"this server takes {name} from {low:g} to {high:g}", where=name)
    if len(params.stop) > 4:
        raise UsageError("this server takes 4 stop strings at most", where="stop")
    if any(bias > 100.0 for _, bias in dict(params.logit_bias).items()):
        raise UsageError("this server takes logit_bias up to 100", where="logit_bias")


def _constraint(constraint: Constraint, server: Server) -> dict[str, Any]:
    if constraint.kind == "json_schema":
        schema = json.loads(constraint.text)
        if server.name == "llama-cpp-python":
            kind = {"type": "json_object"}
            return {"response_format": {**kind, "schema": schema} if schema else kind}
        if not schema:
            return {"response_format": {"type": "json_object"}}
        named = {"name": "answer", "schema": schema, "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": named}}
    if server.name == "vllm":
        if constraint.kind == "regex" or _is_gbnf(constraint.text):
            # vLLM 0.11 renamed them, and drops a name that it does not know without a word.
            if server.version >= (0, 11):
                return {"structured_outputs": {constraint.kind: constraint.text}}
            return {f"guided_{constraint.kind}": constraint.text}
    elif (
        server.name in ("llama-server", "llama-cpp-python")
        and constraint.kind == "grammar"
        and _is_gbnf(constraint.text)
    ):
        return {"grammar": constraint.text}
    what = "a regular expression" if constraint.kind == "regex" else "such a grammar"
    raise UsageError(
        f"this server ({server.name}) cannot be held to {what}",
        where="constraint",
        hint="vLLM takes regular expressions, vLLM and llama.cpp GBNF grammars, all JSON schemas",
    )


def _is_gbnf(text: str) -> bool:
    return re.search(r"^\s*root\s*::=", text, re.M) is not None


def discover(http: Http, model: str | None, name: ServerName | None = None) -> Server:
    """Which server it is, whether it has the model, and how much the model reads.

    Without a `model` the only one there is. Raises `RemoteError` where no server answers and
    `UsageError` where it does not have the model.
    """
    if name is not None and name not in get_args(ServerName):
        raise UsageError(f"server must be one of {', '.join(get_args(ServerName))}", where="server")
    entries = _entries(http)
    ids = [str(entry.get("id")) for entry in entries]
    chosen = _choose(model, ids, http.url)
    entry = next((e for e in entries if e.get("id") == chosen), {})
    server = name or _recognise(http, entry)
    context: Any = None
    version: tuple[int, ...] = ()
    if server == "vllm":
        context = entry.get("max_model_len")
        told = _ask(http, f"{http.root}/version").get("version")
        version = tuple(int(n) for n in re.findall(r"\d+", str(told))[:2]) if told else ()
    elif server == "llama-server":
        settings = _ask(http, f"{http.root}/props").get("default_generation_settings")
        context = settings.get("n_ctx") if isinstance(settings, dict) else None
    elif server == "ollama":
        context = _ollama_context(http, chosen)
    if not isinstance(context, int) or context < 2:
        context = None
    return Server(server, chosen, ids, context, version)


def _entries(http: Http) -> list[dict[str, Any]]:
    url = f"{http.url}/models"
    try:
        value = http.get(url)
    except RefusedError as refused:
        if refused.status in (404, 405, 501):  # it may answer all the same
            return []
        raise explained(refused, url, []) from refused
    data = value.get("data") if isinstance(value, dict) else None
    if not isinstance(data, list):
        raise RemoteError(
            "the server's list of models cannot be read",
            where=url,
            hint="check that the address is an OpenAI-compatible server's, with its /v1",
        )
    return [entry for entry in data if isinstance(entry, dict)]


def _choose(model: str | None, ids: list[str], url: str) -> str:
    there = f"it has: {', '.join(ids[:20])}"
    if model is None:
        if len(ids) == 1:
            return ids[0]
        hint = there if ids else None
        raise UsageError("name one of the server's models: …#model", where=url, hint=hint)
    if not ids or model in ids:
        return model
    if f"{model}:latest" in ids:  # Ollama's way
        return f"{model}:latest"
    raise UsageError(f"the server has no model {model!r}", where=url, hint=there)


def _recognise(http: Http, entry: Mapping[str, Any]) -> ServerName:
    owner = entry.get("owned_by")
    if owner == "vllm":
        return "vllm"
    if owner == "llamacpp":
        return "llama-server"
    if owner == "me" and "permissions" in entry:
        return "llama-cpp-python"
    if http.root.startswith("https://api.openai.com"):
        return "openai"
    if "version" in _ask(http, f"{http.root}/api/version"):
        return "ollama"
    return "unknown"


def _ollama_context(http: Http, model: str) -> int | None:
    """The window that Ollama runs the model with: less, mostly, than the model could read."""
    for running in _ask(http, f"{http.root}/api/ps").get("models") or []:
        if isinstance(running, dict) and running.get("model") == model:
            context = running.get("context_length")
            if isinstance(context, int):
                return context
    shown = _ask(http, f"{http.root}/api/show", {"model": model})
    chosen = re.search(r"^num_ctx\s+(\d+)", str(shown.get("parameters") or ""), re.M)
    if chosen:
        return int(chosen.group(1))
    info = shown.get("model_info")
    own = (
        next((v for k, v in info.items() if k.endswith(".context_length")), None)
        if (isinstance(info, dict))
        else None
    )
    return min(own, 4096) if isinstance(own, int) else None  # 4096: its default


def _ask(http: Http, url: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What the server says there; nothing where it has nothing to say."""
    with contextlib.suppress(ChatwrightError, RefusedError):
        value = (
            http.get(url, seconds=5.0, retries=0)
            if body is None
            else http.post(url, body, seconds=5.0, retries=0)
        )
        if isinstance(value, dict):
            return value
    return {}


def check_context(asked: int | None, server: Server, url: str) -> int:
    """The context to work with. Raises `ContextError` for more than the server has."""
    if asked is None:
        return server.usable_context
    most = server.context or asked
    if not 1 < asked <= most:
        raise ContextError(
            f"context is {asked}; it must be between 2 and the server's window of {most}", where=url
        )
    return asked
