"""SmolLM2-135M-Instruct on whole benchmarks, beside the scores that its makers published.

    script/bench published [--cache FILE]

The published scores (model card of HuggingFaceTB/SmolLM2-135M-Instruct) are zero-shot, by
lighteval, with the accuracy per character that their `tasks.py` names; our `acc_norm` is the same
for ASCII. The weights here are the 4-bit GGUF's. Needs CHATWRIGHT_DATA; half an hour on two cores.
With `--cache` an interrupted run goes on. The last line is JSON.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from _machine import machine, must, report

PUBLISHED = {
    "arc": ("arc/average", 37.3),
    "piqa": ("piqa/acc_norm", 66.3),
    "hellaswag": ("hellaswag/acc_norm", 40.9),
}
POINTS = 2.0
MODEL = "smollm2-135m-instruct"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, help="keep answers here and go on from them")
    args = parser.parse_args()
    if not os.environ.get("CHATWRIGHT_DATA"):
        parser.error("set CHATWRIGHT_DATA to the folder of public data sets")
    from chatwright.cli.progress import make_progress
    from chatwright.evaluate import evaluate_models

    about = machine()
    with make_progress() as progress:
        found = evaluate_models(
            {MODEL: MODEL}, tasks=list(PUBLISHED), cache=args.cache, progress=progress
        )
    print(found.table())
    (model,) = found.models
    figures = {
        name: {k: round(100 * getattr(e, k), 2) for k in ("value", "low", "high")}
        for name, e in model.metrics.items()
    }
    musts = [
        must(
            f"points from the published {name} {published}",
            round(abs(figures[metric]["value"] - published), 2),
            f"<= {POINTS}",
        )
        for name, (metric, published) in PUBLISHED.items()
    ]
    report("published", about, figures | {"seconds": model.seconds}, {}, musts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
