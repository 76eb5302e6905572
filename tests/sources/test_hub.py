"""The hub's client against a small hub on this machine, which speaks the same interface."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from chatwright.collect.stages import CollectSettings, external, run_collect
from chatwright.errors import SourceError, UsageError
from chatwright.records import Dataset
from chatwright.sources import fetch_snapshot
from chatwright.sources.hub import fetch_hub_file, open_repo, parse_hub_reference
from chatwright.stage import StageContext
from chatwright.workspace import Workspace

from .conftest import Answer, Server

COMMIT, NEWER = "a" * 40, "b" * 40


class FakeHub:
    """Serves repositories from memory: info, tree, and files by commit (large ones redirected)."""

    def __init__(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server = server
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.delenv("HF_HUB_CACHE", raising=False)

    def add(
        self, name: str, files: dict[str, bytes], *, kind: str = "datasets", commit: str = COMMIT,
        large: tuple[str, ...] = (), card: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        info = {
            "id": name,
            "sha": commit,
            "lastModified": "2024-05-06T07:08:09.000Z",
            "cardData": card,
            "siblings": [{"rfilename": path} for path in files],
            "private": False,
            "tags": [],
            "downloads": 0,
        }
        tree: list[dict[str, Any]] = [{"type": "directory", "path": "data", "oid": "0", "size": 0}]
        for path, body in files.items():
            item: dict[str, Any] = {"type": "file", "path": path, "oid": "1" * 40}
            item["size"] = len(body)
            digest = hashlib.sha256(body).hexdigest()
            if path in large:
                item["lfs"] = {"oid": digest, "size": len(body), "pointerSize": 130}
            tree.append(item)
            prefix = "" if kind == "models" else f"/{kind}"
            url = f"{prefix}/{name}/resolve/{commit}/{path}"
            headers = {"ETag": f'"{digest}"', "X-Repo-Commit": commit}
            if path in large:
                headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(body))}
                headers["Location"] = f"{self.server.url}/cdn/{digest}".replace(
                    "127.0.0.1",
                    "localhost",  # the real hub's large files lie on another host
                )
                self.server.routes[url] = Answer(b"", 302, headers)
                self.server.routes[f"/cdn/{digest}"] = Answer(body)
            else:
                self.server.routes[url] = Answer(body, headers=headers)
        api = f"/api/{kind}/{name}"
        as_json = {"Content-Type": "application/json"}
        answer = Answer(json.dumps(info).encode(), headers=as_json)
        for revision in ("", "/revision/main", f"/revision/{commit}"):
            self.server.routes[api + revision] = answer
        self.server.routes[f"{api}/tree/{commit}"] = Answer(
            json.dumps(tree).encode(), headers=as_json
        )


@pytest.fixture
def hub(server: Server, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    return FakeHub(server, monkeypatch)


def collect(tmp_path: Path, *sources: dict[str, Any], **settings: Any) -> Dataset:
    read = CollectSettings.model_validate({"sources": list(sources), **settings})
    output = tmp_path / "out"
    run_collect(
        read, StageContext("r", "pages", 7, output, tmp_path / "s", "f", Workspace(tmp_path))
    )
    return Dataset.open(output)


def parquet(rows: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


FILES = {
    "README.md": b"# a card",
    ".gitattributes": b"*",
    "data/train-0.parquet": parquet([{"text": f"row {n} 第{n}行", "n": n} for n in range(5)]),
    "data/a.jsonl.gz": gzip.compress(lines([{"text": "从前有一座山", "language": "zh"}])),
    "data/b.jsonl.zst": zstandard.ZstdCompressor().compress(lines([{"text": "once"}])),
    "data/c.csv": "text,title\n你好,问候\n".encode(),
    "data/d.txt": b"plain text",
    "picture.png": b"\x89PNG",
}


def test_a_data_set_becomes_documents(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("someone/stories", FILES, large=("data/train-0.parquet",), card={"license": "mit"})
    dataset = collect(tmp_path, {"source": "hf:someone/stories"})
    rows = list(dataset.rows)
    assert [row.text for row in rows] == [
        "从前有一座山",
        "once",
        "你好",
        "plain text",
        *[f"row {n} 第{n}行" for n in range(5)],
    ]
    assert {row.license for row in rows} == {"MIT"}
    assert {row.collected_at.isoformat() for row in rows} == {"2024-05-06T07:08:09+00:00"}
    assert rows[0].uri == "hf:someone/stories/data/a.jsonl.gz#row=1"
    assert rows[0].language == "zh"
    assert rows[2].meta["title"] == "问候"
    assert rows[-1].meta["n"] == 4
    assert dataset.info.counts["sources"][0]["revision"] == COMMIT


def test_globs_choose_the_files(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("someone/stories", FILES)
    dataset = collect(tmp_path, {"source": "hf:someone/stories@main", "include": ["*.md"]})
    assert [row.text for row in dataset.rows] == ["# a card"]
    with pytest.raises(SourceError, match="no file of this data set") as caught:
        collect(tmp_path, {"source": "hf:someone/stories", "include": ["*.warc"]})
    assert "README.md" in str(caught.value)


def test_chats(hub: FakeHub, tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "你是谁?"}, {"from": "gpt", "value": "我是助手。"}]
    hub.add("someone/chats", {"train.jsonl": lines([{"conversations": turns, "consent": True}])})
    dataset = collect(tmp_path, {"source": "hf:someone/chats"}, rows="conversations")
    (row,) = dataset.rows
    assert [(m.role, m.content) for m in row.messages] == [
        ("user", "你是谁?"),
        ("assistant", "我是助手。"),
    ]
    assert row.consent is True


def test_the_commit_is_part_of_the_fingerprint(hub: FakeHub, tmp_path: Path) -> None:
    settings = CollectSettings.model_validate({"sources": [{"source": "hf:someone/stories"}]})
    workspace = Workspace(tmp_path)
    hub.add("someone/stories", FILES)
    assert external(settings, workspace) == [COMMIT]
    hub.add("someone/stories", FILES, commit=NEWER)
    assert external(settings, workspace) == [NEWER]
    hub.server.routes.clear()  # the hub is down: what it said last still holds
    hub.server.routes["/api/datasets/someone/stories"] = Answer(b"", 503)
    assert external(settings, workspace) == [NEWER]


def test_a_pinned_commit_needs_the_network_once(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("someone/stories", FILES, large=("data/train-0.parquet",))
    source = {"source": f"hf:someone/stories@{COMMIT}"}
    first = collect(tmp_path, source).info.content_digest
    hub.server.routes.clear()
    hub.server.log.clear()
    assert collect(tmp_path, source).info.content_digest == first
    assert hub.server.log == []


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (404, "RepoNotFound", "no such repository"),
        (404, "RevisionNotFound", "no such revision"),
        (403, "GatedRepo", "asks for a login"),
        (401, "GatedRepo", "asks for a login"),
        (500, None, "cannot give this"),
        (429, None, "cannot give this"),
    ],
)
def test_refusals(hub: FakeHub, status: int, code: str | None, words: str) -> None:
    headers = {"X-Error-Code": code} if code else {}
    hub.server.routes["/api/datasets/someone/stories"] = Answer(b"{}", status, headers)
    with pytest.raises(SourceError, match=words) as caught:
        open_repo("someone/stories", "dataset")
    assert caught.value.where == "hf:someone/stories"
    assert caught.value.hint


def test_an_endpoint_that_is_no_hub(hub: FakeHub) -> None:
    page = Answer(b"<html>Welcome!</html>", headers={"Content-Type": "text/html"})
    hub.server.routes["/api/datasets/someone/stories"] = page
    with pytest.raises(SourceError):
        open_repo("someone/stories", "dataset")


def test_no_network(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SourceError, match="hub cannot give this"):
        open_repo("someone/stories", "dataset")


def test_a_file_that_fails(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("someone/stories", FILES)
    url = f"/datasets/someone/stories/resolve/{COMMIT}/data/d.txt"
    hub.server.routes[url] = Answer(b"", 404, {"X-Error-Code": "EntryNotFound"})
    with pytest.raises(SourceError, match="hub cannot give this"):
        collect(tmp_path, {"source": "hf:someone/stories", "include": ["data/d.txt"]})
    assert not (tmp_path / "out").exists()


def test_a_truncated_body_is_fetched_again(hub: FakeHub) -> None:
    body = b"0123456789" * 100_000
    hub.add("someone/stories", {"big.txt": body})
    url = f"/datasets/someone/stories/resolve/{COMMIT}/big.txt"
    answer = hub.server.routes[url]
    assert isinstance(answer, Answer)

    cuts = iter([300_000])

    def cut_the_first(request: http.server.BaseHTTPRequestHandler) -> Answer:
        cut = next(cuts, None) if request.command == "GET" else None
        return Answer(body, headers=answer.headers, cut_after=cut)

    hub.server.routes[url] = cut_the_first
    repo = open_repo("someone/stories", "dataset")
    assert fetch_hub_file(repo, repo.files[0]).read_bytes() == body
    assert [method for method, path, _ in hub.server.log if "resolve" in path] == [
        "HEAD",
        "GET",
        "GET",
    ]


def test_a_wrong_file_is_removed(hub: FakeHub) -> None:
    hub.add("someone/stories", {"big.txt": b"the right bytes"}, large=("big.txt",))
    digest = hashlib.sha256(b"the right bytes").hexdigest()
    hub.server.routes[f"/cdn/{digest}"] = Answer(b"the wrong bytes")
    repo = open_repo("someone/stories", "dataset")
    with pytest.raises(SourceError, match="it was removed"):
        fetch_hub_file(repo, repo.files[0])
    hub.server.routes[f"/cdn/{digest}"] = Answer(b"the right bytes")
    assert fetch_hub_file(repo, repo.files[0]).read_bytes() == b"the right bytes"


def test_a_snapshot_of_weights(hub: FakeHub) -> None:
    files = {
        "config.json": b"{}",
        "model.safetensors": b"s" * 1000,
        "pytorch_model.bin": b"a pickle",
        "sub/tokenizer.json": b"{}",
    }
    hub.add("someone/model", files, kind="models", large=("model.safetensors",))
    folder = fetch_snapshot("hf:someone/model")
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}
    assert found == {"config.json", "model.safetensors", "sub/tokenizer.json"}
    with pytest.raises(SourceError, match="no file matches"):
        fetch_snapshot("someone/model", patterns=["*.gguf"])


@pytest.mark.parametrize("reference", ["hf:", "hf:a/b/c", "hf:a b", "hf:a/b@", "hf:../x/y"])
def test_references_that_are_none(reference: str) -> None:
    with pytest.raises(UsageError):
        parse_hub_reference(reference)


def test_references() -> None:
    assert parse_hub_reference("hf:a/b@refs/pr/1") == ("a/b", "refs/pr/1")
    assert parse_hub_reference("gpt2") == ("gpt2", None)
