"""`chatwright serve [NAME…]`: the chat page and the OpenAI-compatible API."""

from __future__ import annotations

import errno
import socket
import threading
import webbrowser
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from chatwright.cli.options import (
    CacheType,
    CacheTypeOption,
    Weights,
    WeightsOption,
    WorkspaceOption,
)
from chatwright.errors import UsageError

if TYPE_CHECKING:
    from fastapi import FastAPI


def serve(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Assistants or models to serve. Default: all of the workspace."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 8000,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    host_name: Annotated[
        list[str] | None,
        typer.Option(help="A host name that the server goes by, besides localhost and addresses."),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            help="A server that answers in the models' place: openai:http://localhost:8080/v1#model"
        ),
    ] = None,
    batch: Annotated[
        int, typer.Option(min=1, max=256, help="Answers that are made together; others wait.")
    ] = 16,
    weights: WeightsOption = Weights.auto,
    kv_dtype: CacheTypeOption = CacheType.auto,
    workspace: WorkspaceOption = None,
) -> None:
    """Serve the chat page and an OpenAI-compatible API until Ctrl-C.

    Example: `chatwright serve quickstart --open`
    """
    from chatwright.cli.console import console
    from chatwright.evaluate.arena import studies_folder
    from chatwright.serve import Limits, create_app, workspace_registry
    from chatwright.workspace import Workspace

    # A port that is taken is said at once, not after the imports and checks that follow.
    listening = bind(host, port)
    with listening:
        limits = replace(Limits(), beams=min(Limits().beams, batch))
        place = Workspace(workspace)
        registry = workspace_registry(
            place,
            names or [],
            most_loaded=limits.loaded_models,
            backend=backend,
            max_batch=batch,
            weights=weights.value,
            kv_dtype=kv_dtype.value,
        )
        app = create_app(registry, limits=limits, host_names=host_name or [], workspace=place)
        address = page_address(listening)
        out = console()
        out.print(f"Chat page  {address}/")
        out.print(f"API        {address}/v1  (OpenAI-compatible)")
        if any(studies_folder(place).glob("*/study.json")):
            out.print(f"Judging    {address}/arena")
        out.print(f"Serving    {', '.join(entry.name for entry in registry.entries())}")
        if not _is_loopback(listening):
            out.print("Careful: there are no accounts; whoever reaches this address can use it.")
        out.print("Ctrl-C stops.")
        run(app, listening, opened=address if open_page else None)
        out.print("Stopped.")


def bind(host: str, port: int) -> socket.socket:
    """A socket listening on host and port. Raises `UsageError` where that cannot be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        # Listening before the server is up: a browser opened now waits instead of failing.
        listening.listen(128)
    except (OSError, UnicodeError, TypeError) as error:
        listening.close()
        raise _cannot_listen(error, host, port) from error
    return listening


def _cannot_listen(error: Exception, host: str, port: int) -> UsageError:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return UsageError(
            f"port {port} is in use by another program",
            where=f"{host}:{port}",
            hint=f"choose another one: --port {port + 1 if port < 65535 else 0}",
        )
    if number in (errno.EACCES, errno.EPERM):
        return UsageError(
            f"this user may not listen on port {port}",
            where=f"{host}:{port}",
            hint="choose a port above 1023: --port 8000",
        )
    return UsageError(
        f"this machine has no address {host!r} to listen on",
        where=f"{host}:{port}",
        hint="use --host 127.0.0.1 for this machine only, or 0.0.0.0 for all networks",
    )


def page_address(listening: socket.socket) -> str:
    """Where a browser on this machine finds what listens on that socket."""
    host, port = listening.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _is_loopback(listening: socket.socket) -> bool:
    host = str(listening.getsockname()[0])
    return host == "::1" or host.startswith("127.")


def run(app: FastAPI, listening: socket.socket, *, opened: str | None = None) -> None:
    """Serve until SIGINT or SIGTERM, then let requests end within a few seconds."""
    import uvicorn

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.state.slots.stop()  # or each answer under way would hold the program up
            await super().shutdown(sockets)

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,  # request lines may hold names of documents; nothing needs them
        timeout_graceful_shutdown=3,
        server_header=False,
    )
    if opened is not None:
        # A browser may take seconds to start, and some block until they are closed.
        threading.Thread(target=webbrowser.open, args=(opened,), daemon=True).start()
    with suppress(KeyboardInterrupt):  # uvicorn shuts down in order, then passes the signal on
        Server(config).run(sockets=[listening])
