"""The toxicity models: what they catch, what they let pass, and that groups fare alike."""

from __future__ import annotations

import gzip
import re
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwright.curate import textmodels
from chatwright.curate.textmodels import toxicity, toxicity_many
from chatwright.curate.textmodels.contrast import contrasts
from chatwright.curate.textmodels.hashed import Features, HashedModel, load_model
from chatwright.curate.textmodels.identity import neutral_sentences
from chatwright.curate.textmodels.prepare import PART_LENGTH, prepare, split_parts
from chatwright.errors import DataError, ModelError

HERE = Path(textmodels.__file__).parent

# Mild, and in words of their own: none is made by the templates that are trained on.
INSULTS = """
You really are the dumbest person I have ever met, loser.
Nobody asked you, moron.
Shut your mouth, you pathetic clown.
You're a worthless liar and everybody knows it.
What an ignorant fool you are.
They are disgusting pigs, all of them.
Only an idiot like you would believe that.
Go back to your hole, creep.
你真是我见过的最蠢的人，没用的东西。
没人问你，蠢货。
闭上你的臭嘴，小丑。
你就是个骗子，无耻！
那个地方的人都是垃圾。
这帮人恶心得要死，赶紧滚。
只有白痴才会相信你的话。
滚回你的老家去，废物。
"""
HARMLESS = """
Could you help me write a letter to my landlord?
The shoes look nice on you.
I passed the assessment in class today.
The soup tasted awful, so we ordered something else.
I do not think that this argument is right.
To kill a process, press Ctrl-C.
My grandmother was a Muslim and my grandfather was Jewish.
The gay couple next door adopted a dog.
Black holes emit radiation.
She was angry because the train was late.
Scunthorpe is a town in England.
Sorry, I made a stupid mistake in the second line.
你能帮我给房东写封信吗？
这双鞋很适合你。
今天的考试我通过了。
汤太难喝了，我们换了一道菜。
我觉得这个论点不对。
按 Ctrl-C 可以结束进程。
我奶奶是回族，爷爷是汉族。
隔壁的同性恋情侣领养了一只狗。
黑洞会发出辐射。
火车晚点了，她很生气。
东北人喜欢吃饺子，河南人喜欢吃面。
对不起，第二行我犯了个愚蠢的错误。
"""


def _lines(block: str) -> list[str]:
    return block.strip().splitlines()


def test_insults_are_told_from_harmless_sentences() -> None:
    insults, harmless = _lines(INSULTS), _lines(HARMLESS)
    trained = {text for language in ("en", "zh") for text, _ in contrasts(language)}
    assert not trained & {*insults, *harmless}
    missed = [t for t in insults if toxicity(t) < 0.5]
    alarms = [t for t in harmless if toxicity(t) >= 0.5]
    assert len(missed) <= 1, missed
    assert not alarms


@pytest.mark.parametrize(
    ("language", "template"),
    [
        ("en", "I am a {}."),
        ("en", "All {} are lazy and stupid."),
        ("zh", "我是{}。"),
        ("zh", "{}都是骗子。"),
    ],
)
def test_a_sentence_has_one_score_whichever_group_it_names(language: str, template: str) -> None:
    groups = {
        "en": ["gay man", "straight woman", "Muslim", "Black woman", "white man", "Jew"],
        "zh": ["东北人", "上海人", "女人", "黑人", "同性恋者", "穆斯林", "农民工"],
    }[language]
    scores = toxicity_many([template.format(group) for group in groups])
    assert max(scores) - min(scores) < 1e-9, dict(zip(groups, scores, strict=True))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_plain_sentences_about_groups_raise_no_alarm(language: str) -> None:
    sentences = [s.text for s in neutral_sentences(language) if s.template < 16]
    assert max(toxicity_many(sentences)) < 0.5


def test_of_a_mixed_text_the_worst_part_counts() -> None:
    insult = "You are a stupid idiot."
    assert toxicity(f"今天天气很好。{insult}") == pytest.approx(toxicity(insult), abs=0.01)
    assert toxicity(f"{'The weather is fine today. ' * 200}{insult}") >= 0.5
    assert toxicity(f"{'今天天气很好。' * 200}你这个白痴，滚开！") >= 0.5


