"""A small study for the tests of the arena's routes and page, with answers brought from outside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from fastapi import FastAPI

from chatwright.evaluate.arena import Form, Study
from chatwright.serve import Registry, Served, create_app
from chatwright.workspace import Workspace

# Labels and files whose names must never reach a judge.
LABELS = ("zebra-base", "okapi-tuned")
ATTACK = (
    "<script>window.pwned = 1</script><img src=x onerror='window.pwned = 2'>\n\n"
    "[click](javascript:window.pwned=3) ![beacon](https://evil.example/x.png)\n\n"
    "\u202eright to left\u202c and a bell\x07"
)
PROMPTS = (
    "How long is the gate open?",
    "大潮的时候闸门开放多久？",
    "What does it cost to moor a boat of 12 metres?",
    "Say something dangerous.",
)
ANSWERS = {
    "zebra-base": ("For **three hours**.", "三个小时。", "30.00", ATTACK),
    "okapi-tuned": ("A while.", "五个小时。", "Ask the office.", "No."),
}


def make_study(
    folder: Path,
    name: str = "harbour",
    *,
    forms: Sequence[Form] = ("compare",),
    items: int = len(PROMPTS),
) -> Study:
    """A study in `folder/place`, ready to be judged."""
    source = folder / f"secret-folder-{name}"
    source.mkdir(parents=True)
    rows = [
        {
            "id": f"q{n}",
            "messages": [
                {"role": "user", "content": "Hello."},
                {"role": "assistant", "content": "Hello to you."},
                {"role": "user", "content": prompt},
            ],
            "reference": "Three hours." if n == 0 else None,
        }
        for n, prompt in enumerate(PROMPTS[:items])
    ]
    (source / "prompts.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    models = []
    for label, texts in ANSWERS.items():
        lines = [json.dumps({"id": f"q{n}", "text": text}) for n, text in enumerate(texts)]
        (source / f"{label}.jsonl").write_text("\n".join(lines), encoding="utf-8")
        models.append(f"{label}={source / f'{label}.jsonl'}")
    study = Study.create(
        name,
        models,
        source / "prompts.jsonl",
        workspace=Workspace(folder / "place"),
        forms=forms,
        overlap=1.0,
        key="a fixed key",
    )
    study.generate()
    return study


def arena_app(folder: Path, **options: Any) -> FastAPI:
    """The service over that workspace. Judging must not load a model: the registry cannot."""
    served = Served("harbour", "assistant", "Harbour guide")

    def load(name: str) -> NoReturn:
        raise AssertionError(f"{name} was loaded")

    return create_app(
        Registry(lambda: [served], load),
        workspace=Workspace(folder / "place"),
        **options,
    )
