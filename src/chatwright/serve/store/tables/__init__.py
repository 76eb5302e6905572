"""Every table of the service. What people wrote is in `sealed_…` columns, under their own key."""

from __future__ import annotations

from chatwright.serve.store.tables.base import ID, Moment, Table, now
from chatwright.serve.store.tables.chats import (
    Chat,
    ChatMessage,
    ConversationTag,
    Folder,
    Persona,
    SearchTerms,
    Share,
    Tag,
)
from chatwright.serve.store.tables.knowledge import (
    Collection,
    CollectionFile,
    StoredFile,
    StoredPassage,
)
from chatwright.serve.store.tables.opinions import Feedback, Moderated, SideBySide
from chatwright.serve.store.tables.people import (
    ApiKey,
    Invitation,
    Memory,
    OutsideIdentity,
    Person,
    RecoveryCode,
    SignIn,
)
from chatwright.serve.store.tables.running import Job, JobEvent, Run, Usage
from chatwright.serve.store.tables.server import Attempt, AuditEntry, Key, ServerValue

__all__ = [
    "ID",
    "ApiKey",
    "Attempt",
    "AuditEntry",
    "Chat",
    "ChatMessage",
    "Collection",
    "CollectionFile",
    "ConversationTag",
    "Feedback",
    "Folder",
    "Invitation",
    "Job",
    "JobEvent",
    "Key",
    "Memory",
    "Moderated",
    "Moment",
    "OutsideIdentity",
    "Person",
    "Persona",
    "RecoveryCode",
    "Run",
    "SearchTerms",
    "ServerValue",
    "Share",
    "SideBySide",
    "SignIn",
    "StoredFile",
    "StoredPassage",
    "Table",
    "Tag",
    "Usage",
    "now",
]
