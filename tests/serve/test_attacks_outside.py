"""Requests that would make the server call somebody (SSRF), and files that would run in it."""

from __future__ import annotations

import io
import json
import pickle
import re
import socket
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from attack_house import Things, attacked, made, raw, survives, things, upload

from accounts_server import House
from chat_server import HTTP, running
from chatwright.errors import ChatwrightError
from chatwright.serve import create_app
from chatwright.serve.registry import workspace_registry
from chatwright.workspace import Workspace


@dataclass
class Trap:
    """Listens and notes who calls. `forms` are ways to write its address."""

    port: int
    calls: list[bytes] = field(default_factory=list)

    @property
    def forms(self) -> list[str]:
        hosts = ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1",
                 "[::ffff:127.0.0.1]", "[::1]", "0.0.0.0", "localhost."]  # fmt: skip
        return [f"http://{host}:{self.port}/steal" for host in hosts]

    @property
    def url(self) -> str:
        return self.forms[0]


@pytest.fixture(scope="module")
def trap() -> Iterator[Trap]:
    listening = socket.create_server(("127.0.0.1", 0))
    made_ = Trap(listening.getsockname()[1])

    def answer() -> None:
        while True:
            try:
                one, _ = listening.accept()
            except OSError:
                return
            with one:
                one.settimeout(1)
                made_.calls.append(one.recv(4096))
                one.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\n\r\n")

    threading.Thread(target=answer, daemon=True).start()
    yield made_
    listening.close()


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with attacked(tmp_path_factory.mktemp("outside")) as one:
        yield one


@pytest.fixture(scope="module")
def anna(here: House) -> Things:
    return things(here, "admin")


@pytest.fixture(autouse=True)
def _still_serving(here: House, trap: Trap) -> Iterator[None]:
    """Nobody was called, whatever was asked; and the server goes on."""
    with survives(here):
        yield
    assert trap.calls == []


def chat(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"model": "harbour", "messages": [{"role": "user", "content": list(parts)}], **more}


def test_the_trap_works(trap: Trap) -> None:
    with socket.create_connection(("127.0.0.1", trap.port)) as one:
        one.sendall(b"x")
        one.recv(10)
    assert trap.calls == [b"x"]
    trap.calls.clear()


def test_parts_that_name_an_address_are_refused(anna: Things, trap: Trap) -> None:
    """Images, files and audio by address: not fetched, in whatever way the host is written."""
    text = {"type": "text", "text": "Look."}
    for url in [*trap.forms, "file:///etc/passwd", "data:image/png;base64,AAAA", "gopher://x/"]:
        for part in (
            {"type": "image_url", "image_url": {"url": url}},
            {"type": "image_url", "image_url": url},
            {"type": "input_image", "image_url": url},
            {"type": "file", "file": {"file_id": url}},
            {"type": "input_audio", "input_audio": {"data": url, "format": "mp3"}},
        ):
            reply = anna.browser.post("/v1/chat/completions", chat(text, part))
            assert reply.status_code == 400 and url not in reply.text
        for part in ({"type": "input_image", "image_url": url},
                     {"type": "input_file", "file_url": url},
                     {"type": "input_file", "file_id": url}):  # fmt: skip
            item = {"role": "user", "content": [part]}
            reply = anna.browser.post("/v1/responses", {"model": "harbour", "input": [item]})
            assert reply.status_code == 400 and url not in reply.text
        moderated = {"input": [{"type": "image_url", "image_url": {"url": url}}]}
        assert anna.browser.post("/v1/moderations", moderated).status_code == 400


def test_tools_and_schemas_that_name_an_address(anna: Things, trap: Trap) -> None:
    ask = {"model": "harbour", "input": "x"}
    for tool in ({"type": "mcp", "server_label": "x", "server_url": trap.url},
                 {"type": "web_search"}, {"type": "file_search", "vector_store_ids": ["x"]},
                 {"type": "image_generation"}, {"type": "code_interpreter"}):  # fmt: skip
        assert anna.browser.post("/v1/responses", {**ask, "tools": [tool]}).status_code == 400
    for schema in ({"$ref": trap.url}, {"$schema": trap.url, "$id": trap.url, "$ref": "a.json"},
                   {"$dynamicRef": trap.url}):  # fmt: skip
        form = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
        body = chat({"type": "text", "text": "x"}, response_format=form)
        assert anna.browser.post("/v1/chat/completions", body).status_code in (200, 400)
    for field_ in ("store", "background"):
        assert anna.browser.post("/v1/responses", {**ask, field_: True}).status_code == 400
    body = {"model": "harbour", "training_file": anna.ids["file_id"],
            "integrations": [{"type": "wandb", "wandb": {"project": trap.url}}]}  # fmt: skip
    assert anna.browser.post("/v1/fine_tuning/jobs", body).status_code == 400


