"""Routes of the page: collections, their files and passages."""

from __future__ import annotations

import anyio.to_thread
from fastapi import APIRouter, Request
from sqlalchemy.orm import Session

from chatwright.assist.documents import (
    Cut,
    Parsed,
    cut_passages,
)
from chatwright.serve.access import Role, address_of, allow, identity
from chatwright.serve.bodies import body_schema, read_json
from chatwright.serve.errors import ApiError
from chatwright.serve.knowledge import contents
from chatwright.serve.knowledge.collections import Collections, here_of, parse_upload
from chatwright.serve.knowledge.multipart import Upload, read_upload
from chatwright.serve.knowledge.shapes import (
    ERRORS,
    CollectionChange,
    CollectionList,
    CollectionReply,
    Deleted,
    FileList,
    FileReply,
    NewCollection,
    PassageInPlace,
    upload_body,
)
from chatwright.serve.parameters import PathId
from chatwright.serve.service import service_of


def collections_router() -> APIRouter:
    """`/v1/chatwright/collections…`."""
    router = APIRouter(prefix="/v1/chatwright", tags=["knowledge"], responses=ERRORS)
    knows = [allow(Role.user, scope="knowledge")]
    uploads = [allow(Role.user, scope="knowledge", group="upload")]

    @router.get("/collections", dependencies=knows)
    async def collections(request: Request) -> CollectionList:
        """Collections that the caller may read: their own, then those that are shared."""
        here = here_of(request)
        found = await here.store.read(contents.list_collections, here.store.keys, identity(request))
        return CollectionList(data=found)

    @router.post(
        "/collections",
        dependencies=knows,
        status_code=201,
        openapi_extra=body_schema(NewCollection),
    )
    async def create(request: Request) -> CollectionReply:
        """A new, empty collection."""
        here, service = here_of(request), service_of(request)
        asked = await read_json(request, NewCollection, service.limits)
        return await here.store.run(
            lambda session: contents.create(
                session,
                here.store.keys,
                identity(request),
                name=_named(asked.name),
                shared=asked.shared,
                limits=here.limits,
            )
        )

    @router.patch(
        "/collections/{collection_id}",
        dependencies=knows,
        openapi_extra=body_schema(CollectionChange),
    )
    async def change(collection_id: PathId, request: Request) -> CollectionReply:
        """Rename it; share it or not."""
        here, service = here_of(request), service_of(request)
        asked = await read_json(request, CollectionChange, service.limits)
        return await here.store.run(
            lambda session: contents.change(
                session,
                here.store.keys,
                identity(request),
                collection_id,
                name=None if asked.name is None else _named(asked.name),
                shared=asked.shared,
            )
        )

    @router.delete("/collections/{collection_id}", dependencies=knows)
    async def delete(collection_id: PathId, request: Request) -> Deleted:
        """It goes with all its files, and the key that they are sealed under is destroyed."""
        here, who = here_of(request), identity(request)

        def work(session: Session) -> None:
            contents.delete(session, here.store.keys, who, collection_id)
            _audit(session, request, "collection_deleted", collection_id)

        await here.store.run(work)
        here.forget(collection_id)
        return Deleted(id=collection_id)

    @router.get("/collections/{collection_id}/files", dependencies=knows)
    async def collection_files(collection_id: PathId, request: Request) -> FileList:
        """Its files, the oldest first."""
        here = here_of(request)
        found = await here.store.read(
            contents.list_files, here.store.keys, identity(request), collection_id
        )
        return FileList(data=found)

    @router.post(
        "/collections/{collection_id}/files",
        dependencies=uploads,
        status_code=201,
        openapi_extra=upload_body(),
    )
    async def add_file(collection_id: PathId, request: Request) -> FileReply:
        """Add a .md, .txt, .html, .pdf or .docx file; its passages can be found at once."""
        here, who = here_of(request), identity(request)
        await here.store.read(contents.check_room, who, collection_id, here.limits)
        with here.uploads.one(who.person_id):
            upload = await read_upload(request, here.limits)
            parsed, cuts = await anyio.to_thread.run_sync(_read, here, collection_id, upload)
            reply = await here.store.run(
                lambda session: contents.add_file(
                    session,
                    here.store.keys,
                    who,
                    collection_id,
                    upload=upload,
                    parsed=parsed,
                    cuts=cuts,
                    limits=here.limits,
                    vectors=here.has_vectors,
                )
            )
        if reply.status == "pending":
            here.indexer.add(reply.id)
        return reply

    @router.delete("/collections/{collection_id}/files/{file_id}", dependencies=knows)
    async def delete_file(collection_id: PathId, file_id: PathId, request: Request) -> Deleted:
        """The file and its passages."""
        here, who = here_of(request), identity(request)

        def work(session: Session) -> None:
            contents.delete_file(session, who, collection_id, file_id)
            _audit(session, request, "file_deleted", file_id)

        await here.store.run(work)
        return Deleted(id=file_id)

    @router.get("/collections/{collection_id}/passages/{passage_id}", dependencies=knows)
    async def passage(
        collection_id: PathId, passage_id: PathId, request: Request
    ) -> PassageInPlace:
        """A cited passage where it stands: its file, its page, and its neighbours."""
        here = here_of(request)
        return await here.store.read(
            contents.passage_in_place,
            here.store.keys,
            identity(request),
            collection_id,
            passage_id,
        )

    return router


def _named(name: str) -> str:
    """A name without what cannot be seen. Raises `ApiError` 400 where nothing is left."""
    shown = " ".join("".join(c for c in name if c.isprintable() or c == " ").split())
    if not shown:
        raise ApiError(400, "name: nothing of it can be seen", param="name", code="invalid_value")
    return shown


def _read(here: Collections, collection_id: str, upload: Upload) -> tuple[Parsed, list[Cut]]:
    parsed = parse_upload(here, upload)
    source = contents.collection_source(collection_id)
    return parsed, cut_passages(parsed, upload.name, source=source, original=upload.data)


def _audit(session: Session, request: Request, action: str, target: str) -> None:
    audit = service_of(request).audit
    if audit is not None:
        who, address = identity(request), address_of(request)
        audit.record(session, who, action, target=target, address=address)