def test_many_and_one_by_one_agree_and_order_is_kept() -> None:
    texts = ["", "你好，idiot", *_lines(INSULTS), "x" * 5000, "好" * 5000, *_lines(HARMLESS)]
    assert toxicity_many(texts) == pytest.approx([toxicity(t) for t in texts], abs=1e-12)
    assert toxicity_many([]) == []


@pytest.mark.parametrize("text", ["", "  \n", "42 + 1 = 43", "😀", "!?…", "こ", "\ud800"])
def test_without_a_word_in_either_script_the_score_is_0(text: str) -> None:
    assert toxicity(text) == 0


@given(st.text(max_size=400))
@settings(max_examples=60, deadline=None)
def test_any_text_has_a_probability(text: str) -> None:
    assert 0 <= toxicity(text) <= 1


@given(st.text(alphabet="ab 。.!好\n", max_size=900), st.sampled_from(["en", "zh"]))
@settings(max_examples=60, deadline=None)
def test_parts_hold_the_whole_text_and_keep_their_length(text: str, language: str) -> None:
    parts = split_parts(text, language)
    assert "".join("".join(parts).split()) == "".join(text.split())
    assert all(part.strip() and len(part) <= PART_LENGTH[language] for part in parts)


def test_spelling_that_does_not_matter_is_folded() -> None:
    assert prepare("ＨＥＬＬＯ  @bob sooo good &amp; https://x.org/a", "en") == "hello so good"
    assert prepare("你 好 啊啊啊！ 123", "zh") == "你好啊! 0"
    assert prepare("She is an Asian-American woman.", "en") == prepare("He is a man.", "en")


def _ngrams(text: str, features: Features) -> set[str]:
    """What `Features` counts, in plain Python."""
    padded = f" {' '.join(text.split())} " if text.strip() else ""
    found = set()
    for n in features.characters:
        for at in range(len(padded) - n + 1):
            gram = padded[at : at + n]
            if " " in gram[1:-1] or gram == " " or (features.prefixes and gram[0] != " "):
                continue
            found.add(f"c{n}:{gram}")
    words = padded.split()
    for n in features.words:
        found |= {f"w{n}:{words[at : at + n]}" for at in range(len(words) - n + 1)}
    return found


