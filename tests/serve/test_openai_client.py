"""The official client, unchanged: models, errors of every kind, and who is asking."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import openai
import pytest

from chat_server import HTTP, ScriptedEngine, running, scripted, until
from chatwright.errors import ModelError
from chatwright.serve import Limits, Registry, Served, create_app
from chatwright.serve.access import Identity, Role
from chatwright.serve.errors import ApiError
from chatwright.serve.service import NoRates, ServeOptions

ASK: dict[str, Any] = {"model": "harbour", "messages": [{"role": "user", "content": "Tides?"}]}
RESPOND: dict[str, Any] = {"model": "harbour", "input": "Tides?"}


class Keys:
    """People by the keys that they send."""

    people: ClassVar[dict[str, Identity]] = {
        "ada": Identity("usr_ada", "Ada", Role.user, "key"),
        "files": Identity("usr_ada", "Ada", Role.user, "key", frozenset({"files"})),
        "spent": Identity("usr_bob", "Bob", Role.user, "key"),
    }

    async def identify(self, request: Any) -> Identity | None:
        told = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not told:
            return None
        if told not in self.people:
            raise ApiError(401, "this key is not valid", code="invalid_api_key")
        return self.people[told]


class Meter:
    """Counts tokens, and knows who has none left."""

    def __init__(self) -> None:
        self.counted: list[tuple[str, str, int, int]] = []

    def check(self, who: Identity) -> None:
        if who.person_id == "usr_bob":
            raise ApiError(429, "no tokens are left today", code="insufficient_quota")

    async def add(self, who: Identity, model: str, read: int, made: int) -> None:
        self.counted.append((who.person_id, model, read, made))

    async def close(self) -> None:
        pass


class Verdict:
    def __init__(self, blocked: bool) -> None:
        self.blocked = blocked


class Moderator:
    """Refuses two words."""

    async def check(self, texts: list[str], *, direction: str, **_: Any) -> Verdict:
        word = {"input": "forbidden", "output": "secret"}[direction]
        return Verdict(any(word in text for text in texts))


@pytest.fixture(scope="module")
def engine() -> ScriptedEngine:
    return ScriptedEngine(lambda _: "The gate opens for three hours.")


@pytest.fixture(scope="module")
def meter() -> Meter:
    return Meter()


@pytest.fixture(scope="module")
def address(engine: ScriptedEngine, meter: Meter) -> Iterator[str]:
    registry, assistant = scripted(engine, None)
    entries = [*registry.entries(), Served("broken", "model", "Broken")]

    def load(name: str) -> Any:
        if name == "broken":
            raise ModelError("the weights are damaged")
        return assistant

    app = create_app(
        Registry(lambda: entries, load),
        limits=Limits(active=1, body_bytes=20_000),
        options=ServeOptions(accounts=True),
    )
    service = app.state.service
    service.accounts, service.rates = Keys(), NoRates()
    service.meter, service.moderator = meter, Moderator()
    with running(app) as address:
        yield address


def client(address: str, key: str = "ada") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0)


def test_models(address: str) -> None:
    with client(address) as ada:
        names = [model.id for model in ada.models.list()]
        assert names == ["harbour", "broken"]
        assert ada.models.retrieve("harbour").owned_by == "chatwright"
        with pytest.raises(openai.NotFoundError):
            ada.models.retrieve("nobody/else")


def test_errors_are_the_clients_own(address: str) -> None:
    with client(address) as ada:
        for ask, asked in (
            (ada.chat.completions.create, ASK),
            (ada.responses.create, RESPOND),
            (ada.completions.create, {"model": "harbour", "prompt": "x"}),
        ):
            with pytest.raises(openai.BadRequestError) as told:
                ask(**asked, temperature=5)
            assert told.value.param == "temperature"
            with pytest.raises(openai.NotFoundError):
                ask(**{**asked, "model": "nobody"})
            with pytest.raises(openai.InternalServerError) as failed:
                ask(**{**asked, "model": "broken"})
            assert failed.value.status_code == 503
        with pytest.raises(openai.BadRequestError) as chats:
            ada.completions.create(model="harbour", prompt="x")  # the scripted engine only chats
        assert chats.value.param == "model"
        with pytest.raises(openai.APIStatusError) as large:
            ada.responses.create(model="harbour", input="x" * 30_000)
        assert large.value.status_code == 413


def test_who_may_ask(address: str, meter: Meter) -> None:
    for route in ("chat/completions", "completions", "responses"):
        assert HTTP.post(f"{address}/v1/{route}", json=ASK).status_code == 401
    with client(address, "forged") as nobody, pytest.raises(openai.AuthenticationError):
        nobody.chat.completions.create(**ASK)
    with client(address, "files") as files, pytest.raises(openai.PermissionDeniedError):
        files.responses.create(**RESPOND)
    with client(address, "spent") as bob, pytest.raises(openai.RateLimitError) as told:
        bob.chat.completions.create(**ASK)
    assert told.value.code == "insufficient_quota"
    assert all(person == "usr_ada" for person, *_ in meter.counted)


@pytest.mark.parametrize("streamed", [True, False])
def test_tokens_are_counted(address: str, meter: Meter, streamed: bool) -> None:
    before = len(meter.counted)
    with client(address) as ada:
        reply = ada.chat.completions.create(**ASK, stream=streamed)
        if streamed:
            text = [chunk.choices[0].delta.content or "" for chunk in reply]
            assert "".join(text) == "The gate opens for three hours."
    until(lambda: len(meter.counted) == before + 1)
    assert meter.counted[-1] == ("usr_ada", "harbour", 5, 6)


def test_what_was_made_for_somebody_who_left_is_counted(
    address: str, engine: ScriptedEngine, meter: Meter
) -> None:
    before = len(meter.counted)
    engine.seconds, engine.answer = 0.02, lambda _: "word " * 400
    with client(address) as ada:
        stream = ada.chat.completions.create(**ASK, stream=True)
        for _, _ in zip(range(4), stream, strict=False):
            pass
        with pytest.raises(openai.RateLimitError):  # one answer at a time here
            ada.chat.completions.create(**ASK)
        stream.close()
    engine.seconds, engine.answer = 0.0, lambda _: "The gate opens for three hours."
    until(lambda: len(meter.counted) == before + 1)
    assert meter.counted[-1][:2] == ("usr_ada", "harbour") and 2 <= meter.counted[-1][3] < 300


def test_moderation(address: str, engine: ScriptedEngine) -> None:
    with client(address) as ada:
        for ask, asked in (
            (ada.chat.completions.create, {"model": "harbour", "messages": [
                {"role": "user", "content": "something forbidden"}]}),
            (ada.responses.create, {"model": "harbour", "input": "something forbidden"}),
        ):  # fmt: skip
            with pytest.raises(openai.BadRequestError) as told:
                ask(**asked)
            assert told.value.code == "content_filter"
        engine.answer = lambda _: "a secret"
        reply = ada.chat.completions.create(**ASK)
        assert reply.choices[0].finish_reason == "content_filter"
        assert reply.choices[0].message.content == ""
        response = ada.responses.create(**RESPOND)
        assert response.incomplete_details.reason == "content_filter"
        assert response.output_text == ""
        *_, last = ada.chat.completions.create(**ASK, stream=True)
        assert last.choices[0].finish_reason == "content_filter"
    engine.answer = lambda _: "The gate opens for three hours."
