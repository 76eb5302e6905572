"""The date and the time, and the days between two dates."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field

from chatwright.assist.tools.definition import tool
from chatwright.errors import UsageError

_WEEKDAYS_ZH = "一二三四五六日"


@tool(title={"en": "Date and time", "zh": "日期与时间"})
def current_date(
    time_zone: Annotated[
        str, Field(max_length=60, description="IANA name, like Asia/Shanghai")
    ] = "UTC",
) -> dict[str, str]:
    """Tell today's date, weekday and time in a time zone."""
    zone = _zone(time_zone)
    here = datetime.now(UTC).astimezone(zone)
    return {
        "date": here.date().isoformat(),
        "weekday": here.strftime("%A"),
        "weekday_zh": f"星期{_WEEKDAYS_ZH[here.weekday()]}",
        "time": here.strftime("%H:%M"),
        "time_zone": time_zone,
    }


@tool(title={"en": "Days between dates", "zh": "日期间隔"})
def date_difference(
    start: Annotated[str, Field(max_length=10, description="YYYY-MM-DD")],
    end: Annotated[str, Field(max_length=10, description="YYYY-MM-DD")],
) -> dict[str, str | int]:
    """Count the days from one date to another; negative when the second is earlier."""
    first, second = _date(start), _date(end)
    return {"days": (second - first).days, "weeks": (second - first).days // 7}


@tool(title={"en": "Add days to a date", "zh": "日期推算"})
def add_days(
    start: Annotated[str, Field(max_length=10, description="YYYY-MM-DD")],
    days: Annotated[int, Field(ge=-1_000_000, le=1_000_000)],
) -> dict[str, str]:
    """Tell the date so many days after (or, with a negative number, before) a date."""
    try:
        found = _date(start) + timedelta(days=days)
    except OverflowError as error:
        raise UsageError("that date is out of the calendar's range") from error
    return {"date": found.isoformat(), "weekday": found.strftime("%A")}


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is not a date of the form YYYY-MM-DD") from error


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(f"there is no time zone {name!r}; try Europe/Berlin") from error