def test_models_that_are_addresses(anna: Things, trap: Trap) -> None:
    for url in [*trap.forms, f"openai:http://127.0.0.1:{trap.port}/v1#m", f"https:{trap.url}"]:
        for path, body in (
            ("/v1/chat/completions", chat({"type": "text", "text": "x"}) | {"model": url}),
            ("/v1/embeddings", {"model": url, "input": "x"}),
            ("/v1/fine_tuning/jobs", {"model": url, "training_file": anna.ids["file_id"]}),
            ("/answers", {"model": url, "text": "x"}),
        ):
            assert anna.browser.post(path, body).status_code in (400, 404), (path, url)


def test_links_in_what_people_write_are_only_text(anna: Things, trap: Trap) -> None:
    url = trap.url
    browser = anna.browser
    text = f"![x]({url}) <img src='{url}'> [a]({url}) {url}"
    made(browser.patch("/me", {"instructions": text[:1000]}))
    made(browser.post("/memories", {"text": text[:900]}))
    persona = made(browser.post("/personas", {"name": "L", "instructions": text}))
    told = made(browser.post("/answers", {"text": f"SAY {text}", "model": "harbour",
                                          "persona_id": persona["id"]}))  # fmt: skip
    assert url in browser.get(f"/runs/{told['run_id']}/events").text
    share = made(browser.post(f"/conversations/{told['conversation_id']}/shares", {}))
    HTTP.get(f"{browser.base}/v1/chatwright/shared/{share['url'].rsplit('/', 1)[1]}")
    part = {"content_type": "multimodal_text", "parts": [{"asset_pointer": url}, text]}
    node = {"id": "a", "parent": None, "children": [],
            "message": {"id": "a", "author": {"role": "user"}, "content": part,
                        "metadata": {"attachments": [{"url": url}]}}}  # fmt: skip
    raw(browser, "POST", "/import", json.dumps([{"title": "t", "mapping": {"a": node}}]).encode())


def word_file(url: str) -> bytes:
    """A .docx whose relations, template and picture lie elsewhere."""
    kinds = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    relations = "".join(
        f'<Relationship Id="r{n}" Type="{kinds}/{kind}" Target="{url}" TargetMode="External"/>'
        for n, kind in enumerate(("attachedTemplate", "image", "hyperlink", "oleObject", "frame"))
    )
    head = '<?xml version="1.0"?>'
    package = "http://schemas.openxmlformats.org/package/2006"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(
            "[Content_Types].xml",
            f'{head}<Types xmlns="{package}/content-types"><Default Extension="xml" ContentType='
            '"application/xml"/><Override PartName="/word/document.xml" ContentType="application/'
            'vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>',
        )
        archive.writestr(
            "_rels/.rels",
            f'{head}<Relationships xmlns="{package}/relationships"><Relationship Id="d" '
            f'Type="{kinds}/officeDocument" Target="word/document.xml"/>{relations}'
            "</Relationships>",
        )
        archive.writestr(
            "word/_rels/document.xml.rels",
            f'{head}<Relationships xmlns="{package}/relationships">{relations}</Relationships>',
        )
        archive.writestr(
            "word/document.xml",
            f'{head}<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/'
            'main"><w:body><w:p><w:r><w:t>The gate opens at noon, says the harbour office.'
            '</w:t></w:r></w:p><w:p><w:r><w:instrText>INCLUDEPICTURE "'
            f'{url}" DDEAUTO c:\\\\calc.exe</w:instrText></w:r></w:p></w:body></w:document>',
        )
    return out.getvalue()


def test_documents_that_name_an_address_fetch_nothing(anna: Things, trap: Trap) -> None:
    """Read in a process that has no network: and its parsers do not even try."""
    url = trap.url
    collection = made(anna.browser.post("/collections", {"name": "T", "shared": False}))["id"]
    html = (
        f"<!DOCTYPE html SYSTEM '{url}'><base href='{url}'><link rel=stylesheet href='{url}'>"
        f"<meta http-equiv=refresh content='0;url={url}'><img src='{url}'><iframe src='{url}'>"
        f"</iframe><object data='{url}'></object><script src='{url}'></script>"
        f"<p>The gate opens at noon, says the harbour office to all boats.</p>"
    )
    svg = f"<!DOCTYPE svg [<!ENTITY x SYSTEM '{url}'>]><svg><text>&x;</text></svg>"
    for name, data in (
        ("a.html", html.encode()),
        ("a.md", f"# Gate\n\nIt opens at noon. ![]({url})\n\n[x]: {url}\n".encode()),
        ("a.docx", word_file(url)),
        ("b.html", svg.encode()),
    ):
        for path in ("/attachments", f"/collections/{collection}/files"):
            reply = upload(anna.browser, path, name, data)
            assert reply.status_code in (201, 400, 415), (name, reply.text)
            if name in ("a.html", "a.md", "a.docx"):
                assert reply.status_code == 201, (name, reply.text)


