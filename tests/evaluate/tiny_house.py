"""A whole small house: pages, knowledge, questions and two tiny models with random weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from chatwright.assist.knowledge import Knowledge, KnowledgeSettings, run_knowledge
from chatwright.model import ModelConfig, Transformer, save_model
from chatwright.records import Conversation, Document, Message, write_dataset
from chatwright.records.grounding import Passage, grounded_prompt, refusal, system_prompt
from chatwright.stage import StageContext
from chatwright.tokenizer import Tokenizer
from chatwright.workspace import Workspace

PAGES = {
    "session": "# Session\n\nA session holds the objects that were loaded and writes them.\n\n"
    "## Commit\n\nCommit writes all pending changes to the database and ends the transaction.",
    "engine": "# Engine\n\nAn engine keeps a pool of connections, five of them by default.\n\n"
    "## Dispose\n\nDispose closes every connection that is checked in to the pool.",
    "会话": "# 会话\n\n会话保存已经加载的对象,并在刷新时写回数据库。\n\n"
    "## 提交\n\n提交把所有未保存的修改写入数据库,然后结束事务。",
}
QUESTIONS = [
    ("What does commit do?", "It writes all pending changes to the database.", "session", "Commit"),
    ("How many connections does the pool keep?", "Five by default.", "engine", "Engine"),
    ("What does dispose close?", "Every connection that is checked in.", "engine", "Dispose"),
    ("提交做什么?", "把所有未保存的修改写入数据库。", "会话", "提交"),
    ("会话保存什么?", "已经加载的对象。", "会话", "会话"),
]


@dataclass(frozen=True)
class House:
    """Where everything lies."""

    workspace: Workspace
    pages: Path
    knowledge: Path
    questions: Path
    before: Path
    after: Path
    rows: list[Conversation]

    def context(self, name: str, **inputs: Path) -> StageContext:
        return StageContext(
            recipe="tiny",
            stage=name,
            seed=3,
            output=self.workspace.runs / "tiny" / name,
            scratch=self.workspace.runs / "tiny" / "work" / name,
            fingerprint=f"{name}-fingerprint",
            workspace=self.workspace,
            inputs=inputs,
        )


def question_rows(knowledge: Knowledge) -> list[Conversation]:
    """One row per question, with the right passage second among two; one has no answer."""
    passages = [knowledge._passage(row) for row in range(len(knowledge))]

    def row(question: str, answer: str, shown: list[Passage], gold: Passage | None) -> Conversation:
        cited = f"{answer} [{shown.index(gold) + 1}]" if gold else answer
        return Conversation(
            id=f"q{len(rows)}",
            messages=[
                Message("system", system_prompt(question)),
                Message("user", grounded_prompt(question, shown)),
                Message("assistant", cited),
            ],
            uri=gold.uri if gold else shown[0].uri,
            source="test",
            meta={
                "question": question,
                "answer": answer,
                "gold": gold.id if gold else None,
                "passage_ids": [p.id for p in shown],
                "answerable": gold is not None,
            },
        )

    rows: list[Conversation] = []
    for question, answer, page, heading in QUESTIONS:
        gold = next(
            p for p in passages if p.uri.startswith(f"https://x.test/{page}") and heading in p.title
        )
        other = next(p for p in passages if p.id != gold.id)
        rows.append(row(question, answer, [other, gold], gold))
    unanswerable = "Which colours does the engine like?"
    rows.append(row(unanswerable, refusal(unanswerable), passages[:2], None))
    return rows


def write_rows(path: Path, rows: list[Conversation]) -> Path:
    with write_dataset(path, Conversation, stage="questions", fingerprint="q", settings={}) as out:
        for row in rows:
            out.write(row)
    return path


def build_house(folder: Path) -> House:
    workspace = Workspace(folder)
    pages = workspace.datasets / "tiny" / "pages"
    with write_dataset(pages, Document, stage="pages", fingerprint="p", settings={}) as out:
        for name, text in PAGES.items():
            uri = f"https://x.test/{name}"
            out.write(Document(name, text, uri, "test:pages", "MIT", "en", meta={"title": name}))
    knowledge = workspace.datasets / "tiny" / "knowledge"
    context = StageContext("tiny", "knowledge", 3, knowledge, knowledge, "k", workspace)
    context.inputs["pages"] = pages
    run_knowledge(KnowledgeSettings(input="pages", words=20, small=1), context)
    rows = question_rows(Knowledge.open(knowledge))
    questions = write_rows(workspace.datasets / "tiny" / "questions", rows)
    tokenizer = Tokenizer.train(
        [*PAGES.values(), *(m.content for r in rows for m in r.messages)], 600
    )
    folders = {}
    for seed, name in enumerate(("before", "after")):
        config = ModelConfig.from_depth(1, tokenizer.vocab_size, context=512)
        model = Transformer.random(config, seed=seed)
        folders[name] = save_model(model, tokenizer, workspace.models / "tiny" / name)
    return House(workspace, pages, knowledge, questions, folders["before"], folders["after"], rows)
