"""Log-probabilities of the tokens of a batch, without ever holding all logits."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from chatwright.model.transformer import Transformer
from chatwright.train.attention import PackedAttention
from chatwright.train.packing import IGNORED, Batch

# About this many logits are in memory at once (64 MB of float32), but not fewer tokens than fill a
# matrix unit; the count is rounded, since oneDNN compiles code for each new shape.
_LOGITS_AT_ONCE = 1 << 24
_MULTIPLE = 32


def packed_hidden(model: Transformer, batch: Batch) -> Tensor:
    """Final hidden states [1, N, C] of a batch whose sequences do not see each other."""
    return model.hidden(batch.tokens, batch.positions, PackedAttention(batch.lengths, model.config))


def token_log_probs(
    model: Transformer, batch: Batch, temperature: float = 1.0, *, entropy: bool = False
) -> tuple[Tensor, Tensor | None]:
    """The log-probability of each target, float32 [1, N] (0 where it is `IGNORED`), in nats.

    The distribution is that of the logits divided by `temperature`, over the whole vocabulary.
    With `entropy` also its entropy at each of these positions, [1, N]. Differentiable; logits are
    computed a few hundred tokens at a time, and again in the backward pass.
    """
    return log_probs_of_hidden(
        model, packed_hidden(model, batch), batch, temperature, entropy=entropy
    )


def log_probs_of_hidden(
    model: Transformer,
    hidden: Tensor,
    batch: Batch,
    temperature: float = 1.0,
    *,
    entropy: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """`token_log_probs` from hidden states [1, N, C] that are there already."""
    learnt = batch.targets != IGNORED
    states, targets = hidden[learnt], batch.targets[learnt]
    count = len(targets)
    # Zeros after the end are picked off again; they keep the shapes few.
    more = -count % _MULTIPLE
    states, targets = F.pad(states, (0, 0, 0, more)), F.pad(targets, (0, more))
    at_once = max(128, _LOGITS_AT_ONCE // len(model.head_weight))
    at_once -= at_once % _MULTIPLE
    parts, entropies = [], []
    for start in range(0, len(targets), at_once):
        part = slice(start, start + at_once)
        arguments = (states[part], model.head_weight, targets[part], temperature, entropy)
        if torch.is_grad_enabled():
            found, spread = checkpoint(_log_probs, *arguments, use_reentrant=False)
        else:
            found, spread = _log_probs(*arguments)
        parts.append(found)
        entropies.append(spread)
    where = learnt[0].nonzero()[:, 0]
    out = hidden.new_zeros(batch.targets.shape[1], dtype=torch.float32)
    if not count:
        return out[None], out[None] if entropy else None
    log_probs = out.index_put((where,), torch.cat(parts)[:count])[None]
    if not entropy:
        return log_probs, None
    return log_probs, out.index_put((where,), torch.cat(entropies)[:count])[None]


def _log_probs(
    states: Tensor, head: Tensor, targets: Tensor, temperature: float, entropy: bool
) -> tuple[Tensor, Tensor]:
    logits = F.linear(states, head).float()
    if temperature != 1.0:
        logits = logits / temperature
    normaliser = torch.logsumexp(logits, dim=-1)
    found = logits.gather(1, targets[:, None])[:, 0] - normaliser
    if not entropy:
        return found, found.new_zeros(())
    likely = torch.exp(logits - normaliser[:, None])
    return found, normaliser - (likely * logits).sum(-1)
