"""A tiny model with a real engine behind the API: its answers mean nothing, the rest is real."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from chat_server import HTTP, running
from chatwright.assist import Assistant, AssistantSettings, Knowledge
from chatwright.generate import Engine, SamplingParams
from chatwright.generate.params import Constraint
from chatwright.model import ModelConfig, Transformer
from chatwright.records import Message
from chatwright.serve import Limits, Registry, Served, create_app
from chatwright.tokenizer import Tokenizer

__all__ = ["HTTP", "Saying", "plain", "saying_server", "serving", "tiny_engine"]

SENTENCES = [
    "The harbour gate opens for three hours at spring tide, and for five at neap tide.",
    "\u6e2f\u53e3\u95f8\u95e8\u5728\u5927\u6f6e\u65f6\u5f00\u653e\u4e09\u4e2a\u5c0f\u65f6\u3002",
    '{"name": "weather", "arguments": {"city": "Paris"}} <tool_call> </tool_call>',
]


def tiny_engine(context: int = 512, max_batch: int = 8) -> Engine:
    """An engine over random weights; the vocabulary is bytes and a few merges."""
    import torch

    tokenizer = Tokenizer.train(SENTENCES, 340)
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size,
        width=32,
        n_layers=1,
        n_heads=2,
        n_kv_heads=2,
        head_dim=16,
        mlp_width=32,
        context=context,
    )
    model = Transformer.random(config, seed=1)
    with torch.no_grad():
        for weight in (model.embed_tokens.weight, model.head_weight):
            weight.mul_(20)  # so that answers vary from token to token
    return Engine(model.eval(), tokenizer, max_batch=max_batch)


@contextmanager
def serving(*assistants: Assistant, limits: Limits | None = None, **options: Any) -> Iterator[str]:
    """A server with these assistants, by their settings' names; yields its address."""
    by_name = {one.settings.name: one for one in assistants}
    entries = [Served(name, "model", name) for name in by_name]
    app = create_app(Registry(lambda: entries, by_name.__getitem__), limits=limits, **options)
    with running(app) as address:
        yield address


def plain(engine: Any, name: str = "tiny", **sampling: Any) -> Assistant:
    """An assistant without knowledge that makes 8 tokens where nothing else is asked."""
    settings = {"temperature": 0.0, "max_tokens": 8, **sampling}
    return Assistant(engine, None, AssistantSettings(name, sampling=SamplingParams(**settings)))


@contextmanager
def saying_server(
    saying: Saying, knowledge: Path, *, plain_name: str, max_tokens: int
) -> Iterator[str]:
    """`plain_name` without knowledge, and `harbour`, which answers from one passage."""
    sampling = SamplingParams(temperature=0.0, max_tokens=max_tokens)
    settings = AssistantSettings("harbour", passages=1, max_words=10, sampling=sampling)
    grounded = Assistant(saying, Knowledge.open(knowledge), settings)
    with serving(plain(saying, plain_name, max_tokens=max_tokens), grounded) as address:
        yield address


class Saying:
    """The engine, held to say what a test wants. Pieces, stops, logprobs and the end are its own.

    Where the request itself says what the answer must look like, that counts.
    """

    def __init__(self, engine: Engine, say: Callable[[Sequence[Message]], str]) -> None:
        self._engine = engine
        self.say = say
        self.asked: list[list[Message]] = []
        self.params: list[SamplingParams] = []

    def stream(self, messages: Sequence[Message], params: SamplingParams, **more: Any) -> Any:
        self.asked.append(list(messages))
        self.params.append(params)
        if params.constraint is None:
            text = json.dumps(self.say(messages), ensure_ascii=False)
            params = replace(params, constraint=Constraint.grammar(f"start: {text}"))
        return self._engine.stream(messages, params, **more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)
