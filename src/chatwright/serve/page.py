"""The chat page: the bundle that the package's build made from `web/`."""

from __future__ import annotations

import mimetypes
from pathlib import Path

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from chatwright.serve.access import PUBLIC

STATIC = Path(__file__).parent / "static"

# Where the page may be opened; which of its views is shown there is its own affair.
PAGES = (
    "/",
    "/c/{_}",
    "/shared/{_}",
    "/sign-in",
    "/setup",
    "/invite",
    "/settings",
    "/settings/{_}",
    "/admin",
    "/admin/{_}",
    "/knowledge",
    "/knowledge/{_}",
    "/arena",
)

_NOT_BUILT = """The chat page is not in this installation.

The API works all the same: see /v1/models and /v1/chat/completions.
To get the page, install Chatwright again (`pip install .`), or run
`python hatch_build.py` in the checkout; both bundle it from web/.
"""


class _Immutable(StaticFiles):
    """File names hold a hash of their content, so a browser may keep them for good.

    Each lies there compressed as well (`web/build.mjs`), for who takes it so and wants all of it.
    """

    async def get_response(self, path: str, scope: Scope) -> Response:
        headers = Headers(scope=scope)
        taken = {
            part.split(";")[0].strip() for part in headers.get("accept-encoding", "").split(",")
        }
        packed = "gzip" in taken and "range" not in headers and self.lookup_path(f"{path}.gz")[1]
        response = await super().get_response(f"{path}.gz" if packed else path, scope)
        if packed:
            response.headers["Content-Encoding"] = "gzip"
            response.headers["Content-Type"] = mimetypes.guess_type(path)[0] or "text/plain"
        response.headers["Vary"] = "Accept-Encoding"
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


def add_page(app: FastAPI, static: Path = STATIC) -> None:
    """Serve the page at `/` (chat) and `/arena` (judging), and its files under `/assets/`."""

    async def index() -> Response:
        if not (static / "index.html").exists():
            return PlainTextResponse(_NOT_BUILT, 503)
        return FileResponse(static / "index.html", headers={"Cache-Control": "no-cache"})

    for path in PAGES:
        app.get(path, include_in_schema=False, dependencies=[PUBLIC])(index)

    @app.get("/favicon.svg", include_in_schema=False, dependencies=[PUBLIC])
    async def favicon() -> Response:
        if not (static / "favicon.svg").exists():
            return Response(status_code=404)
        return FileResponse(static / "favicon.svg", headers={"Cache-Control": "max-age=86400"})

    if (static / "assets").is_dir():
        app.mount("/assets", _Immutable(directory=static / "assets"), name="assets")
