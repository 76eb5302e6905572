"""Build the quickstart from nothing and report each stage's seconds and peak memory.

    script/bench quickstart [--workspace FOLDER]

There is no peer that does the whole of this job; the musts are issue 2's own.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
MAX_SECONDS = 600
MAX_BYTES = 4 * 2**30


def cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, help="keep the result here (must not exist)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        workspace = args.workspace or Path(temporary) / "workspace"
        if workspace.exists():
            parser.error(f"{workspace} exists; a benchmark starts from nothing")
        chatwright = str(Path(sys.executable).parent / "chatwright")
        started = time.monotonic()
        # The same commands as `script/demo --check` after installation.
        recipe = str(ROOT / "recipes" / "quickstart.yaml")
        environment = {**os.environ, "CHATWRIGHT_WORKSPACE": str(workspace)}
        subprocess.run([chatwright, "build", recipe], check=True, env=environment)
        built = time.monotonic() - started
        subprocess.run(
            [sys.executable, str(ROOT / "script" / "demo_check.py")], check=True, env=environment
        )
        total = time.monotonic() - started
        record = json.loads((workspace / "runs" / "quickstart" / "build.json").read_text())
        evaluation = json.loads(
            (workspace / "runs" / "quickstart" / "evaluation" / "evaluation.json").read_text()
        )
    stages = record["stages"]
    peak = max(stage["peak_bytes"] for stage in stages.values())
    musts = [
        {
            "name": "seconds of demo --check",
            "value": round(total, 1),
            "bound": f"<= {MAX_SECONDS}",
            "holds": total <= MAX_SECONDS,
        },
        {
            "name": "peak bytes",
            "value": peak,
            "bound": f"<= {MAX_BYTES}",
            "holds": peak <= MAX_BYTES,
        },
    ]
    print(
        json.dumps(
            {
                "bench": "quickstart",
                "machine": {"cpu": cpu_name(), "cores": os.cpu_count()},
                "figures": {
                    "build_seconds": round(built, 1),
                    "total_seconds": round(total, 1),
                    "stages": {
                        name: {
                            "seconds": stage["seconds"],
                            "peak_mib": round(stage["peak_bytes"] / 2**20),
                        }
                        for name, stage in stages.items()
                    },
                    "evaluation": evaluation.get("models"),
                },
                "ratios": {},
                "musts": musts,
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
