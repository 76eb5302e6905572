"""`/v1/files` in OpenAI's form: uploads for fine-tuning and for programs."""

from __future__ import annotations

from typing import Annotated, Literal

import anyio.to_thread
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from sqlalchemy.orm import Session
from starlette.responses import Response

from chatwright.errors import DataError
from chatwright.serve.access import Role, allow, identity
from chatwright.serve.errors import ApiError
from chatwright.serve.knowledge import files
from chatwright.serve.knowledge.collections import here_of
from chatwright.serve.knowledge.multipart import Upload, read_upload
from chatwright.serve.knowledge.rows import check_rows
from chatwright.serve.knowledge.shapes import ERRORS, upload_body
from chatwright.serve.parameters import PathId

Purpose = Literal["fine-tune", "assistants", "batch", "user_data"]


class FileObject(BaseModel):
    """OpenAI's file object."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    status: Literal["processed"]
    status_details: str | None


class FileObjects(BaseModel):
    """A page of them; ask again with `after` = `last_id` while `has_more`."""

    object: Literal["list"] = "list"
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(BaseModel):
    """What is said of a file that is gone."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


def files_router() -> APIRouter:
    """`/v1/files`."""
    router = APIRouter(prefix="/v1", tags=["OpenAI"], responses=ERRORS)
    may = [allow(Role.user, scope="files")]

    @router.post(
        "/files",
        dependencies=[allow(Role.user, scope="files", group="upload")],
        openapi_extra=upload_body(purpose={"type": "string", "enum": list(files.PURPOSES)}),
    )
    async def create_file(request: Request) -> FileObject:
        """Upload a file. JSON Lines for fine-tuning and batches are checked row by row."""
        here, who = here_of(request), identity(request)
        with here.uploads.one(who.person_id):
            upload = await read_upload(request, here.limits, fields=("purpose",))
            purpose = await anyio.to_thread.run_sync(_checked, upload)
            facts = await here.store.run(
                lambda session: files.store_file(
                    session, here.store.keys, who, upload, purpose=purpose, limits=here.limits
                )
            )
        return FileObject(**facts.to_json())

    @router.get("/files", dependencies=may)
    async def list_files(
        request: Request,
        purpose: Annotated[str | None, Query(max_length=40)] = None,
        after: Annotated[str | None, Query(max_length=64)] = None,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 1_000,
        order: Literal["asc", "desc"] = "desc",
    ) -> FileObjects:
        """The caller's files."""
        here, who = here_of(request), identity(request)
        found, more = await here.store.read(
            lambda session: files.list_files(
                session,
                here.store.keys,
                who,
                purpose=purpose,
                after=after,
                limit=limit,
                order=order,
            )
        )
        data = [FileObject(**one.to_json()) for one in found]
        ends = (data[0].id, data[-1].id) if data else (None, None)
        return FileObjects(data=data, first_id=ends[0], last_id=ends[1], has_more=more)

    @router.get("/files/{file_id}", dependencies=may)
    async def get_file(file_id: PathId, request: Request) -> FileObject:
        """What is known of a file."""
        here = here_of(request)
        facts = await here.store.read(files.get_file, here.store.keys, identity(request), file_id)
        return FileObject(**facts.to_json())

    @router.get(
        "/files/{file_id}/content",
        dependencies=may,
        response_class=Response,
        responses={
            200: {
                "content": {
                    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
                }
            }
        },
    )
    async def file_content(file_id: PathId, request: Request) -> Response:
        """Its bytes, as a download: a browser never shows them as a page."""
        here = here_of(request)
        data = await here.store.read(files.open_file, here.store.keys, identity(request), file_id)
        return Response(
            data,
            media_type="application/octet-stream",
            headers={"Content-Disposition": "attachment", "Content-Security-Policy": "sandbox"},
        )

    @router.delete("/files/{file_id}", dependencies=may)
    async def delete_file(file_id: PathId, request: Request) -> FileDeleted:
        """Delete it."""
        here, who = here_of(request), identity(request)

        def work(session: Session) -> None:
            files.delete_file(session, who, file_id)

        await here.store.run(work)
        return FileDeleted(id=file_id)

    return router


def _checked(upload: Upload) -> str:
    """The purpose, after a look at what it needs. Raises `ApiError` 400."""
    purpose = upload.fields.get("purpose")
    if purpose is None:
        raise ApiError(
            400,
            "purpose is missing",
            param="purpose",
            code="missing_required_parameter",
        )
    if purpose not in files.PURPOSES:
        raise ApiError(
            400,
            f"purpose must be one of {', '.join(files.PURPOSES)}",
            param="purpose",
            code="invalid_value",
        )
    if not upload.data:
        raise ApiError(400, f"{upload.name}: the file is empty", param="file", code="file_empty")
    if purpose in ("fine-tune", "batch"):
        try:
            check_rows(upload.data, purpose)
        except DataError as error:
            hint = f" ({error.hint})" if error.hint else ""
            message = f"{upload.name}: {error.message}{hint}"
            raise ApiError(400, message, param="file", code="invalid_file_format") from error
    return purpose
