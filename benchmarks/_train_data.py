"""What both sides of `train.py` train on, written once: models, adapters and token rows.

`lora` writes SmolLM2 as a folder that `transformers` opens, a fresh adapter in PEFT's format, and
conversations of at most 512 tokens. `pretrain` writes a random Llama of ten million parameters and
rows of 513 tokens of books. Both sides take the rows in the order in which they stand.
"""

from __future__ import annotations

import gzip
import json
import os
import random
from pathlib import Path
from typing import Any

MODEL = "smollm2-135m-instruct"
LENGTH = 512
ROWS_PER_STEP = 8
RANK, ALPHA = 16, 32
VOCABULARY = 8192
# Llama's own shape: 10.2 million parameters with the embedding, which is the head too.
SHAPE = {
    "width": 320, "n_layers": 6, "n_heads": 5, "n_kv_heads": 5, "head_dim": 64, "mlp_width": 896,
    "context": 1024, "tied": True,
}  # fmt: skip


def data_folder() -> Path:
    where = os.environ.get("CHATWRIGHT_DATA")
    if not where:
        raise SystemExit("set CHATWRIGHT_DATA to the folder of shared data sets")
    return Path(where)


def conversations(limit: int | None = None) -> list[Any]:
    """The rows of alpaca_en_demo as conversations."""
    from chatwright.records import Conversation, Message, content_id

    path = data_folder() / "sft" / "alpaca_en_demo.json.gz"
    found = []
    for row in json.loads(gzip.decompress(path.read_bytes()))[:limit]:
        asked = f"{row['instruction']}\n{row['input']}" if row["input"] else row["instruction"]
        messages = [Message("user", asked), Message("assistant", row["output"])]
        name = content_id("alpaca_en_demo", asked + row["output"])
        found.append(Conversation(name, messages, f"file:{path}", "alpaca_en_demo"))
    return found


def books() -> list[str]:
    path = data_folder() / "pretrain" / "books_en.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line)["text"] for line in file]


def lora(folder: Path, steps: int) -> dict[str, Any]:
    """`steps` batches of eight conversations, drawn with a fixed seed."""
    import torch

    from chatwright.model import add_lora, load_model, save_model
    from chatwright.model.lora import save_adapter
    from chatwright.train.tokens import encode_conversation

    model, tokenizer = load_model(MODEL, dtype=torch.bfloat16)
    save_model(model, tokenizer, folder / "model")
    add_lora(model, RANK, ALPHA, seed=0)
    save_adapter(model, folder / "adapter", base=str(folder / "model"))
    encoded = [encode_conversation(row, tokenizer) for row in conversations()]
    short = [e for e in encoded if len(e.tokens) <= LENGTH]
    chosen = random.Random(0).sample(short, steps * ROWS_PER_STEP)
    rows = []
    for e in chosen:
        assert e.mask is not None
        labels = [t if learnt else -100 for t, learnt in zip(e.tokens, e.mask, strict=True)]
        rows.append({"input_ids": e.tokens, "labels": labels})
    (folder / "rows.json").write_text(json.dumps(rows))
    return {
        "conversations": len(rows),
        "left_out_as_too_long": len(encoded) - len(short),
        "tokens": sum(len(r["input_ids"]) for r in rows),
        "supervised": sum(label >= 0 for r in rows for label in r["labels"]),
    }


def pretrain(folder: Path, steps: int) -> dict[str, Any]:
    """`steps` batches of eight rows of 513 tokens: 512 of them are predicted."""
    from chatwright.model import ModelConfig, Transformer, save_model
    from chatwright.tokenizer import Tokenizer

    texts = books()
    tokenizer = Tokenizer.train([t[:60_000] for t in texts[:40]], VOCABULARY)
    model = Transformer.random(ModelConfig(vocab_size=tokenizer.vocab_size, **SHAPE), seed=0)
    save_model(model, tokenizer, folder / "model")
    size = LENGTH + 1
    needed = steps * ROWS_PER_STEP * size
    tokens: list[int] = []
    for ids in tokenizer.encode_many([t[:400_000] for t in texts[:40]]):
        tokens += ids
        if len(tokens) >= needed:
            break
    rows = [tokens[i : i + size] for i in range(0, needed, size)]
    random.Random(0).shuffle(rows)
    (folder / "rows.json").write_text(
        json.dumps([{"input_ids": r, "labels": [-100, *r[1:]]} for r in rows])
    )
    return {"parameters": model.config.n_parameters, "tokens": needed, "shape": SHAPE}
