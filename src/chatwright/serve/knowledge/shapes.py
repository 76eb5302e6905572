"""What the routes take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from chatwright.serve.bodies import Body


class NewCollection(Body):
    """A name, and whether everybody here may read it."""

    name: str = Field(min_length=1, max_length=200)
    shared: bool = False


class CollectionChange(Body):
    """What is to be changed; the rest stays."""

    name: str | None = Field(default=None, min_length=1, max_length=200)
    shared: bool | None = None


class CollectionReply(BaseModel):
    """`mine`: it is the caller's own; `editable`: they may change it."""

    id: str
    name: str
    shared: bool
    mine: bool
    editable: bool
    files: int
    passages: int
    created_at: datetime


class FileReply(BaseModel):
    """`pending` files are found by their words already, and by their meaning when `ready`."""

    id: str
    name: str
    size: int
    status: Literal["pending", "ready", "failed"]
    problem: str | None
    passages: int
    notes: list[str] = []
    created_at: datetime


class PassageReply(BaseModel):
    """A passage; `page` and `last_page` are from 1, null where the document has no pages."""

    id: str
    title: str
    uri: str
    text: str
    headings: list[str]
    page: int | None
    last_page: int | None
    position: int


class PassageInPlace(BaseModel):
    """A passage, the file that it is from, and what stands before and after it."""

    passage: PassageReply
    file: FileReply
    before: PassageReply | None
    after: PassageReply | None


class AttachmentReply(BaseModel):
    """`characters` is the length of the text that was read; `notes` say what was left out."""

    id: str
    name: str
    size: int
    characters: int
    notes: list[str] = []


class CollectionList(BaseModel):
    """Collections."""

    data: list[CollectionReply]


class FileList(BaseModel):
    """Files of a collection."""

    data: list[FileReply]


class Deleted(BaseModel):
    """What is said of something that is gone."""

    id: str
    deleted: Literal[True] = True


def upload_body(**fields: Any) -> dict[str, Any]:
    """The multipart body for the OpenAPI document: `file` and these further fields."""
    properties = {"file": {"type": "string", "format": "binary"}, **fields}
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    }


class _Problem(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorReply(BaseModel):
    """OpenAI's form of an error."""

    error: _Problem


ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorReply, "description": "what was wrong, and what to do"},
    "5XX": {"model": ErrorReply, "description": "the server cannot do it now"},
}
