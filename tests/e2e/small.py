"""A whole build in miniature: every kind of stage, real input, seconds on one core."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forked import run

CHATWRIGHT = str(Path(sys.executable).parent / "chatwright")

TOPICS = {
    "river": ("a moving body of water", "carries rain from the hills to the sea"),
    "bridge": ("a road over water", "lets people cross without getting wet"),
    "mill": ("a house with a wheel", "grinds grain while the stream turns it"),
    "harbour": ("a place where ships rest", "shelters boats from wind and waves"),
    "canal": ("a river that people dug", "brings boats to towns inland"),
    "lock": ("a pair of gates in a canal", "lifts boats from one level to the next"),
    "ferry": ("a boat that goes to and fro", "takes carts across where no bridge is"),
    "lighthouse": ("a tower with a lamp", "shows ships where the rocks are at night"),
    "dam": ("a wall across a valley", "holds back water for the dry months"),
    "well": ("a deep hole with clean water", "gives a village water all the year"),
    "水车": ("用水流推动的轮子", "把河水提到田里，供人灌溉庄稼"),
    "石桥": ("用石头砌成的桥", "让行人和车马安全地渡过河流"),
}

RECIPE = """\
name: small
title: Small
seed: 5
stages:
  pages:
    kind: collect
    sources: [{source: SITE, license: CC0-1.0}]
  corpus: {kind: curate, input: pages, preset: documentation}
  train-pages: {kind: split, input: corpus, part: train, held_out: 0.2}
  held-out-pages: {kind: split, input: corpus, part: held_out, held_out: 0.2}
  tokenizer: {kind: tokenizer, input: train-pages, vocab_size: 400}
  knowledge: {kind: knowledge, input: corpus}
  questions: {kind: questions, input: train-pages, limit: 60}
  held-out-questions: {kind: questions, input: held-out-pages, limit: 4}
  pretrain:
    kind: train
    objective: pretrain
    model: {depth: 1, tokenizer: tokenizer}
    data: train-pages
    length: 128
    batch_tokens: 256
    steps: 12
    checkpoint_every: 3
  sft:
    kind: train
    objective: sft
    model: pretrain
    data: questions
    length: 1024
    batch_tokens: 1024
    steps: 8
    lora: {rank: 4, alpha: 8}
    checkpoint_every: 2
  evaluation:
    kind: evaluate
    models: {before: pretrain, after: sft}
    data: held-out-questions
    knowledge: knowledge
    max_tokens: 8
  assistant: {kind: assistant, model: sft, knowledge: knowledge, title: Small}
  report:
    kind: report
    stages: [pages, corpus, train-pages, held-out-pages, knowledge, questions, held-out-questions,
             pretrain, sft, evaluation]
"""


def write_site(folder: Path) -> None:
    """A dozen HTML pages in two languages, with sections, a list and code; one page is broken."""
    folder.mkdir()
    for number, (name, (what, use)) in enumerate(TOPICS.items()):
        chinese = not name.isascii()
        language = "zh" if chinese else "en"
        if chinese:
            body = (
                f"<p>{name}是{what}。它{use}，这是古代人们在日常劳动中慢慢学会的办法。</p>"
                f"<h2>用途</h2><p>{name}的用途很多：它{use}，也让村子里的人在这里见面、说话和休息。</p>"
                f"<h2>历史</h2><p>最早的{name}出现在很久以前，后来各地的人们都学着建造自己的{name}。</p>"
            )
        else:
            body = (
                f"<p>A {name} is {what}. People have known it for a long time and still use it "
                f"in many places, number {number} of them in this county alone.</p>"
                f"<h2>What a {name} is for</h2><p>A {name} {use}. That is why so many were built "
                f"near old towns, and why people still care for them today.</p>"
                f"<h2>How a {name} is kept</h2><p>Keeping a {name} needs people with patience. "
                f"They look at it twice a year and mend what the winter broke.</p>"
                f"<ul><li>look at the {name} in spring</li><li>mend the {name} in autumn</li></ul>"
            )
        page = (
            f"<!doctype html><html lang={language}><head><meta charset=utf-8><title>{name}</title>"
            f"</head><body><nav>home</nav><main><h1>{name}</h1>{body}</main></body></html>"
        )
        (folder / f"{number:02d}.html").write_text(page, encoding="utf-8")
    (folder / "empty.html").write_bytes(b"")
    (folder / "rubbish.html").write_bytes(bytes(range(256)) * 8)


def write_recipe(folder: Path) -> Path:
    """The site and a recipe for it in `folder`."""
    write_site(folder / "site")
    recipe = folder / "small.yaml"
    recipe.write_text(RECIPE.replace("SITE", str(folder / "site")), encoding="utf-8")
    return recipe


def environment(workspace: Path) -> dict[str, str]:
    return {
        **os.environ,
        "CHATWRIGHT_WORKSPACE": str(workspace),
        "PYTHONUNBUFFERED": "1",
        # Two builds that are to give equal bytes need equal thread counts; with one, models this
        # small are quickest.
        "OMP_NUM_THREADS": "1",
    }


@dataclass(frozen=True)
class SmallBuild:
    recipe: Path
    workspace: Path
    result: dict[str, Any]


def run_build(recipe: Path, workspace: Path, *options: str) -> dict[str, Any]:
    """Build in a process of its own; what `--json` printed."""
    done = run(["build", str(recipe), "--json", *options], environment(workspace), timeout=280)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result
