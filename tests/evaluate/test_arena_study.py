"""A study as judges meet it: blind, balanced, shared, undoable, and safe from each other."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from arena_studies import given_study, write_conversations
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_house import House

from chatwright.errors import ChatwrightError, DataError, UsageError
from chatwright.evaluate.arena import CHOICES, Sampling, Study, Vote, list_studies, study_path
from chatwright.evaluate.arena.schedule import next_unit, shared_count, swapped, units
from chatwright.records import Message
from chatwright.workspace import Workspace


def vote_all(study: Study, judge: str, prefer: str = "strong", most: int = 10_000) -> list[Vote]:
    """Vote for `prefer` wherever it stands."""
    votes = []
    while len(votes) < most and (shown := study.next_comparison(judge)) is not None:
        choice = "left" if shown.left.startswith(prefer) else "right"
        votes.append(study.vote(judge, shown.id, choice, seconds=2.0))
    return votes


# -- what is shown, and to whom ------------------------------------------------------------------


def test_nothing_in_a_comparison_tells_the_model(tmp_path: Path) -> None:
    study = given_study(tmp_path, ("secret-one", "secret-two"), forms=("compare", "rate"))
    # The given answers name their models: put other words in their place.
    answers = {
        key: replace(answer, text=f"words {number}")
        for number, (key, answer) in enumerate(study.answers.items())
    }
    study._answers.all = lambda: answers  # type: ignore[method-assign]
    seen = 0
    while (shown := study.next_comparison("alice")) is not None and seen < 12:
        assert "secret" not in json.dumps(asdict(shown), ensure_ascii=False)
        study.vote("alice", shown.id, "tie")
        seen += 1
    assert seen == 12
    task = study.next_rating("alice")
    assert task is not None
    assert "secret" not in json.dumps(asdict(task), ensure_ascii=False)
    with pytest.raises(Exception, match="cannot assign"):
        shown_again = study.next_comparison("bob")
        shown_again.left = "x"  # type: ignore[misc,union-attr]


def test_ids_and_sides_cannot_be_worked_out_without_the_key(tmp_path: Path) -> None:
    first = given_study(tmp_path / "a")
    second = given_study(tmp_path / "b", key="another key")
    ids = []
    for study in (first, second):
        shown = study.next_comparison("alice")
        assert shown is not None
        ids.append(shown.id)
        item = study.items[0].id
        assert item not in shown.id
    assert ids[0] != ids[1]
    sides = [
        [study.desk.sides("alice", unit) for unit in sorted(study.desk.order("compare"))]
        for study in (first, second)
    ]
    assert sides[0] != sides[1]
    assert oct((first.path / "study.json").stat().st_mode)[-3:] == "600"


def test_each_judge_sees_each_pair_once_with_balanced_sides(tmp_path: Path) -> None:
    study = given_study(tmp_path, ("strong", "weak", "other"), items=10)
    for judge in ("alice", "bob"):
        votes = vote_all(study, judge)
        assert len(votes) == 30
        assert len({(v.item, frozenset((v.left, v.right))) for v in votes}) == 30
        for pair in (("strong", "weak"), ("strong", "other"), ("weak", "other")):
            of_pair = [v for v in votes if {v.left, v.right} == set(pair)]
            assert Counter(v.left for v in of_pair) == {pair[0]: 5, pair[1]: 5}
        assert study.next_comparison(judge) is None
    sides = {
        j: [v.left for v in sorted(study.votes(), key=lambda v: (v.item, v.left, v.right))
            if v.judge == j]
        for j in ("alice", "bob")
    }  # fmt: skip
    assert sides["alice"] != sides["bob"]


def test_judges_who_stop_early_share_some_pairs_and_cover_the_rest(tmp_path: Path) -> None:
    study = given_study(tmp_path, items=40, overlap=0.25)
    for judge in ("alice", "bob", "carol"):
        vote_all(study, judge, most=16)
    by_item: dict[str, set[str]] = {}
    for vote in study.votes():
        by_item.setdefault(vote.item, set()).add(vote.judge)
    judged_by = Counter(len(judges) for judges in by_item.values())
    assert judged_by[3] >= 4  # a quarter of what each has seen
    assert len(by_item) == 34  # 4 shared, and all 30 of the others: those without a vote first
    assert study.results().people.agreement.units >= 4


def test_a_page_loaded_again_shows_the_same_pair(tmp_path: Path) -> None:
    study = given_study(tmp_path)
    first = study.next_comparison("alice")
    assert study.next_comparison("alice") == first
    assert Study.open(study.path).next_comparison("alice") == first


def test_equal_answers_are_shown_to_nobody_and_counted(tmp_path: Path) -> None:
    study = given_study(tmp_path, items=9, same=(0, 4))
    assert len(vote_all(study, "alice")) == 7
    results = study.results()
    assert results.identical == 2
    assert results.people.votes == 7
    assert results.people.matrix[0].identical == 2
    assert results.people.matrix[0].ties == 0


def test_the_question_is_shown_without_its_passages(house: House) -> None:
    study = Study.create(
        "grounded", ["a=tiny/before", "b=tiny/after"], "tiny/questions",
        workspace=house.workspace, forms=("rate",), limit=2,
    )  # fmt: skip
    for item in study.items:
        assert item.question is not None
        assert item.reference is not None
        assert item.parents == (house.rows[[r.meta["question"] for r in house.rows].index(
            item.question)].id,)  # fmt: skip
        assert "[1]" in item.messages[-1].content
    assert study.description.prompts["fingerprint"] == "q"


# -- votes ---------------------------------------------------------------------------------------


def test_undo_shows_the_pair_again_and_deletes_nothing(tmp_path: Path) -> None:
    study = given_study(tmp_path)
    assert study.undo("alice") is None
    first, second = study.next_comparison("alice"), None
    assert first is not None
    study.vote("alice", first.id, "left", reasons=["clear"], comment=" 好 ")
    second = study.next_comparison("alice")
    assert second is not None
    study.vote("alice", second.id, "skip")
    third = study.next_comparison("alice")
    taken = study.undo("alice")
    assert isinstance(taken, Vote)
    assert taken.choice == "skip"
    study.undo("alice")
    assert study.votes() == []
    for shown in (first, second, third):  # in the order in which they were first seen
        assert shown is not None
        now = study.next_comparison("alice")
        assert now is not None
        assert now.id == shown.id
        study.vote("alice", now.id, "right")
    with sqlite3.connect(study.path / "votes.db") as connection:
        actions = Counter(a for (a,) in connection.execute("SELECT action FROM entries"))
        assert actions["vote"] == 5
        assert actions["retract"] == 2
        for statement in ("DELETE FROM entries", "UPDATE entries SET judge = 'x'"):
            with pytest.raises(sqlite3.IntegrityError, match="never"):
                connection.execute(statement)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"comparison": "0" * 24}, "no such comparison"),
        ({"judge": "bob"}, "another judge"),
        ({"judge": "  "}, "judge's name"),
        ({"judge": "model:x"}, "models that judge"),
        ({"judge": "a\x1b[2J"}, "judge's name"),
        ({"choice": "A"}, "no choice"),
        ({"reasons": ["because"]}, "unknown reason"),
        ({"reasons": "clear"}, "unknown reason"),
        ({"seconds": float("nan")}, "seconds"),
        ({"seconds": -1}, "seconds"),
        ({"comment": "x" * 5000}, "comment"),
    ],
)
def test_votes_that_cannot_be(tmp_path: Path, change: dict[str, object], message: str) -> None:
    study = given_study(tmp_path, items=2)
    shown = study.next_comparison("alice")
    assert shown is not None
    told = {"judge": "alice", "comparison": shown.id, "choice": "left", **change}
    with pytest.raises(UsageError, match=message):
        study.vote(**told)  # type: ignore[arg-type]
    assert study.votes() == []


def test_a_second_vote_on_one_pair_is_refused(tmp_path: Path) -> None:
    study = given_study(tmp_path, items=2)
    shown = study.next_comparison("alice")
    assert shown is not None
    study.vote("alice", shown.id, "left")
    with pytest.raises(UsageError, match="judged already"):
        study.vote("alice", shown.id, "right")
    with pytest.raises(UsageError, match="does not ask"):
        study.next_rating("alice")


def test_scores(tmp_path: Path) -> None:
    study = given_study(tmp_path, items=2, forms=("rate",))
    shown = study.next_rating("alice")
    assert shown is not None
    assert shown.scales == ("helpful", "honest", "harmless", "fluent")  # nothing to be grounded in
    for scores in ({"helpful": 0}, {"helpful": 6}, {"helpful": True}, {"helpful": 2.5},
                   {"grounded": 3}, {"nice": 3}):  # fmt: skip
        with pytest.raises(UsageError, match="scores"):
            study.rate("alice", shown.id, scores)  # type: ignore[arg-type]
    rated = study.rate("alice", shown.id, {"helpful": 4, "fluent": 5}, seconds=3)
    assert not rated.skipped
    again = study.next_rating("alice")
    assert again is not None
    assert again.id != shown.id
    assert again.messages != shown.messages  # the other item comes first
    assert study.rate("alice", again.id, {}).skipped
    assert study.results().people.ratings == 1
    assert study.results().people.skips == 1
    study.undo("alice")
    assert [r.scores for r in study.ratings()] == [{"helpful": 4, "fluent": 5}]


def _vote_in_process(path: str, judge: str, count: int) -> None:
    study = Study.open(path)
    for _ in range(count):
        shown = study.next_comparison(judge)
        assert shown is not None
        study.vote(judge, shown.id, "left")


def test_processes_voting_at_once_lose_nothing(tmp_path: Path) -> None:
    study = given_study(tmp_path, items=30)
    # Two with one name: each pair still once.
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=_vote_in_process, args=(str(study.path), judge, count))
        for judge, count in (("alice", 25), ("bob", 25))
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    votes = study.votes()
    assert Counter(v.judge for v in votes) == {"alice": 25, "bob": 25}
    assert len({(v.judge, v.item) for v in votes}) == 50


def test_threads_voting_and_reading_at_once(tmp_path: Path) -> None:
    study = given_study(tmp_path, items=40)
    with ThreadPoolExecutor(8) as pool:
        voting = [pool.submit(vote_all, study, f"judge {n}") for n in range(4)]
        reading = [pool.submit(lambda: [len(study.votes()) for _ in range(100)]) for _ in range(2)]
        counts = [len(done.result()) for done in voting]
        for done in reading:
            assert done.result() == sorted(done.result())
    assert counts == [40] * 4
    assert len(study.votes()) == 160


def test_one_judge_in_two_windows_counts_once(tmp_path: Path) -> None:
    study = given_study(tmp_path, items=3)
    shown = study.next_comparison("alice")
    assert shown is not None

    def click(_: int) -> bool:
        try:
            Study.open(study.path).vote("alice", shown.id, "left")
        except UsageError:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(click, range(6))) == 1
    assert len(study.votes()) == 1


@settings(max_examples=8, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["alice", "bob"]), st.sampled_from([*CHOICES, "undo", "look"])),
        max_size=40,
    )
)
def test_whatever_judges_do_the_votes_are_theirs(steps: list[tuple[str, str]]) -> None:
    """Against a plain model: a list of choices for each judge, from which undo takes the last."""
    with tempfile.TemporaryDirectory() as folder:
        study = given_study(Path(folder), items=6, same=(2,))
        said: dict[str, list[str]] = {"alice": [], "bob": []}
        for judge, step in steps:
            if step == "undo":
                taken = study.undo(judge)
                assert (taken is None) == (not said[judge])
                said[judge] = said[judge][:-1]
                continue
            shown = study.next_comparison(judge)
            assert (shown is None) == (len(said[judge]) == 5)
            if shown is not None:
                assert shown.place.done == len(said[judge])
                if step != "look":
                    study.vote(judge, shown.id, step)  # type: ignore[arg-type]
                    said[judge].append(step)
        for judge, choices in said.items():
            mine = [v for v in Study.open(study.path).votes() if v.judge == judge]
            assert [v.choice for v in mine] == choices
            assert len({v.item for v in mine}) == len(mine)
        study.close()


# -- the plan, as pure functions -----------------------------------------------------------------


def test_every_beginning_of_the_order_holds_all_pairs_evenly() -> None:
    order = units([f"i{n}" for n in range(12)], ["a", "b", "c", "d"], 2, "key")
    assert len(order) == len(set(order)) == 72
    assert len({unit[0] for unit in order[:12]}) == 12
    assert set(Counter(unit[1:] for unit in order[:12]).values()) == {2}
    assert len(swapped("key", "alice", ("a", "b"), [f"i{n}" for n in range(11)])) in (5, 6)
    assert shared_count(10, 0.3) == 3
    assert shared_count(3, 0.5) == 2


def test_fewest_votes_come_first() -> None:
    order = [(f"i{n}", "a", "b") for n in range(4)]
    load = {order[0]: 1, order[1]: 1, order[3]: 1}
    chosen = next_unit(order, 0, available=order, done=(), load=load)
    assert chosen == order[2]
    assert next_unit(order, 2, available=order, done=(), load=load) == order[0]
    assert next_unit(order, 2, available=order, done=order, load=load) is None


# -- making a study ------------------------------------------------------------------------------


def test_models_answer_and_a_killed_run_goes_on(house: House, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from chatwright.evaluate.arena import Study\n"
        "import chatwright.evaluate.arena.files as files\n"
        "add, n = files.Answers.add, [0]\n"
        "def slow(self, answers):\n"
        "    add(self, answers); n[0] += 1; print(n[0], flush=True)\n"
        "    if n[0] == 3: import time; time.sleep(60)\n"
        "files.Answers.add = slow\n"
        "Study.open(sys.argv[1]).generate()\n"
    )
    study = Study.create(
        "killed", ["before=tiny/before", "after=tiny/after"], "tiny/questions",
        workspace=house.workspace, limit=3, sampling=Sampling(max_tokens=12),
    )  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(study.path)], stdout=subprocess.PIPE, env=environment
    )
    assert child.stdout is not None
    for _ in range(3):
        child.stdout.readline()
    with pytest.raises(ChatwrightError, match="another process"):
        study.generate()
    child.send_signal(signal.SIGKILL)
    child.wait()
    kept = dict(study.answers)
    assert len(kept) == 3
    with (study.path / "answers.jsonl").open("ab") as file:
        file.write(b'{"model": "before", "ite')  # what a kill in the middle of a write leaves
    assert Study.open(study.path).answers == kept
    assert study.generate() == 2 * len(study.items) - 3
    assert len(study.answers) == 2 * len(study.items)
    assert all(study.answers[key] == answer for key, answer in kept.items())
    assert {a.finish_reason for a in study.answers.values()} <= {"stop", "length"}
    assert study.generate() == 0
    before = {key: a.text for key, a in study.answers.items()}
    (study.path / "answers.jsonl").unlink()
    again = Study.open(study.path)
    again.generate()
    assert {key: a.text for key, a in again.answers.items()} == before


def test_a_prompt_too_long_for_a_model_is_recorded_with_the_reason(
    house: House, tmp_path: Path
) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("short?\n" + "words " * 2000 + "\n", encoding="utf-8")
    study = Study.create(
        "long",
        ["before=tiny/before", "after=tiny/after"],
        prompts,
        workspace=house.workspace,
        sampling=Sampling(max_tokens=12),
    )
    study.generate()
    lost = [a for a in study.answers.values() if a.text is None]
    assert len(lost) == 2
    assert "tokens" in (lost[0].error or "")
    results = study.results()
    assert results.unanswered == {"before": 1, "after": 1}
    assert any("could not be asked" in note for note in results.notes)


def test_a_model_that_changed_is_refused(house: House, tmp_path: Path) -> None:
    study = given_study(tmp_path, items=3)
    (study.path / "answers.jsonl").unlink()
    with (tmp_path / "weak.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"id": "q0", "text": "better"}\n')
    with pytest.raises(DataError, match="no longer the one"):
        Study.open(study.path).generate()


def test_prompts_come_from_conversations_with_consent(tmp_path: Path) -> None:
    user, said = Message("user", "What is a session?"), Message("assistant", "A thing.")
    again = Message("user", "And an engine?")
    place = Workspace(tmp_path / "place")
    write_conversations(
        place.datasets / "chats",
        [
            ([user, said, again, said], {"consent": True, "language": "en"}),
            ([Message("user", "Private?"), said], {"consent": False}),
            ([user, said, again, said], {}),
            ([Message("system", "Be brief."), Message("user", "会话是什么？"), said], {}),
            ([said], {}),
        ],
    )
    study = given_study(tmp_path, name="unused")
    files = [entry.reference for entry in study.description.models]
    study = Study.create("chats", [str(f) for f in files], "chats", workspace=place)
    assert [len(item.messages) for item in study.items] == [3, 2]
    assert [item.language for item in study.items] == ["en", "zh"]
    assert [item.consent for item in study.items] == [True, None]
    described = study.description.prompts
    assert described["left_out"] == {"asked already": 1, "no user's turn": 1, "without consent": 1}
    assert described["fingerprint"] == "made-1"
    study.generate()
    assert study.results().unanswered == {"strong": 2, "weak": 2}


def test_prompts_come_from_files(tmp_path: Path) -> None:
    from chatwright.evaluate.arena.prompts import read_prompts

    place = Workspace(tmp_path)
    file = tmp_path / "p.jsonl"
    rows = [
        '\ufeff{"messages": [{"role": "user", "content": "Hello?"}], "reference": "Hi."}',
        '{"instruction": "翻译", "input": "你好", "output": "hello"}',
        '{"prompt": [{"role": "user", "content": "One more?"}]}',
        "not json",
        '["a list"]',
        '{"prompt": "   "}',
        '{"prompt": "No!", "consent": "no"}',
        '{"prompt": "lone \\ud800 surrogate"}',
        "{}",
    ]
    file.write_text("\n".join(rows), encoding="utf-8")
    found = read_prompts(file, place, limit=None, seed=0)
    texts = [item.messages[-1].content for item in found.items]
    assert texts == ["Hello?", "翻译\n\n你好", "One more?", "lone ? surrogate"]
    assert found.items[0].reference == "Hi."
    assert sum(found.counts.values()) == 5
    assert any("line 4" in problem for problem in found.problems)
    chosen = read_prompts(file, place, limit=2, seed=1).items
    assert len(chosen) == 2
    assert chosen == read_prompts(file, place, limit=2, seed=1).items
    array = tmp_path / "p.json"
    array.write_text('[{"question": "A?"}, 3]', encoding="utf-8")
    assert len(read_prompts(array, place, limit=None, seed=0).items) == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.txt", b"", "no prompt"),
        ("p.txt", b"\xff\xfe\xfa", "UTF-8"),
        ("p.jsonl", b"broken\n", "not JSON"),
        ("p.json", b"[", "not JSON"),
        ("p.csv", b"a,b\n", "kind of file"),
        ("p.txt.gz", b"no gzip", "cannot be read"),
    ],
)
def test_prompts_that_cannot_be_used(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    answers = tmp_path / "a.jsonl"
    answers.write_text("", encoding="utf-8")
    with pytest.raises(DataError, match=message):
        Study.create("x", [f"a={answers}", f"b={answers}"], tmp_path / name,
                     workspace=Workspace(tmp_path / "place"))  # fmt: skip
    assert list_studies(Workspace(tmp_path / "place")) == []


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a\\b", "x" * 65, "a b"])
def test_names_that_lead_elsewhere(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a study's name"):
        Study.create(name, ["a=b", "c=d"], "x", workspace=Workspace(tmp_path))
    with pytest.raises(UsageError, match="cannot be a study's name"):
        study_path(Workspace(tmp_path), name)


def test_what_is_not_there(tmp_path: Path) -> None:
    place = Workspace(tmp_path / "place")
    (tmp_path / "p.txt").write_text("Hello?\n", encoding="utf-8")
    with pytest.raises(UsageError, match="no study called"):
        study_path(place, "nothing")
    with pytest.raises(UsageError, match="no study here"):
        Study.open(tmp_path)
    with pytest.raises(UsageError, match="two models"):
        Study.create("x", ["one"], tmp_path / "p.txt", workspace=place)
    with pytest.raises(ChatwrightError, match="no-such-model"):
        Study.create("x", ["no-such-model", "other"], tmp_path / "p.txt", workspace=place)
    study = given_study(tmp_path)
    with pytest.raises(UsageError, match="already"):
        given_study(tmp_path)
    (study.path / "study.json").rename(study.path / "lost")
    with pytest.raises(UsageError, match="of another study"):
        given_study(tmp_path)
    (study.path / "lost").rename(study.path / "study.json")
    with pytest.raises(UsageError, match="two models are called"):
        given_study(tmp_path, ("a", "a"), name="twice")
    with pytest.raises(UsageError, match="overlap"):
        given_study(tmp_path, name="y", overlap=float("nan"))
    with pytest.raises(UsageError, match="limit"):
        given_study(tmp_path, name="y", limit=0)
    with pytest.raises(UsageError, match="asks for"):
        given_study(tmp_path, name="y", forms=("guess",))
    assert [info.name for info in list_studies(study.workspace)] == ["trial"]


def test_damaged_files_are_named(tmp_path: Path) -> None:
    study = given_study(tmp_path)
    vote_all(study, "alice", most=2)
    study.close()
    for name, content, message in [
        ("votes.db", b"this is no database, and long enough to look at " * 40, "votes"),
        ("items.jsonl", b'{"id": 1}\n', "line 1"),
        ("answers.jsonl", b"broken\n", "line 1"),
        ("study.json", b"{", "study"),
    ]:
        file = study.path / name
        whole = file.read_bytes()
        for side in study.path.glob("votes.db-*"):
            side.unlink()
        file.write_bytes(content)
        with pytest.raises(DataError, match=message) as caught:
            Study.open(study.path).next_comparison("alice")
        assert name in str(caught.value)
        listed = list_studies(study.workspace)[0]
        assert listed.problem or name == "answers.jsonl"
        file.write_bytes(whole)
    assert len(Study.open(study.path).votes()) == 2


def test_choosing_the_next_pair_stays_quick(tmp_path: Path) -> None:
    study = given_study(tmp_path, ("strong", "weak", "other"), items=300)
    vote_all(study, "alice", most=60)
    began = time.monotonic()
    vote_all(study, "bob", most=60)
    assert (time.monotonic() - began) / 60 < 0.1
