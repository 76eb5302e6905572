"""A checkpoint folder that `transformers`, vLLM and llama.cpp's converter open as it is."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from chatwright.errors import ModelError
from chatwright.model.compact import stored_config, stored_state
from chatwright.model.lora import lora_parameters
from chatwright.model.transformer import Transformer
from chatwright.model.weights import HEADS
from chatwright.records import atomic_folder, disk_errors
from chatwright.tokenizer import Tokenizer
from chatwright.tokenizer.files import read_json_object


def save_model(
    model: Transformer,
    tokenizer: Tokenizer,
    folder: str | os.PathLike[str],
    *,
    card: str | None = None,
    lineage: dict[str, Any] | None = None,
) -> Path:
    """Write `folder` whole or not at all; what stood there is replaced.

    `config.json`, `model.safetensors`, `tokenizer.json`, `tokenizer_config.json` and
    `generation_config.json`; `README.md` from `card` and `lineage.json` from `lineage` where given.
    Weights keep the model's type, and what layers share is stored once (`model.compact`). A model
    with a `score` head is written as a sequence classifier with one label, a reward model. Raises
    `ModelError` while LoRA adapters are not merged.
    """
    target = Path(folder)
    if lora_parameters(model):
        raise ModelError(
            "the model has LoRA adapters that are not merged",
            hint="call merge_lora(model) first, or save_adapter(model, folder)",
        )
    weights = {
        (name if name.startswith(HEADS) else f"model.{name}"): weight.detach().cpu().contiguous()
        for name, weight in stored_state(model).items()
    }
    specials = _special_ids(tokenizer)
    padding: int | None = None
    if model.score is not None and specials["pad_token_id"] is None:
        specials["pad_token_id"] = padding = _padding_for_classifier(tokenizer)
    config = stored_config(model) | specials | {"dtype": str(model.dtype).removeprefix("torch.")}
    generation = {"_from_model_config": False, **specials}
    with disk_errors(target), atomic_folder(target) as partial:
        save_file(weights, partial / "model.safetensors", metadata={"format": "pt"})
        _write_json(partial / "config.json", config)
        _write_json(partial / "generation_config.json", generation)
        tokenizer.save(partial)
        if padding is not None:
            name = partial / "tokenizer_config.json"
            named = {"pad_token": tokenizer.token_bytes(padding).decode()}
            _write_json(name, read_json_object(name) | named)
        if card is not None:
            (partial / "README.md").write_text(card, encoding="utf-8")
        if lineage is not None:
            _write_json(partial / "lineage.json", lineage)
    return target


def _special_ids(tokenizer: Tokenizer) -> dict[str, Any]:
    """The ids that `transformers` reads: all ends of a turn, the main one first."""
    ends = sorted(tokenizer.eos_ids, key=lambda i: (i != tokenizer.eos_id, i))
    return {
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": ends if len(ends) > 1 else next(iter(ends), None),
        "pad_token_id": tokenizer.pad_id,
    }


def _padding_for_classifier(tokenizer: Tokenizer) -> int | None:
    """A token that no answer ends with, where the tokenizer names none that could pad.

    `transformers` reads a classifier's score at the last token that is not padding, so the token
    that ends an answer cannot be it.
    """
    candidates = [tokenizer.end_of_text_id, *sorted(tokenizer.special_ids)]
    return next((i for i in candidates if i is not None and i != tokenizer.eos_id), None)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
