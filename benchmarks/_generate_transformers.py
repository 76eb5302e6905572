"""`transformers` in bfloat16, the other peer of `generate.py`: one figure in one process.

`python _generate_transformers.py PART SETTINGS`, with PART `export` (the folder it reads), `probe`,
`prefill` or `decode`. A loop of our own over its model and its cache, without sampling: quicker
than its `generate`. The last line printed is JSON.
"""

from __future__ import annotations

import json
import random
import sys
import time
from statistics import median
from typing import Any


def export(settings: dict[str, Any]) -> dict[str, Any]:
    """Write the GGUF file's numbers as a folder that `transformers` opens."""
    import torch

    from chatwright.model import load_model, save_model

    model, tokenizer = load_model(settings["gguf"], dtype=torch.bfloat16)
    save_model(model, tokenizer, settings["folder"])
    return {"folder": settings["folder"]}


def load(settings: dict[str, Any], attention: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.set_num_threads(settings["threads"])
    return AutoModelForCausalLM.from_pretrained(
        settings["folder"], dtype=torch.bfloat16, attn_implementation=attention
    ).eval()


def prompts(rng: random.Random, rows: int, length: int) -> Any:
    import torch

    return torch.tensor([[rng.randrange(5, 40_000) for _ in range(length)] for _ in range(rows)])


def prefill(model: Any, settings: dict[str, Any]) -> dict[str, Any]:
    import torch

    rng, length = random.Random(settings.get("seed", 0)), settings["tokens"]
    seconds = []
    with torch.inference_mode():
        for _ in range(settings["runs"] + 1):
            ids = prompts(rng, 1, length)
            started = time.perf_counter()
            model(input_ids=ids, use_cache=True, logits_to_keep=1).logits.argmax()
            seconds.append(time.perf_counter() - started)
    return {"tokens_per_second": length / median(seconds[1:])}


def decode(model: Any, settings: dict[str, Any]) -> dict[str, Any]:
    import torch

    rng, streams, new, warm = random.Random(0), settings["streams"], settings["new"], 4
    with torch.inference_mode():
        ids = prompts(rng, streams, settings["prompt"])
        out = model(input_ids=ids, use_cache=True, logits_to_keep=1)
        started = 0.0
        for step in range(new + warm):
            if step == warm:
                started = time.perf_counter()
            newest = out.logits[:, -1].argmax(-1, keepdim=True)
            out = model(
                input_ids=newest,
                past_key_values=out.past_key_values,
                use_cache=True,
                logits_to_keep=1,
            )
        seconds = time.perf_counter() - started
    return {"tokens_per_second": streams * new / seconds}


def probe(settings: dict[str, Any]) -> dict[str, Any]:
    """The quickest of its attentions for each figure."""
    best: dict[str, tuple[float, str]] = {}
    for attention in ("sdpa", "eager"):
        model = load(settings, attention)
        found = {"prefill": prefill(model, settings | {"runs": 1})}
        for n in settings["streams"]:
            found[f"decode{n}"] = decode(model, settings | {"streams": n})
        for name, figure in found.items():
            speed = figure["tokens_per_second"]
            if name not in best or speed > best[name][0]:
                best[name] = (speed, attention)
    return {name: {"attention": attention} for name, (_, attention) in best.items()}


def main() -> None:
    part, settings = sys.argv[1], json.loads(sys.argv[2])
    if part in ("export", "probe"):
        found = {"export": export, "probe": probe}[part](settings)
    else:
        measure = {"prefill": prefill, "decode": decode}[part]
        found = measure(load(settings, settings.get("attention", "sdpa")), settings)
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
