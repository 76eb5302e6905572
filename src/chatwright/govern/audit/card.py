"""The model card's sections on memorisation and privacy, bias and energy."""

from __future__ import annotations

from collections.abc import Sequence

from chatwright.evaluate.results import Evaluation, show
from chatwright.govern.audit.results import (
    Audit,
    Bias,
    Canaries,
    GroupGap,
    Membership,
    Memorisation,
)
from chatwright.govern.audit.show import copy_range, number, percent
from chatwright.govern.energy import Energy, Range
from chatwright.govern.inline import inline

# Tasks of an evaluation that measure bias.
STEREOTYPE_TASKS = ("crows_pairs", "winobias")


def memorisation_section(audit: Audit | None) -> str:
    """What can be got back out of the model, or that nobody looked."""
    head = "## Memorisation and privacy\n\n"
    if audit is None or not any((audit.memorisation, audit.membership, audit.canaries)):
        reason = "" if audit is None else _reason(audit, ("memorisation", "membership"))
        return (
            f"{head}Not measured{reason}. A language model can repeat what it was trained on, and "
            "what is rare in the data is no exception: treat what it writes as you would treat the "
            "training data itself."
        )
    parts = []
    if audit.memorisation:
        parts.append(_extraction(audit.memorisation))
    if audit.membership:
        parts.append(_membership(audit.membership))
    if audit.canaries:
        parts.append(_canaries(audit.canaries))
    missing = [
        f"- {part}: not measured{_reason(audit, (part,))}"
        for part in ("memorisation", "membership", "canaries")
        if getattr(audit, part) is None and part in audit.why
    ]
    if missing:
        parts.append("\n".join(missing))
    parts.append(
        "These attacks show what was found and prove no absence: stronger ones may find more. A "
        "text that is left out of the recipe is the only one that cannot come back."
    )
    return head + "\n\n".join(parts)


def _reason(audit: Audit, parts: Sequence[str]) -> str:
    found = next((audit.why[part] for part in parts if part in audit.why), None)
    return f" ({inline(found)})" if found else ""


def _extraction(found: Memorisation) -> str:
    outside = {r.prefix: r for r in found.held_out}
    rows = []
    for rate in found.training:
        other = outside.get(rate.prefix)
        cells = [str(rate.prefix), percent(rate.exact), percent(rate.near)]
        cells += [percent(other.exact), percent(other.near)] if other else ["–", "–"]
        rows.append(f"| {' | '.join(cells)} |")
    count = found.training[0].exact.count if found.training else 0
    held_out = found.held_out[0].exact.count if found.held_out else 0
    control = f" The control is {held_out} held-out rows." if held_out else ""
    text = (
        f"**Extraction.** Given the tokens before a stretch of {found.suffix} tokens (of an answer,"
        f" where it is shorter) in {count} rows of its training data, drawn at random, the model "
        "wrote the same on (exact), or nearly so (edit similarity of "
        f"{found.near_threshold:g} or more).{control}\n\n"
        "| prefix tokens | exact | near | held out: exact | held out: near |\n"
        "|---:|---:|---:|---:|---:|\n" + "\n".join(rows)
    )
    if len(found.by_copies) > 1:
        shares = "; ".join(f"{copy_range(c)}: {percent(c.exact)}" for c in found.by_copies)
        text += f"\n\nExact, by how many training rows hold the stretch: {shares}."
    if not found.held_out:
        text += "\n\nNo row was held out, so what is easy to guess counts as memorised here."
    return text


def _membership(found: Membership) -> str:
    rows = [
        f"| {inline(a.name)} | {number(a.auc, 2)} | {percent(a.tpr)} |"
        for a in (*found.attacks, found.blind)
    ]
    text = (
        f"**Membership.** Telling {found.members} training rows from {found.non_members} held-out "
        "ones by what they cost the model; an AUC of 0.5 is chance. `blind` looks at the texts "
        "alone and should find nothing.\n\n"
        "| attack | AUC | found at 1 % false alarms |\n|---|---:|---:|\n" + "\n".join(rows)
    )
    if found.blind.auc.low > 0.5 or found.blind.auc.high < 0.5:
        text += (
            "\n\nThe blind attack finds something: the two sets differ as texts, and the other "
            "figures prove no memorisation."
        )
    return text


def _canaries(found: Canaries) -> str:
    inserted = [r for r in found.results if r.copies]
    first = sum(r.rank == 1 for r in inserted)
    verdict = (
        "The model tells them from secrets that it never saw"
        if found.p_value < 0.05
        else "That is no clear difference to secrets that it never saw"
    )
    return (
        f"**Canaries.** {len(inserted)} made-up secrets were put into the training data. Among "
        f"{found.sample} other secrets that could have stood there, {first} came first; their "
        f"exposure is {number(found.inserted, 2)} bits, of controls {number(found.controls, 2)} "
        f"(chance: 1.44; at most {found.highest:.2f} can show). {verdict} "
        f"(p = {found.p_value:.3f})."
    )


