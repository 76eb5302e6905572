"""An OpenID Connect provider on localhost, that can also be told to misbehave."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from chat_server import running

CLIENT, SECRET = "chatwright", "provider: secret+%"


@dataclass
class Provider:
    """`claims` are put over the right ones (None: left out); `answers` over whole answers."""

    issuer: str = ""
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, auto_kid=True))
    signing: Any = None
    algorithm: str = "RS256"
    claims: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    answers: dict[str, Response] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self.about),
                Route("/authorize", self.authorize),
                Route("/token", self.token, methods=["POST"]),
                Route("/keys", self.keys),
                Route("/elsewhere", self.elsewhere),
            ]
        )

    async def about(self, _: Request) -> Response:
        self.asked.append("about")
        told = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
        }
        return self.answers.get("about") or JSONResponse(told | self.metadata)

    async def authorize(self, request: Request) -> Response:
        """The person agrees at once."""
        asked = dict(request.query_params)
        assert asked["response_type"] == "code" and asked["client_id"] == CLIENT
        assert "openid" in asked["scope"].split() and asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        return RedirectResponse(f"{asked['redirect_uri']}?code={code}&state={asked['state']}")

    async def token(self, request: Request) -> Response:
        self.asked.append("token")
        if "token" in self.answers:
            return self.answers["token"]
        scheme, _, told = request.headers["authorization"].partition(" ")
        client, secret = base64.b64decode(told).decode().split(":")
        form = await request.form()
        asked = self.codes.pop(str(form["code"]), None)  # a code holds once
        verifier = hashlib.sha256(str(form["code_verifier"]).encode()).digest()
        challenge = base64.urlsafe_b64encode(verifier).decode().rstrip("=")
        right = (
            scheme == "Basic"
            and (unquote(client), unquote(secret)) == (CLIENT, SECRET)
            and asked is not None
            and asked["code_challenge"] == challenge
            and asked["redirect_uri"] == form["redirect_uri"]
            and form["grant_type"] == "authorization_code"
        )
        if not right:
            return JSONResponse({"error": "invalid_grant"}, 400)
        assert asked is not None
        at = int(time.time())
        claims = {
            "iss": self.issuer, "sub": "ada-1", "aud": CLIENT, "exp": at + 300, "iat": at,
            "nonce": asked["nonce"], "email": "ada@elsewhere.example", "email_verified": True,
            "name": "Ada",
        }  # fmt: skip
        claims = {k: v for k, v in (claims | self.claims).items() if v is not None}
        key = self.signing or self.key
        header = {"alg": self.algorithm, "kid": self.key.kid}
        if self.algorithm in ("none", "HS256"):
            return JSONResponse({"id_token": self.forged(header, claims)})
        token = jwt.encode(header, claims, key, algorithms=[self.algorithm])
        return JSONResponse({"id_token": token, "token_type": "Bearer", "access_token": "x"})

    async def keys(self, _: Request) -> Response:
        self.asked.append("keys")
        return self.answers.get("keys") or JSONResponse(KeySet([self.key]).as_dict())

    async def elsewhere(self, _: Request) -> Response:
        self.asked.append("elsewhere")
        return JSONResponse({"keys": [], "issuer": self.issuer})

    def forged(self, header: dict[str, Any], claims: dict[str, Any]) -> str:
        """Not signed at all, or with the public key as if it were a shared secret: the oldest
        tricks against such tokens.
        """
        signed = ".".join(_base64(json.dumps(part).encode()) for part in (header, claims))
        public = self.key.as_pem(private=False)
        made = hmac.digest(public, signed.encode(), "sha256") if header["alg"] == "HS256" else b""
        return f"{signed}.{_base64(made)}"


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


@contextmanager
def provider() -> Iterator[Provider]:
    """A provider that runs, on a free port of this machine."""
    made = Provider()
    with running(made.app()) as address:  # type: ignore[arg-type]
        made.issuer = address
        yield made
