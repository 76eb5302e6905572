"""Unit conversion, by the library pint."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import Annotated, Any

from pydantic import Field

from chatwright.assist.tools.definition import tool
from chatwright.errors import UsageError

# A unit is names with powers of one digit, at most four of them, and nothing else: what pint is
# given to read must not be able to grow (m**9**9**9 would keep it busy for ever).
_NAME = r"[A-Za-zµμΩ°%]{1,24}(?:(?:\*\*|\^)-?[1-9])?"
_UNIT = re.compile(rf"{_NAME}(?:[ ]?[*/·][ ]?{_NAME}){{0,3}}")
_CHINESE = {
    "毫米": "millimeter", "厘米": "centimeter", "公里": "kilometer", "千米": "kilometer",
    "米": "meter", "英寸": "inch", "英尺": "foot", "英里": "mile", "里": "500 meter",
    "毫克": "milligram", "公斤": "kilogram", "千克": "kilogram", "克": "gram", "吨": "metric_ton",
    "斤": "500 gram", "两": "50 gram", "磅": "pound", "盎司": "ounce", "毫升": "milliliter",
    "升": "liter", "加仑": "gallon", "秒": "second", "分钟": "minute", "小时": "hour", "天": "day",
    "平方米": "meter**2", "亩": "666.6666666667 meter**2", "公顷": "hectare",
    "摄氏度": "degC", "华氏度": "degF", "千瓦时": "kilowatt_hour", "度电": "kilowatt_hour",
}  # fmt: skip
_ALIASES = {
    "c": "degC",
    "°c": "degC",
    "f": "degF",
    "°f": "degF",
    "celsius": "degC",
    "fahrenheit": "degF",
    "kmh": "kilometer/hour",
    "mph": "mile/hour",
}


@tool(title={"en": "Unit conversion", "zh": "单位换算"})
def convert_units(
    value: Annotated[float, Field(ge=-1e300, le=1e300)],
    from_unit: Annotated[str, Field(min_length=1, max_length=40)],
    to_unit: Annotated[str, Field(min_length=1, max_length=40)],
) -> dict[str, Any]:
    """Convert a quantity from one unit to another: length, mass, temperature, speed, data."""
    import pint

    registry = _registry()
    factor, source = _unit(from_unit)
    divisor, target = _unit(to_unit)
    try:
        found = registry.Quantity(value * factor, source).to(target).magnitude / divisor
    except (pint.PintError, OverflowError, ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"{from_unit!r} cannot be converted to {to_unit!r}") from error
    if not math.isfinite(found):
        raise UsageError("the result is out of range")
    return {"value": float(f"{found:.10g}"), "unit": to_unit}


@lru_cache(maxsize=1)
def _registry() -> Any:
    import pint

    return pint.UnitRegistry(cache_folder=None)


def _unit(name: str) -> tuple[float, str]:
    """A unit as pint writes it, and how many of those it is."""
    told = _CHINESE.get(name.strip()) or _ALIASES.get(name.strip().lower(), name.strip())
    number, _, rest = told.partition(" ")
    if rest and number.replace(".", "").isdigit():
        return float(number), rest
    if not _UNIT.fullmatch(told):
        raise UsageError(f"{name!r} is not a unit")
    return 1.0, told
