"""The bias audit on planted corpora, exchanged texts, and remedies that are seen to work."""

from __future__ import annotations

import gzip
import json
import math
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from late_stages import chat, content, final_lines, page, run_stage, save
from pydantic import ValidationError
from typer.testing import CliRunner

from chatwright.cli.bias import bias as bias_command
from chatwright.curate.bias.audit import BiasAudit, audit, false_discovery_rates
from chatwright.curate.bias.counterfactual import COUNTERFACTUAL, counterfactual
from chatwright.curate.bias.lexicon import lexicons, load_lists, read_lists, sentences
from chatwright.curate.bias.reweigh import REWEIGH, weights_of
from chatwright.curate.bias.show import as_svg, as_text
from chatwright.curate.bias.stage import BIAS, FILE
from chatwright.curate.bias.swap import held_word, swap
from chatwright.errors import DataError, UsageError
from chatwright.records import Dataset, Document, Preference
from chatwright.records.message import Message
from chatwright.workspace import Workspace

NURSES, SCIENCE = "care and service work", "science and technology"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


def planted(rows: int = 600, seed: int = 1) -> list[Document]:
    """Women are nurses and men engineers three times of four, in English and in Chinese."""
    chooser = random.Random(seed)
    out = []
    for number in range(rows):
        woman = chooser.random() < 0.5
        nurse = chooser.random() < (0.75 if woman else 0.25)
        if number % 2:
            who = chooser.choice(
                ["she", "my sister", "the woman"] if woman else ["he", "my brother", "the man"]
            )
            work = "a nurse" if nurse else "an engineer"
            text = f"Every day {who} works hard as {work} in town. It rained in week {number}."
        else:
            who = "\u5979" if woman else "\u4ed6"
            work = "\u62a4\u58eb" if nurse else "\u5de5\u7a0b\u5e08"
            day, rain = "\u6bcf\u5929", "\u5468\u4e0b\u4e86\u96e8\u3002"
            text = f"{day}{who}\u90fd\u4f5c\u4e3a{work}\u5de5\u4f5c\u3002\u7b2c{number}{rain}"
        out.append(page(text, f"t:{number}"))
    return out


def named(text: str) -> list[str]:
    tables = lexicons()
    return sorted(
        tables[code].targets[n].name for code, s in sentences(text) for n in tables[code].find(s)
    )


def test_what_a_sentence_names() -> None:
    assert named("She's an old man; the Polish polish.") == ["Polish", "men", "old", "women"]
    assert named("His theory, HER car, Hispanic herbs") == ["men", "women"]
    # 他 in 其他 and 吉他 is nobody; 他们 are people of both kinds.
    assert named("\u5176\u4ed6\u5409\u4ed6\uff0c\u4ed6\u4eec") == []
    assert named("\u5973\u7a0b\u5e8f\u5458\u548c\u7537\u62a4\u58eb") == [
        NURSES,
        "men",
        SCIENCE,
        "women",
    ]
    assert named("\u5fb7\u56fd\u4eba\uff0c\u8001\u592a\u592a") == ["German", "old", "women"]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_lists_hold_together(language: Any) -> None:
    lists = load_lists(language)
    other = load_lists("zh" if language == "en" else "en")
    assert lists.attributes.keys() == other.attributes.keys()
    for dimension, groups in lists.groups.items():
        counts = Counter(word for words in groups.values() for word in words)
        assert not [w for w, n in counts.items() if n > 1], dimension  # nobody is two at once
    for pair in lists.swaps["gender"]:
        assert all(named(word) for word in pair), pair
    for rows in lists.parallel.values():
        assert all(named(word) for row in rows for word in row)


def counted_plainly(rows: list[Document]) -> Counter[tuple[str, ...]]:
    """Sentences by the words that stand in them, by hand for the planted corpus."""
    out: Counter[tuple[str, ...]] = Counter()
    for row in rows:
        for sentence in re.split("[.\u3002]", row.text):
            if not sentence.strip():
                continue
            language = "zh" if re.search("[\u4e00-\u9fff]", sentence) else "en"
            out[language,] += 1
            women = re.search(r"\b(she|sister|woman)\b|\u5979", sentence)
            men = re.search(r"\b(he|brother|man)\b|\u4ed6", sentence)
            group = "women" if women else "men" if men else None
            work = NURSES if re.search("nurse|\u62a4\u58eb", sentence) else SCIENCE
            if group:
                out[language, group] += 1
                out[language, group, work] += 1
                out[language, "", work] += 1
    return out


