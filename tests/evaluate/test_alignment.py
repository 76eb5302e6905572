from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from chatwright.errors import DataError
from chatwright.evaluate.alignment import (
    Asked,
    Said,
    compare,
    divergences,
    read_prompts,
    table,
    text_perplexity,
)
from chatwright.evaluate.alignment_stage import STAGES, AlignmentSettings
from chatwright.evaluate.items import Page
from chatwright.model import ModelConfig, Transformer, save_model
from chatwright.model.heads import add_head
from chatwright.records import Dataset, Document, Message, Preference, write_dataset
from chatwright.stage import StageContext
from chatwright.tokenizer import Tokenizer
from chatwright.train.preference.pairs import place_of
from chatwright.workspace import Workspace

(STAGE,) = STAGES
TEXTS = ["The sea is calm.", "海面很平静。", "Boats leave at noon.", "user assistant 0123456789"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXTS * 3, 400)


def model(tokenizer: Tokenizer, seed: int) -> Transformer:
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size, width=32, n_layers=1, n_heads=4, n_kv_heads=2, head_dim=8,
        mlp_width=64, context=96, tied=True,
    )  # fmt: skip
    return Transformer.random(config, seed)


def pairs(count: int) -> list[Preference]:
    return [
        Preference(
            f"p{i}", [Message("user", f"{TEXTS[i % 3]} {i}")], "The sea.", "Boats.", "Ada", "u", "s"
        )
        for i in range(count)
    ]


def dataset(path: Path, rows: list[Preference] | list[Document]) -> Path:
    with write_dataset(
        path, type(rows[0]), stage="t", fingerprint=path.name, settings={}
    ) as out:  # fmt: skip
        for row in rows:
            out.write(row)
    return path


def test_divergences_are_those_of_the_whole_softmax(tokenizer: Tokenizer) -> None:
    made, start = model(tokenizer, 1), model(tokenizer, 2)
    prompts = [Asked(f"r{i}", "u", (Message("user", TEXTS[i]),)) for i in range(3)]
    answers = [[5, 6, 7], [8], [9, 10, 11, 12]]
    found = divergences(made, start, tokenizer, prompts, answers, temperature=0.7)
    for asked, ids, value in zip(prompts, answers, found, strict=True):
        before = tokenizer.chat(list(asked.messages), add_generation_prompt=True)
        tokens = torch.tensor([[*before, *ids]])
        with torch.no_grad():
            own, other = (torch.log_softmax(m(tokens)[0].double() / 0.7, -1) for m in (made, start))
        kl = (own.exp() * (own - other)).sum(-1)[len(before) - 1 : -1]
        assert len(kl) == len(ids) and value == pytest.approx(float(kl.sum()), abs=1e-4)


def test_the_table_by_hand() -> None:
    start = Said(
        ["a", "b", "c", "d"], [[1, 2], [1], [1, 2, 3], [1, 2]], [True, False, True, True],
        [0.0] * 4, {"judge": [0.0, 1.0, 2.0, 3.0]}, 9.0,
    )  # fmt: skip
    other = Said(
        ["e", "f", "g", "h"], [[1], [1], [1], [1]], [True] * 4,
        [0.5, 1.0, 1.5, 2.0], {"judge": [1.0, 1.0, 1.0, 4.0]},
    )  # fmt: skip
    first, second = compare({"before": start, "after": other}, "judge", 0)
    assert first.kl.value == 0 and first.wins is None and first.length.value == 2
    assert first.ended == 0.75 and first.perplexity == 9.0
    assert second.kl.value == pytest.approx(1.25)  # (0.5 + 1 + 1.5 + 2) / 4
    assert second.kl_per_token == pytest.approx(1.25)
    assert second.wins is not None and second.wins.value == pytest.approx(2.5 / 4)  # one tie
    assert second.rewards["judge"].value == pytest.approx(7 / 4)
    text = table([first, second])
    assert text.count("\n") == 4 and "1.25" in text and "62%" in text


