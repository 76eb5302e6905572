"""Learning a byte-level BPE vocabulary."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import tokenizers
from tokenizers import AddedToken, models, pre_tokenizers, trainers

from chatwright.errors import DataError, UsageError
from chatwright.tokenizer.chat import CHATML, clean_text
from chatwright.tokenizer.gguf_tokenizer import added_token, bpe_spec
from chatwright.tokenizer.pretokenizers import QWEN2
from chatwright.tokenizer.spec import SpecialTokens

END_OF_TEXT, TURN_START, TURN_END, PAD = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"
SPECIAL = (END_OF_TEXT, TURN_START, TURN_END, PAD)
MIN_VOCAB = 256 + len(SPECIAL)
# Longer tokens are rules of a page's layout (a line of dashes), seldom words.
_MAX_TOKEN_CHARACTERS = 24
_PIECE = 20_000


def train_tokenizer(
    texts: Iterable[str], vocab_size: int, chat_template: str | None
) -> tuple[dict[str, Any], SpecialTokens, str]:
    """Specification, special tokens and chat template of a vocabulary learned from `texts`.

    Text is cut as Qwen2 does it: words with the space before them, digits one by one, Chinese in
    runs. Ids 0–3 are the special tokens, then the 256 bytes, then merges from the most frequent.
    """
    if vocab_size < MIN_VOCAB:
        raise UsageError(
            f"vocab_size must be at least {MIN_VOCAB} (256 bytes and {len(SPECIAL)} special "
            f"tokens), not {vocab_size}",
            where="vocab_size",
        )
    learner = tokenizers.Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(QWEN2), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        show_progress=False,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        max_token_length=_MAX_TOKEN_CHARACTERS,
    )
    seen = False

    def pieces() -> Iterable[str]:
        nonlocal seen
        for text in texts:
            seen = seen or bool(text.strip())
            # Special tokens in the text would be taken out of it and counted as themselves.
            for i in range(0, len(text), _PIECE):
                piece = clean_text(text[i : i + _PIECE])
                for token in SPECIAL:
                    piece = piece.replace(token, " ")
                yield piece

    learner.train_from_iterator(pieces(), trainer)
    if not seen:
        raise DataError("there is no text to learn a vocabulary from")
    learned = json.loads(learner.to_str())["model"]
    added = [added_token(token, i, special=True) for i, token in enumerate(SPECIAL)]
    spec = bpe_spec(learned["vocab"], learned["merges"], added, "qwen2")
    spec["normalizer"] = None  # curation normalises; what goes in must come out
    special = SpecialTokens(eos=TURN_END, pad=PAD, other_ends=(END_OF_TEXT,))
    return spec, special, chat_template or CHATML