def test_a_planted_association_is_found_with_its_size() -> None:
    rows = planted()
    found = audit(rows, seed=3)
    by_hand = counted_plainly(rows)
    for language in ("en", "zh"):
        assert found.sentences[language] == by_hand[language,]
        one = found.association(language, "women", NURSES)
        n, of = by_hand[language, "women", NURSES], by_hand[language, "women"]
        m, men = by_hand[language, "men", NURSES], by_hand[language, "men"]
        assert (one.together, one.group_sentences, one.others_together, one.others_sentences) == (
            n,
            of,
            m,
            men,
        )
        rate = (n + m + 0.5) / (of + men + 1)
        smooth = ((n + 10 * rate) / (of + 10)) / ((m + 10 * rate) / (men + 10))
        assert one.ratio.value == pytest.approx(math.log2(smooth))
        # Three times as likely is 1.58 bits.
        assert one.ratio.low is not None and one.ratio.low < 1.58 < (one.ratio.high or 0) + 0.5
        whole = by_hand[language, "", NURSES] / by_hand[language,]
        assert one.pmi.value == pytest.approx(math.log2(n / of / whole), abs=0.1)
        assert one.found and one.q is not None and one.q < 1e-4
        assert found.association(language, "men", SCIENCE).found
        mention = next(m for m in found.mentions if (m.language, m.group) == (language, "women"))
        assert mention.sentences == of == mention.rows
        assert mention.share.low and mention.share.low < 0.5 < (mention.share.high or 0) + 0.1


def test_nothing_is_found_where_nothing_is() -> None:
    false, works = 0, ["nurse", "engineer", "poet", "thief"]
    for seed in range(10):
        chooser = random.Random(seed)
        rows = [
            page(f"Then {chooser.choice(['she', 'he'])} met a {chooser.choice(works)} in year {n}.")
            for n in range(300)
        ]
        false += len(audit(rows, seed=seed, replicates=100).found()) > 0
    assert false <= 2


def test_intervals_hold_what_they_promise() -> None:
    """Of 95 % intervals about 95 % hold the true ratio: log2 3, smoothed a little towards 0."""
    inside = 0
    for seed in range(30):
        one = audit(planted(300, seed), seed=seed).association("en", "women", NURSES).ratio
        assert one.low is not None and one.high is not None
        inside += one.low - 0.12 <= math.log2(3) <= one.high + 0.12
    assert inside >= 26


def test_few_rows_have_no_interval_and_other_languages_are_not_read() -> None:
    rows = [page("She is a nurse. " * 30, language="en"), page("Elle est belle.", language="fr"),
            page("\u5979\u662f\u62a4\u58eb\u3002", language="zh-Hans")]  # fmt: skip
    found = audit(rows)
    assert found.rows == 3 and found.other_rows == 1 and found.sentences == {"en": 30, "zh": 1}
    one = found.association("en", "women", NURSES)
    assert one.together == 30 and one.ratio.low is None and one.q is None and not one.found
    assert audit([]).to_json()["mentions"] == []
    assert as_text(found).startswith("3 rows, 1 of other languages")
    assert as_svg(found, "en") == ""


def test_false_discovery_rates_by_hand() -> None:
    # Benjamini and Hochberg's steps for four p-values.
    p = np.asarray([0.01, 0.04, 0.03, 0.9])
    assert false_discovery_rates(p) == pytest.approx([0.04, 0.16 / 3, 0.16 / 3, 0.9])
    assert len(false_discovery_rates(np.asarray([]))) == 0


def test_the_same_rows_give_the_same_figures_and_picture() -> None:
    first, second = (audit(planted(200), seed=5, replicates=50) for _ in range(2))
    assert first.to_json() == second.to_json()
    assert as_svg(first, "zh") == as_svg(second, "zh") and "<svg" in as_svg(first, "zh")
    assert "women \u00b7 care and service work" in as_svg(first, "en")


