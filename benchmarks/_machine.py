"""What every benchmark says about the machine, and how it prints its last line."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def machine() -> dict[str, Any]:
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {"cpu": cpu_name(), "cores": os.cpu_count(), "load_before": load}


def must(name: str, value: float, bound: str) -> dict[str, Any]:
    """One demand; `bound` is `>= 2` or `<= 600`."""
    sign, number = bound.split()
    holds = value >= float(number) if sign == ">=" else value <= float(number)
    return {"name": name, "value": value, "bound": bound, "holds": holds}


def report(
    bench: str,
    about: dict[str, Any],
    figures: dict[str, Any],
    ratios: dict[str, Any],
    musts: list[dict[str, Any]],
) -> None:
    """Print the line that programs read: the last one."""
    print(
        json.dumps(
            {
                "bench": bench,
                "machine": about,
                "figures": figures,
                "ratios": ratios,
                "musts": musts,
            }
        )
    )
