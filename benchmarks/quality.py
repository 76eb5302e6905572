"""What rounding costs: perplexity and HellaSwag with 8 and 4 bits beside bfloat16.

    script/bench quality [--tokens 65536] [--items 500] [--calibrated] [--quick]

The reference is the numbers of SmolLM2-135M-Instruct's Q4_1 file in bfloat16, computed with the
same kernels. "int8" rounds them to 8 bits, "int4" takes the file's own blocks, so it loses nothing
but what 8-bit activations cost. "q4_0" and "q4_1" are made anew from the bfloat16 numbers, by
`chatwright export` (plain rounding to nearest) and `chatwright compress` (scales that fit best; a
minute or two; with `--calibrated` AWQ and GPTQ too), and there the grid is a new one: what 4 bits
cost. WikiText-2 test in windows of 1,024 tokens
without overlap, softmax in float64; HellaSwag by log-likelihood per byte. Needs CHATWRIGHT_DATA.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _machine import machine, must, report

MODEL = "smollm2-135m-instruct"
REFERENCE = "bfloat16"


def made_anew(folder: Path, gguf: Path, calibrated: bool) -> dict[str, Path]:
    """Files that `compress` makes from the bfloat16 numbers, by name."""
    import torch

    from chatwright.compress.quantise import quantise_model
    from chatwright.model import load_model
    from chatwright.model.gguf_write import write_gguf

    model, tokenizer = load_model(gguf, dtype=torch.bfloat16)
    out = {
        f"{kind.lower()} export": write_gguf(model, tokenizer, folder / f"{kind}.gguf", kind)
        for kind in ("Q4_0", "Q4_1")
    }
    kinds: dict[str, dict[str, Any]] = {"q4_0 compress": {"method": "int4", "symmetric": True}}
    if calibrated:
        kinds["q4_1 compress"] = {"method": "int4"}
        for how in ("awq", "gptq"):
            kinds[f"q4_0 {how}"] = {"method": "int4", "symmetric": True, "calibrate": how}
            kinds[f"q4_1 {how}"] = {"method": "int4", "calibrate": how}
    for name, settings in kinds.items():
        started = time.monotonic()
        made = quantise_model(model, tokenizer, **settings)
        out[name] = made.save(folder / name.replace(" ", "-")) / "model.gguf"
        print(f"  {name} made, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return out


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=65_536, help="0: all of the test split")
    parser.add_argument("--items", type=int, default=500)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--calibrated", action="store_true", help="AWQ and GPTQ too")
    parser.add_argument("--quick", action="store_true", help="whether it runs")
    args = parser.parse_args()
    if not os.environ.get("CHATWRIGHT_DATA"):
        parser.error("set CHATWRIGHT_DATA to the folder of public data sets")
    from _generate_quality import Variant, accuracy, hellaswag, perplexity, wikitext

    from chatwright.model.references import resolve
    from chatwright.tokenizer import Tokenizer
    from chatwright.tokenizer.gguf_file import GGUFFile
    from chatwright.tokenizer.gguf_tokenizer import tokenizer_of

    about = machine() | {"threads": args.threads}
    tokens, items = (3_000, 8) if args.quick else (args.tokens or None, args.items)
    started = time.monotonic()
    gguf = resolve(MODEL)
    tokenizer = Tokenizer(*tokenizer_of(GGUFFile.open(gguf)))
    windows, asked = wikitext(tokenizer, tokens), hellaswag(tokenizer, items)
    with tempfile.TemporaryDirectory() as temporary:
        # Never made for a quick look: the numbers of all layers are rounded.
        anew = {} if args.quick else made_anew(Path(temporary), gguf, args.calibrated)
        variants = {
            name: Variant(name, gguf, weights, kv)
            for kv in ("bfloat16", "int8")
            for weights in ("bfloat16", "int8", "int4")
            for name in [weights if kv == "bfloat16" else f"{weights}, int8 cache"]
        }
        variants["float32"] = Variant("float32", gguf, "float32", "float32")
        for name, path in anew.items():
            variants[name] = Variant(name, path, "stored", "bfloat16")
        found = {name: perplexity(v, windows, args.threads) for name, v in variants.items()}
        chosen = {
            name: accuracy(variants[name], asked, args.threads)
            for name in (REFERENCE, "int8", "int4", "int4, int8 cache", *anew)
        }
    reference, base = found[REFERENCE]
    right, choices = chosen[REFERENCE]
    figures: dict[str, Any] = {"wikitext2_tokens": len(base), "hellaswag_items": len(choices)}
    ratios: dict[str, Any] = {}
    for name, (value, every) in found.items():
        ratios[name] = round(value / reference, 5)
        gaps = every - base
        figures[name] = {
            "perplexity": round(value, 4),
            # Standard error of the ratio, from the differences token by token.
            "ratio_error": round(float(gaps.std()) / math.sqrt(len(gaps)) * ratios[name], 5),
        }
        if name in chosen:
            share, own = chosen[name]
            figures[name] |= {
                "hellaswag": round(100 * share, 2),
                "points": round(100 * (share - right), 2),
                "same_choice": round(
                    sum(a == b for a, b in zip(own, choices, strict=True)) / len(own), 4
                ),
            }
    figures["seconds"] = round(time.monotonic() - started)
    musts = [
        must("int8: perplexity, times bfloat16", ratios["int8"], "<= 1.005"),
        must("int4: perplexity, times bfloat16", ratios["int4"], "<= 1.04"),
        must("int8: HellaSwag points from bfloat16", abs(figures["int8"]["points"]), "<= 1"),
        must("int4: HellaSwag points from bfloat16", abs(figures["int4"]["points"]), "<= 2"),
    ]
    report("quality", about, figures, ratios, musts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
