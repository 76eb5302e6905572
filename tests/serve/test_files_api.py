"""`/v1/files` by the official client, its checks of rows, and multipart bodies that mean harm."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from knowledge_server import PEOPLE, Knowing, knowing

from chatwright.errors import DataError
from chatwright.serve.errors import ApiError
from chatwright.serve.knowledge import KnowledgeLimits
from chatwright.serve.knowledge.rows import check_rows

ROWS = b"".join(
    json.dumps(row, ensure_ascii=False).encode() + b"\n"
    for row in (
        {"messages": [{"role": "user", "content": "Hi"},
                      {"role": "assistant", "content": "Hello"}]},
        {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "你好"},
                      {"role": "assistant", "content": "您好", "weight": 1}]},
    )
)  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[Knowing]:
    limits = KnowledgeLimits(
        upload_bytes=200_000,
        upload_seconds=1.5,
        uploads=4,
        uploads_each=3,
        files=12,
        file_bytes=900_000,
    )
    with knowing(limits) as one:
        yield one


@pytest.fixture(scope="module")
def client(server: Knowing) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.address}/v1", api_key="ann", max_retries=0) as one:
        yield one


def test_the_official_client(server: Knowing, client: openai.OpenAI) -> None:
    made = client.files.create(file=("训练 data.jsonl", ROWS), purpose="fine-tune")
    assert made.id.startswith("file_")
    assert (made.filename, made.bytes, made.purpose) == ("训练 data.jsonl", len(ROWS), "fine-tune")
    assert abs(made.created_at - time.time()) < 60
    other = client.files.create(file=("notes.txt", b"anything"), purpose="user_data")
    assert client.files.retrieve(made.id) == made
    assert client.files.content(made.id).read() == ROWS
    assert [f.id for f in client.files.list()] == [other.id, made.id]
    assert [f.id for f in client.files.list(limit=1)] == [other.id, made.id]  # page by page
    assert [f.id for f in client.files.list(limit=1, order="asc")] == [made.id, other.id]
    assert [f.id for f in client.files.list(purpose="fine-tune")] == [made.id]
    with server.collections.store.reading() as session:
        assert server.collections.open_file(session, PEOPLE["ann"], made.id) == ROWS
        with pytest.raises(ApiError):
            server.collections.open_file(session, PEOPLE["bob"], made.id)
    for path in (
        f"/v1/files/{made.id}",
        f"/v1/files/{made.id}/content",
        f"/v1/files?after={made.id}",
    ):
        assert server.ask("bob", "GET", path).status_code == 404
    assert server.ask("bob", "DELETE", f"/v1/files/{made.id}").status_code == 404
    assert server.ask("bob", "GET", "/v1/files").json()["data"] == []
    for one in (made, other):
        assert client.files.delete(one.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(made.id)


def test_content_is_a_download_and_never_a_page(server: Knowing) -> None:
    page = b"<script>alert(document.cookie)</script>"
    made = server.upload("ann", "/v1/files", "x.html", page, purpose="user_data").json()
    got = server.ask(
        "ann", "GET", f"/v1/files/{made['id']}/content", headers={"Range": "bytes=0-,5-"}
    )
    assert got.content == page
    assert got.headers["content-type"] == "application/octet-stream"
    assert got.headers["content-disposition"] == "attachment"
    assert got.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in got.headers["content-security-policy"]
    server.ask("ann", "DELETE", f"/v1/files/{made['id']}")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "empty"),
        (b"\n\n", "no rows"),
        (ROWS + b"{not json\n", "row 3: not valid JSON"),
        (ROWS + b'{"messages": NaN}\n', "row 3: not valid JSON"),
        (ROWS + b"[" * 5000 + b"\n", "row 3: not valid JSON"),
        (b"[1]\n", "row 1: not a JSON object"),
        (b"\xff\xfe\n", "row 1: not UTF-8"),
        (b'{"messages": []}\n', "row 1: messages"),
        (b'{"messages": [{"role": "user", "content": "secret words"}]}\n', "no answer"),
        (b'{"messages": [{"role": "boss", "content": "x"}]}\n', "messages[0].role"),
        (b'{"messages": [{"role": "user", "content": 5}]}\n', "messages[0].content"),
        (b'{"prompt": "a"}\n', "row 1: completion"),
        (b'{"input": {"messages": [{"role": "user", "content": "x"}]}}\n', "preferred_output"),
        (b'{"text": "x"}\n', "unknown field 'text'"),
    ],
)
def test_rows_are_checked_and_named(server: Knowing, data: bytes, told: str) -> None:
    got = server.upload("ann", "/v1/files", "rows.jsonl", data, purpose="fine-tune")
    assert got.status_code == 400
    message = got.json()["error"]["message"]
    assert told in message
    assert "rows.jsonl" in message
    assert "secret" not in message


def test_what_a_row_may_be() -> None:
    """OpenAI's three forms."""
    tool = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
    user = {"role": "user", "content": "q"}
    answer = {"role": "assistant", "content": "a"}
    rows: list[dict[str, Any]] = [
        {"messages": [user, tool, {"role": "tool", "content": "1", "tool_call_id": "1"}, answer]},
        {"prompt": "p", "completion": "c"},
        {"input": {"messages": [user]}, "preferred_output": [answer],
         "non_preferred_output": [answer]},
    ]  # fmt: skip
    data = b"\xef\xbb\xbf" + "\r\n".join(json.dumps(row) for row in rows).encode()
    assert check_rows(data, "fine-tune") == 3
    batch = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {}}
    assert check_rows(json.dumps(batch).encode(), "batch") == 1


