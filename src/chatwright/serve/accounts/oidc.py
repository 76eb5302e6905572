"""Signing in with an account elsewhere: OpenID Connect Core 1.0, the authorization code flow with
PKCE (RFC 7636), state and nonce.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import json
import secrets
import ssl
import time
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import anyio.to_thread

from chatwright.errors import DataError, SourceError, UsageError
from chatwright.serve.service import OidcSettings
from chatwright.serve.store.sealing import Sealer

# Only signatures that the provider alone can make: none with a shared secret, and never "none".
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512",
              "EdDSA", "Ed25519")  # fmt: skip
STARTED_SECONDS = 600
_KEPT_SECONDS = 3600.0
_ANSWER_BYTES = 1 << 20
_TIMEOUT = 10.0
_LEEWAY = 60
_CONTEXT = "cookie:oidc"


@dataclass(frozen=True, slots=True)
class Started:
    """What a browser has with it while it is at the provider; `link` is the person to link to."""

    state: str
    nonce: str
    verifier: str
    at: int
    link: str = ""


@dataclass(frozen=True, slots=True)
class Outside:
    """Somebody as the provider knows them. `email` only where the provider has checked it."""

    issuer: str
    subject: str
    email: str | None
    name: str


def begin(link: str = "") -> Started:
    """State, nonce and PKCE verifier, 256 random bits each."""
    return Started(
        secrets.token_urlsafe(32),
        secrets.token_urlsafe(32),
        secrets.token_urlsafe(32),
        int(time.time()),
        link,
    )


def pack(started: Started, sealer: Sealer) -> str:
    """`started` for a cookie, sealed."""
    sealed = sealer.seal(json.dumps(asdict(started)), context=_CONTEXT)
    return base64.urlsafe_b64encode(sealed).decode("ascii").rstrip("=")


def unpack(text: str, sealer: Sealer) -> Started:
    """The same back. Raises `SourceError` for one that is not ours or too old."""
    try:
        sealed = base64.urlsafe_b64decode(text[:2000] + "=" * (-len(text[:2000]) % 4))
        started = Started(**json.loads(sealer.open_text(sealed, context=_CONTEXT)))
    except (DataError, ValueError, TypeError) as error:
        raise SourceError("this sign-in was not begun in this browser") from error
    if not 0 <= time.time() - started.at <= STARTED_SECONDS:
        raise SourceError("this sign-in has taken too long")
    return started


def check_address(url: str, what: str) -> str:
    """An address of the provider's that may be asked: https, or http on this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        parts, host = urlsplit(""), ""
    loopback = host == "localhost"
    if not loopback:
        try:
            loopback = ipaddress.ip_address(host).is_loopback
        except ValueError:
            loopback = False
    secure = parts.scheme == "https" or (parts.scheme == "http" and loopback)
    if not host or not secure or parts.username is not None or parts.fragment:
        raise UsageError(f"{what} must be an https address", where=url[:200])
    return url


