"""What the processes of `test_workers.py` are made of: a scripted engine, the usual service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI

from chat_server import ScriptedEngine, scripted
from chatwright.serve import Limits, Registry, create_app
from chatwright.serve.service import ServeOptions
from chatwright.serve.store import open_store


def make_registry(settings: dict[str, Any]) -> Registry:
    """One assistant that says `settings["text"]`."""
    engine = ScriptedEngine(lambda _: str(settings["text"]), seconds=settings["seconds"])
    registry, _ = scripted(engine, Path(settings["knowledge"]))
    return registry


def make_app(registry: Registry, settings: dict[str, Any], worker: str) -> FastAPI:
    """The service of a worker."""
    app = create_app(
        registry,
        limits=Limits(stall_seconds=2),
        store=open_store(None, folder=Path(settings["folder"])),
        options=ServeOptions(worker=worker),
    )
    app.state.service.moderator = None
    return app
