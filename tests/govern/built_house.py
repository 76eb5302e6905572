"""Results of a small build, written by hand: what a report and a card are made from."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chatwright.evaluate.results import Evaluation, Skipped, Values, summarise
from chatwright.model.config import ModelConfig
from chatwright.records import (
    Conversation,
    Document,
    LedgerEntry,
    Message,
    Parent,
    write_dataset,
)
from chatwright.stage import StageContext
from chatwright.workspace import Workspace

# What a page, a model or a file name may hold and must never become markup or a load.
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}`|$x$"
HOSTILE_URI = "javascript:alert(document.domain)"
HOSTILE_MARKDOWN = (
    "[click](javascript:alert(3)) ![pixel](http://evil.test/p.png) <iframe src='//evil.test'>"
    "\n\n<style>@import 'http://evil.test/x.css'</style>\n\n| a | b |\n|---|---|\n| 1 | 2 |"
)


@dataclass(frozen=True)
class Built:
    """Where the results lie."""

    workspace: Workspace
    model: Path
    evaluation: Path

    def context(self, name: str = "report", **inputs: Path) -> StageContext:
        output = self.workspace.runs / "garden" / name
        parents = [
            Parent(n, json.loads(p.read_text())["fingerprint"], os.path.relpath(p.parent, output))
            for n, p in ((n, _description(p)) for n, p in inputs.items())
        ]
        scratch = self.workspace.runs / "garden" / "work" / name
        return StageContext(
            "garden", name, 7, output, scratch, f"{name}-fp", self.workspace, inputs, parents
        )


def _description(path: Path) -> Path:
    return next(f for f in path.iterdir() if f.name in ("evaluation.json", "lineage.json"))


def build_house(root: Path) -> Built:
    workspace = Workspace(root)
    datasets, models = workspace.datasets / "garden", workspace.models / "garden"
    pages = _pages(datasets / "pages")
    corpus = _corpus(datasets / "corpus")
    _questions(datasets / "questions", "q-fp")
    held_out = _questions(datasets / "held-out", "h-fp")
    model = _model(models / "sft", datasets)
    evaluation = _evaluation(workspace.runs / "garden" / "evaluation", model, held_out)
    record = {"stages": {"sft": {"seconds": 312.4, "peak_bytes": 3 * 2**30}}}
    (workspace.runs / "garden" / "build.json").write_text(json.dumps(record))
    assert pages.exists() and corpus.exists()
    return Built(workspace, model, evaluation)


def _parent(name: str, fingerprint: str, path: Path, child: Path) -> Parent:
    return Parent(name, fingerprint, os.path.relpath(path, child))


def _pages(path: Path) -> Path:
    with write_dataset(path, Document, stage="pages", fingerprint="p-fp", settings={}) as out:
        for n in range(20):
            license_ = "MIT" if n < 15 else None
            uri = f"https://garden.test/{n}" if n else HOSTILE_URI
            out.write(Document(f"p{n}", f"page {n} 页面", uri, "pypi:garden==1.0", license_))
        for n in range(3):
            out.log(LedgerEntry(f"x{n}", f"bad/{n}", "pages", "drop", "unreadable", detail=HOSTILE))
    return path


def _corpus(path: Path) -> Path:
    parents = [_parent("pages", "p-fp", path.parent / "pages", path)]
    with write_dataset(
        path, Document, stage="corpus", fingerprint="c-fp", settings={}, parents=parents
    ) as out:
        for n in range(12):
            language = "en" if n < 9 else "zh"
            out.write(
                Document(
                    f"p{n}", "text", f"https://garden.test/{n}", "pypi:garden==1.0", "MIT", language
                )
            )
        for n in range(12, 18):
            uri = f"https://garden.test/{n}"
            out.log(LedgerEntry(f"p{n}", uri, "corpus", "drop", "word_count", n - 11, "min 50"))
        out.log(
            LedgerEntry("p18", HOSTILE_URI, "corpus", "merge", "exact_duplicate", other_id="p1")
        )
        out.log(LedgerEntry("p19", HOSTILE, "corpus", "drop", "语言", 0.2, "min 0.65"))
        out.log(LedgerEntry("p1", "https://garden.test/1", "corpus", "edit", "fix_text"))
        out.counts = {"paragraphs_removed": 31, HOSTILE: 1}
    return path


def _questions(path: Path, fingerprint: str) -> Path:
    parents = [_parent("corpus", "c-fp", path.parent / "corpus", path)]
    with write_dataset(
        path, Conversation, stage=path.name, fingerprint=fingerprint, settings={}, parents=parents
    ) as out:
        for n in range(30):
            turns = [Message("user", "what?"), Message("assistant", "that")]
            out.write(Conversation(f"q{n}", turns, f"u{n}", "derived", "MIT", "en"))
    return path


def _model(path: Path, datasets: Path) -> Path:
    path.mkdir(parents=True)
    config = ModelConfig.from_depth(2, 1000, context=256)
    (path / "config.json").write_text(json.dumps(config.to_hf()))
    (path / "README.md").write_text("card without scores")
    lineage = {
        "fingerprint": "sft-fp",
        "stage": "sft",
        "recipe": "garden",
        "parents": [asdict(_parent("questions", "q-fp", datasets / "questions", path))],
        "settings": {
            "objective": "sft",
            "model": "smollm2-135m-instruct",
            "data": "questions",
            "epochs": 1,
            "lora": {"rank": 16, "alpha": 32},
            "seed": 7,
        },
        "chatwright": "0.1.0",
    }
    (path / "lineage.json").write_text(json.dumps(lineage))
    with (path / "metrics.jsonl").open("w") as file:
        for step in range(1, 201):
            loss = 0.9 + 2.2 / step**0.5 + 0.15 * ((step * 37) % 11 - 5) / 5
            line = {"step": step, "loss": loss, "lr": 1e-3, "tokens": step * 4096}
            file.write(json.dumps(line) + "\n")
        file.write('{"step": 200, "loss":')  # a kill cut the last line in half
    return path


def _evaluation(path: Path, model: Path, held_out: Path) -> Path:
    path.mkdir(parents=True)
    lines: list[dict[str, Any]] = []
    values: dict[str, dict[str, Values]] = {"before": {}, "after": {}}
    for n in range(30):
        f1 = {"before": (n % 7) / 12, "after": (n % 7) / 12 + (0.4 if n % 5 else -0.1)}
        f1 = {m: min(max(v, 0.0), 1.0) for m, v in f1.items()}
        right = {"before": float(n % 6 == 0), "after": float(n % 6 > 0)}
        answers = {}
        for m in ("before", "after"):
            for metric, value in (("token_f1", f1[m]), ("citation_right", right[m])):
                values[m].setdefault(metric, {})[f"q{n}"] = (value, 1.0)
            nll = 90.0 - n if m == "before" else 40.0 - n / 2
            values[m].setdefault("perplexity", {})[f"q{n}"] = (nll, 20.0)
            plain = f"The gate **opens** at {n} o'clock [1]. 门在早上打开。"
            uri = f"https://garden.test/{n}#gate"
            answers[m] = {
                "text": HOSTILE_MARKDOWN if n == 1 else plain,
                "citations": [
                    {
                        "number": 1,
                        "id": "c1",
                        "uri": uri,
                        "right": bool(right[m]),
                    },
                    {"number": 9, "id": None, "uri": None, "right": False},
                ],
                "left_out": ["One passage was left out."] if n == 2 else [],
                "scores": {"token_f1": f1[m], "citation_right": right[m]},
            }
        lines.append(
            {
                "id": f"q{n}",
                "question": HOSTILE if n == 0 else f"When does gate {n} open? 门什么时候开?",
                "reference": HOSTILE if n == 0 else f"At {n} o'clock.",
                "uri": HOSTILE_URI if n == 0 else f"https://garden.test/{n}",
                "answers": answers,
            }
        )
    references = {"before": "smollm2-135m-instruct", "after": "sft"}
    results, comparisons = summarise(values, references, resamples=500)
    machine = {"system": "Linux x86_64", "cores": 2, "python": "3.11", "torch": "2.13"}
    settings = {"data": "held-out", "models": references}
    skipped = [Skipped("q99", "meta.gold is missing " + HOSTILE)]
    evaluation = Evaluation(settings, 30, results, comparisons, skipped, machine=machine)
    described = evaluation.to_json() | {
        "fingerprint": "e-fp",
        "stage": "evaluation",
        "recipe": "garden",
        "parents": [
            asdict(_parent("sft", "sft-fp", model, path)),
            asdict(_parent("held-out", "h-fp", held_out, path)),
        ],
    }
    (path / "evaluation.json").write_text(json.dumps(described, ensure_ascii=False))
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (path / "answers.jsonl").write_text(text)
    return path
