"""Several workers with one engine process: real processes, killed and started again."""

from __future__ import annotations

import ipaddress
import json
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from run_client import ROOT, Event, Page, ended, events, text_of

from chat_server import until
from chatwright.errors import ContextError, UsageError
from chatwright.generate.params import Chosen, Completion, Constraint, Piece, SamplingParams
from chatwright.serve.errors import ApiError
from chatwright.serve.service import OidcSettings, ServeOptions
from chatwright.serve.starting import StartSettings
from chatwright.serve.workers import Fleet, Supervisor, framing, wire
from chatwright.serve.workers.making import plain_settings, read_settings

TEXT = "The gate opens for three hours [1] at spring tide. " * 8
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def fleet(
    knowledge: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Page, Supervisor]]:
    folder = tmp_path_factory.mktemp("fleet")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), str(HERE.parent), before or ""])
    settings = {
        "text": TEXT,
        "seconds": 0.01,
        "folder": str(folder),
        "knowledge": str(knowledge),
    }
    parts = {"registry": "worker_parts:make_registry", "app": "worker_parts:make_app"}
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(64)
    supervisor = Supervisor(Fleet(2, settings, **parts), listening)
    thread = threading.Thread(target=supervisor.run, daemon=True)
    thread.start()
    page = Page(f"http://127.0.0.1:{listening.getsockname()[1]}")
    try:
        until(lambda: len(page.http.get("/models", timeout=30).json()["data"]) == 1, 40)
        yield page, supervisor
    finally:
        pids = supervisor.processes.values()
        supervisor.stop()
        thread.join(30)
        listening.close()
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
        assert not thread.is_alive()
        assert not any(lives(pid) for pid in pids)


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def fresh(page: Page) -> httpx.Client:
    """A connection of its own, which any worker may take."""
    return httpx.Client(base_url=f"{page.address}{ROOT}", verify=False, timeout=20)


def worker_of(run: str) -> str:
    return run.split("_")[1]


