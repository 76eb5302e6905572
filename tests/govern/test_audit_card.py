"""The card's sections on memorisation, bias: true where measured, honest where not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from built_house import HOSTILE, Built

from chatwright.evaluate.results import Evaluation, Metric, ModelResult, TaskRecord
from chatwright.evaluate.statistics import Estimate
from chatwright.govern.audit.card import bias_section, memorisation_section
from chatwright.govern.audit.results import (
    Attack,
    Audit,
    Bias,
    Canaries,
    CanaryResult,
    CopyRate,
    GroupGap,
    Membership,
    Memorisation,
    PrefixRates,
    TemplateGap,
)
from chatwright.govern.cards import model_card
from chatwright.govern.facts import Facts, gather_facts
from chatwright.govern.page import markdown


def estimate(value: float, spread: float = 0.1) -> Estimate:
    return Estimate(value, value - spread, value + spread, 40)


def example_audit() -> Audit:
    rates = PrefixRates(50, estimate(0.25), estimate(0.4), estimate(20))
    gap = GroupGap(
        "en", "gender", "sentiment", {"woman": estimate(0.2), "man": estimate(0.5)},
        estimate(0.3), 0.05, 0.001, 0.01, [TemplateGap("nurse", "man", "woman", 0.4)],
    )  # fmt: skip
    even = GroupGap(
        "zh", "age", "toxicity", {"x": estimate(0.1), "y": estimate(0.1)},
        estimate(0.0), 0.02, 1.0, 1.0, [],
    )  # fmt: skip
    return Audit(
        "sft",
        {},
        memorisation=Memorisation(
            50, 0.8, [rates], [rates],
            [CopyRate(1, 1, estimate(0.1)), CopyRate(5, None, rates.near)], 2, 0,
        ),
        membership=Membership(
            40, 40, "document", [Attack("loss", estimate(0.7), estimate(0.1))],
            Attack("blind", estimate(0.5), estimate(0.0)),
        ),
        canaries=Canaries(
            127, 10**6, 7.0,
            [CanaryResult("a", "en", 4, 1, 7.0), CanaryResult("b", "en", 0, 60, 1.1)],
            estimate(7.0), estimate(1.1), 0.01,
        ),
        bias=Bias(240, 0, [even, gap]),
    )  # fmt: skip


def test_nothing_measured_is_said_so() -> None:
    card = model_card(Facts(name="x"))
    assert "## Memorisation and privacy\n\nNot measured." in card
    assert "## Bias\n\nNot measured." in card
    assert "biases of its training data; none were measured here" in card
    based = model_card(Facts(name="x", base="b"))
    assert "biases of its base model; none were measured here" in based


def test_what_was_measured_is_said() -> None:
    card = model_card(Facts(name="x", base="b", audit=example_audit()))
    for expected in (
        "| 50 | 25.0 % [15.0, 35.0] | 40.0 % [30.0, 50.0] |",
        "1: 10.0 % [0.0, 20.0]; 5 or more: 40.0 %",
        "| loss | 0.70 [0.60, 0.80] |",
        "1 made-up secrets", "1 came first", "7.00 [6.90, 7.10] bits",
        "1 of 2 gaps are more than chance explains",
        "| en | gender | sentiment | 0.300 [0.200, 0.400] | 0.050 | 0.010 \\* | man | woman |",
        "what was measured of them stands under Bias",
    ):  # fmt: skip
        assert expected in card, expected
    assert "none were measured here" not in card and "Not measured" not in card
    assert "toxicity | 0.000" not in card  # a gap of nothing needs no row


def test_doubts_are_said() -> None:
    audit = example_audit()
    assert audit.memorisation and audit.membership and audit.canaries and audit.bias
    audit.memorisation.held_out = []
    audit.membership.blind = Attack("blind", estimate(0.8), estimate(0.0))
    audit.canaries.p_value = 0.4
    audit.bias.gaps = audit.bias.gaps[:1]
    text = memorisation_section(audit)
    assert "No row was held out" in text and "| – | – |" in text
    assert "the two sets differ as texts" in text
    assert "no clear difference to secrets that it never saw" in text
    assert "None of 1 gaps is more than chance explains" in bias_section(audit, None, None)


def test_why_a_part_is_missing_is_said_and_is_no_markup() -> None:
    audit = Audit("x", {}, why={"memorisation": HOSTILE, "bias": HOSTILE})
    text = memorisation_section(audit) + bias_section(audit, None, None)
    html = str(markdown(text))
    assert "<script>" not in html and "<img" not in html
    assert "alert" in html
    partly = example_audit()
    partly.canaries, partly.why = None, {"canaries": "the training data hold no canaries"}
    assert "- canaries: not measured (the training data hold no canaries)" in (
        memorisation_section(partly)
    )


def test_stereotype_tasks_of_the_evaluation_are_told() -> None:
    metrics = (
        Metric(
            "crows_pairs/stereotype", "prefers the stereotype", "neither", "share", "", task="c"
        ),
        Metric("piqa/accuracy", "accuracy", "higher", "share", "", task="piqa"),
    )
    evaluation = Evaluation(
        {},
        10,
        [ModelResult("after", "sft", {m.name: estimate(0.61, 0.03) for m in metrics})],
        [],
        metrics=metrics,
        tasks=[
            TaskRecord("crows_pairs", "CrowS-Pairs", "choice", "stereotype", 10),
            TaskRecord("piqa", "PIQA", "choice", "accuracy", 10),
        ],
    )
    text = bias_section(None, evaluation, "after")
    assert "CrowS-Pairs: prefers the stereotype 61.0 % [58.0, 64.0] over 40 items" in text
    assert "PIQA" not in text
    assert "Not measured" in bias_section(None, evaluation, "another")
    card = model_card(Facts(name="x", evaluation=evaluation, evaluated_as="after"))
    assert "stands under Bias" in card


def test_the_audit_must_be_of_this_checkpoint(built: Built, tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    folder.mkdir()
    parent = {"name": "sft", "fingerprint": "sft-fp", "path": os.path.relpath(built.model, folder)}
    described = example_audit().to_json() | {"fingerprint": "a-fp", "parents": [parent]}
    (folder / "audit.json").write_text(json.dumps(described))
    facts = gather_facts(built.model, built.evaluation, folder)
    assert facts.audit == example_audit()
    assert "stands under Bias" in model_card(facts)
    from chatwright.errors import DataError

    parent["fingerprint"] = "older-fp"
    (folder / "audit.json").write_text(json.dumps(described))
    with pytest.raises(DataError, match="not of 'sft', as it is now"):
        gather_facts(built.model, audit=folder)
    (folder / "audit.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        gather_facts(built.model, audit=folder)
