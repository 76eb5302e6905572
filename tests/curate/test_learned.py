"""Learned quality as a user meets it: stages train, cards tell, rules drop, broken files fail."""

from __future__ import annotations

import json
import pickle
import random
import zipfile
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from chatwright.curate.candidate import Candidate
from chatwright.curate.language import Language
from chatwright.curate.learned.linear import QualityModel
from chatwright.curate.learned.rows import read_sample
from chatwright.curate.learned.settings import LearnedRule
from chatwright.curate.learned.step import ScoreStep, make_step, model_folder
from chatwright.curate.learned.stored import ARRAYS, DESCRIPTION, load_model
from chatwright.curate.learned.text import as_words
from chatwright.curate.learned.train import (
    PERPLEXITY_MODEL,
    QUALITY_MODEL,
    PerplexityModelSettings,
    QualityModelSettings,
)
from chatwright.errors import DataError, ModelError, UsageError
from chatwright.records import Dataset, Document, Parent, content_id, write_dataset
from chatwright.stage import StageContext, StageKind
from chatwright.workspace import Workspace

EN = {
    True: "river town history people garden teacher because evening market letters bridge winter",
    False: "buy cheap click free offer casino discount winner bonus subscribe download sale",
}
ZH = {
    True: "我们在这里讨论历史的方法 河水从老城里流过 孩子们在树下读书 作者记下了新的变化",
    False: "点击这里免费领取奖金 全场打折立即购买 加微信领红包 注册会员送优惠券",
}
Train = Callable[..., Path]


def text(good: bool, rng: random.Random) -> str:
    words = (EN if rng.random() < 0.5 else ZH)[good].split()
    noise = (EN if rng.random() < 0.5 else ZH)[not good].split()
    picked = rng.choices(words, k=rng.randint(8, 30)) + rng.choices(noise, k=3)
    rng.shuffle(picked)
    return " ".join(picked)


@pytest.fixture
def train(workspace: Workspace) -> Train:
    """`train(QUALITY_MODEL, "stage", positive=…)`: one stage, as the builder runs it."""
    rng = random.Random(8)
    makers: dict[str, Callable[[], str]] = {
        "good": lambda: text(True, rng),
        "bad": lambda: text(False, rng),
        "wild": lambda: " ".join("".join(rng.choices("qxzjkv", k=5)) for _ in range(12)),
    }
    for name, make in makers.items():
        path = workspace.datasets / name
        with write_dataset(path, Document, stage=name, fingerprint=name, settings={}) as out:
            for i in range(240):
                body = make()
                row = Document(content_id(name, f"{i}{body}"), body, f"https://{name}/{i}", "t")
                out.write(row)

    def run(kind: StageKind, name: str = "judge", **values: Any) -> Path:
        settings = kind.settings(**values)
        names = settings.referenced()
        context = StageContext(
            recipe="test",
            stage=name,
            seed=7,
            output=workspace.models / "test" / name,
            scratch=workspace.runs / name,
            fingerprint=f"of {name}",
            workspace=workspace,
            parents=[Parent(n, n, f"../{n}") for n in names],
        )
        kind.run(settings, context)
        return context.output

    return run


def candidates(texts: Sequence[str], language: str | None = "en") -> list[Candidate]:
    return [
        Candidate(Document(str(i), t, f"u{i}", "t"), "s", t, language=Language(language, 1.0))
        for i, t in enumerate(texts)
    ]


def test_a_quality_model_tells_good_from_bad_in_both_languages(train: Train) -> None:
    folder = train(QUALITY_MODEL, positive="good", negative=["bad"])
    model = load_model(folder)
    assert isinstance(model, QualityModel)
    for words in (EN, ZH):
        good, bad = model.score([words[True], words[False]])
        assert good > 0.8 and bad < 0.2
    scores = json.loads((folder / "lineage.json").read_text())["scores"]
    assert scores["auc"] > 0.97 and scores["brier"] < 0.1
    card = (folder / "README.md").read_text()
    assert f"{scores['auc']:.4f}" in card and "`good`" in card and "## Limits" in card
    counts = [line for line in card.splitlines() if line.startswith("| test |")]
    assert counts and all(int(n) > 10 for n in counts[0].split("|")[2:4])
    assert {p.name for p in folder.iterdir()} == {ARRAYS, DESCRIPTION, "README.md", "lineage.json"}


def test_the_same_rows_give_the_same_bytes(train: Train) -> None:
    settings = {"positive": "good", "negative": "bad"}
    one, two = (train(QUALITY_MODEL, name, **settings) for name in ("one", "two"))
    assert (one / ARRAYS).read_bytes() == (two / ARRAYS).read_bytes()
    three, four = (train(PERPLEXITY_MODEL, name, input="good") for name in ("three", "four"))
    assert (three / ARRAYS).read_bytes() == (four / ARRAYS).read_bytes()


