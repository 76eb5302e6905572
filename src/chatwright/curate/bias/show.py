"""An audit as a table to read and as a picture for the data sheet."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from chatwright.curate.bias.audit import Association, BiasAudit, Interval, Mention
from chatwright.curate.bias.lexicon import LANGUAGES

_SHOWN = 30
_NAMES = {"en": "English", "zh": "Chinese"}


def mention_rows(audit: BiasAudit, language: str, most: int = 12) -> list[tuple[str, ...]]:
    """Dimension, group, words, sentences, rows, share; of each dimension `most` groups."""
    out: list[tuple[str, ...]] = []
    for dimension in dict.fromkeys(m.dimension for m in audit.mentions):
        mine = [m for m in audit.mentions if (m.language, m.dimension) == (language, dimension)]
        mine.sort(key=lambda m: (-m.words, m.group))
        for m in mine[:most]:
            out.append(
                (dimension, m.group, f"{m.words:,}", f"{m.sentences:,}", f"{m.rows:,}", _share(m))
            )
    return out


def association_rows(found: Sequence[Association], most: int = _SHOWN) -> list[tuple[str, ...]]:
    """Group, words, together, times as likely as with the others, PMI, q."""
    return [
        (
            a.group,
            a.attribute,
            f"{a.together:,}",
            f"{a.others_together:,}",
            f"{2**a.ratio.value:.2f}\u00d7 {_between(a.ratio, power=True)}",
            f"{a.pmi.value:+.2f} {_between(a.pmi)}",
            "\u2013" if a.q is None else f"{a.q:.1g}",
        )
        for a in found[:most]
    ]


MENTION_COLUMNS = ("dimension", "group", "words#", "sentences#", "rows#", "share (95 %)#")
ASSOCIATION_COLUMNS = (
    "group", "with", "together#", "others#", "as likely (95 %)#", "PMI, bits (95 %)#", "q#",
)  # fmt: skip


def as_text(audit: BiasAudit) -> str:
    """The audit as plain text, in columns: what `bias.txt` of a stage holds."""
    lines = [f"{audit.rows:,} rows" + (
        f", {audit.other_rows:,} of other languages" if audit.other_rows else ""
    )]  # fmt: skip
    for language in LANGUAGES:
        if not audit.sentences.get(language):
            continue
        lines += ["", f"{_NAMES[language]}: {audit.sentences[language]:,} sentences", ""]
        lines += _columns(MENTION_COLUMNS, mention_rows(audit, language))
        found = audit.found(language)
        lines += ["", f"{len(found)} associations that are no accident (q < 5 %)", ""]
        lines += _columns(ASSOCIATION_COLUMNS, association_rows(found))
    return "\n".join(lines) + "\n"


def _columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    right = [name.endswith("#") for name in head]
    table = [[name.removesuffix("#") for name in head], *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    return [
        "  ".join(
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in table
    ]


def _share(mention: Mention) -> str:
    low, high = mention.share.low, mention.share.high
    between = "" if low is None or high is None else f" ({low:.1%}\u2013{high:.1%})"
    return f"{mention.share.value:.1%}{between}"


def _between(interval: Interval, *, power: bool = False) -> str:
    if interval.low is None or interval.high is None:
        return ""
    low, high = interval.low, interval.high
    return f"({2**low:.2f}\u2013{2**high:.2f})" if power else f"({low:+.2f}\u2013{high:+.2f})"


def as_svg(audit: BiasAudit, language: str, most: int = 24) -> str:
    """The strongest associations of a language as dots on their intervals; one SVG, no network.

    Empty where nothing was found. The same figures give the same bytes.
    """
    found = audit.found(language)[:most]
    if not found:
        return ""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style: Any = {"svg.fonttype": "none", "svg.hashsalt": "chatwright", "font.size": 9}
    with mpl.rc_context(style):
        figure = Figure(figsize=(7.2, 0.9 + 0.26 * len(found)), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        places = list(range(len(found)))
        axes.axvline(0, color="#999999", linewidth=0.8)
        axes.hlines(
            places,
            [a.ratio.low if a.ratio.low is not None else a.ratio.value for a in found],
            [a.ratio.high if a.ratio.high is not None else a.ratio.value for a in found],
            color="#7a9cc6",
            linewidth=2.2,
        )
        axes.plot([a.ratio.value for a in found], places, "o", color="#1f4e8c", markersize=5)
        axes.set_yticks(places, [f"{a.group} \u00b7 {a.attribute}" for a in found])
        axes.set_ylim(len(found) - 0.4, -0.6)
        axes.grid(axis="x", color="#e5e5e5")
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(length=0)
        low, high = axes.get_xlim()
        ticks = [n for n in range(-8, 9) if low <= n <= high]
        axes.set_xticks(ticks, [f"{2**n}\u00d7" if n >= 0 else f"1/{2**-n}" for n in ticks])
        axes.set_xlabel("how much likelier than with the other groups, with 95 % intervals")
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return text[text.index("<svg") :]
