"""The page's routes that take conversations out, bring them in, and share them."""

from __future__ import annotations

import functools
import re
from typing import Annotated, Any, Literal
from urllib.parse import quote

import anyio
import anyio.to_thread
from fastapi import APIRouter, Path, Query, Request
from sqlalchemy.orm import Session
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response, StreamingResponse

from chatwright.serve.access import Role, address_of, allow, identity, public
from chatwright.serve.bodies import body_schema, read_json
from chatwright.serve.errors import ApiError
from chatwright.serve.history import shares
from chatwright.serve.history.imports import IMPORT_BYTES
from chatwright.serve.history.noting import note
from chatwright.serve.history.shapes import ShareIn
from chatwright.serve.history.transfer import export_all, export_chat, import_file
from chatwright.serve.parameters import PathId, QueryId
from chatwright.serve.service import service_of

_IMPORTED = (
    "application/json",
    "application/jsonl",
    "application/x-ndjson",
    "application/zip",
    "application/x-zip-compressed",
)
_SECONDS = 120.0  # for an import to arrive
_ENDINGS = {"markdown": ("md", "text/markdown"), "json": ("json", "application/json"),
            "chatgpt": ("json", "application/json")}  # fmt: skip
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\\/:*?\"<>|\u202a-\u202e\u2066-\u2069]+")
_PRIVATE = {
    "X-Robots-Tag": "noindex, nofollow",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
}


def transfer_router() -> APIRouter:
    """Export, import and shares; included by `history_router`."""
    router = APIRouter()
    _add_exports(router)
    _add_import(router)
    _add_shares(router)
    return router


def _add_exports(router: APIRouter) -> None:
    own = [allow(Role.user, scope="history")]

    @router.get(
        "/conversations/{conversation_id}/export",
        dependencies=own,
        response_class=Response,
        responses={200: {"content": {"application/json": {}, "text/markdown": {}}}},
    )
    async def export(
        request: Request,
        conversation_id: PathId,
        form: Annotated[Literal["markdown", "json", "chatgpt"], Query(alias="format")] = "markdown",
        leaf: QueryId = None,
        language: Annotated[Literal["en", "zh"], Query()] = "en",
    ) -> Response:
        """A conversation as a file: one branch (`leaf`) as Markdown, or the whole tree as JSON."""
        service, who = service_of(request), identity(request)
        address = address_of(request)

        def work(session: Session) -> tuple[str, str]:
            made = export_chat(
                session,
                service.store.keys.sealer(session, who.person_id),
                who.person_id,
                conversation_id,
                form=form,
                leaf=leaf,
                language=language,
            )
            note(service, session, who, "export", conversation_id, address=address, format=form)
            return made

        title, text = await service.store.run(work)
        ending, media = _ENDINGS[form]
        return Response(text, media_type=media, headers=_as_file(title, ending))

    @router.get(
        "/export",
        dependencies=own,
        response_class=Response,
        responses={200: {"content": {"application/json": {}}}},
    )
    async def export_everything(request: Request) -> Response:
        """All of one's conversations as one file of our JSON form."""
        service, who = service_of(request), identity(request)
        address = address_of(request)

        def work(session: Session) -> None:
            note(service, session, who, "export", address=address, format="all")

        await service.store.run(work)
        pieces = await anyio.to_thread.run_sync(export_all, service.store, who.person_id)
        headers = _as_file("chatwright-export", "json")
        return StreamingResponse(pieces, media_type="application/json", headers=headers)


def _add_import(router: APIRouter) -> None:
    schema: dict[str, Any] = {"schema": {}}
    at_once: list[anyio.CapacityLimiter] = []

    @router.post(
        "/import",
        dependencies=[allow(Role.user, scope="history")],
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": schema,
                    "application/zip": {"schema": {"type": "string", "format": "binary"}},
                },
            }
        },
    )
    async def import_conversations(request: Request) -> dict[str, Any]:
        """Take in conversations: ours, ChatGPT's export (JSON or ZIP), ShareGPT or OpenAI messages.

        A conversation that is bad is reported by its number, and the others are taken all the same.
        """
        service, who = service_of(request), identity(request)
        address = address_of(request)
        body = await _read_file(request)
        if not at_once:
            at_once.append(anyio.CapacityLimiter(2))  # each keeps a core and much memory busy
        report = await anyio.to_thread.run_sync(
            import_file, service.store, who.person_id, body, limiter=at_once[0]
        )

        def work(session: Session) -> None:
            note(
                service, session, who, "import", address=address,
                imported=report.imported, skipped=report.skipped,
            )  # fmt: skip

        await service.store.run(work)
        return report.to_json()


