"""Results, model judges and export: simulated judges with known minds."""

from __future__ import annotations

import json
import math
import random
import re
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from arena_studies import given_study, write_conversations
from tiny_house import House

from chatwright.errors import ContextError, DataError, SourceError, UsageError
from chatwright.evaluate.arena import Rating, Sampling, Study, Vote
from chatwright.evaluate.arena.forms import summarise_scales
from chatwright.evaluate.arena.judging import judging_prompt, read_verdict
from chatwright.evaluate.arena.remote import RemoteJudge
from chatwright.evaluate.arena.summary import agreement, matrix, position_bias, strengths
from chatwright.records import Dataset, Message, Preference
from chatwright.workspace import Workspace

MODELS = ("good", "fair", "poor")
TRUTH = {"good": 1.0, "fair": 0.0, "poor": -1.0}  # log-strengths


def simulate(study: Study, judge: str, seed: int, ties: float = 0.1, most: int = 10_000) -> None:
    """Vote as the Bradley–Terry model with `TRUTH` says, with some ties."""
    chance = random.Random(seed)
    for _ in range(most):
        shown = study.next_comparison(judge)
        if shown is None:
            return
        left, right = (TRUTH[text.split("'")[0]] for text in (shown.left, shown.right))
        won = chance.random() < 1 / (1 + math.exp(right - left))
        choice = "tie" if chance.random() < ties else "left" if won else "right"
        reasons = [] if choice == "tie" else ["correct"]
        study.vote(judge, shown.id, choice, reasons=reasons, seconds=chance.uniform(2, 9))  # type: ignore[arg-type]


def made_vote(judge: str, item: str, choice: str, left: str = "a", right: str = "b") -> Vote:
    return Vote(1, judge, item, left, right, choice)  # type: ignore[arg-type]


# -- results -------------------------------------------------------------------------------------


def test_known_strengths_are_found_within_their_intervals(tmp_path: Path) -> None:
    study = given_study(tmp_path, MODELS, items=60)
    simulate(study, "alice", 1, ties=0)
    simulate(study, "bob", 2, ties=0)
    found = study.results(resamples=300)
    people = found.people
    assert [s.model for s in people.strengths] == ["good", "fair", "poor"]
    for strength in people.strengths:
        expected = 1000 + 400 / math.log(10) * TRUTH[strength.model]
        assert strength.low <= expected <= strength.high
        assert strength.high - strength.low < 200
    assert people.votes == 360
    row = next(p for p in people.matrix if (p.model, p.other) == ("good", "poor"))
    back = next(p for p in people.matrix if (p.model, p.other) == ("poor", "good"))
    assert row.low is not None
    assert row.low <= 1 / (1 + math.exp(-2)) <= row.high  # type: ignore[operator]
    assert row.rate == pytest.approx(1 - back.rate)  # type: ignore[operator]
    assert row.wins == back.losses
    assert not people.position.biased
    assert people.agreement.units == 180
    assert people.agreement.alpha is not None
    assert 0 < people.agreement.alpha < 1
    assert set(people.by_language) == {"en", "zh"}
    assert sum(p.votes for pairs in people.by_language.values() for p in pairs) == 2 * 360
    assert sum(people.reasons["good"].values()) == sum(
        p.wins for p in people.matrix if p.model == "good"
    )
    times = [j.seconds for j in people.judges]
    assert all(t is not None and 2 <= t[0] <= t[1] <= t[2] <= 9 for t in times)
    json.dumps(found.to_json(), allow_nan=False)
    assert study.results(resamples=300) == found