@settings(max_examples=40, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5),
                    lambda x: st.lists(x, max_size=3) | st.dictionaries(
                        st.sampled_from(["messages", "role", "content", "input", "prompt"]),
                        x, max_size=3), max_leaves=8))  # fmt: skip
def test_any_json_gives_a_verdict(row: Any) -> None:
    try:
        assert check_rows(json.dumps(row).encode(), "fine-tune") == 1
    except DataError as error:
        assert "row" in error.message


def test_a_person_keeps_so_much(server: Knowing) -> None:
    made = [
        server.upload("bob", "/v1/files", "a.bin", b"x" * 199_000, purpose="user_data")
        for _ in range(5)
    ]
    assert [m.status_code for m in made] == [200, 200, 200, 200, 413]
    assert made[-1].json()["error"]["code"] == "storage_full"
    for one in made[:-1]:
        server.ask("bob", "DELETE", f"/v1/files/{one.json()['id']}")


# ── multipart bodies ─────────────────────────────────────────────────────────────────────────────

FORM = {"Content-Type": "multipart/form-data; boundary=B"}
PURPOSE = b'--B\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
FILE = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\ntext\r\n'
END = b"--B--\r\n"
ENCODED = b"Content-Transfer-Encoding: base64"


def post(server: Knowing, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, str]:
    got = server.ask("ann", "POST", "/v1/files", content=body, headers=headers or FORM)
    return got.status_code, got.json()["error"]["code"] if got.status_code >= 400 else ""


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (PURPOSE + FILE + END, 200, ""),
        (b"preamble\r\n" + FILE + PURPOSE + END + b"epilogue", 400, None),
        (PURPOSE + FILE, 400, "invalid_multipart"),
        (PURPOSE + FILE[:-8], 400, "invalid_multipart"),
        (b"", 400, "invalid_multipart"),
        (b"--B--\r\n", 400, None),
        (PURPOSE + END, 400, "missing_required_parameter"),
        (FILE + END, 400, "missing_required_parameter"),
        (PURPOSE + FILE + FILE + END, 400, "too_many_files"),
        (PURPOSE + PURPOSE + FILE + END, 400, "invalid_value"),
        (FILE * 3_000 + END, 400, "too_many_files"),
        (PURPOSE + FILE.replace(b'"file"', b'"other"') + END, 400, "unknown_parameter"),
        (PURPOSE.replace(b"user_data", b"x" * 2_000) + FILE + END, 400, "invalid_value"),
        (PURPOSE.replace(b"user_data", b"assistants_output") + FILE + END, 400, "invalid_value"),
        (PURPOSE + FILE.replace(b"form-data", b"attachment") + END, 400, "invalid_multipart"),
        (PURPOSE + FILE.replace(b"a.txt", b"x" * 9_000) + END, 400, "invalid_multipart"),
        (PURPOSE + FILE.replace(b"\r\n\r\n", b"\r\nX: y" * 50 + b"\r\n\r\n") + END,
         400, "invalid_multipart"),
        (PURPOSE + FILE.replace(b"\r\n\r\n", b"\r\n" + ENCODED + b"\r\n\r\n") + END,
         400, "invalid_multipart"),
        (PURPOSE + FILE.replace(b"text", b"x" * 200_001) + END, 413, "file_too_large"),
        (PURPOSE + FILE.replace(b"text", b"x" * 400_000) + END, 413, "file_too_large"),
    ],
)  # fmt: skip
def test_bodies(server: Knowing, body: bytes, status: int, code: str | None) -> None:
    began = time.perf_counter()
    got, told = post(server, body)
    assert got == status
    assert code is None or told == code
    assert time.perf_counter() - began < 3


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("multipart/form-data", 400),
        ("multipart/form-data; boundary=", 400),
        ("multipart/form-data; boundary=" + "b" * 71, 400),
        ("multipart/mixed; boundary=B", 415),
        ("application/json", 415),
        ("text/plain", 415),
    ],
)
def test_content_types(server: Knowing, kind: str, status: int) -> None:
    assert post(server, PURPOSE + FILE + END, {"Content-Type": kind})[0] == status


