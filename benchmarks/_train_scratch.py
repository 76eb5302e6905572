"""Bits per byte after nine minutes: a model of depth 4 (width 256) from random weights on books.

    python benchmarks/_train_scratch.py [--threads 2] [--tokens N] [--quick] [--no-peer]

The first 100 books of `pretrain/books_en` train the tokenizer and the model, the other 15 are held
out. Learning the vocabulary and tokenising are not in the time; everything that `train` does from
the first step to the last is, checkpoints and the log too. A run has a number of tokens, never a
time: unless `--tokens` says it, forty steps before tell how many nine minutes should hold, less a
few per cent, and the seconds that they really took stand beside the figure. The peer is a Llama of
`transformers` of the same size in plain PyTorch: AdamW, a cosine, bfloat16 autocast, the same
vocabulary, in as many seconds as ours took.

Bits per byte are over the whole text of the held-out books, in UTF-8 bytes. Each book begins with
the end-of-text token; windows of as many tokens as a training row follow each other without
overlap, so that a token sees what stands before it in its window and no more. Both models are
measured by the same function from the checkpoints that they saved. Needs CHATWRIGHT_DATA.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import _train_data as data
import numpy as np
from _machine import machine, must, report

HERE = Path(__file__).parent
TRAINED_ON = 100
DEPTH, VOCABULARY, LENGTH = 4, 4096, 512
SECONDS = 540
# Of the time that a few steps let expect; in steps of so many tokens.
MARGIN, ROUNDED = 0.84, 50_000
PROBE, WARM = 40, 10
SEED = 1
# What a recipe would say; all else follows from the depth.
SETTINGS: dict[str, Any] = {
    "objective": "pretrain",
    "length": LENGTH,
    "micro_batch_tokens": 4096,
    "warmup": 0.02,
    "decay": 0.6,
    "betas": (0.8, 0.95),
    "eps": 1e-10,
}
# The peer's, as small Llamas are commonly trained.
PEER = {"rate": 3e-3, "warmup": 0.05, "decay": 0.1, "betas": (0.9, 0.95), "batch": 4096}


def split(quick: bool) -> tuple[list[str], list[str]]:
    """The books to train on and those held out; a few pages of each when `quick`."""
    texts = data.books()
    if quick:
        return [text[:100_000] for text in texts[:3]], [text[:20_000] for text in texts[-2:]]
    return texts[:TRAINED_ON], texts[TRAINED_ON:]


def prepare(folder: Path, quick: bool) -> dict[str, Any]:
    """A tokenizer in `folder`, and the tokens of each held-out book."""
    from chatwright.tokenizer import Tokenizer

    trained, held_out = split(quick)
    tokenizer = Tokenizer.train(trained, VOCABULARY)
    tokenizer.save(folder / "tokenizer")
    tokens = tokenizer.encode_many(held_out)
    end = tokenizer.end_of_text_id
    np.save(folder / "held_out.npy", np.array([t for ids in tokens for t in [end, *ids]], "uint16"))
    size = sum(len(text.encode()) for text in held_out)
    (folder / "held_out.json").write_text(json.dumps({"bytes": size, "end": end}))
    return {
        "vocabulary": tokenizer.vocab_size,
        "held_out_bytes": size,
        "held_out_bytes_per_token": round(size / sum(len(ids) for ids in tokens), 3),
    }


def documents(quick: bool) -> list[Any]:
    """The training books as rows."""
    from chatwright.records import Document, content_id

    found = []
    for text in split(quick)[0]:
        name = content_id("books_en", text)
        found.append(Document(id=name, text=text, uri=f"books_en:{name}", source="books_en"))
    return found


def ours(settings: dict[str, Any]) -> dict[str, Any]:
    """`chatwright.train.train`, as anybody calls it."""
    from chatwright.model import ModelConfig, Transformer, save_model
    from chatwright.tokenizer import Tokenizer
    from chatwright.train import TrainSettings, train
    from chatwright.train.numbers import for_fresh_weights

    folder = Path(settings["folder"])
    tokenizer = Tokenizer.load(folder / "tokenizer")
    # As a recipe's `model: {depth: 4, tokenizer: …}` makes it.
    config = ModelConfig.from_depth(DEPTH, tokenizer.vocab_size)
    model = Transformer.random(config, SEED, zero_outputs=True)
    asked = TrainSettings(**settings["much"], **SETTINGS)
    asked = for_fresh_weights(asked, config)
    rows = documents(settings["quick"])
    # Tokens stay in the folder from one call to the next; state does not.
    scratch, run = folder / "scratch", json.dumps(settings["much"])
    done = train(model, tokenizer, rows, asked, seed=SEED, scratch=scratch, run=run)
    shutil.rmtree(scratch / "state", ignore_errors=True)
    save_model(done.model, tokenizer, folder / "ours")
    steps = [line["step_seconds"] for line in done.metrics][WARM:]
    return {
        "expected_tokens_per_second": round(len(steps) * done.tokens / done.steps / sum(steps))
        if steps
        else None,
        "seconds": round(done.seconds, 1),
        "tokens": done.tokens,
        "steps": done.steps,
        "tokens_per_second": round(done.tokens / done.seconds),
        "parameters": model.config.n_parameters,
        "loss": round(done.loss, 4),
    }


def peer(settings: dict[str, Any]) -> dict[str, Any]:
    """A Llama of `transformers` in the usual loop, ended after so many seconds."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from chatwright.model import ModelConfig
    from chatwright.tokenizer import Tokenizer

    folder = Path(settings["folder"])
    tokenizer = Tokenizer.load(folder / "tokenizer")
    shape = ModelConfig.from_depth(DEPTH, tokenizer.vocab_size, qk_norm=False)
    torch.manual_seed(SEED)
    model = LlamaForCausalLM(LlamaConfig(**shape.to_hf())).train()
    texts = tokenizer.encode_many(split(settings["quick"])[0])
    tokens = np.concatenate([[tokenizer.end_of_text_id, *ids] for ids in texts])
    rows = tokens[: len(tokens) // LENGTH * LENGTH].reshape(-1, LENGTH)
    order = np.random.default_rng(SEED).permutation(len(rows))
    per_step = PEER["batch"] // LENGTH
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": PEER["decay"]},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=PEER["rate"], betas=PEER["betas"], fused=True,
    )  # fmt: skip

    def step(number: int, factor: float) -> float:
        batch = rows[order[np.arange(number * per_step, (number + 1) * per_step) % len(rows)]]
        inputs = torch.from_numpy(batch.astype(np.int64))
        with torch.autocast("cpu", torch.bfloat16, enabled=settings["autocast"]):
            loss = model(input_ids=inputs, labels=inputs).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = PEER["rate"] * factor
        optimizer.step()
        optimizer.zero_grad()
        return float(loss.detach())

    seconds = settings["seconds"]
    started = time.monotonic()
    done, loss = 0, math.nan
    # The cosine is over the time, since a run of this loop has no other length.
    while (past := (time.monotonic() - started) / seconds) < 1:
        warm = min(1.0, past / PEER["warmup"])
        loss = step(done, warm * 0.5 * (1 + math.cos(math.pi * past)))
        done += 1
    taken = time.monotonic() - started
    model.save_pretrained(folder / "theirs")
    tokenizer.save(folder / "theirs")
    return {
        "seconds": round(taken, 1),
        "tokens": done * PEER["batch"],
        "steps": done,
        "tokens_per_second": round(done * PEER["batch"] / taken),
        "parameters": sum(p.numel() for p in model.parameters()),
        "loss": round(loss, 4),
    }


