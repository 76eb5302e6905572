"""A small corpus, its knowledge, and an engine that is told what to say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from chatwright.assist.knowledge import KnowledgeSettings, run_knowledge
from chatwright.generate.params import Completion, Piece, SamplingParams
from chatwright.records import Document, Message, Parent, content_id, write_dataset
from chatwright.stage import StageContext
from chatwright.workspace import Workspace

PAGES = {
    "session": "# Session\n\n## `method lib.Session.flush() → None`\n\n"
    "Write all pending changes to the database.\n\n## `method lib.Session.close() → None`\n\n"
    "Close the session and release its connection.\n\n## Long story\n\n"
    + " ".join(f"Sentence {i} of the story tells of cats." for i in range(40))
    + " The dragon sleeps in the cellar.",
    "会话": "# 会话手册\n\n## 回滚事务\n\n回滚会撤销事务里的全部变更。\n\n"
    "## 关闭会话\n\n关闭会话会释放它的连接。",
}


def stage_context(workspace: Workspace, output: Path, **inputs: Path) -> StageContext:
    parents = [Parent(name, f"print-{name}", f"../{name}") for name in inputs]
    return StageContext(
        recipe="demo",
        stage=output.stem,
        seed=7,
        output=output,
        scratch=workspace.root / "scratch",
        fingerprint=f"print-{output.stem}",
        workspace=workspace,
        inputs=dict(inputs),
        parents=parents,
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "house")


@pytest.fixture
def pages(workspace: Workspace) -> Path:
    path = workspace.datasets / "demo" / "pages"
    with write_dataset(
        path, Document, stage="pages", fingerprint="print-pages", settings={}
    ) as out:
        for name, text in PAGES.items():
            anchors = [
                (line, f"a{n}") for n, line in enumerate(text.splitlines()) if line.startswith("#")
            ]
            meta = {"title": text.splitlines()[0][2:], "anchors": anchors}
            uri = f"https://x.org/{name}.html"
            out.write(Document(content_id("t", text), text, uri, "t", "MIT", "en", meta=meta))
    return path


@pytest.fixture
def knowledge_path(workspace: Workspace, pages: Path) -> Path:
    output = workspace.datasets / "demo" / "knowledge"
    run_knowledge(KnowledgeSettings(input="pages"), stage_context(workspace, output, pages=pages))
    return output


class WordTokenizer:
    """One token per word, and four for what a template puts around a message."""

    def chat(self, messages: Sequence[Message], add_generation_prompt: bool = True) -> list[int]:
        return [0] * sum(4 + len(m.content.split()) for m in messages)


class TalkingEngine:
    """An engine whose answer is a function of the messages; counts what is closed early."""

    def __init__(self, say: Callable[[Sequence[Message]], str], context: int = 2_000) -> None:
        self.tokenizer = WordTokenizer()
        self.context = context
        self.say = say
        self.asked: list[list[Message]] = []
        self.stopped = 0
        self.closed = False

    def stream(
        self, messages: Sequence[Message], params: SamplingParams, /, *, tenant: str = ""
    ) -> Iterator[Piece]:
        self.asked.append(list(messages))
        assert len(self.tokenizer.chat(messages)) < self.context, "more than the window holds"
        return self._pieces(self.say(messages))

    def _pieces(self, text: str) -> Iterator[Piece]:
        try:
            for word in text.split(" "):
                yield Piece(word + " ")
            yield Piece("", "stop", Completion(text, [1, 2], None, "stop", 9))
        except GeneratorExit:
            self.stopped += 1
            raise

    def close(self) -> None:
        self.closed = True
