"""Routes of the page: files that a question takes along."""

from __future__ import annotations

import anyio.to_thread
from fastapi import APIRouter, Request
from sqlalchemy.orm import Session

from chatwright.serve.access import Role, allow, identity
from chatwright.serve.knowledge import files
from chatwright.serve.knowledge.collections import here_of, parse_upload
from chatwright.serve.knowledge.multipart import read_upload
from chatwright.serve.knowledge.shapes import ERRORS, AttachmentReply, Deleted, upload_body
from chatwright.serve.parameters import PathId


def attachments_router() -> APIRouter:
    """`/v1/chatwright/attachments`."""
    router = APIRouter(prefix="/v1/chatwright", tags=["knowledge"], responses=ERRORS)

    @router.post(
        "/attachments",
        dependencies=[allow(Role.user, scope="chat", group="upload")],
        status_code=201,
        openapi_extra=upload_body(),
    )
    async def attach(request: Request) -> AttachmentReply:
        """A file whose text a question takes along."""
        here, who = here_of(request), identity(request)
        with here.uploads.one(who.person_id):
            upload = await read_upload(request, here.limits)
            parsed = await anyio.to_thread.run_sync(parse_upload, here, upload)
            text = parsed.text[: here.limits.attachment_characters]
            facts = await here.store.run(
                lambda session: files.store_file(
                    session,
                    here.store.keys,
                    who,
                    upload,
                    purpose=files.ATTACHMENT,
                    limits=here.limits,
                    text=text,
                )
            )
        notes = list(parsed.notes)
        if len(text) < len(parsed.text):
            notes.append(f"only the first {len(text):,} characters are shown to the model")
        return AttachmentReply(
            id=facts.id, name=facts.name, size=facts.size, characters=len(text), notes=notes
        )

    @router.delete("/attachments/{attachment_id}", dependencies=[allow(Role.user, scope="chat")])
    async def detach(attachment_id: PathId, request: Request) -> Deleted:
        """The file and its text."""
        here, who = here_of(request), identity(request)

        def work(session: Session) -> None:
            files.delete_file(session, who, attachment_id, attachment=True)

        await here.store.run(work)
        return Deleted(id=attachment_id)

    return router
