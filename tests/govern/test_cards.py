"""The model card: facts, front matter that YAML reads, and no markup from outside."""

from __future__ import annotations

import json
import re
import shutil
from typing import Any

import pytest
from built_house import HOSTILE, Built
from ruamel.yaml import YAML

from chatwright.errors import DataError
from chatwright.govern.cards import model_card
from chatwright.govern.facts import Facts, SourceFacts, gather_facts, read_metrics
from chatwright.records.results import walk


def front_matter(card: str) -> dict[str, Any]:
    found = re.match(r"---\n(.*?)\n---\n", card, flags=re.S)
    assert found
    return dict(YAML(typ="safe").load(found[1]))


def test_facts_are_read_from_the_chain(built: Built) -> None:
    facts = gather_facts(built.model, built.evaluation)
    assert facts.name == "garden/sft"
    assert (facts.base, facts.base_license) == ("smollm2-135m-instruct", "Apache-2.0")
    assert [(s.source, s.license, s.rows) for s in facts.sources] == [
        ("pypi:garden==1.0", "MIT", 15),
        ("pypi:garden==1.0", None, 5),
    ]
    # The bytes of the text, not its characters.
    assert sum(s.text_bytes for s in facts.sources) == sum(
        len(f"page {n} 页面".encode()) for n in range(20)
    )
    assert facts.languages == [("en", 9), ("zh", 3)]
    assert facts.training_rows == 30
    assert [s.name for s in facts.steps] == ["pages", "corpus", "questions", "sft"]
    assert (facts.trained_steps, facts.trained_tokens) == (200, 200 * 4096)
    assert facts.first_loss and facts.last_loss and facts.first_loss > facts.last_loss
    assert (facts.evaluated_as, facts.evaluated_on) == ("after", "held-out")


def test_the_card_says_them(built: Built) -> None:
    card = model_card(gather_facts(built.model, built.evaluation))
    head = front_matter(card)
    assert head["license"] == "apache-2.0"
    assert head["language"] == ["en", "zh"]
    assert head["datasets"] == ["pypi:garden==1.0"]
    assert head["pipeline_tag"] == "text-generation"
    for expected in (
        "| pypi:garden==1.0 | MIT | 15 |",
        "Some sources state no licence",
        "30 rows for training",
        "after (this model)",
        "| better |",
        "chatwright why",
        "200 steps",
        "`sft-fp`",
    ):
        assert expected in card, expected
    assert card == model_card(gather_facts(built.model, built.evaluation))


def test_without_an_evaluation_it_says_so(built: Built) -> None:
    card = model_card(gather_facts(built.model))
    assert "has not been evaluated" in card
    assert "%" not in card


def test_an_evaluation_of_another_model_is_refused(built: Built) -> None:
    raw = json.loads((built.evaluation / "evaluation.json").read_text())
    raw["models"]["after"]["reference"] = "another"
    raw["parents"] = []
    (built.evaluation / "evaluation.json").write_text(json.dumps(raw))
    with pytest.raises(DataError, match="did not measure 'sft'"):
        gather_facts(built.model, built.evaluation)


def test_a_model_trained_on_ours_keeps_the_first_base(built: Built) -> None:
    second = built.model.parent / "second"
    shutil.copytree(built.model, second)
    lineage = json.loads((second / "lineage.json").read_text())
    lineage |= {"fingerprint": "second-fp", "stage": "second"}
    lineage["settings"]["model"] = "sft"
    lineage["parents"].append({"name": "sft", "fingerprint": "sft-fp", "path": "../sft"})
    (second / "lineage.json").write_text(json.dumps(lineage))
    facts = gather_facts(second)
    assert (facts.base, facts.base_license) == ("smollm2-135m-instruct", "Apache-2.0")
    assert [s.name for s in facts.steps][-2:] == ["sft", "second"]


def test_random_weights_are_called_so() -> None:
    card = model_card(Facts(name="small"))
    assert "trained from random weights" in card
    assert front_matter(card)["license"] == "other"


def test_hostile_names_do_not_become_markup_or_yaml() -> None:
    from html.parser import HTMLParser

    from chatwright.govern.page import markdown

    nasty = f"{HOSTILE}\n---\nlicense: mit\n# heading | cell"
    facts = Facts(
        name=nasty,
        base=f"hf:{nasty}",
        base_license=nasty,
        sources=[SourceFacts(nasty, nasty, 1, 1)],
        languages=[(nasty, 1)],
        settings={"objective": nasty},
    )
    card = model_card(facts)
    head = front_matter(card)
    assert head["license"] == "other"
    assert head["base_model"] == nasty
    body = re.sub(r"\A---\n.*?\n---\n", "", card, count=1, flags=re.S)
    tags: list[str] = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            tags.append(tag)

    Tags().feed(str(markdown(body)))
    assert not {"script", "img"} & set(tags)
    assert tags.count("h1") == 1  # the card's own
    rows = re.findall(r"^\| .*\|$", body, flags=re.M)
    assert rows and all(len(re.findall(r"(?<!\\)\|", row)) == 5 for row in rows[:3])


def test_metrics_of_a_resumed_training_count_each_step_once(built: Built) -> None:
    file = built.model / "metrics.jsonl"
    with file.open("a") as out:
        out.write('\n{"step": 10, "loss": 9.5}\nnot json\n[1]\n')
    lines = read_metrics(file)
    assert [line["step"] for line in lines] == list(range(1, 201))
    assert lines[9]["loss"] == 9.5
    assert read_metrics(file.parent / "absent.jsonl") == []


def test_walking_finds_each_result_once_parents_first(built: Built) -> None:
    chain = walk([("evaluation", built.evaluation), ("sft", built.model)])
    names = [r.name for r in chain]
    assert sorted(names) == sorted(set(names))
    for result in chain:
        for parent in result.parents:
            assert names.index(parent.name) < names.index(result.name)
    with pytest.raises(DataError, match="no dataset, model"):
        walk([("nothing", built.model / "nowhere")])
