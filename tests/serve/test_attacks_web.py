"""What a browser could be made to do: foreign pages, sniffed types, kept answers, odd ranges."""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from attack_house import Things, attacked, made, raw, survives, things, upload

from accounts_server import HTTP, House
from chat_server import ScriptedEngine, running, scripted
from chatwright.serve import create_app
from chatwright.serve.access import api_routes

SCRIPT = "<script>alert(1)</script>"
# What an answer of the API may be, and whether a browser may show it.
TYPES = {"application/json", "text/event-stream"}
DOWNLOADS = {"text/markdown", "application/octet-stream", "application/json"}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with attacked(tmp_path_factory.mktemp("web")) as one:
        yield one


@pytest.fixture(scope="module")
def anna(here: House) -> Things:
    return things(here, "admin")


@pytest.fixture(autouse=True)
def _still_serving(here: House) -> Iterator[None]:
    with survives(here):
        yield


def requests(here: House, ids: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Method and address of every route of the API, with ids that are there."""
    other = {"label_id": "folder_id"}
    for route in api_routes(here.app.routes):
        if route.path.startswith("/v1/"):
            path = re.sub(
                r"\{(\w+)[^}]*\}", lambda m: ids.get(other.get(m[1], m[1]), "nothing"), route.path
            )
            for method in sorted(route.methods - {"HEAD", "OPTIONS"}):
                yield method, path


def check_headers(reply: httpx.Response, where: str) -> None:
    """Nothing of it is kept, sniffed, framed or run."""
    headers = reply.headers
    assert headers["x-content-type-options"] == "nosniff", where
    assert headers["cache-control"] in ("no-store", "no-cache"), where
    assert headers["x-frame-options"] == "DENY", where
    assert headers["referrer-policy"] == "no-referrer", where
    assert headers["cross-origin-resource-policy"] == "same-origin", where
    policy = headers["content-security-policy"]
    assert policy == "sandbox" or "default-src 'none'" in policy, where
    assert "unsafe" not in policy and "*" not in policy, where
    assert not [name for name in headers if name.startswith("access-control")], where
    kind = headers.get("content-type", "").split(";")[0]
    if reply.status_code == 204:
        return
    if "attachment" in headers.get("content-disposition", ""):
        assert kind in DOWNLOADS, where
    else:
        assert kind in TYPES, (where, kind)


def test_every_answer_has_safe_headers(here: House, anna: Things) -> None:
    """Answers, refusals and errors alike; of what deletes, only what is refused."""
    _, stranger = here.member("admin")
    count = 0
    for method, path in requests(here, anna.ids):
        asking = [here.browser(), anna.browser] if method == "GET" else [here.browser()]
        if not re.search(r"/(session|me|conversations|memories)$", path):  # not all of one's own
            asking.append(stranger)
        for browser in asking:
            check_headers(raw(browser, method, path, kind=None), f"{method} {path}")
            count += 1
    assert count > 200
    for reply in (
        raw(anna.browser, "GET", "/v1/nothing"),
        raw(anna.browser, "PUT", "/v1/models"),
        raw(anna.browser, "POST", "/v1/chat/completions", b"{"),
        raw(anna.browser, "GET", "/conversations/%00"),
        raw(anna.browser, "GET", f"/v1/models/{SCRIPT}"),
        raw(anna.browser, "GET", "/v1/models", Host="evil.example"),
    ):
        check_headers(reply, str(reply.request.url))


def test_every_route_refuses_foreign_pages_and_names(here: House, anna: Things) -> None:
    """CSRF and DNS rebinding, on each: nothing is done, whoever is signed in."""
    before = anna.snapshot()
    foreign = [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": here.address.replace("127.0.0.1", "localhost")},  # another origin too
    ]
    turn = itertools.cycle(foreign)
    for method, path in requests(here, anna.ids):
        reply = raw(anna.browser, method, path, b"{}", Host="rebound.example:8000")
        assert reply.status_code == 421, f"{method} {path}"
        if method == "GET":
            continue
        for headers in foreign if path.endswith("/answers") else (next(turn),):
            reply = raw(anna.browser, method, path, b"{}", **headers)
            assert reply.status_code == 403, f"{method} {path} {headers}"
            assert reply.json()["error"]["code"] == "bad_origin"
    assert anna.snapshot() == before


def test_what_people_wrote_is_never_a_page(here: House) -> None:
    """Titles, names and texts that are HTML come back as data or as a download."""
    _, browser = here.member()
    title = f'{SCRIPT}"\r\nSet-Cookie: a=b\r\n\r\n<svg onload=alert(1)>'
    exported = [{"title": title, "conversations": [{"from": "human", "value": SCRIPT},
                                                   {"from": "gpt", "value": SCRIPT}]}]  # fmt: skip
    assert made(raw(browser, "POST", "/import", json.dumps(exported).encode()))["imported"] == 1
    chat = made(browser.get("/conversations"))["data"][0]["id"]
    made(browser.patch(f"/conversations/{chat}", {"title": SCRIPT + "\u202e gpj.exe"}))
    for form in ("markdown", "json", "chatgpt"):
        reply = browser.get(f"/conversations/{chat}/export?format={form}")
        check_headers(reply, form)
        told = reply.headers["content-disposition"]
        assert told.startswith("attachment") and "<" not in told and "\u202e" not in told
        assert "set-cookie" not in reply.headers
    check_headers(browser.get("/export"), "export")
    share = made(browser.post(f"/conversations/{chat}/shares", {}))["url"]
    shown = here.browser().get(f"/shared/{share.rsplit('/', 1)[1]}")
    check_headers(shown, "shared")
    assert SCRIPT in shown.json()["title"] and "noindex" in shown.headers["x-robots-tag"]
    page = here.browser().send("GET", "/x/").request.url.copy_with(path=f"/shared/{SCRIPT}")
    assert SCRIPT not in HTTP.get(page).text


@pytest.mark.parametrize(
    "name", ["x.html", "x.svg", "x.js", "../../x.html", 'a".html', "a\r\nSet-Cookie: b=c", "x.xht"]
)
def test_a_file_is_given_back_as_a_download(here: House, name: str) -> None:
    _, browser = here.member()
    body = f"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'>{SCRIPT}</svg>".encode()
    reply = upload(browser, "/v1/files", name, body, purpose="user_data")
    file = made(reply)
    reply = browser.get(f"/v1/files/{file['id']}/content")
    check_headers(reply, name)
    assert reply.content == body
    assert reply.headers["content-type"] == "application/octet-stream"
    assert reply.headers["content-security-policy"] == "sandbox"
    assert reply.headers["content-disposition"].startswith("attachment")
    assert "/" not in file["filename"] and "\n" not in file["filename"]
    # A range of it is no way around: all of it, or the same headers.
    part = browser.get(f"/v1/files/{file['id']}/content", headers={"Range": "bytes=0-3"})
    check_headers(part, "range")
    assert part.status_code == 200


@pytest.fixture(scope="module")
def static(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A server whose page is a few files, with a secret beside them."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "static" / "assets").mkdir(parents=True)
    (folder / "secret.txt").write_text("the master key")
    (folder / "static" / "index.html").write_text("<!doctype html><title>Chatwright</title>")
    (folder / "static" / "favicon.svg").write_text("<svg/>")
    (folder / "static" / "secret.txt").write_text("the master key")
    (folder / "static" / "assets" / "a.js").write_bytes(b"x" * 100_000)
    (folder / "static" / "assets" / "link.js").symlink_to(folder / "secret.txt")
    registry, _ = scripted(ScriptedEngine(lambda _: "Yes."), None)
    with running(create_app(registry, static=folder / "static")) as address:
        yield address, folder


@pytest.mark.parametrize(
    "path",
    [
        "/assets/../secret.txt", "/assets/%2e%2e/secret.txt", "/assets/..%2fsecret.txt",
        "/assets/%2e%2e%2f%2e%2e%2fsecret.txt", "/assets//etc/passwd", "/assets/%2fetc%2fpasswd",
        "/assets/..%5c..%5csecret.txt", "/assets/%00", "/assets/a.js%00.html", "/assets/link.js",
        "/assets/....//secret.txt", "/assets/%c0%ae%c0%ae/secret.txt", "/assets/",
        "/assets/a.js/../../../secret.txt", "/static/secret.txt", "/secret.txt", "/chat.key",
        "/assets/" + "a" * 3000, "/assets/" + "a/" * 3000, "//secret.txt", "/assets/.",
        "/favicon.svg/..%2fsecret.txt", "/c/..%2f..%2fsecret.txt",
    ],
)  # fmt: skip
def test_no_way_out_of_the_page(static: tuple[str, Path], path: str) -> None:
    import socket

    host, port = static[0].removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as one:
        one.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        told = b""
        while part := one.recv(1 << 16):
            told += part
    assert b"master key" not in told and b"root:" not in told
    status = int(told[9:12])
    assert status in (400, 404) or (status == 200 and b"<title>Chatwright" in told), told[:200]


@pytest.mark.parametrize(
    "ranges",
    [
        "bytes=" + ",".join(["0-"] * 20_000),
        "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 8_000, 2)),
        "bytes=0-" + "9" * 5000,
        "bytes=-" + "9" * 30,
        "bytes=99999999-",
        "bytes=5-1",
        "bytes=" + "0" * 50_000 + "-1",
        "bytes=a-b",
        "lines=0-1",
        "bytes=0-0,-1",
        ",".join(["bytes=0-1"] * 5000),
    ],
)
def test_ranges_that_ask_for_much(static: tuple[str, Path], ranges: str) -> None:
    """Never more than the file and a little, and never long."""
    started = time.monotonic()
    reply = HTTP.get(f"{static[0]}/assets/a.js", headers={"Range": ranges})
    assert time.monotonic() - started < 2
    assert reply.status_code in (200, 206, 400, 416), reply.status_code
    assert len(reply.content) < 300_000
    assert reply.headers["x-content-type-options"] == "nosniff"


def test_the_page_itself(static: tuple[str, Path]) -> None:
    for path in ("/", "/c/x", "/shared/x", "/admin/people", "/settings/keys"):
        reply = HTTP.get(f"{static[0]}{path}")
        assert reply.headers["content-type"].startswith("text/html")
        assert reply.headers["cache-control"] == "no-cache"
        policy = reply.headers["content-security-policy"]
        for part in ("default-src 'none'", "script-src 'self'", "img-src 'self'",
                     "form-action 'none'", "frame-ancestors 'none'", "base-uri 'none'",
                     "require-trusted-types-for 'script'"):  # fmt: skip
            assert part in policy
        assert "unsafe" not in policy and "http" not in policy and "data:" not in policy


def test_nothing_is_told_as_a_table_of_formulas(here: House) -> None:
    """No answer is CSV: formulas in names and texts are text in JSON and Markdown."""
    text = json.dumps(here.app.openapi())
    assert "csv" not in text.lower() and "spreadsheet" not in text.lower()
    _, browser = here.member()
    formula = '=HYPERLINK("http://evil.example","x")'
    chat = made(browser.post("/conversations", {"title": formula}))
    reply = browser.get(f"/conversations/{chat['id']}/export?format=json")
    assert json.loads(reply.text)["conversations"][0]["title"] == formula


def test_an_import_takes_no_path_of_an_archive(here: House, tmp_path: Path) -> None:
    """Zip slip: names in an archive are only looked at for which member holds conversations."""
    import io
    import zipfile

    _, browser = here.member()
    turns = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    chats = json.dumps([{"title": "x", "conversations": turns}])
    for name in ("../../conversations.json", "/etc/conversations.json", "..\\conversations.json",
                 str(tmp_path / "conversations.json"), "a/b/conversations.json"):  # fmt: skip
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr(name, chats)
        reply = raw(browser, "POST", "/import", out.getvalue(), kind="application/zip")
        assert reply.status_code in (200, 400), reply.text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name",
    ["../../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "hf:evil/model", "~/.ssh/id_rsa",
     "openai:http://127.0.0.1:9/v1", "https://127.0.0.1:9/m.gguf", "pypi:evil==1", "harbour\x00",
     "harbour/../../x", "./model.gguf", "HARBOUR", " harbour"],
)  # fmt: skip
def test_models_are_named_from_the_list_alone(here: House, anna: Things, name: str) -> None:
    """A name is looked up, never opened or fetched."""
    message = {"role": "user", "content": "x"}
    bodies: dict[str, dict[str, Any]] = {
        "/v1/chat/completions": {"model": name, "messages": [message]},
        "/v1/completions": {"model": name, "prompt": "x"},
        "/v1/responses": {"model": name, "input": "x"},
        "/v1/embeddings": {"model": name, "input": "x"},
        "/answers": {"model": name, "text": "x"},
        "/v1/fine_tuning/jobs": {"model": name, "training_file": anna.ids["file_id"]},
    }
    for path, body in bodies.items():
        reply = anna.browser.post(path, body)
        assert reply.status_code in (400, 404), (path, reply.text)
    assert anna.browser.patch("/admin/settings", {"default_model": name}).status_code in (400, 404)
    url = httpx.QueryParams({"model": name})
    assert anna.browser.get(f"/passages/x?{url}").status_code in (400, 404)
