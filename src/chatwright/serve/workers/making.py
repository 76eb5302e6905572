"""The command's settings on their way to the engine's process and the workers, and what is made of
them there.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatwright.serve.workers.supervise import Fleet, Supervisor

if TYPE_CHECKING:
    from fastapi import FastAPI

    from chatwright.serve.registry import Registry
    from chatwright.serve.starting import StartSettings


def run_fleet(
    settings: StartSettings,
    workers: int,
    listening: socket.socket,
    *,
    tls: tuple[Path, Path] | None = None,
    log: str = "off",
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Serve with so many workers and one engine process until SIGINT or SIGTERM.

    `tls` are certificate chain and key, `log` the style of `set_up_logs`; `say` is told what was
    started again.
    """
    fleet = Fleet(
        workers,
        {
            **plain_settings(settings),
            "tls": [str(file.resolve()) for file in tls] if tls else None,
            "log": log,
        },
        most_streams=settings.limits.active,
    )
    Supervisor(fleet, listening, say=say).run()


def plain_settings(settings: StartSettings) -> dict[str, Any]:
    """As JSON, which goes through a pipe: it may hold secrets."""
    options = asdict(settings.options)
    options["trusted_proxies"] = [str(network) for network in settings.options.trusted_proxies]
    return {
        "names": list(settings.names),
        "workspace": None if settings.workspace is None else str(settings.workspace),
        "host_names": list(settings.host_names),
        "models": dict(settings.models),
        "database": settings.database,
        "options": options,
    }


def read_settings(told: dict[str, Any], *, worker: str = "alone") -> StartSettings:
    """What `plain_settings` wrote, for the process of that name."""
    from chatwright.serve.service import OidcSettings, ServeOptions
    from chatwright.serve.starting import StartSettings

    given = told["options"]
    options = ServeOptions(
        **{
            **given,
            "trusted_proxies": tuple(ipaddress.ip_network(n) for n in given["trusted_proxies"]),
            "oidc": OidcSettings(**given["oidc"]) if given["oidc"] else None,
        }
    )
    return StartSettings(
        names=tuple(told["names"]),
        workspace=None if told["workspace"] is None else Path(told["workspace"]),
        host_names=tuple(told["host_names"]),
        models=told["models"],
        database=told["database"],
        options=replace(options, worker=worker),
    )


def engine_registry(told: dict[str, Any]) -> Registry:
    """The models, in the engine's process."""
    from chatwright.serve.starting import make_registry

    return make_registry(read_settings(told))


def worker_app(registry: Registry, told: dict[str, Any], worker: str) -> FastAPI:
    """The application, in a worker's process."""
    from chatwright.serve.operations.logs import set_up_logs
    from chatwright.serve.starting import make_app

    set_up_logs(told["log"])
    return make_app(read_settings(told, worker=worker), registry)
