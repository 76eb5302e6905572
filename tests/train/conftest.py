"""Tiny models and data: everything here trains in milliseconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from chatwright.model import ModelConfig, Transformer
from chatwright.records import Conversation, Document, Message, content_id
from chatwright.tokenizer import Tokenizer

from .killing import kill_while_training

SENTENCES = [
    "The session holds a transaction until it is committed or rolled back.",
    "A relationship loads its collection lazily unless it is told otherwise.",
    "引擎是连接数据库的起点，它管理着一个连接池。",
    "映射的类与表之间的关系由声明式基类描述。",
]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_documents(count: int) -> list[Document]:
    rows = []
    for i in range(count):
        text = " ".join(SENTENCES[(i + j) % 4] for j in range(1 + i % 3)) + f" ({i})"
        rows.append(Document(content_id("test", text), text, f"file:page-{i}", "test"))
    return rows


def make_conversations(count: int) -> list[Conversation]:
    rows = []
    for i in range(count):
        messages = [Message("user", f"What about {i}? {SENTENCES[i % 4]}")]
        messages.append(
            Message("assistant", f"It is {i}. " + SENTENCES[(i + 1) % 4][: 10 + i % 20])
        )
        if i % 3 == 0:
            messages += [Message("user", "再说一遍？"), Message("assistant", f"{i}。")]
        name = content_id("test", str(i))
        rows.append(Conversation(name, messages, f"file:chat-{i}", "test"))
    return rows


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([*SENTENCES, "user assistant What about 0123456789?"] * 3, 400)


@pytest.fixture(scope="module")
def killed(
    request: pytest.FixtureRequest, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder for each of the module's `CASES`, left by a process that was killed in training.

    That was at a random one of the steps `KILLED_AT` of its `run`, each of so many `SECONDS`.
    """
    module = request.module
    root = tmp_path_factory.mktemp("killed")
    tokenizer.save(root / "tokenizer")
    kill_while_training(module.run, module.CASES, root, module.KILLED_AT, module.SECONDS)
    return root


@pytest.fixture
def documents() -> list[Document]:
    return make_documents(24)


@pytest.fixture
def conversations() -> list[Conversation]:
    return make_conversations(24)


def tiny_model(tokenizer: Tokenizer, *, seed: int = 1, tied: bool = True) -> Transformer:
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size,
        width=32,
        n_layers=2,
        n_heads=4,
        n_kv_heads=2,
        head_dim=8,
        mlp_width=64,
        context=128,
        tied=tied,
        qk_norm=not tied,
    )
    return Transformer.random(config, seed)


@pytest.fixture
def model(tokenizer: Tokenizer) -> Transformer:
    return tiny_model(tokenizer)
