"""What a row says as one text, whatever kind of row it is."""

from __future__ import annotations

from chatwright.records import Conversation, Document, Row


def row_text(row: Row) -> str:
    """A document's text, a conversation's messages, a preference's prompt and both answers."""
    if isinstance(row, Document):
        return row.text
    if isinstance(row, Conversation):
        return "\n".join(message.content for message in row.messages)
    return "\n".join([*(message.content for message in row.prompt), row.chosen, row.rejected])
