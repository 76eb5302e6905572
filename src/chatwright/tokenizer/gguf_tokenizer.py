"""The tokenizer inside a GGUF file, as the content of a `tokenizer.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chatwright.errors import ModelError
from chatwright.tokenizer.gguf_file import GGUFFile
from chatwright.tokenizer.pretokenizers import (
    ALIASES,
    NFC,
    PRETOKENIZERS,
    WHOLE_WORDS,
    byte_level,
)
from chatwright.tokenizer.spec import SpecialTokens

# Ours: False where the text is not brought to composed characters first, as `pre` would have it.
# (llama.cpp never does that.)
NORMALISES = "chatwright.tokenizer.normalises"
_CONTROL, _USER_DEFINED, _UNUSED = 3, 4, 5


def bpe_spec(
    vocab: dict[str, int],
    merges: list[list[str]],
    added: list[dict[str, Any]],
    pre: str,
) -> dict[str, Any]:
    """A `tokenizer.json` of byte-level BPE that cuts text as `pre` says."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "NFC"} if pre in NFC else None,
        "pre_tokenizer": PRETOKENIZERS[pre],
        "post_processor": None,
        "decoder": byte_level(use_regex=True),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": pre in WHOLE_WORDS,
            "vocab": vocab,
            "merges": merges,
        },
    }


def added_token(token: str, token_id: int, special: bool) -> dict[str, Any]:
    """One entry of `added_tokens`: found wherever it stands, white space beside it kept."""
    return {
        "id": token_id,
        "content": token,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": special,
    }


def read_tokenizer(path: Path) -> tuple[dict[str, Any], SpecialTokens, str | None]:
    """Specification, special tokens and chat template. Raises `ModelError`."""
    return tokenizer_of(GGUFFile.open(path))


def tokenizer_of(file: GGUFFile) -> tuple[dict[str, Any], SpecialTokens, str | None]:
    """As `read_tokenizer`, of a file whose header has been read."""
    where = f"{file.path}: metadata"
    kind = file.get("tokenizer.ggml.model", str)
    if kind != "gpt2":
        raise ModelError(
            f"a tokenizer of type {kind!r} is not supported",
            where=where,
            hint="byte-level BPE ('gpt2') is: the GPT-2, Llama 3, Qwen and SmolLM families",
        )
    pre = file.get("tokenizer.ggml.pre", str, "default")
    pre = ALIASES.get(pre, pre)
    if pre not in PRETOKENIZERS:
        raise ModelError(
            f"the pre-tokenizer {pre!r} is not known, so text would be cut wrongly",
            where=where,
            hint=f"known: {', '.join(sorted(PRETOKENIZERS))}",
        )
    tokens = _list_of(file, "tokenizer.ggml.tokens", str)
    types = _list_of(file, "tokenizer.ggml.token_type", int)
    merges = [m.split(" ") for m in _list_of(file, "tokenizer.ggml.merges", str)]
    if len(types) != len(tokens):
        raise ModelError(f"{len(tokens)} tokens and {len(types)} token types", where=where)
    if any(len(pair) != 2 for pair in merges):
        raise ModelError("a merge is not two tokens", where=where)
    # Unused ids only fill the embedding's rows: no text ever becomes one.
    vocab = {token: i for i, token in enumerate(tokens) if types[i] != _UNUSED}
    added = [
        added_token(token, i, types[i] == _CONTROL)
        for i, token in enumerate(tokens)
        if types[i] in (_CONTROL, _USER_DEFINED)
    ]

    def named(part: str) -> str | None:
        i = file.get(f"tokenizer.ggml.{part}_token_id", int, None)
        return tokens[i] if i is not None and 0 <= i < len(tokens) else None

    control = {a["content"] for a in added if a["special"]}
    eos, bos = named("eos"), named("bos")
    special = SpecialTokens(
        eos=eos if eos in control else None,
        bos=bos if bos in control else None,
        pad=named("padding"),
        unk=named("unknown"),
        other_ends=tuple(sorted({t for t in (named("eot"), named("eom")) if t})),
    )
    template = file.get("tokenizer.chat_template", str, None)
    spec = bpe_spec(vocab, merges, added, pre)
    if not file.get(NORMALISES, bool, True):
        spec["normalizer"] = None
    return spec, special, template


def _list_of(file: GGUFFile, key: str, kind: type) -> list[Any]:
    values = file.get(key, list)
    if not all(type(value) is kind for value in values):
        raise ModelError(f"{key!r} holds something else", where=f"{file.path}: metadata")
    return list(values)
