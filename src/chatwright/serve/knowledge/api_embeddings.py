"""`/v1/embeddings` in OpenAI's form, by the embedding model or by a chat model's own states."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import anyio
import anyio.to_thread
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, StrictInt, StrictStr

from chatwright.assist.embedder import DIMENSIONS, MISSING, MODEL_NAME
from chatwright.errors import ChatwrightError, ContextError, UsageError
from chatwright.serve.access import Identity, Role, allow, identity
from chatwright.serve.bodies import Body, body_schema, read_json
from chatwright.serve.errors import ApiError, as_api_error
from chatwright.serve.knowledge.collections import Collections
from chatwright.serve.knowledge.limits import KnowledgeLimits
from chatwright.serve.knowledge.shapes import ERRORS
from chatwright.serve.service import Service, service_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from chatwright.serve.registry import Registry

    Vectors = NDArray[np.float32]

_BATCH = 4  # texts between two looks at whether the caller is still there
_AT_ONCE, _WAITING = 2, 32
_LONGEST_INPUT = 200_000  # letters; what is shorter is counted in tokens

Tokens = Annotated[list[StrictInt], Field(min_length=1, max_length=8_192)]


class EmbeddingRequest(Body):
    """Texts to vectors. `input_type` is our addition: e5 tells a question from a passage."""

    model: str = Field(max_length=300)
    input: (
        StrictStr
        | Annotated[list[StrictStr], Field(min_length=1, max_length=2_048)]
        | Tokens
        | Annotated[list[Tokens], Field(min_length=1, max_length=2_048)]
    )
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(default=None, ge=1, le=65_536)
    input_type: Literal["query", "passage"] = "query"
    user: str | None = Field(default=None, max_length=1_000)


class Embedding(BaseModel):
    """`embedding`: numbers, or (`base64`) their float32 bytes, little endian."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(BaseModel):
    """Tokens that were read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingReply(BaseModel):
    """OpenAI's list of embeddings, in the order of the inputs."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage


def embeddings_router() -> APIRouter:
    """`/v1/embeddings`."""
    router = APIRouter(prefix="/v1", tags=["OpenAI"], responses=ERRORS)
    room = _Room()

    @router.post(
        "/embeddings",
        dependencies=[allow(Role.user, scope="chat")],
        openapi_extra=_document(),
    )
    async def embeddings(request: Request) -> EmbeddingReply:
        """Vectors of length 1: a dot product is the cosine."""
        service, who = service_of(request), identity(request)
        here = service.collections
        assert isinstance(here, Collections)
        asked = await read_json(request, EmbeddingRequest, service.limits)
        inputs = _inputs(asked.input, here.limits)
        if asked.model != MODEL_NAME:
            await anyio.to_thread.run_sync(_known, service.registry, asked.model)
        if service.meter is not None:
            await service.meter.check(who)
        async with room.place():
            if asked.model == MODEL_NAME:
                vectors, tokens = await _by_embedder(request, asked, inputs, here)
            else:
                vectors, tokens = await _by_chat_model(asked, inputs, service, who, here.limits)
        if service.meter is not None:
            await service.meter.add(who, asked.model, tokens, 0)
        vectors = _cut(vectors, asked.dimensions)
        data = [
            Embedding(index=n, embedding=_written(vector, asked.encoding_format))
            for n, vector in enumerate(vectors)
        ]
        usage = EmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens)
        return EmbeddingReply(data=data, model=asked.model, usage=usage)

    return router


def _known(registry: Registry, name: str) -> None:
    """Raises `ApiError` 404 that says which models make vectors."""
    try:
        registry.get(name)
    except ApiError as error:
        told = f"there is no model {name[:100]!r} here: use {MODEL_NAME}, or one of /v1/models"
        raise ApiError(404, told, param="model", code="model_not_found") from error


def _document() -> dict[str, Any]:
    made = body_schema(EmbeddingRequest)
    made["requestBody"]["content"]["application/json"]["example"] = {
        "model": MODEL_NAME,
        "input": ["The library opens at nine.", "\u56fe\u4e66\u9986\u4e5d\u70b9\u5f00\u95e8\u3002"],
    }
    return made


class _Room:
    """Two requests are computed at one time, some wait, and more get 429."""

    def __init__(self) -> None:
        self._limiter: anyio.CapacityLimiter | None = None
        self._here = 0

    def place(self) -> _Place:
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(_AT_ONCE)
        return _Place(self, self._limiter)


class _Place:
    def __init__(self, room: _Room, limiter: anyio.CapacityLimiter) -> None:
        self._room = room
        self._limiter = limiter

    async def __aenter__(self) -> None:
        if self._room._here >= _AT_ONCE + _WAITING:
            raise ApiError(
                429, "too many texts are being embedded; try again in a moment", code="server_busy"
            )
        self._room._here += 1
        try:
            await self._limiter.acquire_on_behalf_of(self)
        except BaseException:
            self._room._here -= 1
            raise

    async def __aexit__(self, *what: object) -> None:
        self._room._here -= 1
        self._limiter.release_on_behalf_of(self)


