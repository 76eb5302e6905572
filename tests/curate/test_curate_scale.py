"""One result whoever does the work: shards, executors, kills, and rows that are conversations."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from chatwright.curate.shards import Shards
from chatwright.records import Conversation, Dataset, Message, content_id, write_dataset

SENTENCES = [
    f"The {noun} {verb} the {other} before the {noun} of the {place} is opened."
    for noun, verb, other, place in (
        ("harbour", "closes", "gate", "city"),
        ("teacher", "reads", "letter", "school"),
        ("engine", "turns", "wheel", "mill"),
        ("gardener", "waters", "tree", "park"),
        ("baker", "sells", "loaf", "market"),
    )
]
SHARED = "This paragraph stands in many pages of the corpus, and only one of them may keep it. " * 4


def pages(count: int) -> list[tuple[str, str]]:
    """Pages of their own words; every seventh says what others say, every tenth is a copy."""
    out = []
    for n in range(count):
        number = n // 2 * 2 if n % 10 == 1 else n
        own = " ".join(f"{SENTENCES[(number + i) % 5]} Entry {number} of {i}." for i in range(6))
        shared = f"\n\n{SHARED}" if n % 7 == 0 else ""
        out.append((f"{n}.txt", f"{own}{shared}\n"))
    return out


def told(dataset: Dataset) -> list[tuple[Any, ...]]:
    return [(e.row_id, e.action, e.rule, e.value, e.bound, e.other_id) for e in dataset.ledger]


def test_executors_and_workers_give_the_same_bytes(ray: Any, collected: Any, run: Any) -> None:
    source = collected("pages", pages(200))
    assert len(Shards.of(source)) == 4
    dedup = {"near": True, "lines": True}
    digests, ledgers, prints = set(), [], set()
    for executor, workers in (("local", 0), ("local", 2), ("ray", 1), ("ray", 2)):
        result = run(
            "curate", "corpus", input="pages", executor=executor, workers=workers, dedup=dedup
        )
        digests.add(result.info.content_digest)
        ledgers.append(told(result))
        prints.add(result.fingerprint)
    assert len(digests) == len(prints) == 1
    assert all(ledger == ledgers[0] for ledger in ledgers)
    rules = Counter(rule for _, _, rule, *_ in ledgers[0])
    # 20 copies, of which those that end in the shared paragraph are near-duplicates only.
    assert rules["duplicate-document"] == 14 and rules["near-duplicate"] >= 6
    assert rules["duplicate-paragraphs"] > 20


PROGRAM = """
import sys, time
from pathlib import Path
from chatwright.curate.stages import STAGES
from chatwright.stage import StageContext
from chatwright.workspace import Workspace

if __name__ == "__main__":
    workspace = Workspace(Path(sys.argv[1]))
    kind = next(k for k in STAGES if k.kind == "curate")
    folder = workspace.datasets / "test"
    context = StageContext(
        "test", "corpus", 7, folder / "corpus", workspace.runs / "corpus", "f", workspace,
        inputs={"pages": folder / "pages"},
    )
    kind.run(kind.settings(input="pages", workers=2, dedup={"near": True}), context)
"""


def test_killed_and_run_again_gives_the_same_bytes(
    collected: Any, run: Any, workspace: Any, tmp_path: Path
) -> None:
    collected("pages", pages(300))
    expected = run("curate", "expected", input="pages", workers=0, dedup={"near": True})
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, str(program), str(workspace.root)]
    shards = workspace.runs / "corpus" / "shards" / "first"
    process = subprocess.Popen(command, start_new_session=True)
    end = time.monotonic() + 120
    while len(list(shards.glob("shard-*"))) < 2 and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (workspace.datasets / "test" / "corpus").exists()
    assert list(shards.glob("shard-*"))
    process = subprocess.Popen(command)
    assert process.wait(120) == 0
    corpus = Dataset.open(workspace.datasets / "test" / "corpus")
    assert corpus.info.content_digest == expected.info.content_digest
    assert told(corpus) == told(expected)
    assert not (workspace.runs / "corpus" / "shards").exists()


def chat(n: int, *turns: str) -> Conversation:
    roles = ("user", "assistant")
    messages = [Message(roles[i % 2], text) for i, text in enumerate(turns)]  # type: ignore[arg-type]
    return Conversation(content_id("chats", f"{n}"), messages, f"chats#{n}", "chats", consent=True)


def test_conversations_are_curated_message_by_message(run: Any, workspace: Any) -> None:
    question = "How do I write to the office about the harbour gate of the city?"
    answer = SENTENCES[0] + " " + SENTENCES[1]
    rows = [
        chat(0, question, f"Write to jane.doe@example.org. {answer}", "Thank you!", answer),
        chat(1, question, f"Write to jane.doe@example.org. {answer}", "Thank you!", answer),
        chat(2, "我怎么联系办公室?", "请写信到zhangwei@163.com,他们会帮助你打开城市的大门。"),
    ]
    path = workspace.datasets / "test" / "chats"
    with write_dataset(path, Conversation, stage="chats", fingerprint="c", settings={}) as out:
        for row in rows:
            out.write(row)
    result = run(
        "curate", "clean", input="chats", workers=0, preset="chat", privacy={"mode": "tag"}
    )
    kept = list(result.rows)
    assert [row.id for row in kept] == [rows[0].id, rows[2].id]
    assert [m.role for m in kept[0].messages] == ["user", "assistant", "user", "assistant"]
    assert kept[0].messages[1].content.startswith("Write to [EMAIL]. The harbour")
    assert kept[0].messages[2].content.strip() == "Thank you!"
    assert (
        "zhangwei" not in kept[1].messages[1].content and "163" not in kept[1].messages[1].content
    )
    assert kept[0].consent is True and kept[0].meta["pii"] == {"email": 1}
    lines = {(e.row_id, e.action, e.rule, e.value) for e in result.ledger}
    assert (rows[0].id, "edit", "pii-email", 1.0) in lines
    assert (rows[1].id, "drop", "duplicate-document", None) in lines
