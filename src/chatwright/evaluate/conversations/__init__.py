"""Analytics of served conversations, of those whose people agreed to it."""

from chatwright.evaluate.conversations.analysis import analyse
from chatwright.evaluate.conversations.comparing import Comparison, NotCompared, compare_versions
from chatwright.evaluate.conversations.facts import ConversationFacts, TurnFacts, read_facts
from chatwright.evaluate.conversations.figures import MEASURES, Measure
from chatwright.evaluate.conversations.measured import Measured, measure
from chatwright.evaluate.conversations.reading import read_conversations
from chatwright.evaluate.conversations.report import ConversationReport, Group, Period

__all__ = [
    "MEASURES",
    "Comparison",
    "ConversationFacts",
    "ConversationReport",
    "Group",
    "Measure",
    "Measured",
    "NotCompared",
    "Period",
    "TurnFacts",
    "analyse",
    "compare_versions",
    "measure",
    "read_conversations",
    "read_facts",
]
