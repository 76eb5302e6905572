"""What a person may say about learning from pairs of answers."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from chatwright.stage import Settings

PAIRS_PER_STEP = 16
REWARD_LORA_RATE = 5e-4
REWARD_FULL_RATE = 3e-5
DPO_LORA_RATE = 1e-4
DPO_FULL_RATE = 5e-6
# Validation goes through the held-out pairs up to here unless the settings say another number.
HELD_OUT_SHARE = 0.1

PairLoss = Literal["sigmoid", "ipo"]


class PreferenceSettings(Settings):
    """Settings of the objectives `reward` and `dpo`.

    Which pairs: a prompt's first user turn is hashed to a place in [0, 1); only pairs whose place
    is in the range `prompts` are used, and of that range the last `held_out` share is kept for
    validation (a tenth when None and no validation data are named, else none). So no conversation
    is on both sides, whatever the seed, and two models can be trained on halves that share none:
    `prompts: [0, 0.5]` and `prompts: [0.5, 1]`.

    `reward`: `margin` takes each row's `meta.margin` into the loss (Touvron et al. 2023, Llama 2);
    `center` is the weight of (chosen + rejected)², which keeps rewards near 0 (Eisenstein et al.
    2023). After training, rewards are shifted and scaled to mean 0 and deviation 1 over both
    answers of `normalise_pairs` pairs of the training data (0: left as they are).

    `dpo`: `beta` is how dearly leaving the reference is paid; `loss` is Rafailov et al. 2023's
    (`sigmoid`) or Azar et al. 2023's (`ipo`); `label_smoothing` is the share of pairs that may be
    the wrong way round (Mitchell 2023); `sft_weight` adds that much of the chosen answer's
    cross-entropy per token (Pang et al. 2024).
    """

    prompts: tuple[float, float] = (0.0, 1.0)
    held_out: float | None = Field(default=None, ge=0, lt=1)

    margin: bool = False
    center: float = Field(default=0.0, ge=0)
    normalise_pairs: int = Field(default=256, ge=0)

    beta: float = Field(default=0.1, gt=0)
    loss: PairLoss = "sigmoid"
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    sft_weight: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        low, high = self.prompts
        if not 0 <= low < high <= 1:
            raise ValueError(f"prompts: [{low:g}, {high:g}] is no range within [0, 1]")
        if self.loss == "ipo" and self.label_smoothing:
            raise ValueError("label_smoothing is for the sigmoid loss; ipo has none")
        return self
