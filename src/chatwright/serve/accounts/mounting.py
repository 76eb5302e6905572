"""Accounts as a part of the application."""

from __future__ import annotations

from fastapi import FastAPI

from chatwright.serve.accounts.accounts import Accounts
from chatwright.serve.accounts.admin_routes import admin_router
from chatwright.serve.accounts.me_routes import me_router
from chatwright.serve.accounts.oidc_routes import oidc_router
from chatwright.serve.accounts.session_routes import session_router
from chatwright.serve.audit import Audit
from chatwright.serve.ratelimit import Rates
from chatwright.serve.service import Service


def add_accounts(app: FastAPI, service: Service) -> None:
    """Give the service its accounts, audit log and rate limits, and the application their routes.

    Without accounts (`options`) one person is taken for granted: the log is kept all the same,
    nothing is counted, and routes that make no sense for one person answer 409.
    """
    service.audit = Audit(service.store)
    service.accounts = Accounts(service)
    if service.options.accounts:
        service.rates = Rates(service.store, service.limits)
    for router in (session_router(), me_router(), admin_router(), oidc_router()):
        app.include_router(router)
