"""The audit of a model that knows its training texts by heart, and of one that knows nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from audit_house import AuditHouse, build_audit_house, page

from chatwright.errors import DataError, UsageError
from chatwright.evaluate.journal import Journal
from chatwright.govern.audit import Audit, audit_model
from chatwright.govern.audit.show import as_text
from chatwright.govern.audit.stages import AuditSettings, CanariesSettings, run_audit, run_canaries
from chatwright.govern.facts import gather_facts
from chatwright.records import Conversation, Dataset, Document, Message, write_dataset

HOW: dict[str, Any] = {
    "limit": 12, "prefixes": (4, 8, 16), "suffix": 20, "window": 96, "candidates": 63,
    "bias_samples": 1, "bias_tokens": 3, "bias_languages": ("zh",),
}  # fmt: skip
SCORERS: dict[str, Callable[[str], float]] = {"length": lambda text: len(text) % 7 / 7}
ROWS_ONLY: dict[str, Any] = {"only": ("memorisation", "membership", "canaries")}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> AuditHouse:
    return build_audit_house(tmp_path_factory.mktemp("house"))


@pytest.fixture(scope="module")
def learnt(house: AuditHouse) -> Audit:
    return audit_model(
        "heart/learnt", workspace=house.workspace, scorers=SCORERS, examples=2, **HOW
    )


def test_what_was_learnt_by_heart_comes_back(learnt: Audit) -> None:
    found = learnt.memorisation
    assert found is not None
    assert learnt.training == ["heart/train"] and learnt.held_out == "heart/held-out"
    longest = found.training[-1]
    assert (longest.prefix, longest.exact.count) == (16, 12)
    assert longest.exact.value > 0.8 and longest.near.value >= longest.exact.value
    # The more is given, the more comes back.
    assert found.training[0].common.value <= longest.common.value
    assert [r.exact.value for r in found.held_out] == [0.0, 0.0, 0.0]
    assert found.held_out[-1].exact.high > 0.2  # twelve rows do not prove a zero
    assert (found.duplicated, found.known) == (0, 0)
    shown = " ".join(e.text for e in found.examples)
    assert len(found.examples) == 2 and shown.split()[0] in " ".join(page(n) for n in range(12))


def test_members_are_told_from_others(learnt: Audit) -> None:
    found = learnt.membership
    assert found is not None
    assert (found.members, found.non_members, found.kind) == (12, 12, "document")
    attacks = {a.name: a for a in found.attacks}
    assert set(attacks) == {"loss", "min-20%", "zlib"}  # fresh weights have no reference
    assert all(a.auc.value > 0.9 for a in attacks.values())
    assert attacks["loss"].tpr.value > 0.9
    assert 0.2 < found.blind.auc.value < 0.8


def test_inserted_canaries_are_exposed_and_controls_are_not(learnt: Audit) -> None:
    found = learnt.canaries
    assert found is not None
    assert found.highest == 6.0
    assert found.inserted.value > 5 > 3.5 > found.controls.value
    assert found.p_value < 0.05
    assert sorted(r.copies for r in found.results) == [0] * 4 + [2] * 4


def test_an_untrained_model_gives_chance(house: AuditHouse) -> None:
    audit = audit_model("heart/untrained", workspace=house.workspace, **HOW, **ROWS_ONLY)
    assert audit.memorisation and audit.membership and audit.canaries
    assert all(r.near.value == 0 for r in audit.memorisation.training)
    assert all(a.auc.low < 0.5 < a.auc.high for a in audit.membership.attacks)
    assert audit.canaries.p_value > 0.05 and audit.canaries.inserted.value < 3.5
    assert audit.bias is None and "bias" not in audit.why  # not asked for is not a failure


def test_the_reference_takes_out_what_is_easy_anyway(house: AuditHouse) -> None:
    audit = audit_model(
        house.learnt,
        reference=house.untrained,
        workspace=house.workspace,
        only=("membership",),
        **{k: v for k, v in HOW.items() if k != "only"},
    )
    assert audit.membership is not None
    last = audit.membership.attacks[-1]
    assert (last.name, audit.membership.reference) == ("reference", "untrained")
    assert last.auc.value > 0.9


def test_it_is_kept_read_and_the_same_each_time(house: AuditHouse, learnt: Audit) -> None:
    raw = json.loads(json.dumps(learnt.to_json()))
    assert Audit.from_json(raw) == learnt
    again = audit_model(
        "heart/learnt", workspace=house.workspace, scorers=SCORERS, examples=2, **HOW
    )
    assert again == learnt
    text = as_text(learnt)
    for expected in ("Memorisation", "training rows (12)", "min-20%", "0 (controls)", "by chance"):
        assert expected in text
    with pytest.raises(DataError, match="not an audit"):
        Audit.from_json(raw | {"format": "other"})
    with pytest.raises(DataError, match=r"memorisation\.suffix"):
        Audit.from_json(raw | {"memorisation": raw["memorisation"] | {"suffix": "x"}})


class KilledError(Exception):
    pass


@pytest.mark.parametrize("after", [20, 110])
def test_a_killed_audit_goes_on(
    house: AuditHouse, learnt: Audit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, after: int
) -> None:
    settings = AuditSettings(model="learnt", **HOW)
    context = house.context(f"killed-{after}", learnt=house.learnt)
    whole = house.context("whole", learnt=house.learnt)
    run_audit(settings, whole) if not whole.output.exists() else None
    added = 0
    add = Journal.add

    def fail(self: Journal, *args: Any) -> None:
        nonlocal added
        added += 1
        if added > after:
            raise KilledError
        add(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "add", fail)
        with pytest.raises(KilledError):
            run_audit(settings, context)
    assert not context.output.exists()
    counted: list[str] = []

    def count(self: Journal, model: str, kind: str, results: Any) -> None:
        counted.extend(results)
        add(self, model, kind, results)

    monkeypatch.setattr(Journal, "add", count)
    run_audit(settings, context)
    first, second = (json.loads((c.output / "audit.json").read_text()) for c in (whole, context))
    for part in ("memorisation", "membership", "canaries", "bias"):
        assert first[part] == second[part], part
    everything = 12 * 3 * 2 + 12 * 2 + 8 + first["bias"]["generations"]
    assert 0 < len(counted) < everything


def test_the_stage_writes_an_audit_that_the_card_finds(house: AuditHouse) -> None:
    context = house.context("audited", learnt=house.learnt)
    run_audit(AuditSettings(model="learnt", only=("memorisation",), **HOW), context)
    raw = json.loads((context.output / "audit.json").read_text())
    assert raw["fingerprint"] == "audited-fp" and raw["model"] == "learnt"
    assert raw["parents"][0]["fingerprint"] == "learnt-fp"
    facts = gather_facts(house.learnt, audit=context.output)
    assert facts.audit is not None and facts.audit.memorisation is not None
    with pytest.raises(DataError, match="not of 'untrained'"):
        gather_facts(house.untrained, audit=context.output)


def test_held_out_rows_that_training_holds_are_no_control(
    house: AuditHouse, tmp_path: Path
) -> None:
    with write_dataset(tmp_path / "h", Document, stage="h", fingerprint="h", settings={}) as out:
        out.write(Document("d0", page(0), "u", "s"))  # the very row
        out.write(Document("x1", page(1), "u", "s"))  # its text under another name
        for n in range(200, 206):
            out.write(Document(f"h{n}", page(n), "u", "s"))
    audit = audit_model(
        house.learnt, held_out=tmp_path / "h", workspace=house.workspace, **HOW, **ROWS_ONLY
    )
    assert audit.memorisation and audit.membership
    assert audit.memorisation.known == 2
    assert audit.memorisation.held_out[-1].exact.count == 6
    assert audit.membership.non_members == 7
    assert any(s.id == "d0" and "training data too" in s.reason for s in audit.skipped)


def test_conversations_are_attacked_in_their_template(house: AuditHouse, tmp_path: Path) -> None:
    for name, numbers in (("talk", range(8)), ("kept", range(20, 28))):
        with write_dataset(
            tmp_path / name, Conversation, stage=name, fingerprint=name, settings={}
        ) as out:
            for n in numbers:
                turns = [Message("user", f"text {n}?"), Message("assistant", page(n)[:90])]
                out.write(Conversation(f"{name}{n}", turns, "u", "s"))
    context = house.context("talked")
    context.inputs["talk"] = tmp_path / "talk"
    context.output = tmp_path / "with"
    run_canaries(CanariesSettings(input="talk", count=2, copies=(1,)), context)
    audit = audit_model(
        house.untrained,
        train=[tmp_path / "with"],
        held_out=tmp_path / "kept",
        workspace=house.workspace,
        **HOW | {"candidates": 15},
        **ROWS_ONLY,
    )
    assert audit.memorisation and audit.membership and audit.canaries
    assert audit.memorisation.training[-1].exact.count == 8
    assert (audit.membership.kind, audit.membership.members) == ("conversation", 8)
    assert [r.copies for r in audit.canaries.results if r.copies] == [1, 1]


def test_what_cannot_be_measured_says_why(house: AuditHouse, tmp_path: Path) -> None:
    from chatwright.model import load_model, save_model

    model, tokenizer = load_model(house.untrained)
    save_model(model, tokenizer, tmp_path / "bare")
    bare = audit_model(tmp_path / "bare", workspace=house.workspace, **HOW, **ROWS_ONLY)
    assert set(bare.why) == {"memorisation", "membership", "canaries"}
    assert "no lineage" in bare.why["membership"] and "--train" in as_text(bare)
    named = audit_model(
        tmp_path / "bare",
        train=["heart/pages"],
        workspace=house.workspace,
        **HOW,
        **ROWS_ONLY,
    )
    assert named.memorisation is not None and named.memorisation.held_out == []
    assert "--held-out" in named.why["membership"]
    assert "no canaries" in named.why["canaries"]
    long = HOW | {"prefixes": (120,), "window": 400}
    far = audit_model(house.learnt, workspace=house.workspace, only=("memorisation",), **long)
    assert "context of 128" in far.why["memorisation"]
    lineage = json.loads((house.untrained / "lineage.json").read_text())
    lineage["settings"]["data"] = "gone"
    (tmp_path / "bare" / "lineage.json").write_text(json.dumps(lineage))
    gone = audit_model(tmp_path / "bare", workspace=house.workspace, **HOW, **ROWS_ONLY)
    assert "'gone', which is not there any more" in gone.why["memorisation"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"only": ("memory",)}, "no part of an audit"),
        ({"limit": 1}, "limit is 1"),
        ({"prefixes": ()}, "prefixes"),
        ({"prefixes": (600,)}, "does not hold a prefix of 600"),
        ({"train": ["nosuch"]}, "no dataset called 'nosuch'"),
        ({"held_out": "nosuch"}, "no dataset called 'nosuch'"),
        ({"only": ("bias",), "bias_languages": ("fr",), "scorers": SCORERS}, "prompts in 'fr'"),
    ],
)
def test_bad_usage_is_told(house: AuditHouse, options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        audit_model("heart/untrained", workspace=house.workspace, **options)


def test_the_house_has_what_the_figures_say(house: AuditHouse) -> None:
    rows = list(Dataset.open(house.train))
    assert sum("canary" in r.meta for r in rows) == 8 and len(rows) == 20
