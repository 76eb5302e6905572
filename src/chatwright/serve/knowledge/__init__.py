"""Knowledge that people bring: collections, attachments, files of the API, embeddings."""

from __future__ import annotations

from fastapi import APIRouter

from chatwright.serve.knowledge.api_embeddings import embeddings_router
from chatwright.serve.knowledge.api_files import files_router
from chatwright.serve.knowledge.attachments import attachments_router
from chatwright.serve.knowledge.collections import Collections, make_collections
from chatwright.serve.knowledge.limits import KnowledgeLimits
from chatwright.serve.knowledge.routes import collections_router

__all__ = [
    "Collections",
    "KnowledgeLimits",
    "knowledge_routers",
    "make_collections",
]


def knowledge_routers() -> list[APIRouter]:
    """All routes of this part, for `create_app`."""
    return [collections_router(), attachments_router(), files_router(), embeddings_router()]
