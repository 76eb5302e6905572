"""The engine on a GPU beside `transformers`' `generate`: a random model of SmolLM2-135M's shape.

`python _gpu_engine.py SETTINGS`; every line that begins with `{` is one measurement: prompts of
random tokens in, equally many new tokens out of each, greedy, from submission to the last token.
"""

from __future__ import annotations

import json
import random
import sys
import time
from typing import Any

import torch

SHAPE = {
    "vocab_size": 49_152, "width": 576, "n_layers": 30, "n_heads": 9, "n_kv_heads": 3,
    "head_dim": 64, "mlp_width": 1536, "context": 2048, "rope_theta": 100_000.0, "tied": True,
}  # fmt: skip
TINY = {"width": 64, "n_layers": 2, "n_heads": 2, "n_kv_heads": 1, "head_dim": 32, "mlp_width": 96}
_SENTENCES = ["The engine reads a prompt and writes an answer, one token after another."] * 4


def prompts(count: int, length: int) -> list[list[int]]:
    rng = random.Random(count)
    return [[rng.randrange(5, 300) for _ in range(length)] for _ in range(count)]


def made(settings: dict[str, Any]) -> Any:
    from chatwright.model import ModelConfig, Transformer

    config = ModelConfig(**(SHAPE | (TINY if settings["quick"] else {})))
    model = Transformer.random(config, 1)
    return model.to(settings["device"], torch.bfloat16).eval()


def wait(settings: dict[str, Any]) -> float:
    if settings["device"] == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def ours(settings: dict[str, Any], streams: int) -> dict[str, Any]:
    """All of an engine, and its runner's bare steps."""
    from chatwright.generate import Engine, SamplingParams
    from chatwright.generate.runner import Run
    from chatwright.tokenizer import Tokenizer

    length, new = settings["prompt"], settings["new"]
    tokenizer = Tokenizer.train(_SENTENCES, 320)
    model = made(settings)
    params = SamplingParams(temperature=0.0, ignore_end=True, max_tokens=new)
    engine = Engine(
        model, tokenizer, max_batch=streams, context=length + new + 32, prefix_reuse=False
    )
    taken = []
    with engine:
        for _ in range(settings["runs"] + 1):  # the first one warms up
            begun = wait(settings)
            waiting = [engine.submit(ids, params) for ids in prompts(streams, length)]
            answers = [request.result() for request in waiting]
            taken.append(wait(settings) - begun)
            assert all(a.finish_reason == "length" for a in answers), answers[0]
        runner = engine.runner
        per = -(-(length + new) // runner.block_size)
        tables = [list(range(s * per, (s + 1) * per)) for s in range(streams)]
        for ids, table in zip(prompts(streams, length), tables, strict=True):
            runner.step([Run(ids, 0, table)])
        newest = [7] * streams
        begun = wait(settings)
        for step in range(new - 1):
            runs = [Run([t], length + step, table) for t, table in zip(newest, tables, strict=True)]
            newest = [int(t) for t in runner.step(runs).logits.likeliest]
        bare = wait(settings) - begun
    best = min(taken[1:])
    return {
        "tokens_per_second": round(streams * new / best, 1),
        "step_ms": round(1000 * best / new, 2),
        "runner_tokens_per_second": round(streams * (new - 1) / bare, 1),
        "runner_step_ms": round(1000 * bare / (new - 1), 2),
    }


def theirs(settings: dict[str, Any], streams: int) -> dict[str, Any]:
    import transformers

    shape = SHAPE | (TINY if settings["quick"] else {})
    config = transformers.LlamaConfig(
        vocab_size=shape["vocab_size"],
        hidden_size=shape["width"],
        intermediate_size=shape["mlp_width"],
        num_hidden_layers=shape["n_layers"],
        num_attention_heads=shape["n_heads"],
        num_key_value_heads=shape["n_kv_heads"],
        head_dim=shape["head_dim"],
        max_position_embeddings=shape["context"],
        tie_word_embeddings=True,
        attn_implementation="sdpa",
    )
    model = transformers.LlamaForCausalLM(config).to(settings["device"], torch.bfloat16).eval()
    length, new = settings["prompt"], settings["new"]
    ids = torch.tensor(prompts(streams, length), device=settings["device"])
    taken = []
    with torch.inference_mode():
        for _ in range(settings["runs"] + 1):
            begun = wait(settings)
            out = model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=new,
                min_new_tokens=new, pad_token_id=0, eos_token_id=None,
            )  # fmt: skip
            taken.append(wait(settings) - begun)
            assert out.shape == (streams, length + new), out.shape
    best = min(taken[1:])
    return {
        "tokens_per_second": round(streams * new / best, 1),
        "step_ms": round(1000 * best / new, 2),
        "version": transformers.__version__,
    }


def main() -> None:
    settings = json.loads(sys.argv[1])
    for streams in settings["streams"]:
        for name, measure in (("ours", ours), ("transformers", theirs)):
            try:
                found: dict[str, Any] = measure(settings, streams)
            except Exception as error:  # what fails does not cost the rest
                found = {"error": f"{type(error).__name__}: {error}"[:600]}
            print(json.dumps({"engine": name, "streams": streams} | found), flush=True)


if __name__ == "__main__":
    main()
