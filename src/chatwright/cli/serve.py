"""`chatwright serve [NAME…]`: the chat page and the OpenAI-compatible API."""

from __future__ import annotations

import errno
import socket
import threading
import webbrowser
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from chatwright.cli.options import (
    CacheType,
    CacheTypeOption,
    DatabaseOption,
    Weights,
    WeightsOption,
    WorkspaceOption,
)
from chatwright.errors import UsageError

if TYPE_CHECKING:
    from fastapi import FastAPI
    from rich.console import Console


class SignUp(StrEnum):
    """Who may make an account."""

    closed = "closed"
    open = "open"
    invitation = "invitation"


class LogStyle(StrEnum):
    """How the service's log is written."""

    off = "off"
    json = "json"
    plain = "plain"


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
    accounts: Annotated[
        bool,
        typer.Option(
            help="People sign in. --no-accounts: one person on this machine, who may do everything."
        ),
    ] = True,
    sign_up: Annotated[
        SignUp, typer.Option(help="Who may make an account; administrators can change it.")
    ] = SignUp.invitation,
    database: DatabaseOption = None,
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="HTTP processes; one more holds the models.")
    ] = 1,
    public_url: Annotated[
        str | None, typer.Option(help="Where people reach the server: https://chat.example.org")
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(help="Certificate chain (PEM): the server then speaks TLS.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="The certificate's key (PEM).")] = None,
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(help="Address or network of a proxy whose X-Forwarded-For is believed."),
    ] = None,
    oidc_issuer: Annotated[
        str | None, typer.Option(help="OpenID Connect provider: https://login.example.org")
    ] = None,
    oidc_client_id: Annotated[str | None, typer.Option(help="The server's id there.")] = None,
    oidc_name: Annotated[str, typer.Option(help="What the button says.")] = "Single sign-on",
    oidc_sign_up: Annotated[
        bool, typer.Option(help="Whoever signs in there gets an account.")
    ] = False,
    training_jobs: Annotated[
        int,
        typer.Option(min=0, max=16, help="Fine-tuning jobs at a time (/v1/fine_tuning); 0: none."),
    ] = 1,
    log: Annotated[
        LogStyle, typer.Option(help="What goes to standard error: a line for each request, or not.")
    ] = LogStyle.off,
    workspace: WorkspaceOption = None,
) -> None:
    """Serve the chat page and an OpenAI-compatible API until Ctrl-C.

    The first start prints a link that makes the administrator's account. Secrets come from the
    environment: CHATWRIGHT_MASTER_KEY (or chat.key in the workspace), CHATWRIGHT_OIDC_SECRET,
    CHATWRIGHT_METRICS_TOKEN.

    Example: `chatwright serve quickstart --open`
    """
    from chatwright.cli.console import console
    from chatwright.serve.operations.logs import set_up_logs
    from chatwright.serve.service import ServeOptions
    from chatwright.serve.starting import (
        StartSettings,
        chats_kept_apart,
        checked_public_url,
        make_app,
        make_registry,
        networks,
        oidc_settings,
        secret_of,
    )

    set_up_logs(log.value)
    tls = _tls_files(tls_cert, tls_key)
    # A port that is taken is said at once, not after the imports and checks that follow.
    listening = bind(host, port)
    with listening:
        loopback = _is_loopback(listening)
        if not accounts and not loopback:
            raise UsageError(
                "without accounts whoever reaches this address could do everything",
                where=f"--no-accounts --host {host}",
                hint="leave --no-accounts out, or listen on 127.0.0.1",
            )
        own_url = checked_public_url(public_url)
        address = page_address(listening, tls=tls is not None)
        settings = StartSettings(
            names=tuple(names or ()),
            workspace=workspace,
            host_names=(*(host_name or ()), *_host_of(own_url)),
            models={
                "backend": backend,
                "max_batch": batch,
                "weights": weights.value,
                "kv_dtype": kv_dtype.value,
            },
            database=database,
            options=ServeOptions(
                accounts=accounts,
                sign_up=sign_up.value,
                secure_cookies=(own_url or address).startswith("https:"),
                public_url=own_url,
                trusted_proxies=networks(trusted_proxy or ()),
                oidc=oidc_settings(oidc_issuer, oidc_client_id, oidc_name, oidc_sign_up),
                metrics_token=secret_of("CHATWRIGHT_METRICS_TOKEN"),
                # With a backend what is trained here would never answer.
                training_jobs=training_jobs if backend is None else 0,
            ),
        )
        registry = make_registry(settings)
        app = make_app(settings, registry)
        link = _first_start_link(app, own_url or address)
        _print_addresses(console(), app, own_url or address, link)
        apart = chats_kept_apart(app.state.service.store, accounts=accounts)
        if apart is not None:
            console().print(apart)
        if accounts and not loopback and tls is None and own_url is None:
            console().print(
                "Careful: without TLS (--tls-cert, or a proxy and --public-url) passwords can be "
                "read on the way."
            )
        console().print("Ctrl-C stops.")
        opened = (link or address) if open_page else None
        if workers == 1:
            from chatwright.serve.connections import serve_app

            open_browser(opened)
            serve_app(app, listening, tls=tls)
        else:
            from chatwright.serve.workers import run_fleet

            app.state.service.store.close()  # brought up to date; each worker opens its own
            open_browser(opened)
            run_fleet(settings, workers, listening, tls=tls, log=log.value, say=console().print)
        console().print("Stopped.")


def _first_start_link(app: FastAPI, address: str) -> str | None:
    from chatwright.serve.accounts import first_start_link

    return first_start_link(app.state.service, address)


def _print_addresses(out: Console, app: FastAPI, address: str, link: str | None) -> None:
    from chatwright.evaluate.arena import studies_folder

    service = app.state.service
    out.print(f"Chat page  {address}/")
    out.print(f"API        {address}/v1  (OpenAI-compatible)")
    if any(studies_folder(service.workspace).glob("*/study.json")):
        out.print(f"Judging    {address}/arena")
    out.print(f"Serving    {', '.join(entry.name for entry in service.registry.entries())}")
    if link is not None:
        out.print("There is no administrator yet. This link makes one, once:")
        out.print(f"  {link}", soft_wrap=True)


def _host_of(url: str | None) -> tuple[str, ...]:
    host = urlsplit(url).hostname if url else None
    return (host,) if host else ()


def _tls_files(cert: Path | None, key: Path | None) -> tuple[Path, Path] | None:
    """Both files, or none. Raises `UsageError` for one alone, or one that cannot be used."""
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise UsageError("TLS needs both files", where="--tls-cert, --tls-key")
    import ssl

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"these are no certificate and its key: {error}", where=f"{cert}, {key}"
        ) from error
    return cert, key


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


def page_address(listening: socket.socket, *, tls: bool = False) -> str:
    """Where a browser on this machine finds what listens on that socket."""
    host, port = listening.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"
    scheme = "https" if tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _is_loopback(listening: socket.socket) -> bool:
    host = str(listening.getsockname()[0])
    return host == "::1" or host.startswith("127.")


def open_browser(address: str | None) -> None:
    """Show the page; returns at once: a browser may take seconds, or block until it is closed."""
    if address is not None:
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
