"""What a person may say about distillation: whose texts, which divergence, how much of it."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from chatwright.stage import Settings


class DistilSettings(Settings):
    """`objective: distil`: a student learns the probabilities of a teacher, not one token.

    `on` says whose texts both read: "data", the dataset's own (Hinton et al. 2015); "teacher", the
    teacher's answers to the dataset's prompts, made once (Kim and Rush 2016); "student", the
    student's own answers, made anew every step, which the teacher weighs (Agarwal et al. 2024,
    GKD). The latter two take conversations; the assistant's last turn is what is answered anew.

    The loss per token is share · T² · KL + (1 − share) · cross-entropy. `temperature` T softens
    both distributions. `divergence` "forward" is KL(teacher ‖ student), which covers all that the
    teacher may say; "reverse" is KL(student ‖ teacher), which keeps to what it says most. `share`
    is 0.5 where nothing is said, and 1 on the student's own texts, whose tokens nobody vouches for;
    0 on the teacher's texts is Kim and Rush's method as published.

    `max_tokens` ends a sampled answer (one that is cut there is taken as it is on the student's
    side, left out on the teacher's), `sampling_temperature` 0 makes it the likeliest one. `prompts`
    is how many the student answers in a step (default: what fits into the step's tokens).
    """

    on: Literal["data", "teacher", "student"] = "data"
    temperature: float = Field(default=2.0, gt=0)
    share: float | None = Field(default=None, ge=0, le=1)
    divergence: Literal["forward", "reverse"] = "forward"
    max_tokens: int = Field(default=256, ge=1)
    sampling_temperature: float = Field(default=1.0, ge=0)
    prompts: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.on == "student" and self.share not in (None, 1.0):
            raise ValueError(
                "on the student's own texts there is nothing but the teacher to learn from: "
                "leave `share` out, or set it to 1"
            )
        return self

    @property
    def teacher_share(self) -> float:
        """`share`, or what stands for it."""
        if self.share is not None:
            return self.share
        return 1.0 if self.on == "student" else 0.5