# -- exchanging ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("She gave her brother his book; it was hers.", "He gave his sister her book; it was his."),
        ("THE WOMAN herself saw him, and told her.", "THE MAN himself saw her, and told him."),
        ("My mother\u2019s friends (aunts) saw her.", "My father\u2019s friends (uncles) saw him."),
        ("\u5979\u7684\u4e08\u592b\u662f\u7537\u62a4\u58eb\uff0c\u5176\u4ed6\u4eba\u6709\u5409\u4ed6\u3002",
         "\u4ed6\u7684\u59bb\u5b50\u662f\u5973\u62a4\u58eb\uff0c\u5176\u4ed6\u4eba\u6709\u5409\u4ed6\u3002"),
        ("Run `he = her` at https://she.org/his or x@her.net, she said.",
         "Run `he = her` at https://she.org/his or x@her.net, he said."),
    ],
)  # fmt: skip
def test_gender_is_exchanged(text: str, other: str) -> None:
    found = swap(text, "gender")
    assert found is not None and found.text == other


def test_nationalities_move_and_stay_different() -> None:
    text = "A German met an Indian and two Americans. \u5fb7\u56fd\u4eba\u548c\u6cd5\u56fd\u4eba"
    said = set()
    for key in "abcdefgh":
        found = swap(text, "nationality", key=key)
        assert found is not None and found.words == 5
        met = re.findall(r"\b(?:[Aa]n?|two) (\w+?)s?\b", found.text)
        assert len(set(met)) == 3 and met[0] != "German" and met[1] != "Indian"
        people = re.findall("(\\w+?)\u4eba\u548c?", found.text.split(". ")[1])
        assert len(set(people)) == 2 and people[0] != "\u5fb7\u56fd"
        assert re.fullmatch(
            r"An? \w+ met an? \w+ and two \w+s\. \w+\u4eba\u548c\w+\u4eba", found.text
        )
        for article, word in re.findall(r"\b([Aa]n?) ([A-Z]\w+)", found.text):
            vowel = word[0] in "AEIO"
            assert article.lower() == ("an" if vowel else "a"), found.text
        said.add(found.text)
        assert swap(text, "nationality", key=key) == found
    assert len(said) > 3


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=200), st.sampled_from(["gender", "nationality", "religion"]))
def test_any_text_is_exchanged_or_left(text: str, dimension: Any) -> None:
    found = swap(text, dimension)
    assert found is None or found.words > 0
    held_word(text, dimension)


def test_exchanging_twice_gives_the_text_back() -> None:
    words = [
        w
        for pair in load_lists("en").swaps["gender"]
        for w in pair
        if w not in ("dad", "dads", "mum")
    ]
    text = " ".join(f"the {word} went." for word in words)
    once = swap(text, "gender")
    twice = swap(once.text, "gender") if once else None
    assert once and twice and once.words == len(words) and twice.text == text


def test_a_hundred_thousand_odd_characters_are_no_trouble() -> None:
    for text in (
        "a" * 100_000,
        "`" * 100_000,
        "a.b-" * 25_000 + "@",
        "\u5979" * 50_000,
        "http://" * 15_000,
    ):
        swap(text, "gender")


def test_winobias_pronouns(shared_data: Path) -> None:
    """Exchanging the pro sentence's pronoun gives the anti sentence's, nearly always."""
    right = total = 0
    for kind in ("type1", "type2"):
        lines = []
        for side in ("pro", "anti"):
            with gzip.open(shared_data / "bias" / f"winobias_{side}_{kind}.txt.gz", "rt") as file:
                lines.append([line.split(" ", 1)[1].split() for line in file])
        for pro, anti in zip(*lines, strict=True):
            places = [i for i, w in enumerate(pro) if re.match(r"\[(he|she|him|her|his|hers)\]", w)]
            if len(places) != 1 or len(pro) != len(anti):
                continue
            found = swap(" ".join(pro).replace("[", "").replace("]", ""), "gender")
            total += 1
            wanted = re.sub(r"[\[\]]", "", anti[places[0]])
            right += found is not None and found.text.split()[places[0]] == wanted
    assert total > 700 and right / total >= 0.97


