"""The page's routes for history: conversations, folders, tags, search."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from sqlalchemy.orm import Session

from chatwright.serve.access import Role, address_of, allow, identity
from chatwright.serve.bodies import body_schema, read_json
from chatwright.serve.history import conversations, labels
from chatwright.serve.history.noting import note
from chatwright.serve.history.personal_routes import personal_router
from chatwright.serve.history.search import FOUND, search
from chatwright.serve.history.shapes import ConversationIn, ConversationPatch, Named
from chatwright.serve.history.store import create_chat
from chatwright.serve.history.terms import QUERY_CHARACTERS
from chatwright.serve.history.transfer_routes import transfer_router
from chatwright.serve.parameters import PathId, QueryId
from chatwright.serve.service import service_of
from chatwright.serve.store.tables import Folder, Tag


def history_router() -> APIRouter:
    """Everything of `serve.history` below `/v1/chatwright`."""
    router = APIRouter(prefix="/v1/chatwright", tags=["history"])
    _add_conversations(router)
    _add_search(router)
    _add_labels(router, Folder, "folders")
    _add_labels(router, Tag, "tags")
    router.include_router(transfer_router())
    router.include_router(personal_router())
    return router


def _add_conversations(router: APIRouter) -> None:
    own = [allow(Role.user, scope="history")]

    @router.get("/conversations", dependencies=own)
    async def list_conversations(  # noqa: PLR0917 (they are a query's fields)
        request: Request,
        archived: bool = False,
        folder: QueryId = None,
        tag: QueryId = None,
        cursor: Annotated[str | None, Query(max_length=100)] = None,
        limit: Annotated[int, Query(ge=1, le=conversations.LISTED)] = 30,
    ) -> dict[str, Any]:
        """Conversations by pages, the last changed first; the first page begins with the pinned."""
        service, who = service_of(request), identity(request)

        def work(session: Session) -> dict[str, Any]:
            return conversations.list_chats(
                session,
                service.store.keys.sealer(session, who.person_id),
                who.person_id,
                archived=archived,
                folder=folder,
                tag=tag,
                cursor=cursor,
                limit=limit,
            )

        return await service.store.read(work)

    @router.post(
        "/conversations",
        status_code=201,
        dependencies=own,
        openapi_extra=body_schema(ConversationIn),
    )
    async def make_conversation(request: Request) -> dict[str, Any]:
        """A new conversation, empty."""
        service, who = service_of(request), identity(request)
        told = await read_json(request, ConversationIn, service.limits)

        def work(session: Session) -> dict[str, Any]:
            sealer = service.store.keys.sealer(session, who.person_id)
            settings = told.settings.model_dump(exclude_none=True) if told.settings else None
            conversations.check_references(session, who.person_id, settings or {})
            if told.folder_id is not None:
                labels.own_folder(session, who.person_id, told.folder_id)
            chat = create_chat(
                session,
                sealer,
                who.person_id,
                title=told.title,
                model=told.model,
                folder_id=told.folder_id,
                settings=settings,
            )
            return conversations.open_chat(session, sealer, who.person_id, chat.id)

        return await service.store.run(work)

    @router.delete("/conversations", status_code=204, dependencies=own)
    async def delete_conversations(request: Request) -> None:
        """Delete all of one's conversations, with everything that belongs to them."""
        service, who = service_of(request), identity(request)
        address = address_of(request)

        def work(session: Session) -> None:
            count = conversations.delete_all(session, who.person_id)
            note(service, session, who, "conversations_deleted", address=address, count=count)

        await service.store.run(work)
        service.runs.stop_all(person_id=who.person_id)

    @router.get("/conversations/{conversation_id}", dependencies=own)
    async def open_conversation(request: Request, conversation_id: PathId) -> dict[str, Any]:
        """A conversation with all its messages: a tree, by `parent_id`."""
        service, who = service_of(request), identity(request)

        def work(session: Session) -> dict[str, Any]:
            sealer = service.store.keys.sealer(session, who.person_id)
            return conversations.open_chat(session, sealer, who.person_id, conversation_id)

        return await service.store.read(work)

    @router.patch(
        "/conversations/{conversation_id}",
        dependencies=own,
        openapi_extra=body_schema(ConversationPatch),
    )
    async def change_conversation(request: Request, conversation_id: PathId) -> dict[str, Any]:
        """Change a title, folder, tags, pin, archive, the leaf that is looked at, or settings."""
        service, who = service_of(request), identity(request)
        told = await read_json(request, ConversationPatch, service.limits)

        def work(session: Session) -> dict[str, Any]:
            sealer = service.store.keys.sealer(session, who.person_id)
            return conversations.change_chat(session, sealer, who.person_id, conversation_id, told)

        return await service.store.run(work)

    @router.delete("/conversations/{conversation_id}", status_code=204, dependencies=own)
    async def delete_conversation(request: Request, conversation_id: PathId) -> None:
        """Delete a conversation, with everything that belongs to it."""
        service, who = service_of(request), identity(request)
        address = address_of(request)

        def work(session: Session) -> None:
            sealer = service.store.keys.sealer(session, who.person_id)
            conversations.delete_chat(session, sealer, who.person_id, conversation_id)
            note(service, session, who, "conversation_deleted", conversation_id, address=address)

        await service.store.run(work)
        service.runs.stop_all(conversation_id=conversation_id)