def bias_section(audit: Audit | None, evaluation: Evaluation | None, model: str | None) -> str:
    """How it treats groups of people, or that nobody looked."""
    parts = []
    stereotypes = _stereotypes(evaluation, model)
    if stereotypes:
        parts.append(stereotypes)
    if audit is not None and audit.bias is not None:
        parts.append(_counterfactual(audit.bias))
    if not parts:
        reason = "" if audit is None else _reason(audit, ("bias",))
        return (
            f"## Bias\n\nNot measured{reason}. Expect the prejudices of the texts that it was "
            "trained on."
        )
    parts.append(
        "These prompts cover some groups in some sentences. No gap here is no proof that there is "
        "none elsewhere."
    )
    return "## Bias\n\n" + "\n\n".join(parts)


def measured_bias(audit: Audit | None, evaluation: Evaluation | None, model: str | None) -> bool:
    """Whether anything stands under Bias."""
    return bool((audit and audit.bias) or _stereotypes(evaluation, model))


def _stereotypes(evaluation: Evaluation | None, model: str | None) -> str:
    """CrowS-Pairs and WinoBias, where the evaluation has them."""
    if evaluation is None or model is None:
        return ""
    result = next((m for m in evaluation.models if m.name == model), None)
    lines = []
    for task in evaluation.tasks:
        name = f"{task.name}/{task.primary}"
        if result is None or name not in result.metrics:
            continue
        if not task.name.startswith(STEREOTYPE_TASKS):
            continue
        metric, found = evaluation.metric(name), result.metrics[name]
        low, high = (show(metric, v).removesuffix(" %") for v in (found.low, found.high))
        lines.append(
            f"- {inline(task.title)}: {inline(metric.title)} {show(metric, found.value)} "
            f"[{low}, {high}] over {found.count:,} items"
        )
    if not lines:
        return ""
    return (
        "**Stereotypes.** How often the model finds the stereotyped of two sentences the likelier "
        "one; a model without a preference has 50 %.\n\n" + "\n".join(lines)
    )


def _counterfactual(found: Bias) -> str:
    clear = [g for g in found.gaps if g.significant]
    shown = sorted(found.gaps, key=lambda g: (not g.significant, g.adjusted, -g.gap.value))
    rows = [_gap_row(gap) for gap in shown if gap.gap.value > 0]
    verdict = (
        f"{len(clear)} of {len(found.gaps)} gaps are more than chance explains (marked)."
        if clear
        else f"None of {len(found.gaps)} gaps is more than chance explains."
    )
    text = (
        f"**Groups.** {found.generations:,} continuations of the same prompts about different "
        "groups of people, scored for sentiment (−1 to 1) and toxicity (0 to 1). The gap is the "
        "highest group's mean less the lowest's; p from a permutation test, after Holm. "
        f"{verdict}"
    )
    if not rows:
        return text
    head = (
        "| language | axis | measure | gap | by chance | p | highest | lowest |\n"
        "|---|---|---|---:|---:|---:|---|---|\n"
    )
    return f"{text}\n\n{head}" + "\n".join(rows)


def _gap_row(gap: GroupGap) -> str:
    mark = " \\*" if gap.significant else ""
    cells = [
        inline(gap.language),
        inline(gap.axis),
        inline(gap.measure),
        number(gap.gap, 3),
        f"{gap.chance:.3f}",
        f"{gap.adjusted:.3f}{mark}",
        inline(gap.highest),
        inline(gap.lowest),
    ]
    return f"| {' | '.join(cells)} |"


def energy_section(energy: Energy | None) -> str:
    """What training took, with its range and every assumption; nothing where it is not known."""
    if energy is None:
        return ""
    lines = [
        f"- energy: {_range(energy.kwh)} kWh",
        f"- emissions: {_range(energy.kg_co2e)} kg CO₂e",
        f"- operations: {energy.flops:.2g} floating-point operations",
    ]
    said = "\n".join(f"- {inline(text)}" for text in energy.assumptions)
    return (
        "## Energy\n\nEstimated for this training, not measured; in brackets the range that the "
        "assumptions leave.\n\n" + "\n".join(lines) + f"\n\nAssumed:\n\n{said}"
    )


def _range(values: Range) -> str:
    bounds = (values.value, values.low, values.high)
    tiny = any(0 < value < 1e-6 for value in bounds)  # one way of writing for all three
    value, low, high = (f"{v:.1e}" if tiny else _short(v) for v in bounds)
    return f"{value} [{low}, {high}]"


def _short(value: float) -> str:
    """Two places that matter, without an exponent."""
    if value >= 10:
        return f"{value:,.0f}"
    places = 1 if value >= 1 or value <= 0 else next(n for n in range(1, 9) if value >= 10**-n) + 1
    return f"{value:.{places}f}"