def test_scores_hang_on_the_text_alone_and_on_its_beginning(train: Train) -> None:
    model = load_model(train(QUALITY_MODEL, positive="good", negative="bad", characters=100))
    rng = random.Random(1)
    texts = [text(i % 2 == 0, rng) for i in range(30)] + ["", "\ud800", "x" * 9_000]
    assert model.score(texts) == pytest.approx([model.score([t])[0] for t in texts])
    start = (EN[True] * 2)[:100]
    assert model.score([start + EN[False] * 9]) == model.score([start])


def test_a_perplexity_model_prefers_what_it_knows(train: Train) -> None:
    folder = train(PERPLEXITY_MODEL, "fluent", input="good", against="wild", order=2)
    model = load_model(folder)
    for words in (EN, ZH):
        shuffled = " ".join(reversed(as_words(words[True]).split()))
        good, bad, wild = model.score([words[True], shuffled, "qxz jkv zzq"])
        assert good < wild and (good < bad or words is EN)
    scores = json.loads((folder / "lineage.json").read_text())["scores"]["quantiles"]
    assert scores["held-out texts"][6] < scores["texts to compare with"][0]
    assert "2-grams" in (folder / "README.md").read_text()


def test_learned_rules_drop_and_tell(train: Train, workspace: Workspace) -> None:
    train(QUALITY_MODEL, "judge", positive="good", negative="bad")
    train(PERPLEXITY_MODEL, "fluent", input="good")
    rules = [
        LearnedRule(model="test/judge", min=0.5),
        LearnedRule(model="test/fluent", max=1e9, min=1, name="lm", languages=("en",)),
    ]
    step = make_step(rules, lambda name: model_folder(name, workspace, {}))
    assert step is not None
    rows = candidates([EN[True], EN[False], "zq" * 400]) + candidates([ZH[True]], "zh-Hans")
    step(rows)
    assert [row.dropped for row in rows] == [False, True, True, False]
    entry = rows[1].lines[-1]
    assert (entry.rule, entry.bound, entry.detail) == ("quality-model", "min 0.5", "judge")
    assert entry.value is not None and entry.value < 0.2
    assert set(rows[0].meta["scores"]) == {"judge", "lm"}
    assert set(rows[3].meta["scores"]) == {"judge"}
    assert set(rows[1].meta["scores"]) == {"judge"}, "a dropped row is not scored again"
    copied = pickle.loads(pickle.dumps(step))
    again = candidates([EN[True]])
    copied(again)
    assert again[0].meta == rows[0].meta
    assert make_step([]) is None


def test_any_scorer_can_be_a_rule() -> None:
    step = ScoreStep("length", "too-long", lambda texts: [len(t) for t in texts], most=3)
    rows = candidates(["abc", "abcd"])
    rows[0].drop("before")
    step(rows)
    assert rows[0].meta == {} and rows[1].meta["scores"] == {"length": 4}
    assert rows[1].lines[-1].rule == "too-long" and rows[1].lines[-1].bound == "max 3"
    nothing = ScoreStep("nan", "odd", lambda texts: [float("nan") for _ in texts], least=0)
    row = candidates(["x"])
    nothing(row)
    assert row[0].dropped, "a score that is no number keeps no bound"


def test_a_retrained_model_is_read_again(train: Train) -> None:
    folder = train(QUALITY_MODEL, positive="good", negative="bad")
    before = load_model(folder).score([EN[True]])
    train(QUALITY_MODEL, positive="bad", negative="good")
    after = load_model(folder).score([EN[True]])
    assert before[0] > 0.8 > 0.2 > after[0]


def test_which_rows_are_held_out_hangs_on_their_ids(train: Train, workspace: Workspace) -> None:
    paths = [workspace.datasets / "good"]
    options: dict[str, Any] = {"characters": 500, "held_out": 0.4, "seed": 3}
    whole = read_sample(paths, most=1_000, **options)
    assert whole.size == len({d.text for d in Dataset.open(paths[0])})
    assert not (set(whole.train) & set(whole.test)) and not set(whole.calibrate) & set(whole.test)
    assert 0.25 < 1 - len(whole.train) / whole.size < 0.55
    small = read_sample(paths, most=50, **options)
    for part in ("train", "calibrate", "test"):
        assert set(getattr(small, part)) <= set(getattr(whole, part))
    assert small.size == 50
    with pytest.raises(DataError, match="no text in fr"):
        read_sample(paths, most=50, language="fr", **options)


def test_text_is_folded_for_the_models() -> None:
    markdown = "# Hello 1999\n\n```\ncode\n```\n- 我们喜欢机器学习 **NOW**"
    assert as_words(markdown) == "hello 0 我们 喜欢 机器 学习 now"
    assert as_words(markdown, 5) == "hel"


@pytest.mark.parametrize(
    "values",
    [
        {"positive": "a", "negative": "b", "features": {"words": [], "characters": []}},
        {"positive": "a", "negative": "b", "features": {"words": [9]}},
        {"positive": "a", "negative": "b", "features": {"bits": 40}},
        {"positive": "a", "negative": "b", "held_out": 1},
        {"positive": "a", "negative": "b", "colour": 1},
    ],
)
def test_impossible_settings_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        QualityModelSettings(**values)