class Provider:
    """An OpenID Connect provider: where its parts are, and its keys, asked for when needed."""

    def __init__(self, settings: OidcSettings) -> None:
        """Raises `UsageError` for an issuer that is not https (or on this machine)."""
        check_address(settings.issuer, "the issuer")
        self.settings = settings
        self._trust: ssl.SSLContext | None = None
        self._about: tuple[dict[str, Any], float] | None = None
        self._keys: tuple[dict[str, Any], float] | None = None

    async def sign_in_address(self, started: Started, redirect_uri: str) -> str:
        """Where the browser is sent. Raises `SourceError`."""
        about = await self._metadata()
        challenge = hashlib.sha256(started.verifier.encode()).digest()
        query = urlencode(
            {
                "response_type": "code",
                "client_id": self.settings.client_id,
                "redirect_uri": redirect_uri,
                "scope": "openid email profile",
                "state": started.state,
                "nonce": started.nonce,
                "code_challenge": base64.urlsafe_b64encode(challenge).decode().rstrip("="),
                "code_challenge_method": "S256",
            }
        )
        at = _endpoint(about, "authorization_endpoint")
        return f"{at}{'&' if urlsplit(at).query else '?'}{query}"

    async def finish(
        self, started: Started, *, code: str, state: str, issuer: str | None, redirect_uri: str
    ) -> Outside:
        """Who came back with `code`. Raises `SourceError` where anything does not fit."""
        if not hmac.compare_digest(state.encode(), started.state.encode()):
            raise SourceError("the state is not the one that was sent")
        if issuer is not None and issuer != self.settings.issuer:  # RFC 9207
            raise SourceError("another provider answers")
        about = await self._metadata()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": started.verifier,
        }
        methods = about.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        headers = {}
        if "client_secret_basic" in methods:
            pair = f"{quote(self.settings.client_id)}:{quote(self.settings.client_secret)}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form |= {
                "client_id": self.settings.client_id,
                "client_secret": self.settings.client_secret,
            }
        told = await self._ask("POST", _endpoint(about, "token_endpoint"), form, headers)
        token = told.get("id_token")
        if not isinstance(token, str):
            raise SourceError("the provider sent no ID token")
        return _outside(check_claims(await self._claims(token), self.settings, started.nonce))

    async def _claims(self, token: str) -> dict[str, Any]:
        """What a token says, its signature checked; keys are asked for anew where none fits."""
        from joserfc import jwt
        from joserfc.errors import BadSignatureError, InvalidKeyIdError, JoseError
        from joserfc.jwk import KeySet

        for fresh in (False, True):
            told = await self._key_set(fresh=fresh)
            try:
                keys = KeySet.import_key_set(told)  # type: ignore[arg-type]
                claims: dict[str, Any] = jwt.decode(token, keys, algorithms=list(ALGORITHMS)).claims
                return claims
            except (BadSignatureError, InvalidKeyIdError) as error:
                if fresh:
                    raise SourceError("the ID token is not signed by the provider") from error
            except (JoseError, ValueError, TypeError, KeyError) as error:
                raise SourceError(f"the ID token is no good ({type(error).__name__})") from error
        raise AssertionError

    async def _metadata(self) -> dict[str, Any]:
        if self._about is not None and time.monotonic() < self._about[1]:
            return self._about[0]
        at = f"{self.settings.issuer.rstrip('/')}/.well-known/openid-configuration"
        about = await self._ask("GET", at)
        if about.get("issuer") != self.settings.issuer:
            raise SourceError("the provider goes by another name than the issuer", where=at)
        self._about = (about, time.monotonic() + _KEPT_SECONDS)
        return about

    async def _key_set(self, *, fresh: bool) -> dict[str, Any]:
        at = time.monotonic()
        if self._keys is not None and at < self._keys[1]:
            asked_lately = self._keys[1] - at > _KEPT_SECONDS - 10
            if not fresh or asked_lately:
                return self._keys[0]
        told = await self._ask("GET", _endpoint(await self._metadata(), "jwks_uri"))
        listed = told.get("keys")
        public = [
            key
            for key in (listed if isinstance(listed, list) else [])
            if isinstance(key, dict) and key.get("kty") in ("RSA", "EC", "OKP")
        ]
        if not public:
            raise SourceError("the provider has published no keys")
        self._keys = ({"keys": public[:100]}, at + _KEPT_SECONDS)
        return self._keys[0]

    async def _ask(
        self,
        method: str,
        url: str,
        form: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """JSON from the provider: no redirect is followed, no large answer read."""
        import httpx2

        if self._trust is None:  # reading the certificates takes a while
            self._trust = await anyio.to_thread.run_sync(ssl.create_default_context)
        try:
            wanted = {"Accept": "application/json", **(headers or {})}
            async with (
                httpx2.AsyncClient(
                    follow_redirects=False, timeout=_TIMEOUT, verify=self._trust
                ) as client,
                client.stream(method, url, data=form, headers=wanted) as answer,
            ):
                body = bytearray()
                async for part in answer.aiter_bytes():
                    body += part
                    if len(body) > _ANSWER_BYTES:
                        raise SourceError("the provider's answer is too large", where=url)
                if answer.status_code != 200:
                    raise SourceError(f"the provider answers {answer.status_code}", where=url)
            told = json.loads(body)
        except httpx2.HTTPError as error:
            raise SourceError(
                f"the provider cannot be reached ({type(error).__name__})", where=url
            ) from error
        except (ValueError, RecursionError) as error:
            raise SourceError("the provider's answer is no JSON", where=url) from error
        if not isinstance(told, dict):
            raise SourceError("the provider's answer is no JSON object", where=url)
        return told


def check_claims(claims: dict[str, Any], settings: OidcSettings, nonce: str) -> dict[str, Any]:
    """OpenID Connect Core 1.0, section 3.1.3.7. Raises `SourceError`."""
    audience = claims.get("aud")
    audiences = [audience] if isinstance(audience, str) else audience
    at = time.time()
    if claims.get("iss") != settings.issuer:
        raise SourceError("the ID token is another provider's")
    if not isinstance(audiences, list) or settings.client_id not in audiences:
        raise SourceError("the ID token is for another service")
    if (len(audiences) > 1 or "azp" in claims) and claims.get("azp") != settings.client_id:
        raise SourceError("the ID token is for another service")
    if not _is_time(claims.get("exp")) or claims["exp"] + _LEEWAY <= at:
        raise SourceError("the ID token has expired")
    if not _is_time(claims.get("iat")) or claims["iat"] - _LEEWAY > at:
        raise SourceError("the ID token comes from the future")
    if "nbf" in claims and (not _is_time(claims["nbf"]) or claims["nbf"] - _LEEWAY > at):
        raise SourceError("the ID token does not hold yet")
    said = claims.get("nonce")
    if not isinstance(said, str) or not hmac.compare_digest(said.encode(), nonce.encode()):
        raise SourceError("the ID token belongs to another sign-in")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 1 <= len(subject) <= 255:
        raise SourceError("the ID token names nobody")
    return claims


def _outside(claims: dict[str, Any]) -> Outside:
    email = claims.get("email") if claims.get("email_verified") is True else None
    name = claims.get("name") or claims.get("preferred_username") or ""
    return Outside(
        claims["iss"],
        claims["sub"],
        email if isinstance(email, str) else None,
        name[:200] if isinstance(name, str) else "",
    )


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53


def _endpoint(about: dict[str, Any], name: str) -> str:
    found = about.get(name)
    if not isinstance(found, str):
        raise SourceError(f"the provider does not tell its {name}")
    try:
        return check_address(found, name)
    except UsageError as error:
        raise SourceError(f"the provider's {name} is not https") from error