def test_counterfactual_rows() -> None:
    talk = chat("Is she a doctor?", "Yes, her patients like her.")
    made = counterfactual(talk, "gender")
    assert not isinstance(made, str)
    copy, words = made
    assert [m.content for m in copy.messages] == ["Is he a doctor?", "Yes, his patients like him."]  # type: ignore[union-attr]
    assert words == 3 and copy.parents == [talk.id] and copy.id != talk.id
    row = Preference("p", [Message("user", "Who is he?")], "He is", "his", "human", "u", "s")
    made = counterfactual(row, "gender")
    assert not isinstance(made, str)
    assert (made[0].prompt[0].content, made[0].chosen, made[0].rejected) == (
        "Who is she?",
        "She is",
        "hers",
    )  # type: ignore[union-attr]
    assert "'pregnant' stands in it" in str(counterfactual(page("She is pregnant."), "gender"))
    assert "\u6000\u5b55" in str(counterfactual(page("\u5979\u6000\u5b55\u4e86\u3002"), "gender"))
    assert counterfactual(page("Nothing here."), "gender") == "it names no group of this kind"


# -- the stages ---------------------------------------------------------------------------------


def gap(found: BiasAudit, language: str = "en") -> float:
    return found.association(language, "women", NURSES).ratio.value


def stage(workspace: Workspace, kind: Any, name: str, **values: Any) -> Dataset:
    made = run_stage(workspace, kind, name, **values)
    assert isinstance(made, Dataset)
    return made


def test_counterfactual_copies_take_the_association_away(workspace: Workspace) -> None:
    save(workspace, "corpus", planted())
    made = stage(workspace, COUNTERFACTUAL, "both", input="corpus")
    after = audit(made.rows)
    assert gap(audit(planted())) > 1.2 and gap(audit(planted()), "zh") > 1.2
    assert abs(gap(after)) < 0.01 and abs(gap(after, "zh")) < 0.01
    assert not after.found()
    assert made.info.counts == {"in": 600, "kept": 600, "replaced": 0, "copies": 600}
    lines = final_lines(made)
    assert len(lines) == 600 and set(lines.values()) == {"keep"}
    copies = [row for row in made.rows if row.parents]
    for row in copies[:20]:
        (line,) = made.ledger.for_row(row.id)
        assert (line.action, line.rule, line.other_id) == ("edit", "exchanged", row.parents[0])
    half = stage(workspace, COUNTERFACTUAL, "half", input="corpus", mode="replace", share=0.5)
    assert len(half) == 600 and 250 < half.info.counts["replaced"] < 350
    assert abs(gap(audit(half.rows))) < 0.4
    again = stage(workspace, COUNTERFACTUAL, "half", input="corpus", mode="replace", share=0.5)
    assert content(again) == content(half)


def test_reweighing_takes_the_association_away(workspace: Workspace) -> None:
    save(workspace, "corpus", planted())
    made = stage(workspace, REWEIGH, "even", input="corpus", attributes=[NURSES, SCIENCE])
    after = audit(made.rows)
    assert abs(gap(after)) < 0.3 and abs(gap(after, "zh")) < 0.3 and not after.found()
    assert 540 <= len(made) <= 660  # as many rows as before, about
    lines = final_lines(made)
    assert len(lines) == 600 and "drop" in lines.values()
    assert sum(line.rule == "repeated" for line in made.ledger) == made.info.counts["repeats"] > 50
    classes = {(c["group"], *c["with"]): c["weight"] for c in made.info.counts["classes"]}
    assert classes["women", NURSES] < 1 < classes["men", NURSES]
    row = next(row for row in made.rows if row.parents)
    (line,) = made.ledger.for_row(row.parents[0])
    assert line.value is not None and line.value > 1 and "with" in (line.detail or "")
    with pytest.raises(UsageError, match="no words called"):
        stage(workspace, REWEIGH, "x", input="corpus", attributes=["nothing"])
    with pytest.raises(UsageError, match="no dimension"):
        stage(workspace, REWEIGH, "x", input="corpus", dimension="size", attributes=[NURSES])


