"""A tokenizer as the metadata of a GGUF file (`tokenizer.ggml.*`), as llama.cpp reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from chatwright.errors import ModelError
from chatwright.tokenizer.gguf_tokenizer import NORMALISES
from chatwright.tokenizer.pretokenizers import NFC, PRETOKENIZERS

if TYPE_CHECKING:
    from chatwright.tokenizer.tokenizer import Tokenizer

# llama.cpp's token types.
_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED = 1, 3, 4, 5


def tokenizer_metadata(tokenizer: Tokenizer, vocab_size: int) -> dict[str, Any]:
    """Keys and values for `tokenizer`, with as many tokens as the embedding has rows.

    Rows that the vocabulary has no token for become unused tokens (`[PAD7]`). BOS is never added
    to a text by itself: as everywhere in Chatwright, the chat template alone puts it in. Raises
    `ModelError` for a tokenizer that llama.cpp could not follow.
    """
    spec = tokenizer.spec
    names, types = _tokens(spec, vocab_size)
    pre = pretokenizer_name(spec)
    metadata: dict[str, Any] = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": names,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": _merges(spec),
    }
    if pre in NFC and spec.get("normalizer") is None:
        metadata[NORMALISES] = False
    special = tokenizer.special
    # A file that names no end makes llama.cpp take token 11 for it.
    end = special.eos if special.eos is not None else _text_end(tokenizer, names)
    parts = {
        "bos": special.bos,
        "eos": end,
        "unknown": special.unk,
        "padding": special.pad,
        **_other_ends(special.other_ends, end),
    }
    ids = {name: i for i, name in enumerate(names)}
    for part, token in parts.items():
        if token is not None and token in ids:
            metadata[f"tokenizer.ggml.{part}_token_id"] = ids[token]
    metadata["tokenizer.ggml.add_bos_token"] = False
    metadata["tokenizer.ggml.add_eos_token"] = False
    metadata["tokenizer.ggml.add_space_prefix"] = False
    if tokenizer.chat_template is not None:
        metadata["tokenizer.chat_template"] = tokenizer.chat_template
    return metadata


def pretokenizer_name(spec: Mapping[str, Any]) -> str:
    """llama.cpp's name of the way in which a `tokenizer.json` cuts text before merging.

    Raises `ModelError` for one that it has no name for: it would cut text in another way.
    """
    wanted = _plain(spec.get("pre_tokenizer"))
    for name, known in PRETOKENIZERS.items():
        if _plain(known) == wanted:
            return name
    raise ModelError(
        "this tokenizer cuts text in a way that GGUF has no name for",
        where="tokenizer.json: pre_tokenizer",
        hint=f"known: {', '.join(PRETOKENIZERS)}; export as hf instead",
    )


def _plain(part: Any) -> Any:
    """A pre-tokenizer without what changes nothing about where it cuts."""
    if not isinstance(part, dict):
        return part
    if part.get("type") == "Sequence":
        parts = [_plain(inner) for inner in part.get("pretokenizers") or []]
        return parts[0] if len(parts) == 1 else parts
    kept = {key: value for key, value in part.items() if key != "trim_offsets"}
    if kept.get("type") == "ByteLevel":
        kept.setdefault("use_regex", True)
    if kept.get("type") == "Split":
        kept.setdefault("invert", False)
        # "Removed" with "invert" keeps what matches; the patterns here match everything.
        if kept["invert"] and kept.get("behavior") == "Removed":
            kept |= {"behavior": "Isolated", "invert": False}
    return kept


def _tokens(spec: Mapping[str, Any], vocab_size: int) -> tuple[list[str], list[int]]:
    """Text and type of each id from 0 to `vocab_size` − 1."""
    names = [f"[PAD{i}]" for i in range(vocab_size)]
    types = [_UNUSED] * vocab_size
    for token, i in spec["model"]["vocab"].items():
        names[_inside(i, vocab_size)], types[i] = token, _NORMAL
    for added in spec.get("added_tokens") or []:
        i = _inside(added["id"], vocab_size)
        names[i] = added["content"]
        types[i] = _CONTROL if added.get("special") else _USER_DEFINED
    return names, types


def _inside(index: int, vocab_size: int) -> int:
    if index >= vocab_size:
        raise ModelError(
            f"the tokenizer has a token {index} and the model only {vocab_size}",
            where="tokenizer.json",
            hint="tokenizer and weights are not of one model",
        )
    return index


def _merges(spec: Mapping[str, Any]) -> list[str]:
    """`left right` for each merge; older files write them so, newer ones as pairs."""
    merges = [m if isinstance(m, str) else " ".join(m) for m in spec["model"].get("merges") or []]
    for i, merge in enumerate(merges):
        if merge.count(" ") != 1:
            raise ModelError(
                f"merge {i} ({merge!r}) is not two tokens without a space",
                where="tokenizer.json: merges",
            )
    return merges


def _text_end(tokenizer: Tokenizer, names: list[str]) -> str | None:
    end = tokenizer.end_of_text_id
    return None if end is None else names[end]


def _other_ends(ends: tuple[str, ...], eos: str | None) -> dict[str, str]:
    """Which further ends go under `eot` and `eom`, the two names that there are.

    llama.cpp also knows the usual ones (`<|im_end|>`, `<|endoftext|>`, …) by their text.
    """
    rest = sorted(set(ends) - {eos})
    named = {"eot": "<|eot_id|>", "eom": "<|eom_id|>"}
    parts = {part: token for part, token in named.items() if token in rest}
    free = [part for part in named if part not in parts]
    parts |= dict(zip(free, (t for t in rest if t not in parts.values()), strict=False))
    return parts
