"""Answers of the engine over the compiled kernels, and how it is loaded without PyTorch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from native_cases import needs_kernels

from chatwright.errors import ChatwrightError, ContextError, UsageError
from chatwright.generate import Engine, SamplingParams
from chatwright.generate.load import load_engine
from chatwright.generate.native import library
from chatwright.generate.native_runner import NativeRunner, unsupported
from chatwright.model import ModelConfig, Transformer, save_model
from chatwright.model.gguf_write import write_gguf
from chatwright.tokenizer import Tokenizer

pytestmark = needs_kernels
CONTEXT = 192

PROMPTS = [
    "The engine reads a prompt.", "A request joins the batch", "answer", "one token after another",
    "Why is the sky blue?", "slot", "The engine " * 12, "free", "when it ends, it ends", "a",
    "引擎读取提示", "逐个生成词元", "每个请求都有自己的缓存", "互不影响。", "你好，世界",
    "缓存", "直到回答结束。" * 5, "为什么天空是蓝色的？", "The engine 引擎 reads 读取", "。",
]  # fmt: skip


@pytest.fixture(scope="module")
def small(tokenizer: Tokenizer) -> Transformer:
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size + 13,  # padded, as real vocabularies are
        width=64, n_layers=2, n_heads=6, n_kv_heads=2, head_dim=16, mlp_width=96,
        context=CONTEXT, qk_norm=True, tied=False,
    )  # fmt: skip
    model = Transformer.random(config, seed=1)
    with torch.no_grad():
        for weight in (model.embed_tokens.weight, model.head_weight):
            weight.mul_(20)  # so that answers vary from token to token
    return model.eval()


def of(model: Transformer, tokenizer: Tokenizer, **options: object) -> Engine:
    runner = NativeRunner.of(
        model,
        n_blocks=60,
        context=CONTEXT,
        vocab_size=tokenizer.vocab_size,
        threads=1,
        **({"weights": "float32"} | options),
    )
    return Engine(runner, tokenizer, max_batch=6)


def test_greedy_answers_are_those_of_pytorch(small: Transformer, tokenizer: Tokenizer) -> None:
    prompts = [tokenizer.encode(text) for text in PROMPTS]
    params = SamplingParams(temperature=0, max_tokens=25, logprobs=True)
    with of(small, tokenizer) as native, Engine(small, tokenizer) as oracle:
        assert native.runner.describe()["backend"] == "native"
        for prompt, requests in zip(
            prompts,
            zip(
                [native.submit(p, params) for p in prompts],
                [oracle.submit(p, params) for p in prompts],
                strict=True,
            ),
            strict=True,
        ):
            ours, theirs = (request.result() for request in requests)
            assert ours.token_ids == theirs.token_ids, prompt
            assert ours.text == theirs.text and ours.finish_reason == theirs.finish_reason
            np.testing.assert_allclose(ours.logprobs, theirs.logprobs, atol=1e-3)
        # Many different answers, or equality says little.
        assert len({tuple(native.submit(p, params).result().token_ids) for p in prompts}) > 15


def test_speculation_sampling_beams_and_sliding_are_those_of_pytorch(
    small: Transformer, tokenizer: Tokenizer
) -> None:
    prompt = tokenizer.encode("引擎读取提示，然后逐个生成词元。The engine reads a prompt. " * 3)
    with of(small, tokenizer) as native, Engine(small, tokenizer, context=CONTEXT) as oracle:
        for params in (
            SamplingParams(temperature=0, max_tokens=30, lookup=6),
            SamplingParams(temperature=0.8, seed=5, top_p=0.9, max_tokens=20, n=3),
            SamplingParams(temperature=0, beams=3, max_tokens=12, n=3),
            SamplingParams(temperature=0, max_tokens=150, window_end="slide", ignore_end=True),
        ):
            ours, theirs = (engine.submit(prompt, params).results() for engine in (native, oracle))
            assert [a.token_ids for a in ours] == [a.token_ids for a in theirs], params
        texts = ["The engine reads", "引擎读取"]
        np.testing.assert_allclose(native.embed(texts), oracle.embed(texts), atol=1e-5)


@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_a_request_in_company_is_answered_as_if_alone(
    weights: str, small: Transformer, tokenizer: Tokenizer
) -> None:
    params = SamplingParams(temperature=0, max_tokens=16, ignore_end=True, logprobs=True)
    prompts = [tokenizer.encode(text) for text in PROMPTS[::3]]
    with of(small, tokenizer, weights=weights, kv_dtype="int8") as engine:
        together = [request.result() for request in [engine.submit(p, params) for p in prompts]]
    with of(small, tokenizer, weights=weights, kv_dtype="int8") as engine:
        alone = [engine.submit(p, params).result() for p in prompts]
    for one, other in zip(together, alone, strict=True):
        assert one.token_ids == other.token_ids
        assert one.logprobs == other.logprobs


@pytest.fixture(scope="module")
def files(
    small: Transformer, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("native")
    paths = {"folder": folder / "hf"}
    save_model(small, tokenizer, paths["folder"])
    for kind in ("F16", "Q8_0", "Q4_0", "Q4_1"):
        paths[kind] = folder / f"{kind}.gguf"
        write_gguf(small, tokenizer, paths[kind], kind)  # type: ignore[arg-type]
    return paths


CHILD = """
import json, sys, time
from chatwright.generate import SamplingParams
from chatwright.generate.load import load_engine
from chatwright.generate.native import library