def test_results_without_votes_and_with_few(tmp_path: Path) -> None:
    study = given_study(tmp_path, MODELS, items=4)
    nothing = study.results()
    assert nothing.people.strengths == ()
    assert all(pair.rate is None for pair in nothing.people.matrix)
    assert nothing.people.agreement.alpha is None
    assert "two judges" in nothing.people.agreement.note
    assert nothing.people.position.p_value is None
    json.dumps(nothing.to_json(), allow_nan=False)
    shown = study.next_comparison("alice")
    assert shown is not None
    study.vote("alice", shown.id, "left")
    one = study.results()
    notes = " ".join(one.people.notes)
    assert "no vote yet on" in notes
    assert "bound" in notes
    assert "few" in notes
    assert all(math.isfinite(s.rating) and math.isfinite(s.high) for s in one.people.strengths)
    json.dumps(one.to_json(), allow_nan=False)


def test_models_that_nobody_compared_are_in_groups() -> None:
    votes = [made_vote("x", "1", "left", "a", "b"), made_vote("x", "2", "left", "c", "d")]
    found, notes = strengths(votes, ["a", "b", "c", "d"], seed=0, resamples=20)
    assert [(s.model, s.group) for s in found] == [("a", 0), ("b", 0), ("c", 1), ("d", 1)]
    assert any("group" in note for note in notes)


def test_the_matrix_by_hand() -> None:
    choices = ["left", "left", "right", "tie", "both_bad"]
    votes = [made_vote("x", str(n), choice) for n, choice in enumerate(choices)]
    ours, theirs = matrix(votes, ["a", "b"], [("9", "a", "b")])
    assert (ours.wins, ours.losses, ours.ties, ours.both_bad, ours.identical) == (2, 1, 1, 1, 1)
    assert ours.rate == pytest.approx(0.6)
    assert theirs.rate == pytest.approx(0.4)
    assert (theirs.wins, theirs.losses, theirs.ties) == (1, 2, 1)


def test_agreement_is_about_models_and_not_about_sides() -> None:
    votes = [
        made_vote("x", "1", "left", "a", "b"), made_vote("y", "1", "right", "b", "a"),
        made_vote("x", "2", "right", "a", "b"), made_vote("y", "2", "left", "b", "a"),
        made_vote("x", "3", "tie"), made_vote("y", "3", "both_bad"),
        made_vote("x", "4", "left"), made_vote("y", "4", "skip"),
    ]  # fmt: skip
    found = agreement(votes, ["a", "b"])
    assert found.units == 3
    assert found.pairs[0].kappa == pytest.approx(1)
    assert found.fleiss == pytest.approx(1)
    assert found.alpha == pytest.approx(1)
    same = agreement([made_vote("x", "1", "left"), made_vote("y", "1", "left")], ["a", "b"])
    assert same.alpha is None
    assert "not defined" in same.note


def test_a_judge_who_always_takes_the_left_is_noticed(tmp_path: Path) -> None:
    study = given_study(tmp_path, items=40)
    while (shown := study.next_comparison("lefty")) is not None:
        study.vote("lefty", shown.id, "left")
    people = study.results(resamples=50).people
    assert people.position.biased
    assert any("left answer won 40 of 40" in note for note in people.notes)
    assert people.matrix[0].rate == 0.5  # balanced sides: no model gains
    assert not position_bias([]).biased


def test_the_form(tmp_path: Path) -> None:
    study = given_study(tmp_path, ("good", "poor"), items=20, forms=("rate",))
    for judge, shift in (("alice", 0), ("bob", 1)):
        chance = random.Random(judge)
        while (task := study.next_rating(judge)) is not None:
            score = (4 if task.answer.startswith("good") else 2) - chance.randint(0, 1)
            study.rate(judge, task.id, {"helpful": score + shift, "fluent": 5})
    helpful, fluent = study.results(resamples=200).people.scales
    assert (helpful.scale, fluent.scale) == ("helpful", "fluent")
    good, poor = helpful.means["good"], helpful.means["poor"]
    assert good.low <= good.value <= good.high
    assert good.value - poor.value == pytest.approx(2, abs=0.5)
    difference = helpful.differences["poor"]
    assert difference.significant
    assert difference.count == 20
    assert difference.value == pytest.approx(poor.value - good.value)
    assert helpful.kappas[0].count == 40
    assert helpful.alpha is not None
    assert helpful.alpha > 0
    assert fluent.alpha is None  # everything was a 5: undefined, and not 0 or 1
    assert fluent.means["good"].value == 5


