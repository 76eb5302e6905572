"""Answers of the page: begun, written whether or not anybody listens, followed, stopped, kept."""

from chatwright.serve.runs.routes import runs_router
from chatwright.serve.runs.service import RunService

__all__ = ["RunService", "runs_router"]
