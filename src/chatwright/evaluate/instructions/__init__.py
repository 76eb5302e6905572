"""Instructions whose following a program can verify: IFEval's 25 and some for Chinese."""

from chatwright.evaluate.instructions.scoring import (
    Followed,
    InstructionPrompt,
    InstructionScores,
    check,
    follow,
    instruction_ids,
    instruction_prompt,
    read_instructions,
    score,
)

__all__ = [
    "Followed",
    "InstructionPrompt",
    "InstructionScores",
    "check",
    "follow",
    "instruction_ids",
    "instruction_prompt",
    "read_instructions",
    "score",
]