def test_one_prompt_makes_no_difference_significant() -> None:
    ratings = [
        Rating(n, "x", "1", model, {"fluent": score})
        for n, (model, score) in enumerate([("a", 5), ("b", 1)])
    ]
    found = summarise_scales(ratings, ["a", "b"], 0, 50)[0]
    assert found.differences == {}
    assert found.means["a"].value - found.means["b"].value == 4


# -- model judges --------------------------------------------------------------------------------


def fair_judge(messages: Sequence[Message]) -> str:
    """Prefers "strong" wherever it stands."""
    answers = re.findall(r"(?:Answer|回答) [AB]\]\n(.*)", messages[-1].content)
    assert len(answers) == 2
    return f"It is right.\nVerdict: {'A' if 'strong' in answers[0] else 'B'}"


def test_only_what_holds_both_ways_round_is_a_win(tmp_path: Path) -> None:
    study = given_study(tmp_path, items=10)
    judged = study.judge_with("fair", ask=fair_judge)
    assert (judged.consistent, judged.inconsistent, judged.none) == (10, 0, 0)
    first = study.judge_with("first", ask=lambda _: "Verdict: A")
    assert (first.consistent, first.inconsistent, first.none) == (0, 10, 0)
    silent = study.judge_with("silent", ask=lambda _: "I like both answers.")
    assert (silent.consistent, silent.inconsistent, silent.none) == (0, 0, 10)
    results = study.results(resamples=50)
    assert results.people.votes == 0
    assert results.model_judges.votes == 20
    assert {(v.judge, v.consistent, v.inconsistent, v.none) for v in results.verdicts} == {
        ("model:fair", 10, 0, 0), ("model:first", 0, 10, 0), ("model:silent", 0, 0, 10)
    }  # fmt: skip
    votes = study.votes("model")
    assert all(v.winner == "strong" for v in votes if v.judge == "model:fair")
    assert all(v.choice == "tie" for v in votes if v.judge == "model:first")
    kept = [v for v in study.verdicts() if v.judge == "model:silent"]
    assert all(v.raw_first == "I like both answers." and v.outcome == "none" for v in kept)
    assert study.votes("person") == []
    assert study.judge_with("fair", ask=fair_judge).asked == 0  # everything is judged
    with pytest.raises(UsageError, match="for models"):
        study.next_comparison("model:fair")


def test_a_model_judge_is_compared_with_the_peoples_majority(tmp_path: Path) -> None:
    study = given_study(tmp_path, items=10)
    for judge, wrong in (("alice", 0), ("bob", 0), ("carol", 10)):
        count = 0
        while (shown := study.next_comparison(judge)) is not None:
            better = "left" if shown.left.startswith("strong") else "right"
            worse = {"left": "right", "right": "left"}[better]
            study.vote(judge, shown.id, worse if count < wrong else better)  # type: ignore[arg-type]
            count += 1
    study.judge_with("fair", ask=fair_judge, limit=6)
    pair = study.results(resamples=20).with_people[0]
    assert (pair.first, pair.second, pair.count, pair.same) == ("people", "model:fair", 6, 1.0)


def test_what_does_not_fit_is_no_verdict(tmp_path: Path) -> None:
    study = given_study(tmp_path, items=2)

    def full(_: Sequence[Message]) -> str:
        raise ContextError("too long")

    assert study.judge_with("small", ask=full).none == 2
    assert {v.error for v in study.verdicts()} == {"too long"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Because.\nVerdict: A", "A"),
        ("verdict: b.", "B"),
        ("**Verdict: tie**\n\n", "tie"),
        ("理由。\n裁决：平局。", "tie"),
        ("裁决: B", "B"),
        ("", None),
        ("A", None),
        ("Verdict: A or B", None),
        ("Verdict: C", None),
        ("Verdict: A\nVerdict: B", None),
        ("Verdict: A\nVerdict: A", None),
        ("Verdict: A\nOr perhaps not.", None),
        ("The verdict: A", None),
    ],
)
def test_verdicts_are_read_strictly(text: str, said: str | None) -> None:
    assert read_verdict(text) == said