def test_weights_are_kamiran_and_calders() -> None:
    # Their formula: P(group) P(word) / P(group, word).
    counts = {("f", 0): 10, ("f", 1): 40, ("m", 0): 30, ("m", 1): 20}
    found = weights_of(counts, 1)
    total = 100
    for (group, bit), n in counts.items():
        of_group = sum(v for (g, _), v in counts.items() if g == group)
        of_bit = sum(v for (_, b), v in counts.items() if b == bit)
        assert found[group, bit] == pytest.approx(of_group * of_bit / total / n)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.tuples(st.sampled_from("fmx"), st.integers(0, 3)), st.integers(20, 200),
                       min_size=2))  # fmt: skip
def test_raked_weights_part_groups_and_words(counts: dict[tuple[str, int], int]) -> None:
    groups = {g for g, _ in counts}
    if any((g, b) not in counts for g in groups for b in range(4)):
        return  # with every class there is a solution, and raking finds it
    found = weights_of(counts, 2)
    for bit in (0, 1):
        rates = [
            sum(counts[c] * found[c] for c in counts if c[0] == g and c[1] >> bit & 1)
            / sum(counts[c] * found[c] for c in counts if c[0] == g)
            for g in groups
        ]
        assert max(rates) - min(rates) < 1e-3
    assert sum(counts[c] * found[c] for c in counts) == pytest.approx(sum(counts.values()))


def test_the_audit_as_a_stage_and_as_a_command(workspace: Workspace, tmp_path: Path) -> None:
    save(workspace, "corpus", planted(200))
    folder = run_stage(workspace, BIAS, "bias", input="corpus")
    assert isinstance(folder, Path)
    told = json.loads((folder / FILE).read_text(encoding="utf-8"))
    assert told["fingerprint"] and told["audit"]["rows"] == 200 and told["audit"]["found"] > 0
    assert {p.name for p in folder.iterdir()} == {FILE, "bias.txt", "bias-en.svg", "bias-zh.svg"}
    assert "women" in (folder / "bias.txt").read_text(encoding="utf-8")

    from typer import Typer

    app = Typer()
    app.command()(bias_command)
    asked = ["test/corpus", "-w", str(workspace.root), "--plot", str(tmp_path / "plots")]
    shown = CliRunner().invoke(app, asked)
    assert shown.exit_code == 0, shown.output
    assert "associations are no accident" in shown.output and NURSES in shown.output
    assert (tmp_path / "plots" / "bias-zh.svg").exists()
    as_json = CliRunner().invoke(app, [*asked, "--json", "--seed", "7"])
    assert json.loads(as_json.stdout)["associations"]
    own = tmp_path / "own.yaml"
    own.write_text(
        "language: en\ngroups: {pet: {cats: [cat], dogs: [dog]}}\nattributes: {home: [house]}\n"
    )
    other = CliRunner().invoke(app, [*asked, "--json", "--lists", str(own)])
    assert {
        a["dimension"] for a in json.loads(other.stdout)["associations"] if a["language"] == "en"
    } == set()


def test_bad_lists_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "lists.yaml"
    for text in (
        "- a",
        "language: fr\ngroups: {}",
        "language: [",
        "language: en\ngroups: {a: {b: [c]}}\nx: 1",
    ):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match="no word lists"):
            read_lists(file)
    with pytest.raises(DataError, match="cannot be read"):
        read_lists(tmp_path / "none.yaml")
    with pytest.raises(ValidationError):
        BIAS.settings(input="x", lists={"fr": "x"})


def test_real_books_say_what_is_known_of_them(shared_data: Path) -> None:
    rows = []
    with gzip.open(shared_data / "pretrain" / "books_en.jsonl.gz", "rt", encoding="utf-8") as file:
        for _, line in zip(range(40), file, strict=False):
            rows.append(page(json.loads(line)["text"][:60_000]))
    found = audit(rows, replicates=100)
    shares = {m.group: m.share.value for m in found.mentions if m.dimension == "gender"}
    assert shares["men"] > shares["women"] > 0.15  # novels of the nineteenth century
    assert found.association("en", "women", "appearance").ratio.value > 0.5
    assert found.association("en", "women", "leadership and career").ratio.value < -0.3
    assert found.association("en", "women", "family and household").found
