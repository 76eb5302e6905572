"""The plot of tokens a second against streams."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def throughput(figures: dict[str, Any], target: Path, cpu: str, threads: int) -> None:
    """Write a PNG with a line for us, one for llama.cpp, and points for `transformers`."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    streams = sorted(int(k[7:]) for k in figures if k.startswith("decode_"))
    fig, axes = plt.subplots(figsize=(7.2, 4.3), dpi=100, layout="constrained")
    lines = (("Chatwright", "ours", "#1f5fa8", "o"), ("llama.cpp", "theirs", "#b5541c", "s"))
    for label, key, colour, marker in lines:
        values = [figures[f"decode_{n}"][key] for n in streams]
        axes.plot(streams, values, color=colour, marker=marker, linewidth=2, label=label)
        for n, value in zip(streams, values, strict=True):
            axes.annotate(
                f"{value:,.0f}",
                (n, value),
                textcoords="offset points",
                xytext=(0, 7),
                ha="center",
                fontsize=8.5,
                color=colour,
            )
    theirs = sorted(int(k[20:]) for k in figures if k.startswith("transformers_decode_"))
    if theirs:
        values = [figures[f"transformers_decode_{n}"]["theirs"] for n in theirs]
        axes.plot(
            theirs, values, "^", color="#5b5b5b", markersize=7, label="transformers, bfloat16"
        )
    axes.set_xscale("log", base=2)
    axes.set_xticks(streams, [str(n) for n in streams])
    axes.minorticks_off()
    axes.margins(x=0.06)
    axes.set_ylim(bottom=0, top=1.12 * max(figures[f"decode_{n}"]["ours"] for n in streams))
    axes.set_xlabel("streams side by side")
    axes.set_ylabel("tokens a second, all streams together")
    axes.set_title(
        "Decoding after prompts of 128 tokens, SmolLM2-135M-Instruct (Q4_1)\n"
        f"{cpu}, {threads} threads, one run",
        fontsize=10.5,
    )
    axes.grid(True, color="#dddddd", linewidth=0.8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False, loc="upper left")
    target.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(target)
    plt.close(fig)
