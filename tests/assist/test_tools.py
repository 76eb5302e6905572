"""The tools that come with Chatwright, called as the model calls them."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.assist.tools.calculator import evaluate
from chatwright.assist.tools.definition import Caller, tool
from chatwright.assist.tools.registry import ToolRegistry, default_tools
from chatwright.errors import UsageError
from chatwright.records.grounding import Passage

REGISTRY = ToolRegistry(default_tools())
NAMES = [one.name for one in REGISTRY.definitions()]
ANNA, BEN = Caller("usr_anna", "Anna"), Caller("usr_ben", "Ben")


def call(name: str, caller: Caller = ANNA, **arguments: Any) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(
        asyncio.run(REGISTRY.call(caller, name, arguments, allowed=NAMES))
    )
    return told


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("(3 + 4) * 2.5", "17.5"),
        ("0.1 + 0.2", "0.3"),
        ("2^10", "1024"),
        ("7 // 2", "3"),
        ("3\u00d74\u00f72", "6"),
        ("\uff081\uff0b2\uff09*3", "9"),
        ("15%", "0.15"),
        ("sqrt(2)", "1.41421356237"),
        ("max(3, 5, 4) - -2", "7"),
    ],
)
def test_arithmetic(expression: str, result: str) -> None:
    assert call("calculator", expression=expression)["result"] == result


@pytest.mark.parametrize(
    "expression",
    [
        "9**9**9",
        "9**-9**9",
        "1/0",
        "(-8)**(1/3)",
        "1e999",
        "__import__('os')",
        "().__class__",
        "factorial(100000)",
        "'a' * 10",
        "lambda: 1",
        "(" * 400,
        "round(10**1000, -10**9)",
        "exp(10**6)",
    ],
)
def test_what_cannot_be_calculated_is_refused_at_once(expression: str) -> None:
    start = time.process_time()
    assert "error" in call("calculator", expression=expression)
    assert time.process_time() - start < 1


@given(st.integers(-(10**9), 10**9), st.integers(-(10**9), 10**9), st.sampled_from("+-*"))
def test_whole_numbers_are_exact(left: int, right: int, sign: str) -> None:
    wanted = {"+": left + right, "-": left - right, "*": left * right}[sign]
    assert evaluate(f"({left}) {sign} ({right})") == wanted


@given(st.text(max_size=60))
def test_any_text_gives_a_number_or_a_usage_error(text: str) -> None:
    with suppress(UsageError):
        evaluate(text)


def test_dates() -> None:
    assert call("date_difference", start="2024-02-28", end="2024-03-01")["days"] == 2
    assert call("add_days", start="2024-12-31", days=1) == {
        "date": "2025-01-01",
        "weekday": "Wednesday",
    }
    assert len(call("current_date", time_zone="Asia/Shanghai")["date"]) == 10
    for zone in ("../../etc/passwd", "/etc/passwd", "Mars/Olympus", "a\0b"):
        assert "error" in call("current_date", time_zone=zone)
    assert "error" in call("add_days", start="9999-12-31", days=1)


def test_units() -> None:
    assert call("convert_units", value=5, from_unit="斤", to_unit="公斤")["value"] == 2.5
    assert call("convert_units", value=100, from_unit="celsius", to_unit="°F")["value"] == 212
    assert call("convert_units", value=36, from_unit="km/h", to_unit="m/s")["value"] == 10
    assert "error" in call("convert_units", value=1, from_unit="m", to_unit="kg")
    start = time.process_time()
    for bomb in ("m**9**9**9", "m^9^9^9^9", "(m)**(9**9)", "__class__", "m*" * 20, "9" * 40):
        assert "error" in call("convert_units", value=1, from_unit=bomb, to_unit="m")
    assert time.process_time() - start < 2


def test_orders_are_the_callers_own_whatever_the_model_says() -> None:
    mine, others = call("list_orders")["orders"], call("list_orders", BEN)["orders"]
    assert len(mine) == 3
    assert not {one["order"] for one in mine} & {one["order"] for one in others}
    assert call("list_orders")["orders"] == mine
    assert call("look_up_order", order=mine[0]["order"].lower())["item"] == mine[0]["item"]
    told = call("look_up_order", order=others[0]["order"])
    assert told == {"error": f"you have no order {others[0]['order']!r}"}
    # The identity is no argument: a model that makes one up is refused.
    assert "error" in call("list_orders", caller="usr_ben")
    assert "error" in call("look_up_order", order=others[0]["order"], person_id="usr_ben")


def test_simulators_say_so_and_keep_people_apart() -> None:
    assert call("weather", place="北京") == call("weather", place="北京")
    for name, arguments in (("weather", {"place": "Oslo"}), ("home_state", {})):
        assert call(name, **arguments)["note"].startswith("simulated")
    call("home_switch", device="Heating", action="set", value=25)
    call("home_switch", device="front door", action="unlock")
    assert call("home_state")["devices"]["heating"]["celsius"] == 25
    assert call("home_state", BEN)["devices"]["front door"]["locked"] is True
    for wrong in ({"value": 90}, {"value": None}):
        assert "error" in call("home_switch", device="heating", action="set", **wrong)


def test_every_tool_has_a_schema_and_both_titles() -> None:
    for one in REGISTRY.definitions():
        assert one.description
        assert set(one.title) == {"en", "zh"}
        assert "caller" not in one.parameters["properties"]
        assert one.parameters["additionalProperties"] is False
    with pytest.raises(UsageError, match="there is no tool 'nonsense'"):
        REGISTRY.definitions(["nonsense"])


def test_only_allowed_tools_and_sound_arguments() -> None:
    async def asked(name: str, arguments: dict[str, Any], allowed: list[str]) -> str:
        return await REGISTRY.call(ANNA, name, arguments, allowed=allowed)

    assert "error" in asyncio.run(asked("weather", {"place": "x"}, ["calculator"]))
    for arguments in ({}, {"expression": 5}, {"expression": "1", "more": 1}, {"expression": ""}):
        assert "error" in asyncio.run(asked("calculator", arguments, NAMES))
    assert "error" in call("calculator", expression="1+" * 20_000)
    assert "error" in call("add_days", start="2024-01-01", days=2**63)
    assert "error" in call("convert_units", value=float("nan"), from_unit="m", to_unit="km")


def test_slow_failing_and_talkative_tools() -> None:
    @tool(title={"en": "", "zh": ""})
    def slow() -> str:
        """Sleep."""
        time.sleep(0.5)
        return ""

    @tool(title={"en": "", "zh": ""})
    def broken() -> str:
        """Fail."""
        raise RuntimeError("a secret path")

    @tool(title={"en": "", "zh": ""})
    def talkative() -> str:
        """Talk."""
        return "x" * 100_000

    registry = ToolRegistry([slow, broken, talkative], seconds=0.05)

    async def asked(name: str) -> str:
        return await registry.call(ANNA, name, {}, allowed=[name])

    assert "longer than 0.05 seconds" in asyncio.run(asked("slow"))
    told = asyncio.run(asked("broken"))
    assert "RuntimeError" in told
    assert "secret" not in told
    assert "too long" in asyncio.run(asked("talkative"))


def test_search_is_the_callers() -> None:
    async def search(query: str, count: int) -> list[tuple[Passage, float]]:
        return [(Passage("psg_1", "Title", "collection:x/y", f"about {query}"), 1.0)][:count]

    caller = Caller("usr_anna", search=search)
    assert call("search_knowledge", caller, query="tides")["passages"][0]["text"] == "about tides"
    assert "error" in call("search_knowledge", query="tides")
