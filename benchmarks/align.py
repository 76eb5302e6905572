"""Build recipes/align.yaml from nothing: a reward model, DPO, PPO, and the table beside them.

    script/bench align [--workspace FOLDER] [--set STAGE.KEY=VALUE …]

`CHATWRIGHT_DATA` names the folder with `preference/` and `pretrain/`. `--set` changes a setting of
a stage (`--set reward.epochs=3`), for sizes other than the recipe's. There is no peer that does the
whole of this job; the musts are issue 5's own. The last line is one JSON object.
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
from typing import Any

from _machine import ROOT, machine, must, report
from ruamel.yaml import YAML

from chatwright.evaluate.statistics import wilson
from chatwright.records import Dataset, Message

MAX_SECONDS = 20 * 60
LEAST_ACCURACY = 0.62


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, help="keep the result here")
    parser.add_argument("--set", action="append", default=[], metavar="STAGE.KEY=VALUE")
    args = parser.parse_args()
    data = os.environ.get("CHATWRIGHT_DATA")
    if not data:
        parser.error("set CHATWRIGHT_DATA to the folder of public data")
    environment = {
        **os.environ,
        "HH_RLHF": f"{data}/preference/hh_harmless_base_test.jsonl.gz",
        "WIKITEXT": f"{data}/pretrain/wikitext2_test.txt.gz",
    }
    about = machine()
    with tempfile.TemporaryDirectory() as temporary:
        workspace = args.workspace or Path(temporary) / "workspace"
        recipe = changed(ROOT / "recipes" / "align.yaml", args.set, Path(temporary))
        chatwright = str(Path(sys.executable).parent / "chatwright")
        started = time.monotonic()
        command = [chatwright, "build", str(recipe), "--workspace", str(workspace)]
        subprocess.run(command, check=True, env=environment)
        seconds = time.monotonic() - started
        runs, models = workspace / "runs" / "align", workspace / "models" / "align"
        stages = json.loads((runs / "build.json").read_text())["stages"]
        table = json.loads((runs / "table" / "alignment.json").read_text())
        pairs = Dataset.open(workspace / "datasets" / "align" / "pairs")
        accuracy = {
            "reward": unseen(models / "reward", pairs, 0.5, 0.75),
            "judge": unseen(models / "judge", pairs, 0.25, 0.5),
        }
    figures = {
        "seconds": round(seconds, 1),
        "stages": {
            name: {"seconds": stage["seconds"], "peak_mib": round(stage["peak_bytes"] / 2**20)}
            for name, stage in stages.items()
        },
        "unseen_pairs": accuracy,
        "table": table["lines"],
        "prompts": table["prompts"],
    }
    reached = accuracy["reward"]["accuracy"]
    musts = [
        must("held-out pairwise accuracy, hh harmless", reached, f">= {LEAST_ACCURACY}"),
        must("seconds of the reduced size", round(seconds, 1), f"<= {MAX_SECONDS}"),
    ]
    report("align", about, figures, {}, musts)
    return 0


def changed(recipe: Path, settings: list[str], folder: Path) -> Path:
    """The recipe with settings replaced, as a file in `folder`."""
    if not settings:
        return recipe
    yaml = YAML(typ="rt")
    raw = yaml.load(recipe.read_text(encoding="utf-8"))
    for text in settings:
        place, _, value = text.partition("=")
        *path, key = place.split(".")
        node: Any = raw["stages"]
        for part in path:
            node = node[part]
        node[key] = YAML(typ="safe").load(value)
    file = folder / recipe.name
    yaml.dump(raw, file)
    return file


def unseen(model: Path, pairs: Dataset, low: float, high: float) -> dict[str, float]:
    """How often a reward model agrees with people on pairs of places that it never saw.

    Those whose prompt's place is in [`low`, `high`), some five hundred: the tenth that its stage
    held out is a hundred pairs, and would leave ten points of doubt.
    """
    from chatwright.model import load_model
    from chatwright.train.preference import place_of, score_conversations

    rewards, tokenizer = load_model(model)
    rows = [row for row in pairs.rows if low <= place_of(row.prompt) < high]
    chats = [
        [*row.prompt, Message("assistant", text)]
        for row in rows
        for text in (row.chosen, row.rejected)
    ]
    found = score_conversations(rewards, tokenizer, chats).reshape(-1, 2)
    chosen, rejected = found[:, 0], found[:, 1]
    right = int((chosen > rejected).sum()) + (chosen == rejected).sum() / 2
    interval = wilson(float(right), len(rows))
    return {
        "accuracy": round(interval.value, 4),
        "low": round(interval.low, 4),
        "high": round(interval.high, 4),
        "pairs": len(rows),
    }


if __name__ == "__main__":
    sys.exit(main())
