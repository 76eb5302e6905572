"""How text is cut before merging, by the name that GGUF gives each way (`tokenizer.ggml.pre`)."""

from __future__ import annotations

from typing import Any

# The patterns are each model family's own, as in their tokenizer.json and in llama.cpp.
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_MODERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{digits}"
    r"| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = _MODERN.format(digits="")
LLAMA3 = _MODERN.format(digits="{1,3}")


def byte_level(use_regex: bool) -> dict[str, Any]:
    """Bytes as characters; with `use_regex` it also cuts as GPT-2 does."""
    return {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": use_regex,
    }


def split(pattern: str) -> dict[str, Any]:
    """Cut so that each match, and each stretch between matches, is a piece."""
    return {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": "Isolated",
        "invert": False,
    }


def sequence(*parts: dict[str, Any]) -> dict[str, Any]:
    """Each part cuts what the one before left."""
    return {"type": "Sequence", "pretokenizers": list(parts)}


_DIGIT_BY_DIGIT = sequence(
    {"type": "Digits", "individual_digits": True}, byte_level(use_regex=True)
)

PRETOKENIZERS: dict[str, dict[str, Any]] = {
    "gpt-2": byte_level(use_regex=True),
    "smollm": _DIGIT_BY_DIGIT,
    "llama-bpe": sequence(split(LLAMA3), byte_level(use_regex=False)),
    "qwen2": sequence(split(QWEN2), byte_level(use_regex=False)),
    "default": sequence(
        split(r"[\p{P}\$\+<=>\^~\|]+"),
        split(_GPT2),
        split(r"\p{N}+"),
        split(r"[0-9][0-9][0-9]"),
        byte_level(use_regex=False),
    ),
}
# Names that mean one of the above.
ALIASES = {
    "llama3": "llama-bpe",
    "llama-v3": "llama-bpe",
    "starcoder": "smollm",
    "refact": "smollm",
    "phi-2": "gpt-2",
    "mpt": "gpt-2",
    "olmo": "gpt-2",
    "stablelm2": "qwen2",
    "deepseek-r1-qwen": "qwen2",
}
# Families whose tokenizer.json normalises to composed characters first, or takes a whole word that
# is in the vocabulary without merging it.
NFC = frozenset({"qwen2"})
WHOLE_WORDS = frozenset({"llama-bpe"})