def test_the_name_of_a_file_is_cleaned(server: Knowing) -> None:
    body = PURPOSE + FILE.replace(b"a.txt", b"../../\xe2\x80\xaeetc/\xe6\xb8\xaf.txt") + END
    got = server.ask("ann", "POST", "/v1/files", content=body, headers=FORM)
    assert got.json()["filename"] == "港.txt"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([PURPOSE, FILE, END, b"--B", b"\r\n", b"--", b"\0", b"x" * 99,
                                 b'Content-Disposition: form-data; name="file"; filename=""',
                                 b"--B--", b"name=", b'"'], ), max_size=9))  # fmt: skip
def test_any_body_gets_an_answer(parts: list[bytes]) -> None:
    """Of the reader alone, in memory."""
    import anyio
    from starlette.requests import Request

    from chatwright.serve.knowledge.multipart import Upload, read_upload

    body = b"".join(parts)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def run() -> Upload:
        scope = {"type": "http", "headers": [(b"content-type", FORM["Content-Type"].encode())]}
        return await read_upload(Request(scope, receive), KnowledgeLimits(), fields=("purpose",))

    try:
        upload = anyio.run(run)
        assert upload.name
    except ApiError as error:
        assert error.status in (400, 413)


def test_slow_senders_are_cut_off_and_others_are_served(server: Knowing) -> None:
    """Three bodies that drip take one person's places for a moment, and nobody else's."""
    host = urlsplit(server.address)
    assert host.hostname and host.port
    head = (
        f"POST /v1/files HTTP/1.1\r\nHost: {host.netloc}\r\nAuthorization: Bearer ann\r\n"
        "Content-Type: multipart/form-data; boundary=B\r\nContent-Length: 5000\r\n\r\n"
    ).encode()
    slow = [socket.create_connection((host.hostname, host.port), timeout=10) for _ in range(3)]
    for one in slow:
        one.sendall(head + PURPOSE)
    until_full = time.monotonic() + 3
    while server.collections.uploads.taken < 3 and time.monotonic() < until_full:
        time.sleep(0.01)
    assert post(server, PURPOSE + FILE + END)[0] == 429
    made = server.ask("bob", "POST", "/v1/files", content=PURPOSE + FILE + END, headers=FORM)
    assert made.status_code == 200
    for one in slow:
        assert b" 408 " in one.recv(200)
        one.close()
    made = server.ask("ann", "POST", "/v1/files", content=PURPOSE + FILE + END, headers=FORM)
    assert made.status_code == 200


def test_a_sender_that_vanishes_leaves_nothing(server: Knowing) -> None:
    host = urlsplit(server.address)
    assert host.hostname and host.port
    with socket.create_connection((host.hostname, host.port), timeout=10) as one:
        one.sendall(
            f"POST /v1/files HTTP/1.1\r\nHost: {host.netloc}\r\nAuthorization: Bearer ann\r\n"
            "Content-Type: multipart/form-data; boundary=B\r\nTransfer-Encoding: chunked\r\n\r\n"
            "5\r\n--B\r\n\r\n".encode()
        )
    deadline = time.monotonic() + 5
    while server.collections.uploads.taken and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.collections.uploads.taken == 0
