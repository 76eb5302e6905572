"""The HTTP service: an OpenAI-compatible API and the chat page."""

from chatwright.serve.app import create_app
from chatwright.serve.limits import Limits
from chatwright.serve.registry import Registry, Served, workspace_registry

__all__ = ["Limits", "Registry", "Served", "create_app", "workspace_registry"]
