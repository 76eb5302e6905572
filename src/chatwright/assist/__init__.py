"""What makes a model an assistant: knowledge, prompts that fit, answers that cite.

Names are imported when they are first used: a list of assistants does not pay for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chatwright.assist.answer import (
        Answer,
        Assistant,
        AssistantSettings,
        Citation,
        Prepared,
        search_query,
    )
    from chatwright.assist.describe import Description
    from chatwright.assist.knowledge import Knowledge
    from chatwright.assist.load import list_assistants, load_assistant
    from chatwright.assist.stages import STAGES

_HOMES = {
    "Answer": "answer",
    "Assistant": "answer",
    "AssistantSettings": "answer",
    "Citation": "answer",
    "Prepared": "answer",
    "search_query": "answer",
    "Description": "describe",
    "Knowledge": "knowledge",
    "list_assistants": "load",
    "load_assistant": "load",
    "STAGES": "stages",
}

__all__ = [
    "STAGES",
    "Answer",
    "Assistant",
    "AssistantSettings",
    "Citation",
    "Description",
    "Knowledge",
    "Prepared",
    "list_assistants",
    "load_assistant",
    "search_query",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
