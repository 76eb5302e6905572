"""The page's routes for personas and memories."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy.orm import Session

from chatwright.serve.access import Role, allow, identity
from chatwright.serve.bodies import body_schema, read_json
from chatwright.serve.history import memories, personas
from chatwright.serve.history.shapes import MemoryIn, PersonaIn, PersonaPatch
from chatwright.serve.parameters import PathId
from chatwright.serve.service import service_of


def personal_router() -> APIRouter:
    """Personas and memories; included by `history_router`."""
    router = APIRouter()
    _add_personas(router)
    _add_memories(router)
    return router


def _add_personas(router: APIRouter) -> None:
    own = [allow(Role.user, scope="chat")]

    @router.get("/personas", dependencies=own)
    async def list_personas(request: Request) -> dict[str, Any]:
        """One's own personas, and those that are shared by all."""
        service, who = service_of(request), identity(request)
        keys = service.store.keys
        return {"data": await service.store.read(personas.list_personas, keys, who.person_id)}

    @router.post(
        "/personas", status_code=201, dependencies=own, openapi_extra=body_schema(PersonaIn)
    )
    async def make_persona(request: Request) -> dict[str, Any]:
        """A new persona. Administrators may share one with everybody."""
        service, who = service_of(request), identity(request)
        told = await read_json(request, PersonaIn, service.limits)
        keys = service.store.keys
        return await service.store.run(personas.make_persona, keys, who, told)

    @router.patch(
        "/personas/{persona_id}", dependencies=own, openapi_extra=body_schema(PersonaPatch)
    )
    async def change_persona(request: Request, persona_id: PathId) -> dict[str, Any]:
        """Change what is sent of a persona."""
        service, who = service_of(request), identity(request)
        told = await read_json(request, PersonaPatch, service.limits)
        keys = service.store.keys
        return await service.store.run(personas.change_persona, keys, who, persona_id, told)

    @router.delete("/personas/{persona_id}", status_code=204, dependencies=own)
    async def delete_persona(request: Request, persona_id: PathId) -> None:
        """Delete a persona."""
        service, who = service_of(request), identity(request)
        keys = service.store.keys
        await service.store.run(personas.delete_persona, keys, who, persona_id)


def _add_memories(router: APIRouter) -> None:
    own = [allow(Role.user, scope="account")]

    @router.get("/memories", dependencies=own)
    async def list_memories(request: Request) -> dict[str, Any]:
        """Everything that the assistant keeps in mind about oneself."""
        service, who = service_of(request), identity(request)

        def work(session: Session) -> list[dict[str, Any]]:
            sealer = service.store.keys.sealer(session, who.person_id)
            return memories.list_memories(session, sealer, who.person_id)

        return {"data": await service.store.read(work)}

    @router.post(
        "/memories", status_code=201, dependencies=own, openapi_extra=body_schema(MemoryIn)
    )
    async def add_memory(request: Request) -> dict[str, Any]:
        """Something to keep in mind."""
        service, who = service_of(request), identity(request)
        told = await read_json(request, MemoryIn, service.limits)

        def work(session: Session) -> dict[str, Any]:
            sealer = service.store.keys.sealer(session, who.person_id)
            return memories.add_memory(session, sealer, who.person_id, told.text)

        return await service.store.run(work)

    @router.patch("/memories/{memory_id}", dependencies=own, openapi_extra=body_schema(MemoryIn))
    async def change_memory(request: Request, memory_id: PathId) -> dict[str, Any]:
        """Put another text in its place."""
        service, who = service_of(request), identity(request)
        told = await read_json(request, MemoryIn, service.limits)

        def work(session: Session) -> dict[str, Any]:
            sealer = service.store.keys.sealer(session, who.person_id)
            return memories.change_memory(session, sealer, who.person_id, memory_id, told.text)

        return await service.store.run(work)

    @router.delete("/memories/{memory_id}", status_code=204, dependencies=own)
    async def delete_memory(request: Request, memory_id: PathId) -> None:
        """Forget one."""
        service, who = service_of(request), identity(request)
        await service.store.run(memories.delete_memory, who.person_id, memory_id)

    @router.delete("/memories", status_code=204, dependencies=own)
    async def delete_memories(request: Request) -> None:
        """Forget all."""
        service, who = service_of(request), identity(request)
        await service.store.run(memories.delete_memories, who.person_id)