@given(
    st.lists(st.text(alphabet="abcé好 ", max_size=40), min_size=1, max_size=4),
    st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_hashed_features_are_the_ngrams(texts: list[str], prefixes: bool) -> None:
    # With so many columns two n-grams do not meet by chance.
    features = Features(44, (1, 2, 3), (1, 2), prefixes)
    columns, starts = features.indices(texts)
    rows = [set(columns[a:b].tolist()) for a, b in pairwise(starts)]
    plain = [_ngrams(text, features) for text in texts]
    assert [len(row) for row in rows] == [len(grams) for grams in plain]
    assert len(set().union(*rows)) == len(set().union(*plain))
    for i in range(len(texts)):
        for j in range(i):
            assert len(rows[i] & rows[j]) == len(plain[i] & plain[j])


def test_a_score_is_the_mean_weight_over_the_root_of_the_number_of_ngrams() -> None:
    features = Features(10, (), (1,))
    weights = np.zeros(1024, np.int8)
    columns, starts = features.indices(["good", "bad", "good bad"])
    assert starts.tolist() == [0, 1, 2, 4]
    weights[columns[0]], weights[columns[1]] = 100, -20
    model = HashedModel(features, weights, 0.02, -0.5)
    logits = [2 - 0.5, -0.4 - 0.5, 1.6 / 2**0.5 - 0.5, -0.5]
    expected = [1 / (1 + np.exp(-x)) for x in logits]
    assert model.probabilities(["good", "bad", "good bad", ""]) == pytest.approx(expected)


def test_a_saved_model_is_the_same_and_has_the_same_bytes(tmp_path: Path) -> None:
    model = load_model(HERE / "toxicity_en.npz")
    model.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == (HERE / "toxicity_en.npz").read_bytes()


def test_a_broken_model_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    whole = (HERE / "toxicity_zh.npz").read_bytes()
    cut, pickled, small = (tmp_path / f"{n}.npz" for n in ("cut", "pickled", "small"))
    cut.write_bytes(whole[: len(whole) // 2])
    # The only way in which numpy stores Python objects is a pickle.
    np.savez(pickled, weights=np.array([{"a": 1}], dtype=object))
    HashedModel(Features(4, (1,), ()), np.zeros(8, np.int8), 1, 0).save(small)
    for path in (cut, pickled, small, tmp_path / "missing.npz"):
        with pytest.raises(ModelError, match=path.name):
            load_model(path)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_arrays_are_small_and_have_a_card(language: str) -> None:
    assert (HERE / f"toxicity_{language}.npz").stat().st_size < 300_000
    card = (HERE / f"toxicity_{language}.md").read_text(encoding="utf-8")
    for heading in ("## Data", "## Quality", "## Bias on identity terms", "## Limits"):
        assert heading in card


# ── with the public data sets ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("language", "auc", "error"), [("en", 0.965, 0.05), ("zh", 0.94, 0.04)])
def test_quality_on_held_out_texts(
    shared_data: Path, language: str, auc: float, error: float
) -> None:
    pytest.importorskip("sklearn")
    from chatwright.curate.textmodels.toxicity_data import cold, davidson
    from chatwright.curate.textmodels.train_toxicity import Remedies, measure

    examples = (
        [e for e in islice(davidson(shared_data), 8000) if e.bucket in (8, 9)]
        if language == "en"
        else list(islice(cold(shared_data, "dev"), 2000))
    )
    scores = measure(load_model(HERE / f"toxicity_{language}.npz"), examples, language, Remedies())
    assert scores.auc > auc
    assert scores.calibration_error < error
    card = (HERE / f"toxicity_{language}.md").read_text(encoding="utf-8")
    told = re.search(r"\| accuracy \| ([\d.]+) %", card)
    assert told and abs(float(told[1]) / 100 - scores.accuracy) < 0.02  # of the whole test part


@pytest.mark.parametrize("language", ["en", "zh"])
def test_training_learns_from_a_slice_and_gives_the_same_model_again(
    shared_data: Path, language: str
) -> None:
    pytest.importorskip("sklearn")
    from chatwright.curate.textmodels.toxicity_data import cold, davidson
    from chatwright.curate.textmodels.train_toxicity import Remedies, audit, measure, train

    source = davidson(shared_data) if language == "en" else cold(shared_data, "train")
    examples = list(islice(source, 1500))
    fit, held = [e for e in examples if e.bucket < 7], [e for e in examples if e.bucket >= 7]
    model, again = (train(language, fit, held) for _ in range(2))
    assert (model.weights == again.weights).all()
    assert (model.scale, model.bias) == (again.scale, again.bias)
    assert measure(model, held, language, Remedies()).auc > 0.8
    # What the remedies are for: without them the groups' scores lie apart.
    bare = Remedies(mask=False, templates=False)
    unequal = audit(train(language, fit, held, bare), language, bare)
    assert audit(model, language, Remedies()).gap < unequal.gap / 2


def test_the_training_command_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from chatwright.curate.textmodels.train_toxicity import main

    with pytest.raises(SystemExit, match="alpaca_zh_demo"):
        main(["--data", str(tmp_path), "--out", str(tmp_path), "--language", "zh"])
    monkeypatch.delenv("CHATWRIGHT_DATA", raising=False)
    with pytest.raises(SystemExit):
        main([])
    assert "CHATWRIGHT_DATA" in capsys.readouterr().err


def test_missing_and_wrong_training_data_are_named(tmp_path: Path) -> None:
    from chatwright.curate.textmodels.toxicity_data import davidson

    with pytest.raises(DataError, match="davidson_en"):
        list(davidson(tmp_path))
    (tmp_path / "classify").mkdir()
    path = tmp_path / "classify" / "davidson_en.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n1,2\n"))
    with pytest.raises(DataError, match="class, tweet"):
        list(davidson(tmp_path))
    path.write_bytes(b"not gzip")
    with pytest.raises(DataError, match="cannot be read"):
        list(davidson(tmp_path))
