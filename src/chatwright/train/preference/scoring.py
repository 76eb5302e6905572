"""What a reward model thinks of an answer: its score at the answer's last token."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from chatwright.errors import ModelError
from chatwright.model import Transformer
from chatwright.records import Message
from chatwright.train.fused import fused_blocks
from chatwright.train.logprobs import packed_hidden
from chatwright.train.packing import Batch, make_batch
from chatwright.train.preference.pairs import encode_answer
from chatwright.train.preference.sharing import SHARED, pair_hidden
from chatwright.train.tokens import TextTokenizer

_TOKENS_AT_ONCE = 2048
_MULTIPLE = 128


def score_batch(model: Transformer, batch: Batch) -> Tensor:
    """The score at the last token of each sequence: float32 [S], not normalised; differentiable.

    The head's product is in float32 whatever the model's type. Raises `ModelError` for a model
    without such a head.
    """
    if model.score is None:
        raise ModelError(
            "this model has no reward head",
            hint="train one with `objective: reward`, or name a folder that holds one",
        )
    ends = batch.ends
    if SHARED in batch.extra:
        hidden = pair_hidden(model, batch)
    else:
        if model.dtype == torch.bfloat16 and model.device.type == "cpu":
            batch = batch.padded(_MULTIPLE)  # few shapes: oneDNN compiles code for each
        hidden = packed_hidden(model, batch)
    hidden = hidden[0, ends]
    return F.linear(hidden.float(), model.score.weight.float())[:, 0]


@torch.no_grad()
def score_sequences(
    model: Transformer,
    sequences: Sequence[Sequence[int]],
    *,
    tokens_at_once: int = _TOKENS_AT_ONCE,
    normalised: bool = True,
) -> Tensor:
    """Rewards of token sequences, read at the last token of each: float32 [S] on the CPU.

    A sequence is a prompt and an answer under the chat template; it should end with the answer's
    end-of-turn token, as those did that the model was trained on. One longer than the model's
    context loses tokens of its beginning. `normalised` shifts and scales them to mean 0 and
    deviation 1 over the training data (`ModelConfig.reward_mean`, `reward_std`). Sequences are
    packed, about `tokens_at_once` tokens at a time, and do not see each other. The model is used as
    it is: call `model.eval()` where it has dropout.
    """
    found = torch.empty(len(sequences))
    context = model.config.context
    # Equal lengths side by side go through attention together.
    order = sorted(range(len(sequences)), key=lambda i: (len(sequences[i]), i))
    groups: list[list[int]] = []
    room = 0
    for index in order:
        length = min(context, len(sequences[index]))
        if not length:
            raise ModelError("an empty sequence has no last token to read a score at")
        if not groups or length > room:
            groups.append([])
            room = tokens_at_once
        groups[-1].append(index)
        room -= length
    with fused_blocks(model):
        for group in groups:
            tokens = [np.asarray(sequences[i], np.int64)[-context:] for i in group]
            batch = make_batch([(ids, ids) for ids in tokens], ())
            found[group] = score_batch(model, batch.to(model.device)).cpu()
    if normalised:
        found = (found - model.config.reward_mean) / model.config.reward_std
    return found


def score_conversations(
    model: Transformer,
    tokenizer: TextTokenizer,
    conversations: Sequence[Sequence[Message]],
    *,
    tokens_at_once: int = _TOKENS_AT_ONCE,
    normalised: bool = True,
) -> np.ndarray:
    """Rewards of the last answer of each conversation: float32 [conversations].

    >>> model, tokenizer = load_model("align/reward")
    >>> chat = [Message("user", "Hi"), Message("assistant", "Hello! What can I do for you?")]
    >>> score_conversations(model, tokenizer, [chat])

    As `score_sequences`; the model is put into evaluation mode. Raises `DataError` for a
    conversation that does not end with an answer.
    """
    sequences = []
    for messages in conversations:
        prompt, answer = encode_answer(messages, tokenizer)
        sequences.append(prompt + answer)
    model.eval()
    return score_sequences(
        model, sequences, tokens_at_once=tokens_at_once, normalised=normalised
    ).numpy()
