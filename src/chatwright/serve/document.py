"""The OpenAPI document: what all routes have in common is said once, here."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from chatwright.serve.access import access_of, api_routes

_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_SCHEMES: dict[str, Any] = {
    "key": {"type": "http", "scheme": "bearer", "description": "An API key."},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "chatwright",
        "description": "The cookie of a browser that has signed in.",
    },
}
_METHODS = ("get", "put", "post", "delete", "patch")


def complete_document(app: FastAPI) -> None:
    """Have `app.openapi()` tell how to sign in, and the form of every error.

    FastAPI's own 422 is never sent: what is wrong with a request is told as 400.
    """
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _completed(plain(), _public(app))
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _public(app: FastAPI) -> set[tuple[str, str]]:
    """Path and method of the routes that need no account."""
    found: set[tuple[str, str]] = set()
    for route in api_routes(app.routes):
        access = access_of(route)
        if access is not None and access.role is None:
            found.update((route.path, method.lower()) for method in route.methods)
    return found


def _completed(document: dict[str, Any], public: set[tuple[str, str]]) -> dict[str, Any]:
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Error"] = _ERROR
    components["securitySchemes"] = _SCHEMES
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    for path, operations in document.get("paths", {}).items():
        for method, operation in operations.items():
            if method not in _METHODS:
                continue
            responses = operation["responses"]
            responses.pop("422", None)
            responses.setdefault(
                "4XX", {"description": "Something is wrong with the request.", "content": content}
            )
            responses.setdefault("5XX", {"description": "The server failed.", "content": content})
            operation["security"] = (
                [] if (path, method) in public else [{"key": []}, {"session": []}]
            )
    return document
