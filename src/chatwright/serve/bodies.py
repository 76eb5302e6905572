"""Request bodies: read within limits, checked strictly, refused with the field and the reason."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import anyio
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json
from starlette.requests import ClientDisconnect, Request

from chatwright.serve.errors import ApiError
from chatwright.serve.limits import Limits

B = TypeVar("B", bound=BaseModel)

_DEEPEST = 64
# How pydantic calls the members of a union: a tag of ours in brackets, or its own names.
_TRIED = re.compile(r"[\[\]()]|^str$|^int$|^[A-Z]")


class Body(BaseModel):
    """The base of a request body: no unknown field, no conversion, no NaN."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


async def read_body(request: Request, limits: Limits) -> bytes:
    """The JSON body. Raises `ApiError`: 415 other type, 413 too large, 408 too slow."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json":
        # Also what keeps other web pages out: they cannot send this type without asking first.
        raise ApiError(415, "send the request as application/json", code="unsupported_media_type")
    too_large = ApiError(
        413, f"the body is larger than {limits.body_bytes} bytes", code="body_too_large"
    )
    told = request.headers.get("content-length", "0")
    if told.isdigit() and int(told) > limits.body_bytes:
        raise too_large
    body = bytearray()
    try:
        with anyio.fail_after(limits.body_seconds):
            async for part in request.stream():
                body += part
                if len(body) > limits.body_bytes:
                    raise too_large
    except TimeoutError as error:
        raise ApiError(408, "the body did not arrive in time", code="timeout") from error
    except ClientDisconnect as error:
        raise ApiError(400, "the body was cut off", code="invalid_json") from error
    return bytes(body)


async def read_json(request: Request, shape: type[B], limits: Limits) -> B:
    """The body as `shape`. Raises `ApiError` 400, 408, 413 or 415."""
    return parse_json(await read_body(request, limits), shape)


def parse_json(body: bytes, shape: type[B]) -> B:
    """JSON as `shape`. Raises `ApiError` 400 with the field and the reason, never the value."""
    load_json(body)
    try:
        return shape.model_validate_json(body)
    except ValidationError as error:
        raise first_problem(error) from error


def load_json(body: bytes) -> Any:
    """JSON as plain values. Raises `ApiError` 400 for what is none, NaN, or nested too deeply."""
    try:
        value = from_json(body, allow_inf_nan=False)  # refuses what is nested very deeply itself
    except ValueError as error:
        raise ApiError(400, f"the body is not valid JSON: {error}", code="invalid_json") from error
    if nested_deeper(value, _DEEPEST):
        raise ApiError(
            400, f"the body is nested more than {_DEEPEST} levels deep", code="invalid_json"
        )
    return value


def nested_deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects lie in each other more than `levels` deep. Without recursion."""
    level = [value]
    for _ in range(levels):
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return False
    return True


def first_problem(error: ValidationError) -> ApiError:
    """The first thing wrong, by field; the value itself is not repeated.

    Which of several shapes was tried is no part of a field's name.
    """
    detail = error.errors(include_url=False, include_input=False, include_context=False)[0]
    parts = [str(part) for part in detail["loc"]]
    param = ".".join(part for part in parts if not _TRIED.search(part))
    message = f"{param or 'body'}: {detail['msg']}"
    return ApiError(400, message, param=param or None, code="invalid_value")


def body_schema(shape: type[BaseModel]) -> dict[str, Any]:
    """The request body for the OpenAPI document (`openapi_extra`): bodies are read by hand."""
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": inline_schema(shape)}},
        }
    }


def inline_schema(shape: type[BaseModel]) -> dict[str, Any]:
    """A model's JSON schema with its definitions put in place."""
    schema = shape.model_json_schema(ref_template="#/components/schemas/{model}")
    definitions = schema.pop("$defs", {})
    for definition in definitions.values():
        definition.pop("title", None)

    def inline(value: Any) -> Any:
        if isinstance(value, dict):
            if "$ref" in value:
                return inline(definitions[value["$ref"].rsplit("/", 1)[-1]])
            return {key: inline(item) for key, item in value.items()}
        return [inline(item) for item in value] if isinstance(value, list) else value

    made: dict[str, Any] = inline(schema)
    return made
