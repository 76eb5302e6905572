"""The server as strangers meet it: over TLS by itself, behind nginx, and behind Caddy."""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from accounts_server import PASSWORD, House
from chat_server import ScriptedEngine, running, scripted, until
from chatwright.errors import UsageError
from chatwright.serve import create_app
from chatwright.serve.service import ServeOptions
from chatwright.serve.starting import secret_of
from chatwright.serve.store import open_store

DEPLOY = Path(__file__).parents[2] / "deploy"
NAME = "chat.example.org"
PIECE_SECONDS = 0.15


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for the name and this machine, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    names = [x509.DNSName(NAME), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert, own = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    own.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert, own


def browser(cert: Path, port: int) -> httpx.Client:
    """A client that finds the name at a port of this machine, and trusts this certificate alone."""

    def with_name(request: httpx.Request) -> None:
        request.extensions["sni_hostname"] = NAME  # as a browser's handshake names the site

    context = ssl.create_default_context(cafile=str(cert))
    return httpx.Client(
        event_hooks={"request": [with_name]},
        verify=context,
        base_url=f"https://127.0.0.1:{port}",
        headers={"Host": NAME, "Origin": f"https://{NAME}"},
        timeout=20,
    )


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def listening(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def signed_in(client: httpx.Client, here: House, email: str) -> str:
    """Sign in; the cookie as it was set."""
    told = client.post("/v1/chatwright/session", json={"email": email, "password": PASSWORD})
    assert told.status_code == 200, told.text
    return told.headers["set-cookie"]


def streamed(client: httpx.Client, key: str) -> list[float]:
    """When each piece of an answer came."""
    body = {"model": "harbour", "stream": True, "messages": [{"role": "user", "content": "When?"}]}
    headers = {"Authorization": f"Bearer {key}"}
    at = []
    with client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as reply:
        assert reply.status_code == 200
        for line in reply.iter_lines():
            if '"content"' in line:
                at.append(time.monotonic())
    return at


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A server behind a proxy on this machine, whose engine says a word now and then."""
    slow, _ = scripted(ScriptedEngine(lambda _: "a b c d e f", seconds=PIECE_SECONDS), None)
    options = ServeOptions(
        accounts=True,
        cheap_passwords=True,
        trusted_proxies=(ipaddress.ip_network("127.0.0.1"),),
        public_url=f"https://{NAME}",
        secure_cookies=True,
    )
    store = open_store(None, folder=tmp_path_factory.mktemp("house"))
    app = create_app(slow, store=store, options=options, host_names=[NAME])
    with running(app) as address:
        one = House(address, app, app.state.service, store)
        one.person("admin")
        yield one


@contextmanager
def program(command: list[str], port: int, folder: Path) -> Iterator[None]:
    """A proxy of ours, until the block ends."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, "HOME": str(folder)}
        )
    try:
        until(lambda: listening(port) or process.poll() is not None, 15)
        assert process.poll() is None, (folder / "log").read_text()
        yield
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def nginx(folder: Path, server: str, port: int, tls: tuple[Path, Path]) -> Iterator[None]:
    """`deploy/nginx.conf` with ports and paths of this machine."""
    text = (DEPLOY / "nginx.conf").read_text()
    changes = {
        "listen 443 ssl http2;": f"listen 127.0.0.1:{port} ssl http2;",
        "listen [::]:443 ssl http2;": "",
        "listen 80;": f"listen 127.0.0.1:{free_port()};",
        "listen [::]:80;": "",
        "/etc/letsencrypt/live/chat.example.org/fullchain.pem": str(tls[0]),
        "/etc/letsencrypt/live/chat.example.org/privkey.pem": str(tls[1]),
        "http://127.0.0.1:8000": server,
    }
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    user = "user root;" if os.geteuid() == 0 else ""  # its workers read the test's folder
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"{user} daemon off; pid {folder}/pid; error_log stderr;\nevents {{}}\n"
        f"http {{ access_log off; {temporary}\n{text}\n}}\n"
    )
    command = ["nginx", "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")]
    with program(command, port, folder):
        yield


@contextmanager
def caddy(folder: Path, server: str, port: int, tls: tuple[Path, Path]) -> Iterator[None]:
    """`deploy/Caddyfile` with ports and a certificate of this machine."""
    text = (DEPLOY / "Caddyfile").read_text()
    for old in ("chat.example.org {", "reverse_proxy 127.0.0.1:8000"):
        assert old in text, old
    text = text.replace(
        "chat.example.org {",
        f"https://{NAME}:{port} {{\n\tbind 127.0.0.1\n\ttls {tls[0]} {tls[1]}",
    ).replace("127.0.0.1:8000", server.removeprefix("http://"))
    plain = free_port()
    (folder / "Caddyfile").write_text(
        f"{{\n\tadmin off\n\thttp_port {plain}\n\tauto_https disable_redirects\n}}\n{text}"
    )
    command = ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]
    with program(command, port, folder):
        yield