def test_the_prompt_holds_both_answers_in_the_items_language(tmp_path: Path) -> None:
    study = given_study(tmp_path, items=3)
    by_language = {item.language: item for item in study.items}
    for language, word in (("en", "Verdict: tie"), ("zh", "裁决：平局")):
        system, user = judging_prompt(study, by_language[language], "one [/x]", "two")
        assert word in user.content
        mark = user.content.split()[0].strip("[")
        assert mark in system.content
        assert user.content.count(f"[/{mark}]") == 3
        assert "strong" not in user.content
    own = given_study(tmp_path, items=3, name="own", guidelines="Prefer rhymes.")
    assert "Prefer rhymes." in judging_prompt(own, own.items[0], "a", "b")[0].content


def test_a_real_model_judges_and_is_marked(house: House) -> None:
    study = Study.create(
        "judged", ["before=tiny/before", "after=tiny/after"], "tiny/questions",
        workspace=house.workspace, limit=2, sampling=Sampling(max_tokens=12),
    )  # fmt: skip
    study.generate()
    judged = study.judge_with("tiny/after", max_tokens=8)
    assert judged.asked == len(study.desk.available("compare")) > 0
    judge = study.judges[0]
    assert (judge.name, judge.kind) == ("model:tiny/after", "model")
    assert judge.fingerprint
    assert study.results(resamples=10).people.votes == 0
    with pytest.raises(UsageError, match="another model"):
        study.judge_with("tiny/before", name="tiny/after")


class Server(BaseHTTPRequestHandler):
    """Answers as an OpenAI-compatible server does, or as it is told to."""

    status, sent, seen = 200, "", []  # type: ignore[var-annotated]

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append((self.path, self.headers.get("Authorization"), asked))
        messages = [Message(**m) for m in asked["messages"]]
        answer = {"choices": [{"message": {"role": "assistant", "content": fair_judge(messages)}}]}
        body = (self.sent or json.dumps(answer)).encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_a_judge_behind_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = given_study(tmp_path, items=3)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/v1/"
    try:
        with RemoteJudge(url, "big", key="secret") as ask:
            for status, sent, error in [
                (500, "broken", SourceError), (200, "none", SourceError), (200, "{}", SourceError)
            ]:  # fmt: skip
                monkeypatch.setattr(Server, "status", status)
                monkeypatch.setattr(Server, "sent", sent)
                with pytest.raises(error, match="server"):
                    study.judge_with("big", ask=ask)
            monkeypatch.setattr(Server, "status", 400)
            assert study.judge_with("big", ask=ask, limit=1).none == 1
            monkeypatch.setattr(Server, "status", 200)
            monkeypatch.setattr(Server, "sent", "")
            assert study.judge_with("big", ask=ask).consistent == 2
        path, key, asked = Server.seen[-1]
        assert (path, key) == ("/v1/chat/completions", "Bearer secret")
        assert (asked["model"], asked["temperature"]) == ("big", 0)
        assert study.judges[0].fingerprint == ask.fingerprint
        assert b"secret" not in b"".join(p.read_bytes() for p in study.path.iterdir())
    finally:
        server.shutdown()
        server.server_close()
    with RemoteJudge(url, "big") as ask, pytest.raises(SourceError, match="did not answer"):
        study.judge_with("other", ask=ask)
    for bad in ("localhost:8000", "ftp://x/v1", "http://user:pass@x/v1"):
        with pytest.raises(UsageError, match="address"):
            RemoteJudge(bad, "big")


# -- export --------------------------------------------------------------------------------------


