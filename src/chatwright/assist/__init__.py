"""What makes a model an assistant: knowledge, prompts that fit, answers that cite.

Names are imported when they are first used: a list of assistants does not pay for torch.
"""

from typing import TYPE_CHECKING

from chatwright.lazy import lazy_names

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
    "Answer": ".answer",
    "Assistant": ".answer",
    "AssistantSettings": ".answer",
    "Citation": ".answer",
    "Prepared": ".answer",
    "search_query": ".answer",
    "Description": ".describe",
    "Knowledge": ".knowledge",
    "list_assistants": ".load",
    "load_assistant": ".load",
    "STAGES": ".stages",
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

__getattr__ = lazy_names(__name__, _HOMES)