def bits_per_byte(settings: dict[str, Any]) -> dict[str, Any]:
    """Of the held-out books, under the checkpoint that `name` left in `folder`."""
    import torch

    from chatwright.evaluate.likelihood import text_windows, token_losses
    from chatwright.model import load_model

    folder = Path(settings["folder"])
    model, _ = load_model(folder / settings["name"], dtype=torch.bfloat16)  # as it was trained
    about = json.loads((folder / "held_out.json").read_text())
    tokens = np.load(folder / "held_out.npy").astype(np.int64)
    starts = [*np.flatnonzero(tokens == about["end"]), len(tokens)]
    windows = []
    for first, last in itertools.pairwise(starts):
        book = tokens[first + 1 : last].tolist()
        # One more than a row holds: the last token is predicted and not predicted from.
        windows += text_windows(book, about["end"], window=LENGTH + 1)
    nats = counted = 0.0
    for start in range(0, len(windows), 16):
        for losses in token_losses(model, windows[start : start + 16]):
            nats, counted = nats + float(losses.sum()), counted + len(losses)
    return {
        "bits_per_byte": round(nats / math.log(2) / about["bytes"], 4),
        "counted_tokens": int(counted),
    }


PARTS = {"ours": ours, "peer": peer, "bits": bits_per_byte}


def measure(
    threads: int = 2, quick: bool = False, tokens: int | None = None, beside: bool = True
) -> dict[str, Any]:
    """Both sides, each in processes of its own. `quick`: whether it runs, not how well."""
    tokens = 20_000 if quick else tokens
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)

        def part(which: str, **settings: Any) -> dict[str, Any]:
            asked = {"folder": temporary, "threads": threads, "quick": quick, **settings}
            command = [sys.executable, __file__, "--part", which, json.dumps(asked)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=HERE)
            print(f"  {which}: {done.stdout.strip()}", file=sys.stderr, flush=True)
            found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
            return found

        figures: dict[str, Any] = {"data": prepare(folder, quick), "length": LENGTH}
        if tokens is None:
            probe = part("ours", much={"steps": PROBE})
            expected = probe["expected_tokens_per_second"] * SECONDS * MARGIN
            tokens = int(expected // ROUNDED * ROUNDED)
        figures["ours"] = part("ours", much={"tokens": tokens})
        figures["ours"] |= part("bits", name="ours")
        if beside:
            seconds = figures["ours"]["seconds"]
            figures["theirs"] = part("peer", seconds=seconds, autocast=True)
            figures["theirs"] |= part("bits", name="theirs")
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        name, settings = args.part[0], json.loads(args.part[1])
        import torch

        torch.set_num_threads(settings["threads"])
        print(json.dumps(PARTS[name](settings)), flush=True)
        return 0
    about = machine() | {"threads": args.threads}
    figures = measure(args.threads, args.quick, args.tokens, not args.no_peer)
    found = figures["ours"]
    musts = [
        must("bits per byte of the held-out books", found["bits_per_byte"], "<= 1.85"),
        must("seconds of training", found["seconds"], f"<= {SECONDS}"),
    ]
    ratios = {}
    if "theirs" in figures:
        ratios["bits_per_byte"] = round(
            found["bits_per_byte"] / figures["theirs"]["bits_per_byte"], 3
        )
    report("train_scratch", about, figures, ratios, [] if args.quick else musts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
