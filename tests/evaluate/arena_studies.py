"""Studies for the tests: answers brought from outside, and judges with known minds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chatwright.evaluate.arena import Study
from chatwright.records import Conversation, Message, content_id, write_dataset
from chatwright.workspace import Workspace

KEY = "a fixed key, so that the tests see one order"


def given_study(
    folder: Path,
    labels: Sequence[str] = ("strong", "weak"),
    items: int = 12,
    name: str = "trial",
    same: Sequence[int] = (),
    **settings: Any,
) -> Study:
    """A study whose answers say `LABEL's answer to N`; those in `same` are equal for all models.

    The words carry the model's name so that a simulated judge knows whose they are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    prompts = folder / "prompts.jsonl"
    lines = [
        {"id": f"q{n}", "prompt": f"Question {n}?" if n % 3 else f"第 {n} 个问题？"}
        for n in range(items)
    ]
    prompts.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    models = []
    for label in labels:
        file = folder / f"{label}.jsonl"
        rows = [
            {"id": f"q{n}", "text": f"same {n}" if n in same else f"{label}'s answer to {n}"}
            for n in range(items)
        ]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        models.append(f"{label}={file}")
    settings.setdefault("key", KEY)
    study = Study.create(name, models, prompts, workspace=Workspace(folder / "place"), **settings)
    study.generate()
    return study


def write_conversations(path: Path, rows: Sequence[tuple[list[Message], dict[str, Any]]]) -> Path:
    with write_dataset(path, Conversation, stage="made", fingerprint="made-1", settings={}) as out:
        for number, (messages, more) in enumerate(rows):
            name = content_id("test", str(number))
            out.write(Conversation(name, messages, f"https://x.test/{number}", "test", **more))
    return path
