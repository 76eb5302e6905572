"""A demo shop: orders in a small database, of which everybody sees only their own."""

from __future__ import annotations

import random
import sqlite3
import threading
from datetime import date, timedelta
from functools import lru_cache
from typing import Annotated, Any

from pydantic import Field

from chatwright.assist.tools.definition import Caller, tool
from chatwright.errors import UsageError
from chatwright.records import content_id

_NOTE = "demo shop: these orders are made up"
_GOODS = (
    ("USB-C cable", "USB-C 数据线", 900), ("Desk lamp", "台灯", 3900), ("Notebook", "笔记本", 450),
    ("Keyboard", "键盘", 6900), ("Water bottle", "水杯", 1500), ("Backpack", "背包", 5200),
)  # fmt: skip
_STATES = ("processing", "shipped", "delivered", "returned")
_lock = threading.Lock()


@lru_cache(maxsize=1)
def _database() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.execute(
        "CREATE TABLE orders (id TEXT PRIMARY KEY, person TEXT NOT NULL, item TEXT, item_zh TEXT,"
        " cents INTEGER, state TEXT, ordered TEXT, expected TEXT)"
    )
    return connection


def _orders(person: str) -> list[dict[str, Any]]:
    """Three orders of a person, the same each time: made when they first ask."""
    with _lock:
        database = _database()
        rows = database.execute(
            "SELECT id, item, item_zh, cents, state, ordered, expected FROM orders"
            " WHERE person = ? ORDER BY ordered DESC, id",
            (person,),
        ).fetchall()
        if not rows:
            chance = random.Random(person)
            for n in range(3):
                item, item_zh, cents = chance.choice(_GOODS)
                ordered = date(2026, 1, 1) + timedelta(days=chance.randrange(300))
                database.execute(
                    "INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        f"A{content_id('demo shop', f'{person} {n}')[:7].upper()}", person, item,
                        item_zh, cents, chance.choice(_STATES), ordered.isoformat(),
                        (ordered + timedelta(days=5)).isoformat(),
                    ),
                )  # fmt: skip
            database.commit()
    if not rows:
        return _orders(person)
    names = ("order", "item", "item_zh", "cents", "state", "ordered", "expected")
    return [dict(zip(names, row, strict=True)) for row in rows]


@tool(title={"en": "My orders (demo shop)", "zh": "我的订单（演示商店）"}, simulated=True)
def list_orders(caller: Caller) -> dict[str, Any]:
    """List the orders of the person who asks, in the demo shop."""
    return {"note": _NOTE, "orders": _orders(caller.person_id)}


@tool(title={"en": "Order look-up (demo shop)", "zh": "订单查询（演示商店）"}, simulated=True)
def look_up_order(
    order: Annotated[str, Field(min_length=1, max_length=20)], caller: Caller
) -> dict[str, Any]:
    """Tell the state of one order of the person who asks, by its number, in the demo shop."""
    for one in _orders(caller.person_id):
        if one["order"] == order.strip().upper():
            return {"note": _NOTE, **one}
    # Somebody else's order is as unknown as one that never was.
    raise UsageError(f"you have no order {order.strip()[:20]!r}")
