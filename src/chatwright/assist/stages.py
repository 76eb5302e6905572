"""What a recipe can ask of this room."""

from __future__ import annotations

from chatwright.assist.describe import AssistantStageSettings, run_assistant
from chatwright.assist.knowledge import KnowledgeSettings, run_knowledge
from chatwright.stage import StageKind

STAGES: list[StageKind] = [
    StageKind("knowledge", KnowledgeSettings, run_knowledge, "datasets"),
    StageKind("assistant", AssistantStageSettings, run_assistant, "assistants"),
]