def ask_of(page: Page, worker: str) -> dict[str, str]:
    """A run in the worker of that name."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with fresh(page) as http:
            told: dict[str, str] = http.post(
                "/answers", json={"text": "When is spring tide?"}
            ).json()
        if worker_of(told["run_id"]) == worker:
            return told
        page.stop(told["run_id"])
        time.sleep(0.05)
    raise AssertionError(f"{worker} never got a request")


def hear(page: Page, run: str, after: int = 0) -> list[Event]:
    with fresh(page) as http:
        reply = http.get(f"/runs/{run}/events", params={"after": after})
        assert reply.status_code == 200, reply.text
        return list(events(iter([reply.text])))


def test_any_worker_tells_any_run(fleet: tuple[Page, Supervisor]) -> None:
    page, _ = fleet
    told = [ask_of(page, "w0"), ask_of(page, "w1")]
    for one in told:
        heards = [hear(page, one["run_id"]) for _ in range(6)]  # whichever worker takes it
        assert all(heard == heards[0] for heard in heards)
        done = ended(heards[0])
        assert done["text"] == TEXT.strip() and done["status"] == "done"
        assert done["citations"][0]["title"]  # knowledge is searched where the model is
        assert hear(page, one["run_id"], after=4) == heards[0][4:]
    with fresh(page) as http:
        assert http.get("/runs/run_w0_" + "0" * 32 + "/events").status_code == 404
        assert http.get("/runs/run_w9_" + "0" * 32 + "/events").status_code == 404


def test_runs_are_listed_and_stopped_from_any_worker(fleet: tuple[Page, Supervisor]) -> None:
    page, _ = fleet
    told = [ask_of(page, "w0"), ask_of(page, "w1")]
    for _ in range(6):
        with fresh(page) as http:
            rows = http.get("/runs").json()["data"]
        assert {one["run_id"] for one in told} <= {row["run_id"] for row in rows}
    for one in told:
        with fresh(page) as http:
            assert http.post(f"/runs/{one['run_id']}/stop").status_code == 204
        assert ended(hear(page, one["run_id"]))["status"] == "stopped"


@pytest.mark.slow
def test_a_worker_that_dies_is_started_again(fleet: tuple[Page, Supervisor]) -> None:
    page, supervisor = fleet
    told = ask_of(page, "w1")
    other = ask_of(page, "w0")
    time.sleep(0.1)
    old = supervisor.processes["w1"]
    os.kill(old, signal.SIGKILL)
    until(lambda: supervisor.processes.get("w1") not in (None, old), 20)
    assert ended(hear(page, other["run_id"]))["text"] == TEXT.strip()  # nobody else was hurt
    assert worker_of(ask_of(page, "w1")["run_id"]) == "w1"
    with fresh(page) as http:
        assert http.get(f"/runs/{told['run_id']}/events").status_code == 404
        kept = {"action": "continue", "message_id": told["answer_id"]}
        assert http.post("/answers", json=kept).status_code == 201  # it is no more "writing"


def test_an_engine_that_dies_ends_answers_with_a_reason(fleet: tuple[Page, Supervisor]) -> None:
    page, supervisor = fleet
    told = ask_of(page, "w0")
    time.sleep(0.3)
    old = supervisor.processes["engine"]
    os.kill(old, signal.SIGKILL)
    failed = ended(hear(page, told["run_id"]))
    assert failed["code"] == "engine_restarted"
    assert "started again" in failed["message"]
    with fresh(page) as http:  # the next one waits until the engine is back
        again = http.post("/answers", json={"text": "When is spring tide?"}, timeout=40).json()
    assert text_of(hear(page, again["run_id"])) == TEXT.strip()
    assert supervisor.processes["engine"] != old


def test_strangers_get_nothing_from_the_sockets(fleet: tuple[Page, Supervisor]) -> None:
    page, supervisor = fleet
    folder = next(p for p in Path(socket_folder(supervisor)).glob("engine.sock")).parent
    assert folder.stat().st_mode & 0o077 == 0
    for hello in (
        framing.encode({"secret": "guess"}),
        framing.encode({}),
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x02[]",
        b"GET / HTTP/1.1\r\n\r\n",
    ):
        for name in ("engine.sock", "w0.sock"):
            with socket.socket(socket.AF_UNIX) as stranger:
                stranger.settimeout(10)
                stranger.connect(str(folder / name))
                stranger.sendall(hello)
                assert stranger.recv(100) == b""
    assert page.http.get("/models").status_code == 200


def socket_folder(supervisor: Supervisor) -> str:
    (line,) = [
        line
        for line in Path("/proc/net/unix").read_text(encoding="utf-8").splitlines()
        if line.endswith("/engine.sock") and Path(line.split()[-1]).exists()
    ][-1:]
    return str(Path(line.split()[-1]).parent)


def test_settings_survive_the_pipe() -> None:
    options = ServeOptions(
        accounts=True,
        trusted_proxies=(ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::1/128")),
        oidc=OidcSettings("x", "https://login.example.org", "id", "secret", True),
        metrics_token="m" * 20,
    )
    settings = StartSettings(
        names=("quickstart",),
        workspace=Path("/srv/chat"),
        host_names=("chat.example.org",),
        models={"max_batch": 4, "backend": None},
        database="sqlite:///x.db",
        options=options,
    )
    back = read_settings(json.loads(json.dumps(plain_settings(settings))), worker="w3")
    assert back == replace(settings, options=replace(options, worker="w3"))


def test_everything_survives_the_wire() -> None:
    params = SamplingParams(
        temperature=0.3,
        stop=("a", "\u3002"),
        logit_bias={5: -math.inf, 7: 1.5},
        seed=3,
        n=2,
        logprobs=True,
        top_logprobs=2,
        constraint=Constraint.json_schema({"type": "object"}),
        negative_prompt=(),
    )
    message = framing.encode({"params": wire.params_out(params)})
    assert wire.params_in(framing.decode(message[4:])["params"]) == params
    whole = Completion("x", [1, 2], [-0.5, -1.0], "stop", 9, [[(1, -0.5)], [(2, -1.0)]], 3, 1, 0.5)
    for piece in (
        Piece("t\ud800"),
        Piece("t", None, None, 1, (Chosen(1, -0.5, [(1, -0.5)]),)),
        Piece("", "stop", whole, 1),
    ):
        back = framing.decode(framing.encode(wire.piece_out(piece))[4:])
        assert wire.piece_in(back) == piece
    for error in (
        ApiError(429, "busy", param="p", code="c"),
        ContextError("too long", hint="shorter"),
        UsageError("wrong", where="n"),
    ):
        back_again = wire.error_in(framing.decode(framing.encode(wire.error_out(error))[4:]))
        assert type(back_again) is type(error) and back_again.__dict__ == error.__dict__
    hidden = wire.error_in(wire.error_out(RuntimeError("/home/secret")))
    assert "secret" not in str(hidden)
