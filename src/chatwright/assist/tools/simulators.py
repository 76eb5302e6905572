"""Weather and a smart home, simulated on this machine; every answer says that it is so."""

from __future__ import annotations

import hashlib
import math
import threading
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from chatwright.assist.tools.definition import Caller, tool
from chatwright.errors import UsageError

_NOTE = "simulated: this is not real"
_SKIES = ("clear", "partly cloudy", "cloudy", "rain", "showers", "fog")
_MOST_HOMES = 1000


@tool(title={"en": "Weather (simulated)", "zh": "天气（模拟）"}, simulated=True)
def weather(
    place: Annotated[str, Field(min_length=1, max_length=80)],
    day: Annotated[int, Field(ge=0, le=6, description="days from today")] = 0,
) -> dict[str, Any]:
    """Tell the weather of a place, today or in the next days. Simulated: figures are made up."""
    today = datetime.now(UTC).date().toordinal() + day
    digest = hashlib.blake2b(f"{place.strip().lower()}|{today}".encode(), digest_size=8).digest()
    season = math.cos((today % 365.25 - 200) / 365.25 * 2 * math.pi)
    middle = 12 + 10 * season + digest[0] / 255 * 8 - 4
    return {
        "note": _NOTE,
        "place": place,
        "day": day,
        "sky": _SKIES[digest[1] % len(_SKIES)],
        "high_celsius": round(middle + 4),
        "low_celsius": round(middle - 4),
        "wind_km_h": 3 + digest[2] % 30,
    }


class _Home:
    """The devices of one person's simulated home."""

    def __init__(self) -> None:
        self.devices: dict[str, dict[str, Any]] = {
            "living room light": {"on": False, "brightness": 80},
            "bedroom light": {"on": False, "brightness": 60},
            "heating": {"on": True, "celsius": 20},
            "front door": {"locked": True},
        }


_homes: OrderedDict[str, _Home] = OrderedDict()
_lock = threading.Lock()


def _home(person: str) -> _Home:
    with _lock:
        home = _homes.setdefault(person, _Home())
        _homes.move_to_end(person)
        while len(_homes) > _MOST_HOMES:
            _homes.popitem(last=False)
        return home


@tool(title={"en": "Smart home: state (simulated)", "zh": "智能家居：状态（模拟）"}, simulated=True)
def home_state(caller: Caller) -> dict[str, Any]:
    """Tell the state of the devices of the person's simulated smart home."""
    return {"note": _NOTE, "devices": _home(caller.person_id).devices}


@tool(
    title={"en": "Smart home: switch (simulated)", "zh": "智能家居：控制（模拟）"}, simulated=True
)
def home_switch(
    device: Annotated[str, Field(min_length=1, max_length=60)],
    action: Literal["on", "off", "lock", "unlock", "set"],
    caller: Caller,
    value: Annotated[int | None, Field(ge=0, le=100)] = None,
) -> dict[str, Any]:
    """Switch a device of the person's simulated smart home: on, off, lock, unlock, or set a value
    (brightness in percent, temperature in degrees).
    """
    devices = _home(caller.person_id).devices
    found = devices.get(device.strip().lower())
    if found is None:
        raise UsageError(f"there is no such device; there are: {', '.join(devices)}")
    if action in ("lock", "unlock"):
        if "locked" not in found:
            raise UsageError(f"{device} has no lock")
        found["locked"] = action == "lock"
    elif action in ("on", "off"):
        if "on" not in found:
            raise UsageError(f"{device} cannot be switched on or off")
        found["on"] = action == "on"
    else:
        key = next((name for name in ("brightness", "celsius") if name in found), None)
        if key is None or value is None:
            raise UsageError("setting needs a value, and a light or the heating")
        if key == "celsius" and not 5 <= value <= 30:
            raise UsageError("the heating takes 5 to 30 degrees")
        found[key] = value
    return {"note": _NOTE, "device": device, **found}
