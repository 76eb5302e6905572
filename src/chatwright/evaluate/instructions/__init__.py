"""Instructions whose following a program can verify: IFEval's 25 and some for Chinese."""

from chatwright.evaluate.instructions.scoring import (
    Followed,
    InstructionPrompt,
    check,
    follow,
    instruction_ids,
    instruction_prompt,
)

__all__ = [
    "Followed",
    "InstructionPrompt",
    "check",
    "follow",
    "instruction_ids",
    "instruction_prompt",
]