async def _read_file(request: Request) -> bytes:
    """An import's body. Raises `ApiError` 400, 408, 413 or 415."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind not in _IMPORTED:
        raise ApiError(
            415, f"send the file as one of {', '.join(_IMPORTED)}", code="unsupported_media_type"
        )
    too_large = ApiError(
        413, f"a file of at most {IMPORT_BYTES >> 20} MB can be imported", code="body_too_large"
    )
    told = request.headers.get("content-length", "0")
    if told.isdigit() and int(told) > IMPORT_BYTES:
        raise too_large
    body = bytearray()
    try:
        with anyio.fail_after(_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > IMPORT_BYTES:
                    raise too_large
    except TimeoutError as error:
        raise ApiError(408, "the file did not arrive in time", code="timeout") from error
    except ClientDisconnect as error:
        raise ApiError(400, "the file was cut off", code="invalid_import") from error
    return bytes(body)


def _add_shares(router: APIRouter) -> None:
    own = [allow(Role.user, scope="history")]

    @router.post(
        "/conversations/{conversation_id}/shares",
        status_code=201,
        dependencies=own,
        openapi_extra=body_schema(ShareIn),
    )
    async def share(request: Request, conversation_id: PathId) -> dict[str, Any]:
        """A link to a copy of one branch as it is now. The address is shown this once."""
        service, who = service_of(request), identity(request)
        address = address_of(request)
        told = await read_json(request, ShareIn, service.limits)

        def work(session: Session) -> tuple[str, str]:
            sealer = service.store.keys.sealer(session, who.person_id)
            made = shares.make_share(session, sealer, who.person_id, conversation_id, told.leaf)
            note(service, session, who, "share_created", made[0], address=address)
            return made

        share_id, secret = await service.store.run(work)
        base = (service.options.public_url or str(request.base_url)).rstrip("/")
        return {"id": share_id, "url": f"{base}/shared/{secret}"}

    @router.get("/shares", dependencies=own)
    async def list_shares(request: Request) -> dict[str, Any]:
        """One's links that still lead somewhere."""
        service, who = service_of(request), identity(request)

        def work(session: Session) -> list[dict[str, Any]]:
            sealer = service.store.keys.sealer(session, who.person_id)
            return shares.list_shares(session, sealer, who.person_id)

        return {"data": await service.store.read(work)}

    @router.delete("/shares/{share_id}", status_code=204, dependencies=own)
    async def revoke(request: Request, share_id: PathId) -> None:
        """End a link; the copy behind it is deleted."""
        service, who = service_of(request), identity(request)
        address = address_of(request)

        def work(session: Session) -> None:
            shares.revoke_share(session, who.person_id, share_id)
            note(service, session, who, "share_revoked", share_id, address=address)

        await service.store.run(work)

    @router.get("/shared/{token}", dependencies=[public("share")])
    async def shared(request: Request, token: Annotated[str, Path(max_length=200)]) -> Response:
        """What a link shows: a conversation as it was when the link was made."""
        service = service_of(request)
        read = functools.partial(shares.read_share, keys=service.store.keys, secret=token)
        return JSONResponse(await service.store.read(read), headers=_PRIVATE)


def _as_file(title: str, ending: str) -> dict[str, str]:
    """Headers that make a browser save the file, under its title as far as a name may hold it."""
    name = " ".join(_UNFIT.sub(" ", title).split()).strip(". ")[:80] or "conversation"
    plain = name.encode("ascii", "ignore").decode().strip() or "conversation"
    encoded = quote(f"{name}.{ending}", safe="")
    return {
        "Content-Disposition": f'attachment; filename="{plain}.{ending}"; '
        f"filename*=UTF-8''{encoded}",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
