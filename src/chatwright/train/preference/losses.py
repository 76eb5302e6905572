"""The losses on pairs of answers, as arithmetic on their scores: one number for each pair."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from chatwright.train.preference.settings import PairLoss


def bradley_terry(
    chosen: Tensor, rejected: Tensor, margin: Tensor | None = None, center: float = 0.0
) -> Tensor:
    """−log σ(chosen − rejected − margin) + center · (chosen + rejected)², for rewards [P].

    Bradley and Terry 1952, as Ouyang et al. 2022 use it; the margin as in Touvron et al. 2023, the
    square, which pins the level that differences leave open, as in Eisenstein et al. 2023.
    """
    difference = chosen - rejected
    if margin is not None:
        difference = difference - margin
    loss = -F.logsigmoid(difference)
    return loss + center * (chosen + rejected).square() if center else loss


def direct_preference(
    chosen: Tensor,
    rejected: Tensor,
    *,
    beta: float,
    loss: PairLoss = "sigmoid",
    label_smoothing: float = 0.0,
    lengths: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """The loss of each pair from its answers' log-ratios log π(y|x) − log π_ref(y|x), [P].

    `sigmoid`: −(1 − ε) log σ(βd) − ε log σ(−βd) for the difference d of the two log-ratios and the
    label smoothing ε (Rafailov et al. 2023, equation 7; Mitchell 2023). `ipo`: (d − 1/(2β))², where
    each log-ratio is divided by its answer's number of tokens (`lengths`, chosen and rejected), so
    that long answers do not weigh more (Azar et al. 2023, equation 17; the paper's sums are over
    sequences; the mean per token is what its authors computed, and what TRL does).
    """
    if loss == "ipo":
        if lengths is None:
            raise ValueError("ipo needs the answers' lengths")
        difference = chosen / lengths[0] - rejected / lengths[1]
        return (difference - 1 / (2 * beta)).square()
    logits = beta * (chosen - rejected)
    kept = -(1 - label_smoothing) * F.logsigmoid(logits)
    return kept - label_smoothing * F.logsigmoid(-logits) if label_smoothing else kept
