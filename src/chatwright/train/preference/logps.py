"""The log-probability of each answer of a batch: the sum over its tokens."""

from __future__ import annotations

from torch import Tensor

from chatwright.model.transformer import Transformer
from chatwright.train.logprobs import log_probs_of_hidden
from chatwright.train.packing import IGNORED, Batch
from chatwright.train.preference.sharing import pair_hidden


def answer_log_probs(model: Transformer, batch: Batch) -> tuple[Tensor, Tensor]:
    """Log π(answer | prompt) in nats, float32 [S], and the number of tokens of each answer, [S].

    Summed over the tokens that `batch.targets` names, the end of turn among them; differentiable.
    """
    log_probs, _ = log_probs_of_hidden(model, pair_hidden(model, batch), batch)
    segments = batch.segment_ids[0]
    zeros = log_probs.new_zeros(len(batch.lengths))
    learnt = (batch.targets[0] != IGNORED).to(log_probs.dtype)
    return zeros.index_add(0, segments, log_probs[0]), zeros.index_add(0, segments, learnt)