def _add_search(router: APIRouter) -> None:
    @router.get("/search", dependencies=[allow(Role.user, scope="history")])
    async def find(
        request: Request,
        q: Annotated[str, Query(min_length=1, max_length=QUERY_CHARACTERS)],
        limit: Annotated[int, Query(ge=1, le=FOUND)] = 20,
    ) -> dict[str, Any]:
        """Messages and titles that hold all words of `q`, the newest first."""
        service, who = service_of(request), identity(request)

        def work(session: Session) -> list[dict[str, Any]]:
            sealer = service.store.keys.sealer(session, who.person_id)
            return search(session, sealer, who.person_id, q, limit=limit)

        return {"data": await service.store.read(work)}


def _add_labels(router: APIRouter, kind: labels.LabelKind, path: str) -> None:
    own = [allow(Role.user, scope="history")]
    extra = body_schema(Named)
    one = path.removesuffix("s")

    @router.get(f"/{path}", dependencies=own, name=f"list_{path}")
    async def listed(request: Request) -> dict[str, Any]:
        """All of them, in the order in which they were made."""
        service, who = service_of(request), identity(request)

        def work(session: Session) -> list[dict[str, Any]]:
            sealer = service.store.keys.sealer(session, who.person_id)
            return labels.list_labels(session, sealer, kind, who.person_id)

        return {"data": await service.store.read(work)}

    @router.post(
        f"/{path}", status_code=201, dependencies=own, openapi_extra=extra, name=f"make_{one}"
    )
    async def made(request: Request) -> dict[str, Any]:
        """A new one, with a name."""
        service, who = service_of(request), identity(request)
        told = await read_json(request, Named, service.limits)

        def work(session: Session) -> dict[str, Any]:
            sealer = service.store.keys.sealer(session, who.person_id)
            return labels.make_label(session, sealer, kind, who.person_id, told.name)

        return await service.store.run(work)

    @router.patch(
        f"/{path}/{{label_id}}", dependencies=own, openapi_extra=extra, name=f"rename_{one}"
    )
    async def renamed(request: Request, label_id: PathId) -> dict[str, Any]:
        """Give it another name."""
        service, who = service_of(request), identity(request)
        told = await read_json(request, Named, service.limits)

        def work(session: Session) -> dict[str, Any]:
            sealer = service.store.keys.sealer(session, who.person_id)
            return labels.rename_label(
                session, sealer, kind, who.person_id, label_id, name=told.name
            )

        return await service.store.run(work)

    @router.delete(f"/{path}/{{label_id}}", status_code=204, dependencies=own, name=f"delete_{one}")
    async def deleted(request: Request, label_id: PathId) -> None:
        """Delete it; conversations that had it stay."""
        service, who = service_of(request), identity(request)
        await service.store.run(labels.delete_label, kind, who.person_id, label_id)