def test_an_order_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValidationError, match="63 bits"):
        PerplexityModelSettings(input="a", order=5, max_vocabulary=100_000)
    with pytest.raises(ValidationError, match="min is above max"):
        LearnedRule(model="a", min=2, max=1)


def test_a_class_without_examples_is_told(train: Train, workspace: Workspace) -> None:
    path = workspace.datasets / "tiny"
    with write_dataset(path, Document, stage="x", fingerprint="x", settings={}) as out:
        out.write(Document("a" * 32, "one text", "u", "t"))
    with pytest.raises(DataError, match=r"no row of a kind is left|must be positive and negative"):
        train(QUALITY_MODEL, positive="good", negative="tiny")


def test_unknown_models_are_told_with_those_that_there_are(
    train: Train, workspace: Workspace
) -> None:
    train(QUALITY_MODEL, positive="good", negative="bad")
    with pytest.raises(UsageError, match="test/judge"):
        model_folder("judge", workspace, {})
    with pytest.raises(ModelError, match="no learned model here"):
        make_step([LearnedRule(model=str(workspace.root))])
    rules = [LearnedRule(model=str(workspace.models / "test/judge"))] * 2
    with pytest.raises(UsageError, match="are called"):
        make_step(rules)


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change arrays as somebody who means harm would: with a description that agrees."""
    from chatwright.records import file_digest

    with np.load(folder / ARRAYS, allow_pickle=False) as held:
        arrays = dict(held.items())
    change(arrays)
    np.savez(folder / ARRAYS, **arrays)
    about = json.loads((folder / DESCRIPTION).read_text())
    about |= arrays.pop("about", {}) if isinstance(arrays.get("about"), dict) else {}
    about["arrays"] = file_digest(folder / ARRAYS)
    (folder / DESCRIPTION).write_text(json.dumps(about))


HARM: list[tuple[StageKind, Callable[[dict[str, Any]], None]]] = [
    (QUALITY_MODEL, lambda a: a.update(bits=np.array(10**12))),
    (QUALITY_MODEL, lambda a: a.update(words=np.array([10**9]))),
    (QUALITY_MODEL, lambda a: a.update(weights=a["weights"][:100])),
    (QUALITY_MODEL, lambda a: a.update(weights=a["weights"].astype(np.float64))),
    (QUALITY_MODEL, lambda a: a.update(scale=np.array(np.nan))),
    (QUALITY_MODEL, lambda a: a.update(weights=np.array([{"a": 1}], dtype=object))),
    (QUALITY_MODEL, lambda a: a.pop("bias")),
    (PERPLEXITY_MODEL, lambda a: a.update(vocabulary=a["vocabulary"][::-1])),
    (PERPLEXITY_MODEL, lambda a: a.update(unigram=a["unigram"][:-1])),
    (PERPLEXITY_MODEL, lambda a: a.update(keys_2=a["keys_2"].astype(np.float64))),
    (PERPLEXITY_MODEL, lambda a: a.update(log_backoff_3=a["log_backoff_3"] * np.float32(np.inf))),
    (PERPLEXITY_MODEL, lambda a: a.pop("contexts_2")),
    (PERPLEXITY_MODEL, lambda a: a.update(log_letters=a["log_letters"][1:])),
]


@pytest.mark.parametrize(("kind", "change"), HARM)
def test_harmful_arrays_are_refused(
    train: Train, kind: StageKind, change: Callable[[dict[str, Any]], None]
) -> None:
    values = {"positive": "good", "negative": "bad"} if kind is QUALITY_MODEL else {"input": "good"}
    folder = train(kind, **values)
    load_model(folder)
    rewrite(folder, change)
    with pytest.raises(ModelError):
        load_model(folder)


def test_broken_files_are_refused(train: Train) -> None:
    folder = train(QUALITY_MODEL, positive="good", negative="bad")
    whole, about = (folder / ARRAYS).read_bytes(), (folder / DESCRIPTION).read_text()
    bomb = BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(70):
            archive.writestr(f"{i}.npy", b"\0" * 1_000)
    for harm in (whole[: len(whole) // 2], b"", pickle.dumps([1]), bomb.getvalue()):
        (folder / ARRAYS).write_bytes(harm)
        with pytest.raises(ModelError):
            load_model(folder)
    (folder / ARRAYS).unlink()
    with pytest.raises(ModelError, match="missing"):
        load_model(folder)
    (folder / ARRAYS).write_bytes(whole)
    for key, value in (("characters", 0), ("characters", True), ("format", 2), ("kind", "exe")):
        (folder / DESCRIPTION).write_text(json.dumps({**json.loads(about), key: value}))
        with pytest.raises(ModelError):
            load_model(folder)
    (folder / DESCRIPTION).write_text(about)
    assert load_model(folder).score([EN[True]])[0] > 0.5
