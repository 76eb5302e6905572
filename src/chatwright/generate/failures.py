"""What a request is told when something broke."""

from __future__ import annotations

from chatwright.errors import ChatwrightError, ModelError
from chatwright.generate.group import Group


def not_a_number(group: Group) -> ModelError:
    """The error of a group whose logits are NaN or infinite."""
    longest = max((len(sequence.tokens) for sequence in group.sequences), default=0)
    return ModelError(
        f"the model gave no usable number for the next token of request {group.number} (after "
        f"{longest} tokens): its output is NaN or infinite",
        hint="the weights are damaged, or training diverged; load another checkpoint, or use "
        "float32",
    )


def engine_error(error: BaseException) -> Exception:
    """An error for one request: exceptions are raised in its reader's thread, so never shared."""
    if isinstance(error, ChatwrightError):
        copy: ChatwrightError = type(error)(error.message, where=error.where, hint=error.hint)
    elif isinstance(error, MemoryError) or "alloc" in str(error):
        copy = ChatwrightError(
            f"out of memory while generating: {error}", hint="use a smaller max_batch or context"
        )
    else:
        copy = ChatwrightError(f"the engine failed: {type(error).__name__}: {error}")
    copy.__cause__ = error
    return copy
