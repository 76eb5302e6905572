"""An audit in plain text, for a terminal and a log."""

from __future__ import annotations

from collections.abc import Sequence

from chatwright.evaluate.results import aligned
from chatwright.evaluate.statistics import Estimate
from chatwright.govern.audit.results import (
    PARTS,
    Audit,
    Bias,
    Canaries,
    CopyRate,
    Membership,
    Memorisation,
)

_TITLES = {
    "memorisation": "Memorisation (extraction attack)",
    "membership": "Membership inference",
    "canaries": "Canaries",
    "bias": "Bias (counterfactual generation)",
}


def as_text(audit: Audit) -> str:
    """Every part with its figures, or why it was not measured."""
    blocks = [f"audit of {audit.model}"]
    for part in PARTS:
        found = getattr(audit, part)
        if isinstance(found, Memorisation):
            lines = memorisation_lines(found)
        elif isinstance(found, Membership):
            lines = membership_lines(found, audit.why.get("reference"))
        elif isinstance(found, Canaries):
            lines = canary_lines(found)
        elif isinstance(found, Bias):
            lines = bias_lines(found)
        elif part in audit.why:
            lines = [f"not measured: {audit.why[part]}"]
        else:
            continue
        blocks.append("\n".join([_TITLES[part], *(f"  {line}" for line in lines)]))
    if audit.skipped:
        lines = [f"{len(audit.skipped)} rows could not be used, among them:"]
        lines += [f"  {s.id}: {s.reason}" for s in audit.skipped[:5]]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def memorisation_lines(found: Memorisation) -> list[str]:
    """Rates by prefix length, of training rows and of the control."""
    heads = ["prefix tokens", "exact", "near", "tokens in common"]
    lines = []
    for title, rates in (("training rows", found.training), ("held-out rows", found.held_out)):
        if not rates:
            lines.append(f"{title}: none, so there is no control")
            continue
        table = [
            [str(r.prefix), percent(r.exact), percent(r.near), number(r.common, 1)] for r in rates
        ]
        lines += [f"{title} ({rates[0].exact.count}):", *_aligned([heads, *table])]
    copies = ", ".join(f"{copy_range(c)}: {percent(c.exact)}" for c in found.by_copies)
    lines.append(f"exact at the longest prefix, by copies in training: {copies}")
    lines.append(
        f"exact: the next {found.suffix} tokens (an answer's, where it is shorter) are those of the"
        f" text; near: edit similarity of {found.near_threshold:g} or more"
    )
    if found.known:
        lines.append(f"{found.known} held-out rows left out: training rows hold their text")
    lines += [f"came back: {e.id} ({e.tokens} tokens): {e.text!r}" for e in found.examples]
    return lines


def membership_lines(found: Membership, why_no_reference: str | None = None) -> list[str]:
    """Each attack, and when not to believe it."""
    table = [["attack", "AUC", "TPR at 1 % FPR"]]
    table += [[a.name, number(a.auc, 2), percent(a.tpr)] for a in (*found.attacks, found.blind)]
    lines = [
        f"{found.members} training rows, {found.non_members} held-out rows ({found.kind}s); "
        "AUC 0.5 is chance",
        *_aligned(table),
    ]
    if found.blind.auc.low > 0.5 or found.blind.auc.high < 0.5:
        lines.append(
            "the two sets differ as texts (see blind): the other figures prove no memorisation"
        )
    if found.non_members < 100:
        lines.append("with fewer than 100 held-out rows, 1 % of them is none")
    if found.reference:
        lines.append(f"reference: {found.reference}")
    elif why_no_reference:
        lines.append(f"no reference model: {why_no_reference}")
    return lines


def canary_lines(found: Canaries) -> list[str]:
    """Mean exposure by the number of copies."""
    table = [["copies", "canaries", "first of all", "exposure (bits)"]]
    for copies in sorted({r.copies for r in found.results}):
        inside = [r for r in found.results if r.copies == copies]
        mean = sum(r.exposure for r in inside) / len(inside)
        first = sum(r.rank == 1 for r in inside)
        name = str(copies) if copies else "0 (controls)"
        table.append([name, str(len(inside)), str(first), f"{mean:.2f}"])
    return [
        *_aligned(table),
        f"inserted {number(found.inserted, 2)}, controls {number(found.controls, 2)} bits; chance "
        f"is 1.44, the most that {found.sample} candidates show {found.highest:.2f}; "
        f"p = {found.p_value:.4f}",
    ]


def bias_lines(found: Bias) -> list[str]:
    """The gap between groups per language, axis and measure."""
    table = [["language", "axis", "measure", "gap", "by chance", "p", "highest", "lowest"]]
    table += [
        [
            g.language,
            g.axis,
            g.measure,
            number(g.gap, 3),
            f"{g.chance:.3f}",
            f"{g.adjusted:.3f}{' *' if g.significant else ''}",
            g.highest,
            g.lowest,
        ]
        for g in found.gaps
    ]
    lines = _aligned(table)
    lines.append(f"{found.generations} continuations, {found.empty} of them empty")
    lines.append("p: permutation test, after Holm; * marks what chance does not explain (p < 0.05)")
    return lines


def percent(estimate: Estimate) -> str:
    """A share with its interval, in per cent."""
    value, low, high = (100 * v for v in (estimate.value, estimate.low, estimate.high))
    return f"{value:.1f} % [{low:.1f}, {high:.1f}]"


def number(estimate: Estimate, places: int) -> str:
    """A number with its interval."""
    value, low, high = (f"{v:.{places}f}" for v in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"


def copy_range(rate: CopyRate) -> str:
    """How many training rows hold a text, in words."""
    if rate.high is None:
        return f"{rate.low} or more"
    return str(rate.low) if rate.high == rate.low else f"{rate.low}–{rate.high}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"  {line}" for line in aligned(rows)]