def test_majorities_become_preferences(tmp_path: Path) -> None:
    study = given_study(tmp_path, items=8, same=(0,))
    plan = {
        "alice": {1: "strong", 2: "strong", 3: "strong", 4: "tie", 5: "both_bad", 6: "skip"},
        "bob": {1: "strong", 2: "weak", 3: "tie"},
        "carol": {1: "weak", 3: "weak"},
        "dave": {3: "strong"},
    }
    for judge, said in plan.items():
        while (shown := study.next_comparison(judge)) is not None:
            number = int(shown.left.rsplit(" ", 1)[1])
            choice = said.get(number, "skip")
            if choice in ("strong", "weak"):
                choice = "left" if shown.left.startswith(choice) else "right"
            study.vote(
                judge, shown.id, choice, reasons=["clear"] if choice in ("left", "right") else []
            )  # type: ignore[arg-type]
    out = study.export_preferences(tmp_path / "out")
    assert out.rows == 2
    assert out.left_out == {"identical-answers": 1, "tie": 3, "no-vote": 2}
    dataset = Dataset.open(out.path)
    rows: list[Preference] = list(dataset.rows)
    assert {row.chosen for row in rows} == {"strong's answer to 1", "strong's answer to 3"}
    first = next(row for row in rows if row.chosen.endswith("1"))
    assert first.rejected == "weak's answer to 1"
    assert first.judge == "alice, bob, carol"
    assert first.meta["votes_for"] == 2
    assert first.meta["votes_against"] == 1
    assert first.meta["reasons"] == {"clear": 2}
    assert first.meta["chosen_model"] == "strong"
    assert first.parents[0] == "q1"
    assert first.parents[1] in {item.id for item in study.items}
    assert first.prompt[-1].content == "Question 1?"
    assert first.collected_at is not None
    ledger = list(dataset.ledger)
    assert len(ledger) == len({line.row_id for line in ledger}) == 8
    assert sum(line.action == "keep" for line in ledger) == 2
    each = study.export_preferences(tmp_path / "each", each_vote=True)
    assert each.rows == 3 + 2 + 3  # decided votes on pairs 1, 2 and 3
    assert {row.judge for row in Dataset.open(each.path).rows} <= set(plan)


def test_export_refuses_what_it_should(tmp_path: Path) -> None:
    study = given_study(tmp_path, items=2)
    with pytest.raises(DataError, match="nothing to export"):
        study.export_preferences(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    study.judge_with("fair", ask=fair_judge)
    with pytest.raises(DataError, match="nothing to export"):  # a model's votes are not people's
        study.export_preferences(tmp_path / "out")
    assert study.export_preferences(tmp_path / "machine", kind="model").rows == 2
    (tmp_path / "full").mkdir()
    with pytest.raises(UsageError, match="no dataset"):
        study.export_preferences(tmp_path / "full", kind="model")


def test_exported_rows_lead_back_to_the_rows_they_came_from(tmp_path: Path) -> None:
    place = Workspace(tmp_path / "place")
    chat = [Message("user", "What is a session?"), Message("assistant", "A thing.")]
    source = write_conversations(place.datasets / "chats", [(chat, {"consent": True})])
    files = []
    row = next(iter(Dataset.open(source).rows))
    for label in ("strong", "weak"):
        files.append(tmp_path / f"{label}.jsonl")
        files[-1].write_text(json.dumps({"id": row.id, "text": label}) + "\n", encoding="utf-8")
    study = Study.create("chats", [str(file) for file in files], "chats", workspace=place)
    study.generate()
    shown = study.next_comparison("alice")
    assert shown is not None
    study.vote("alice", shown.id, "left")
    out = Dataset.open(study.export_preferences(place.datasets / "prefs").path)
    kept = next(iter(out.rows))
    assert kept.parents[0] == row.id
    assert kept.consent is True
    assert kept.uri == row.uri
    assert out.parents[0].fingerprint == "made-1"
    assert (out.path / out.parents[0].path).resolve() == source.resolve()