path, weights, backend = sys.argv[1:4]
with load_engine(path, weights=weights, backend=backend, threads=1) as engine:
    params = SamplingParams(temperature=0, max_tokens=8, ignore_end=True)
    prompt = engine.tokenizer.encode("引擎 reads a prompt")
    answer = engine.submit(prompt, params).result()
    facts = engine.runner.describe()
print(json.dumps([answer.token_ids, facts["weights"], [m for m in ("torch", "transformers", "scipy")
      if m in sys.modules]]))
"""


def test_the_native_way_never_imports_torch(files: dict[str, Path]) -> None:
    said = {}
    for kind, weights in (("Q8_0", "auto"), ("folder", "float32")):
        done = subprocess.run(
            [sys.executable, "-c", CHILD, str(files[kind]), weights, "native"],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        tokens, types, modules = json.loads(done.stdout)
        assert len(tokens) == 8 and modules == []
        said[kind] = types
    assert said == {"Q8_0": {"int8": 16}, "folder": {"float32": 16}}


@pytest.mark.parametrize("kind", ["folder", "F16", "Q8_0", "Q4_0", "Q4_1"])
def test_every_file_answers_as_pytorch_reads_it(kind: str, files: dict[str, Path]) -> None:
    """In float32 on both sides, so only the reading of the file can differ."""
    params = SamplingParams(temperature=0, max_tokens=12, ignore_end=True)
    answers = []
    for backend in ("native", "torch"):
        with load_engine(files[kind], weights="float32", backend=backend, threads=1) as engine:  # type: ignore[arg-type]
            prompts = [engine.tokenizer.encode(text) for text in PROMPTS[8:14]]
            answers.append([engine.submit(p, params).result().token_ids for p in prompts])
    assert answers[0] == answers[1]


def test_stored_weights_are_kept_and_others_rounded(files: dict[str, Path]) -> None:
    for kind, weights, expected in (
        ("F16", "auto", "bfloat16"), ("Q8_0", "stored", "int8"), ("Q4_1", "auto", "int4"),
        ("folder", "auto", "bfloat16"), ("folder", "stored", "float32"), ("folder", "int8", "int8"),
    ):  # fmt: skip
        with load_engine(files[kind], weights=weights, backend="native") as engine:  # type: ignore[arg-type]
            types = engine.runner.describe()["weights"]
        assert max(types, key=types.get) == expected
    # Four bits spare the head and the embedding.
    with load_engine(files["folder"], weights="int4", backend="native") as engine:
        assert engine.runner.describe()["weights"] == {"int4": 14, "int8": 2}


def test_what_cannot_be_is_said(
    files: dict[str, Path], small: Transformer, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="weights"):
        load_engine(files["F16"], weights="int3")  # type: ignore[arg-type]
    with pytest.raises(ContextError, match="context"):
        load_engine(files["F16"], backend="native", context=10**6)
    with pytest.raises(UsageError, match="one block"):
        load_engine(files["F16"], backend="native", kv_memory=10)
    with pytest.raises(UsageError, match="threads"):
        load_engine(files["F16"], backend="native", threads=-1)
    with pytest.raises(UsageError, match=r"int8.*compiled kernels"):
        load_engine(files["F16"], backend="torch", weights="int8")
    odd = small.config.model_copy(update={"head_dim": 24})
    assert "multiple of 16" in (unsupported(odd) or "")
    save_model(Transformer.random(odd, 0), tokenizer, tmp_path / "odd")
    with pytest.raises(UsageError, match="multiple of 16"):
        load_engine(tmp_path / "odd", backend="native")
    with load_engine(tmp_path / "odd") as engine:  # PyTorch takes it
        assert engine.runner.describe()["backend"] == "torch"
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(files["Q8_0"].read_bytes()[:-1000])
    for backend in ("auto", "native"):
        with pytest.raises(ChatwrightError, match=r"cut\.gguf"):
            load_engine(cut, backend=backend)  # type: ignore[arg-type]


def test_kernels_can_be_switched_off(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHATWRIGHT_NATIVE", "0")
    library._open.cache_clear()
    try:
        with pytest.raises(UsageError, match="CHATWRIGHT_NATIVE=0"):
            load_engine(files["F16"], backend="native")
        with pytest.raises(ChatwrightError, match="switched off"):
            library.open_library()
        with load_engine(files["F16"]) as engine:
            assert engine.runner.describe()["backend"] == "torch"
    finally:
        library._open.cache_clear()


def test_a_library_that_does_not_fit_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "libchatwright.so"
    monkeypatch.setattr(library, "LIBRARY", broken)
    try:
        for content, reason in ((None, "not compiled"), (b"text", "cannot be opened")):
            if content is not None:
                broken.write_bytes(content)
            library._open.cache_clear()
            assert reason in (library.why_not() or "")
    finally:
        library._open.cache_clear()
