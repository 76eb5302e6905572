"""Tasks of a few items written to a folder, and models to put them to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chatwright.evaluate.answers import AnswerCache
from chatwright.evaluate.kinds import Bench
from chatwright.evaluate.likelihood import Scored, sequence_likelihoods
from chatwright.evaluate.tasks import Task, load_task, read_task_file
from chatwright.generate import Completion, Engine, Request, SamplingParams
from chatwright.model import ModelConfig, Transformer, load_model
from chatwright.progress import Silent
from chatwright.tokenizer import Tokenizer

QUIZ: dict[str, Any] = {
    "kind": "choice",
    "prompt": "Question: {{ q }}\nAnswer:",
    "fields": {"choices": "options", "gold": "right"},
}
QUESTIONS = [
    {"q": "What does commit write?", "options": ["all pending changes", "nothing"], "right": 0},
    {"q": "How many connections?", "options": ["none", "five", "a hundred of them"], "right": 1},
    {"q": "提交做什么?", "options": ["把修改写入数据库", "什么也不做"], "right": "A"},
    {"q": "Who closes the pool?", "options": ["the session", "dispose"], "right": "dispose"},
]


_DEFAULT = SamplingParams()


def write_task(
    folder: Path, rows: Sequence[Mapping[str, Any]], *, name: str = "mine", **spec: Any
) -> Path:
    """The task's YAML (JSON is YAML) and its items beside it."""
    source: dict[str, Any] = {"source": f"{name}.jsonl"}
    for key in ("fields", "reader", "where"):
        if key in spec:
            source[key] = spec.pop(key)
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    text = json.dumps({"name": name, "sources": [source], **spec}, ensure_ascii=False, indent=1)
    (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder / f"{name}.yaml"


def make_task(folder: Path, rows: Sequence[Mapping[str, Any]], **spec: Any) -> Task:
    path = write_task(folder, rows, **spec)
    return load_task(path, read_task_file(path))


def bench(engine: Engine, cache: AnswerCache | None = None, **more: Any) -> Bench:
    return Bench("tiny", "weights", engine, cache or AnswerCache(None), Silent(), **more)


def tiny_engine(folder: Path, context: int | None = None) -> Engine:
    """The model at `folder` behind an engine, with a shorter context where one is given."""
    import torch

    model, tokenizer = load_model(folder, dtype=torch.float32)
    if context is not None:
        config = ModelConfig.from_depth(1, tokenizer.vocab_size, context=context)
        model = Transformer.random(config, seed=1)
    return Engine(model, tokenizer, max_batch=4)


def nats(engine: Engine, context: str, continuation: str) -> tuple[float, int]:
    """−ln p and tokens of a continuation, encoded together with its context and alone."""
    spaces = len(context) - len(context.rstrip())
    before = engine.tokenizer.encode(context.rstrip())
    whole = engine.tokenizer.encode(
        context.rstrip() + context[len(context) - spaces :] + continuation
    )
    return token_nats(engine, before or [_start(engine.tokenizer)], whole[len(before) :])


def token_nats(engine: Engine, before: list[int], after: list[int]) -> tuple[float, int]:
    sequence = Scored([*before, *after], [False] * len(before) + [True] * len(after))
    (found,) = sequence_likelihoods(engine.model, [sequence])
    return found.nll, len(after)


def _start(tokenizer: Tokenizer) -> int:
    start = tokenizer.bos_id if tokenizer.bos_id is not None else tokenizer.end_of_text_id
    assert start is not None
    return start


class _Said(Request):
    """A request that is answered already."""

    def __init__(self, completion: Completion | Exception) -> None:
        self._answer = completion

    def result(self) -> Completion:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def cancel(self) -> None:
        pass


class ScriptedEngine(Engine):
    """The real engine, but for what it says: `script` maps a part of the prompt to its answers.

    Answer `seed % 1000` is given, so that several samples of one prompt differ. An exception in
    place of an answer is raised as the request's.
    """

    def __init__(self, engine: Engine, script: Mapping[str, Sequence[str | Exception]]) -> None:
        super().__init__(engine.model, engine.tokenizer, max_batch=1)
        self.script = script
        self.asked: list[str] = []
        self.params: list[SamplingParams] = []

    def submit(self, prompt_ids: Sequence[int], params: SamplingParams = _DEFAULT) -> Request:
        prompt = self.tokenizer.decode(list(prompt_ids))
        self.asked.append(prompt)
        self.params.append(params)
        (answers,) = [said for part, said in self.script.items() if part in prompt]
        answer = answers[(params.seed or 0) % 1000 % len(answers)]
        if isinstance(answer, Exception):
            return _Said(answer)
        return _Said(Completion(answer, [], None, "stop", len(prompt_ids)))