def test_prompts_of_a_range_once_each(tmp_path: Path) -> None:
    rows = pairs(60)
    again = Preference("again", rows[0].prompt, "x", "y", "Ada", "u", "s")
    data = Dataset.open(dataset(tmp_path / "pairs", [*rows, again]))
    low = read_prompts(data, (0.0, 0.5), None, 0)
    high = read_prompts(data, (0.5, 1.0), None, 0)
    assert len(low) + len(high) == 60
    assert {a.messages for a in low}.isdisjoint({a.messages for a in high})
    assert all(place_of(a.messages) < 0.5 for a in low)
    few = read_prompts(data, (0.0, 1.0), 7, 0)
    assert len(few) == 7 and few == read_prompts(data, (0.0, 1.0), 7, 0)
    nowhere = place_of(rows[0].prompt)
    with pytest.raises(DataError, match="no prompt lies within"):
        read_prompts(data, (nowhere + 1e-9, nowhere + 2e-9), None, 0)


def test_perplexity_is_that_of_one_pass(tokenizer: Tokenizer) -> None:
    made = model(tokenizer, 2)
    pages = [Page("a", "u", TEXTS[0] * 3), Page("b", "u", TEXTS[1])]
    total, count = 0.0, 0
    for page in pages:
        ids = tokenizer.encode(page.text)
        assert tokenizer.end_of_text_id is not None
        whole = torch.tensor([[tokenizer.end_of_text_id, *ids]])
        with torch.no_grad():
            likely = torch.log_softmax(made(whole)[0].double(), -1)
        total -= float(likely[:-1].gather(1, whole[0, 1:, None]).sum())
        count += len(ids)
    assert text_perplexity(made, tokenizer, pages, 96) == pytest.approx(
        math.exp(total / count), rel=1e-5
    )


def test_the_stage(tmp_path: Path, tokenizer: Tokenizer) -> None:
    inputs = {"pairs": dataset(tmp_path / "pairs", pairs(8))}
    page = Document("d", TEXTS[0] * 20, "u", "s")
    inputs["text"] = dataset(tmp_path / "text", [page])
    for name, seed in (("start", 1), ("other", 2), ("same", 1), ("reward", 3)):
        made = model(tokenizer, seed)
        if name == "reward":
            torch.nn.init.normal_(add_head(made, "score").weight)
        inputs[name] = save_model(made, tokenizer, tmp_path / name)
    context = StageContext(
        recipe="r", stage="table", seed=5, output=tmp_path / "out", scratch=tmp_path / "work",
        fingerprint="f", workspace=Workspace(tmp_path), inputs=inputs,
    )  # fmt: skip
    settings = AlignmentSettings(
        models={"start": "start", "same": "same", "other": "other"}, data="pairs", reward="reward",
        judge="reward", text="text", text_bytes=200, max_tokens=6, limit=5,
    )  # fmt: skip
    STAGE.run(settings, context)
    found = json.loads((context.output / "alignment.json").read_text())
    start, same, other = found["lines"]
    assert found["prompts"] == 5
    assert start["kl"]["value"] == same["kl"]["value"] == 0  # the same weights, the same seeds
    assert same["win_rate"]["value"] == 0.5 and same["rewards"] == start["rewards"]
    assert other["kl"]["value"] > 0
    assert other["perplexity"] != start["perplexity"]
    rows = [json.loads(line) for line in (context.output / "answers.jsonl").open()]
    assert len(rows) == 5
    assert all(set(row["answers"]) == {"start", "same", "other"} for row in rows)
    assert (context.output / "table.md").read_text().count("\n") == 5
    from chatwright.govern.contents import gather
    from chatwright.govern.page import render_report
    from chatwright.records.results import walk

    contents = gather(
        walk([("table", context.output)]), title="t", recipe="r", fingerprint="f", samples=3
    )
    (found_alignment,) = contents.alignments
    assert [line.model for line in found_alignment.lines] == ["start", "same", "other"]
    assert len(found_alignment.samples) == 3
    page = render_report(contents)
    assert "better than the start" in page and page.count('class="sample"') == 3