@pytest.mark.parametrize("proxy", [nginx, caddy])
def test_behind_a_proxy(
    here: House, tmp_path: Path, certificate: tuple[Path, Path], proxy: Callable[..., Any]
) -> None:
    name = proxy.__name__
    if shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None:
        pytest.skip(f"{name} is not installed (Debian's package {name})")
    person, port = here.person(), free_port()
    key = here.key(person)
    with (
        proxy(tmp_path, here.address, port, certificate),
        browser(certificate[0], port) as client,
    ):
        cookie = signed_in(client, here, person.email)
        assert cookie.startswith("__Host-") and "Secure" in cookie and "HttpOnly" in cookie
        assert client.get("/v1/chatwright/me").json()["email"] == person.email
        assert client.get("/metrics").status_code == 404  # not for the world

        at = streamed(client, key)
        assert len(at) > 3
        assert at[-1] - at[0] > 2 * PIECE_SECONDS  # each piece was passed on at once

        # What a caller says of its address is not believed; what the proxy says is.
        client.patch("/v1/chatwright/me", json={"name": "Anna"})
        seen: list[str] = []
        rates = here.service.rates
        check = rates.check

        async def noting(who: Any, address: str, group: str) -> None:
            seen.append(address)
            await check(who, address, group)

        rates.check = noting  # type: ignore[method-assign]
        try:
            client.get("/v1/chatwright/me", headers={"X-Forwarded-For": "203.0.113.9"})
        finally:
            rates.check = check  # type: ignore[method-assign]
        assert seen == ["127.0.0.1"]

        # Another site's page cannot use the cookie, and no other name is answered.
        foreign = client.patch(
            "/v1/chatwright/me", json={"name": "x"}, headers={"Origin": "https://evil.example"}
        )
        assert foreign.status_code == 403
        other = client.get("/healthz", headers={"Host": "evil.example"})
        assert other.status_code != 200 or other.content == b""
        large = client.post(
            "/v1/chatwright/attachments",
            content=b"x" * (31 << 20),
            headers={"Content-Type": "multipart/form-data; boundary=x"},
        )
        assert large.status_code == 413


def test_tls_by_itself(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """`--tls-cert` and `--tls-key`: a real server process."""
    port = free_port()
    workspace = tmp_path / "w"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CHATWRIGHT_MASTER")}
    command = [
        str(Path(sys.executable).parent / "chatwright"), "serve", "smollm2-135m-instruct",
        "--backend", "openai:http://127.0.0.1:1/v1#none", "--port", str(port),
        "--workspace", str(workspace), "--tls-cert", str(certificate[0]),
        "--tls-key", str(certificate[1]), "--public-url", f"https://{NAME}",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**environment, "COLUMNS": "300"},
    )  # fmt: skip
    assert process.stdout is not None
    said: list[str] = []
    try:
        for line in process.stdout:
            said.append(line)
            if "Ctrl-C" in line:
                break
        link = next(line for line in said if "/setup#" in line).strip()
        assert link.startswith(f"https://{NAME}/setup#"), said
        threading.Thread(target=process.stdout.read, daemon=True).start()
        with browser(certificate[0], port) as client:
            person = {"name": "A", "email": "a@example.org", "password": PASSWORD}
            made = client.post(
                "/v1/chatwright/setup", json={"token": link.rpartition("#")[2], **person}
            )
            assert made.status_code == 201, made.text
            cookie = made.headers["set-cookie"]
            assert cookie.startswith("__Host-") and "Secure" in cookie and "Path=/" in cookie
            assert client.get("/v1/chatwright/me").json()["role"] == "admin"
            assert client.get("/", headers={"Host": "evil.example"}).status_code == 421
        with pytest.raises(httpx.HTTPError):  # no plain HTTP on that port
            httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=5)
    finally:
        process.terminate()
        process.wait(15)


@pytest.mark.parametrize(
    "secret", ["", "short", "aaaaaaaaaaaaaaaaaaaaaaaa", "abababababababababab"]
)
def test_weak_secrets_are_refused(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATWRIGHT_METRICS_TOKEN", secret)
    with pytest.raises(UsageError, match="weak"):
        secret_of("CHATWRIGHT_METRICS_TOKEN")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_the_unit_is_sound(tmp_path: Path) -> None:
    text = (DEPLOY / "chatwright.service").read_text()
    unit = tmp_path / "chatwright.service"
    unit.write_text(text.replace("/opt/chatwright/bin/chatwright", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    told = [line for line in done.stderr.splitlines() if "chatwright.service" in line]
    assert told == [], done.stderr