# Files that would run, or that lie


class Canary:
    """Runs when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def poisons(canary: Path) -> dict[str, bytes]:
    """Models that are none, by file name."""
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Canary(canary)))
        archive.writestr("archive/version", "3")
    head = b"GGUF" + (3).to_bytes(4, "little")
    huge = head + (2**63 - 1).to_bytes(8, "little") * 2
    counts = b"".join(n.to_bytes(8, "little") for n in (0, 1, 1))  # no tensor, one short key
    endless = head + counts + b"a" + (8).to_bytes(4, "little") + (2**62).to_bytes(8, "little")
    return {
        "model.pkl": pickle.dumps(Canary(canary)),
        "pytorch_model.bin": zipped.getvalue(),
        "model.pt": zipped.getvalue(),
        "pickle.gguf": pickle.dumps(Canary(canary)),
        "zip.gguf": zipped.getvalue(),
        "huge.gguf": huge,
        "endless.gguf": endless,
        "empty.gguf": b"",
        "short.gguf": b"GGUF\x03\x00",
        "pickle.safetensors": pickle.dumps(Canary(canary)),
        "long.safetensors": (2**62).to_bytes(8, "little") + b"{}",
    }


def test_uploaded_models_are_bytes(here: House, anna: Things, tmp_path: Path) -> None:
    """Nothing that is uploaded is loaded: it is stored, or refused as no document."""
    canary = tmp_path / "ran"
    for name, data in poisons(canary).items():
        reply = upload(anna.browser, "/v1/files", name, data, purpose="fine-tune")
        assert reply.status_code == 400, name
        reply = upload(anna.browser, "/attachments", name, data)
        assert reply.status_code in (400, 415), name
        raw(anna.browser, "POST", "/import", data, kind="application/zip")
        if data:
            file = made(upload(anna.browser, "/v1/files", name, data, purpose="user_data"))
            body = {"model": "harbour", "training_file": file["id"]}
            assert anna.browser.post("/v1/fine_tuning/jobs", body).status_code in (400, 404)
    for disguise, name in (("x.docx", "model.pt"), ("x.pdf", "model.pkl"), ("x.txt", "huge.gguf")):
        reply = upload(anna.browser, "/attachments", disguise, poisons(canary)[name])
        assert reply.status_code in (400, 415), (name, disguise, reply.text)
    assert not canary.exists()


def test_models_in_the_workspace_that_are_none(tmp_path: Path) -> None:
    """Asked for, they are an error that names no path; the others are served all the same."""
    workspace = Workspace(tmp_path / "w")
    canary = tmp_path / "ran"
    names = []
    for name, data in poisons(canary).items():
        folder = workspace.models / re.sub(r"\W", "-", name)
        folder.mkdir(parents=True)
        gguf = name.endswith(".gguf")
        (folder / ("model.gguf" if gguf else name)).write_bytes(data)
        if not gguf:
            (folder / "config.json").write_text('{"model_type": "llama"}')
            (folder / "model.safetensors").write_bytes(data)
            (folder / "pytorch_model.bin").write_bytes(data)
        names.append(folder.name)
    registry = workspace_registry(workspace)
    with running(create_app(registry, workspace=workspace)) as address:
        listed = {one["id"] for one in HTTP.get(f"{address}/v1/models").json()["data"]}
        assert listed <= set(names) and len(listed) > 5
        for name in sorted(listed):
            body = {"model": name, "messages": [{"role": "user", "content": "x"}]}
            reply = HTTP.post(f"{address}/v1/chat/completions", json=body, timeout=60)
            assert reply.status_code in (500, 503), (name, reply.text)
            assert str(tmp_path) not in reply.text, reply.text
        assert HTTP.get(f"{address}/healthz").status_code == 200
    assert not canary.exists()


@pytest.mark.parametrize("name", sorted(poisons(Path("/nowhere"))))
def test_a_poisoned_file_that_is_named_to_be_served(tmp_path: Path, name: str) -> None:
    """`chatwright serve FILE`, or a file in a folder's place: refused in plain words."""
    from chatwright.assist import load_assistant

    canary = tmp_path / "ran"
    path = tmp_path / name
    path.write_bytes(poisons(canary)[name])
    with pytest.raises(ChatwrightError) as told:
        load_assistant(str(path), Workspace(tmp_path))
    assert str(told.value)
    assert not canary.exists()


def test_the_canary_would_have_run(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Canary(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()