def _inputs(given: Any, limits: KnowledgeLimits) -> list[str | list[int]]:
    """Each text or list of token ids. Raises `ApiError` 400."""
    whole = isinstance(given, str) or (given and isinstance(given[0], int))
    inputs: list[str | list[int]] = [given] if whole else list(given)
    if len(inputs) > limits.inputs:
        raise _invalid(f"at most {limits.inputs} inputs in one request")
    for number, one in enumerate(inputs):
        if not one:
            raise _invalid(f"input {number} is empty")
        if len(one) > _LONGEST_INPUT:
            raise _too_long(number, limits)
    return inputs


async def _by_embedder(
    request: Request,
    asked: EmbeddingRequest,
    inputs: Sequence[str | list[int]],
    here: Collections,
) -> tuple[Vectors, int]:
    texts = [one for one in inputs if isinstance(one, str)]
    if len(texts) < len(inputs):
        raise _invalid(
            f"{MODEL_NAME} takes texts: token ids of another model's vocabulary mean nothing to it"
        )
    if asked.dimensions is not None and asked.dimensions > DIMENSIONS:
        raise ApiError(
            400,
            f"{MODEL_NAME} has {DIMENSIONS} dimensions",
            param="dimensions",
            code="invalid_value",
        )
    query = asked.input_type == "query"

    def load_and_count() -> tuple[Any, int]:
        from chatwright.assist.embedder import text_embedder

        embedder = text_embedder()
        total = 0
        for number, text in enumerate(texts):
            tokens = embedder.count_tokens(text, query=query)
            total += tokens
            if tokens > here.limits.tokens:
                raise _too_long(number, here.limits)
            if total > here.limits.all_tokens:
                raise _invalid(
                    f"the inputs have more than {here.limits.all_tokens} tokens together; "
                    "send them in several requests"
                )
        return embedder, total

    try:
        embedder, total = await anyio.to_thread.run_sync(load_and_count)
    except UsageError as error:
        raise ApiError(503, MISSING, code="model_not_ready") from error
    import numpy as np

    parts: list[Vectors] = []
    for start in range(0, len(texts), _BATCH):
        if await request.is_disconnected():
            raise ApiError(499, "the caller has gone", code="cancelled")
        batch = texts[start : start + _BATCH]
        embed = partial(embedder.embed_all, batch, query=query)
        parts.append(await anyio.to_thread.run_sync(embed))
    return np.concatenate(parts), total


async def _by_chat_model(
    asked: EmbeddingRequest,
    inputs: Sequence[str | list[int]],
    service: Service,
    who: Identity,
    limits: KnowledgeLimits,
) -> tuple[Vectors, int]:
    """The mean of the model's last hidden states, as `Engine.embed` gives it."""
    with service.slots.one(who):
        async with service.registry.lease(asked.model) as assistant:
            engine: Any = assistant.engine
            if getattr(engine, "embed", None) is None:
                raise ApiError(
                    400,
                    f"{asked.model} runs elsewhere and gives no embeddings; {MODEL_NAME} does",
                    param="model",
                    code="model_not_supported",
                )

            def work() -> tuple[Vectors, int]:
                ids = [
                    engine.tokenizer.encode(one) if isinstance(one, str) else one for one in inputs
                ]
                total = sum(map(len, ids))
                if total > limits.all_tokens:
                    raise _invalid(
                        f"the inputs have more than {limits.all_tokens} tokens together; "
                        "send them in several requests"
                    )
                return engine.embed(ids, tenant=who.tenant), total

            try:
                return await anyio.to_thread.run_sync(work)
            except (ContextError, UsageError) as error:
                raise _invalid(error.message) from error
            except ChatwrightError as error:
                raise as_api_error(error) from error


def _cut(vectors: Vectors, dimensions: int | None) -> Vectors:
    if dimensions is None or dimensions == vectors.shape[1]:
        return vectors
    if dimensions > vectors.shape[1]:
        raise ApiError(
            400,
            f"this model has {vectors.shape[1]} dimensions",
            param="dimensions",
            code="invalid_value",
        )
    from chatwright.assist.embedder import shortened

    return shortened(vectors, dimensions)


def _written(vector: Any, form: str) -> list[float] | str:
    if form == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
    numbers: list[float] = vector.tolist()
    return numbers


def _invalid(message: str) -> ApiError:
    return ApiError(400, message, param="input", code="invalid_value")


def _too_long(number: int, limits: KnowledgeLimits) -> ApiError:
    return ApiError(
        400,
        f"input {number} has more than {limits.tokens} tokens; send it in parts",
        param="input",
        code="context_length_exceeded",
    )
