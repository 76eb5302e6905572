"""Build the quickstart from nothing and report each stage's seconds and peak memory.

    script/bench quickstart [--workspace FOLDER]

There is no peer that does the whole of this job; the musts are issue 2's own.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _machine import ROOT, machine, must, report

MAX_SECONDS = 600
MAX_BYTES = 4 * 2**30


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, help="keep the result here (must not exist)")
    args = parser.parse_args()
    about = machine()
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
    figures = {
        "build_seconds": round(built, 1),
        "total_seconds": round(total, 1),
        "stages": {
            name: {"seconds": stage["seconds"], "peak_mib": round(stage["peak_bytes"] / 2**20)}
            for name, stage in stages.items()
        },
        "evaluation": evaluation.get("models"),
    }
    musts = [
        must("seconds of demo --check", round(total, 1), f"<= {MAX_SECONDS}"),
        must("peak bytes", peak, f"<= {MAX_BYTES}"),
    ]
    report("quickstart", about, figures, {}, musts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
