"""Label queues: who sees what, several people at once, agreement against other programs, export."""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import krippendorff
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from late_stages import chat, page, save
from sklearn.metrics import cohen_kappa_score

from chatwright.curate.label import Queue, export_labels, queues, status
from chatwright.curate.label.agreement import (
    cohen_kappa,
    fleiss_kappa,
    krippendorff_alpha,
    wilson,
)
from chatwright.curate.label.models import (
    asking,
    by_column,
    by_function,
    dataset_of,
    label_with,
    labelling_prompt,
    read_label,
)
from chatwright.curate.label.queue import open_queue
from chatwright.curate.label.summary import settle
from chatwright.errors import DataError, UsageError
from chatwright.records import Dataset, Message, Preference
from chatwright.records.lineage import ancestors
from chatwright.workspace import Workspace

ROWS = 30


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    place = Workspace(tmp_path / "workspace")
    rows = [
        page(f"page number {n} is {'fine' if n % 3 else 'poor'}",
             meta={"n": n, **({"known": "good" if n % 3 else "bad"} if n < 6 else {})})
        for n in range(ROWS)
    ]  # fmt: skip
    save(place, "corpus", rows)
    return place


def make(workspace: Workspace, name: str = "q", **values: Any) -> Queue:
    asked = {"gold_share": 0.0, "repeat_share": 0.0, **values}
    labels = asked.pop("labels", ["good", "bad"])
    return Queue.create(name, "test/corpus", labels, workspace=workspace, key="k", **asked)


def truth(text: str) -> str:
    return "good" if "fine" in text else "bad"


def work(
    queue: Queue, who: str, say: Callable[[str], str | None] = truth, most: int = 10_000
) -> list[str]:
    seen = []
    while len(seen) < most and (task := queue.next(who)) is not None:
        queue.label(who, task.id, say(task.text), seconds=2.0)
        seen.append(task.text)
    return seen


# -- who sees what ------------------------------------------------------------------------------


def test_every_item_is_labelled_by_two_people_and_never_twice_by_one(workspace: Workspace) -> None:
    queue = make(workspace)
    assert len(work(queue, "ann")) == ROWS == len(set(work(queue, "ben")))
    assert queue.next("ann") is None and queue.next("eve") is None  # two are enough
    found = status(queue)
    assert (found.given, found.wanted, found.complete) == (2 * ROWS, 2 * ROWS, ROWS)
    assert found.people.same == 1 and found.people.alpha == found.people.fleiss == 1
    assert [p.kappa for p in found.pairs] == [1]


def test_of_a_part_one_label_is_enough(workspace: Workspace) -> None:
    queue = make(workspace, overlap=0.2, per_item=3)
    assert sorted(queue.wanted) == [1] * 24 + [3] * 6
    gaps = np.diff([n for n, wanted in enumerate(queue.wanted) if wanted == 3])
    assert set(gaps.tolist()) == {5}  # evenly among the others
    assert len(work(queue, "ann")) == ROWS
    assert len(work(queue, "ben")) == len(work(queue, "cat")) == 6 and not work(queue, "dan")


def test_the_same_task_until_it_is_answered_and_undo_brings_it_back(workspace: Workspace) -> None:
    queue = make(workspace)
    first = queue.next("ann")
    assert first is not None and queue.next("ann") == first and first.place.done == 0
    queue.label("ann", first.id, "good", comment=" so so ")
    second = queue.next("ann")
    assert second is not None and second.text != first.text and second.place.done == 1
    taken = queue.undo("ann")
    assert taken is not None and taken.comment == "so so" and taken.label == "good"
    again = queue.next("ann")
    assert again is not None and again.id == first.id
    queue.label("ann", again.id, "bad")
    back = queue.next("ann")
    assert back is not None and back.id == second.id  # what was open before
    assert queue.undo("nobody") is None
    state = queue.store.read()
    assert [g.label for g in state.answers_of("ann")] == ["bad"]


def test_what_is_skipped_goes_to_others_and_is_no_label(workspace: Workspace) -> None:
    queue = make(workspace, per_item=1)
    first = queue.next("ann")
    assert first is not None
    queue.label("ann", first.id, None)
    assert first.text not in work(queue, "ann")
    left = queue.next("ben")
    assert left is not None and left.text == first.text
    found = status(queue)
    assert (found.labellers[0].skips, found.labellers[0].labels) == (1, ROWS - 1)


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_people_do_the_counts_stay_right(workspace: Workspace, seed: int) -> None:
    chooser = random.Random(seed)
    queue = make(workspace, per_item=2, overlap=0.5, limit=10, gold_column="meta.known",
                 gold_share=0.2, repeat_share=0.2)  # fmt: skip
    people = ["ann", "ben", "cat"]
    for _ in range(60):
        who, what = chooser.choice(people), chooser.random()
        if what < 0.2:
            queue.undo(who)
            continue
        task = queue.next(who)
        if task is not None and what < 0.9:
            queue.label(who, task.id, None if what < 0.3 else chooser.choice(["good", "bad"]))
    state = queue.store.read()
    have = queue.counts(state)
    # One more than wanted only where somebody took a skip back that others had made up for.
    reopened = {state.shown[task].item for task in state.reopened}
    assert all(
        h <= w or n in reopened for n, (h, w) in enumerate(zip(have, queue.wanted, strict=True))
    )
    for who in people:
        mine = state.answers_of(who)
        once = [g.item for g in mine if g.purpose != "repeat"]
        assert len(once) == len(set(once))
        again = [g.item for g in mine if g.purpose == "repeat"]
        assert len(again) == len(set(again)) and set(again) <= set(once)
    fresh = open_queue("q", workspace).store.read()  # the log alone says all of it
    assert fresh.given == state.given and fresh.shown == state.shown
    for who in [*people, "dan", "eve"]:
        work(queue, who)
    have = queue.counts(queue.store.read())
    assert all(h >= w for h, w in zip(have, queue.wanted, strict=True))


def test_refusals(workspace: Workspace) -> None:
    queue = make(workspace)
    task = queue.next("ann")
    assert task is not None
    wrong_ones = [("ben", task.id, "good"), ("ann", "x", "good"), ("ann", task.id, "fine"),
                  ("model:x", task.id, "good"), (" ", task.id, "good")]  # fmt: skip
    for who, what, said in wrong_ones:
        with pytest.raises(UsageError):
            queue.label(who, what, said)
    with pytest.raises(UsageError):
        queue.label("ann", task.id, "good", seconds=float("nan"))
    queue.label("ann", task.id, "good")
    with pytest.raises(UsageError, match="already"):
        queue.label("ann", task.id, "bad")
    with pytest.raises(UsageError, match="already"):
        make(workspace)
    for wrong in ({"labels": ["a"]}, {"labels": ["a", "a"]}, {"labels": list("abcdefghij")},
                  {"per_item": 0}, {"overlap": 1.5}, {"limit": 0},
                  {"gold_share": 0.9, "repeat_share": 0.5}):  # fmt: skip
        with pytest.raises(UsageError):
            make(workspace, "other", **wrong)
    for name in ("../up", "", ".q", "a/b"):
        with pytest.raises(UsageError):
            make(workspace, name)
    assert queues(workspace) == ["q"]
    with pytest.raises(UsageError, match="there are: q"):
        open_queue("none", workspace)
    save(workspace, "pairs", [Preference("p", [Message("user", "?")], "a", "b", "h", "u", "s")])
    with pytest.raises(UsageError, match="arena"):
        Queue.create("p", "test/pairs", ["a", "b"], workspace=workspace)


def test_two_at_once_do_not_take_the_last_place(workspace: Workspace) -> None:
    later = [0.0]
    queue = make(workspace, per_item=1, limit=2)
    queue._clock = lambda: time.time() + later[0]
    one, two = queue.next("ann"), queue.next("ben")
    assert one is not None and two is not None and one.text != two.text
    assert queue.next("cat") is None  # both are in somebody's hands
    later[0] = 31 * 60
    assert queue.next("cat") is not None  # who was shown them has gone home


def test_many_threads_and_processes_lose_nothing(workspace: Workspace) -> None:
    make(workspace, per_item=2).close()
    program = (
        "import sys\n"
        "from chatwright.curate.label.queue import open_queue\n"
        "from chatwright.workspace import Workspace\n"
        f"queue = open_queue('q', Workspace({str(workspace.root)!r}))\n"
        "who = sys.argv[1]\n"
        "while (task := queue.next(who)) is not None:\n"
        "    queue.label(who, task.id, 'good' if 'fine' in task.text else 'bad')\n"
    )
    others = [subprocess.Popen([sys.executable, "-c", program, f"far{n}"]) for n in range(2)]
    queue = open_queue("q", workspace)
    threads = [threading.Thread(target=work, args=(queue, f"near{n}")) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [other.wait() for other in others] == [0, 0]
    found = status(open_queue("q", workspace))
    assert (found.given, found.complete, found.people.same) == (2 * ROWS, ROWS, 1.0)
    counts = Counter(g.item for g in queue.store.read().given.values())
    assert set(counts.values()) == {2}  # and nobody worked for nothing


# -- checks -------------------------------------------------------------------------------------


def test_gold_items_and_repeats_come_between_and_measure(workspace: Workspace) -> None:
    queue = make(workspace, gold_column="meta.known", gold_share=0.3, repeat_share=0.3)
    assert len(queue.gold) == 6 and len(queue.items) == ROWS
    asked: list[str] = []

    def careless(text: str) -> str:
        asked.append(text)
        return "good"  # whatever it is

    work(queue, "lazy", careless)
    work(queue, "ann")
    lazy, ann = sorted(status(queue).labellers, key=lambda s: s.name != "lazy")
    assert ann.gold is not None and ann.gold[0] == 1 and ann.gold_seen >= 3
    assert lazy.gold is not None and lazy.gold[0] < 1 and lazy.gold_seen >= 3
    assert lazy.repeats_seen >= 3 and lazy.repeats is not None and lazy.repeats[0] == 1
    twice = [text for text, count in Counter(asked).items() if count > 1]
    assert len(twice) == lazy.repeats_seen
    for text in twice:  # not right after each other
        places = [n for n, seen in enumerate(asked) if seen == text]
        assert len(places) == 2 and places[1] - places[0] >= 10
    assert lazy.labels == ann.labels == ROWS - 6  # checks are no labels of the dataset
    assert status(queue).people.items == ROWS - 6


def test_gold_from_a_file(workspace: Workspace, tmp_path: Path) -> None:
    some = next(iter(Dataset.open(workspace.dataset("test/corpus")).rows))
    file = tmp_path / "gold.jsonl"
    lines = [{"id": some.id, "label": "bad"}, {"text": "A planted text.", "label": "good"}]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    queue = make(workspace, gold_file=file)
    assert {(queue.items[n].text, queue.items[n].gold) for n in queue.gold} == {
        (some.text, "bad"), ("A planted text.", "good")}  # fmt: skip
    for wrong in ('{"id": "none", "label": "bad"}', '{"text": "x", "label": "?"}', "{", "[1]"):
        file.write_text(wrong, encoding="utf-8")
        with pytest.raises(DataError):
            make(workspace, "w", gold_file=file)
    assert queues(workspace) == ["q"]


def test_without_consent_no_labels(workspace: Workspace) -> None:
    save(workspace, "chats", [chat("A?", "B.", consent=True), chat("C?", "D.", consent=False)])
    queue = Queue.create("c", "test/chats", ["a", "b"], workspace=workspace)
    assert [item.text for item in queue.items] == ["user: A?\n\nassistant: B."]
    assert queue.description.left_out == 1


# -- agreement ----------------------------------------------------------------------------------

judgements = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=2, max_size=40)


@settings(max_examples=50, deadline=None)
@given(judgements)
def test_cohen_is_sklearn_s(pairs: list[tuple[int, int]]) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    ours = cohen_kappa(first, second, 3)
    if ours is None:
        assert len(set(first) | set(second)) == 1
    else:
        assert ours == pytest.approx(cohen_kappa_score(first, second, labels=[0, 1, 2]))
        squared = cohen_kappa(first, second, 3, quadratic=True)
        theirs = cohen_kappa_score(first, second, labels=[0, 1, 2], weights="quadratic")
        assert squared == pytest.approx(theirs)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from([None, 0, 1, 2]), min_size=4, max_size=4), min_size=2, max_size=20
    )
)
def test_alpha_is_krippendorff_s(table: list[list[int | None]]) -> None:
    units = [{str(j): v for j, v in enumerate(row) if v is not None} for row in table]
    ours = krippendorff_alpha(units, 3)
    data = np.asarray([[np.nan if v is None else v for v in row] for row in table], dtype=float).T
    values = {v for u in units if len(u) > 1 for v in u.values()}
    if ours is None or len(values) < 2:
        return
    theirs = krippendorff.alpha(
        reliability_data=data, level_of_measurement="nominal", value_domain=[0, 1, 2]
    )
    assert ours == pytest.approx(theirs)


def test_fleiss_by_his_own_example() -> None:
    # Fleiss 1971 as worked in many books: 10 patients, 14 raters, 5 diagnoses: 0.210.
    table = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    assert fleiss_kappa(table) == pytest.approx(0.210, abs=5e-4)
    assert fleiss_kappa([]) is None and fleiss_kappa([[2, 0], [2, 0]]) is None
    with pytest.raises(ValueError, match="same number"):
        fleiss_kappa([[1, 1], [1, 2]])


def test_wilson_by_hand() -> None:
    found = wilson(8, 10)
    assert found == pytest.approx((0.8, 0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 0) is None


def test_the_figures_of_a_queue_are_those_of_its_table(workspace: Workspace) -> None:
    queue = make(workspace, per_item=3)
    chooser = random.Random(4)

    def noisy(text: str) -> str:
        return truth(text) if chooser.random() < 0.7 else "bad"

    for who in ("ann", "ben", "cat"):
        work(queue, who, noisy)
    state = queue.store.read()
    table: dict[str, dict[int, str]] = {}
    for given_ in state.given.values():
        table.setdefault(given_.labeller, {})[given_.item] = str(given_.label)
    found = status(queue)
    for pair in found.pairs:
        both = sorted(table[pair.first].keys() & table[pair.second].keys())
        a, b = ([table[who][n] for n in both] for who in (pair.first, pair.second))
        assert pair.items == ROWS and pair.kappa == pytest.approx(cohen_kappa_score(a, b))
    data = [[["good", "bad"].index(table[who][n]) for n in range(ROWS)] for who in table]
    alpha = krippendorff.alpha(reliability_data=data, level_of_measurement="nominal")
    assert found.people.alpha == pytest.approx(alpha) and found.people.fleiss_items == ROWS
    assert found.disputes == sum(len({t[n] for t in table.values()}) > 1 for n in range(ROWS)) > 0


# -- disagreements and export -------------------------------------------------------------------


def quarrel(workspace: Workspace) -> Queue:
    """Ann is right, Ben says good to everything; page 0 nobody labels."""
    queue = make(workspace)
    work(queue, "ann", lambda text: None if "number 0 " in text else truth(text))
    work(queue, "ben", lambda text: None if "number 0 " in text else "good")
    return queue


def test_disagreements_are_decided_by_a_third(workspace: Workspace) -> None:
    queue = quarrel(workspace)
    assert len(queue.disputes()) == 9 and queue.next_dispute("ann") is None
    number, task = queue.next_dispute("cat") or (0, None)
    assert task is not None and task.votes == {"good": 1, "bad": 1} and task.place.open == 9
    decision = queue.decide("cat", number, "bad", comment="clearly")
    assert decision.label == "bad" and queue.undo_decision("cat") == number
    assert queue.undo_decision("cat") is None
    queue.decide("cat", number, "bad")
    with pytest.raises(UsageError, match="nothing to decide"):
        queue.decide("dan", number, "good")
    with pytest.raises(UsageError):
        queue.decide("cat", queue.disputes()[0], "fine")
    skipped = queue.disputes()[:8]
    assert queue.next_dispute("cat", skipped) is None
    settled = settle(queue)
    assert settled[number] == ("bad", "adjudicated")
    assert Counter(how for _, how in settled.values()) == {
        "agreed": 20,
        "open": 8,
        "adjudicated": 1,
    }


def test_export_tells_of_every_row(workspace: Workspace) -> None:
    queue = quarrel(workspace)
    number, _ = queue.next_dispute("cat") or (0, None)
    queue.decide("cat", number, "bad")
    found = export_labels(queue, workspace.datasets / "test" / "labelled")
    assert found.labels == {"bad": 1, "good": 20}
    assert found.left_out == {"not labelled yet": 1, "people disagree, and nobody has decided": 8}
    made = Dataset.open(found.path)
    assert len(made) == 21 and made.info.ledger_rows == ROWS
    for row in made.rows:
        told = row.meta["label"]
        assert told["label"] == truth(row.text) and told["queue"] == "q" and row.meta["n"] >= 0
        assert told["how"] in ("agreed", "adjudicated") and sum(told["votes"].values()) == 2
        (line,) = made.ledger.for_row(row.id)
        assert line.action == "keep" and line.value in (0.5, 1.0)
    dropped = [line for line in made.ledger if line.action == "drop"]
    assert len(dropped) == 9 and all(line.detail for line in dropped)
    row = next(made.rows)
    assert {step.dataset.name for step in ancestors(made, row.id)} >= {"corpus"}
    good = export_labels(queue, workspace.datasets / "test" / "good", only=("good",))
    bad = export_labels(queue, workspace.datasets / "test" / "bad", only=("bad",), least=2)
    assert (good.rows, bad.rows) == (20, 1)  # positives and negatives for a quality model
    assert good.left_out["labelled 'bad', which was not asked for"] == 1
    again = export_labels(queue, workspace.datasets / "test" / "again")
    assert Dataset.open(again.path).fingerprint == made.fingerprint
    queue.undo("ben")
    later = export_labels(queue, workspace.datasets / "test" / "later")
    assert Dataset.open(later.path).fingerprint != made.fingerprint
    with pytest.raises(UsageError):
        export_labels(queue, workspace.datasets / "x", only=("fine",))
    with pytest.raises(DataError, match="no row has a label"):
        export_labels(queue, workspace.datasets / "x", least=3, only=("good",))
    assert not (workspace.datasets / "x").exists()


def test_a_dataset_that_became_another_is_not_mixed_up(workspace: Workspace) -> None:
    queue = quarrel(workspace)
    description = json.loads((workspace.datasets / "test/corpus/dataset.json").read_text())
    description["fingerprint"] = "another"
    (workspace.datasets / "test/corpus/dataset.json").write_text(json.dumps(description))
    with pytest.raises(DataError, match="not the one that was labelled"):
        export_labels(queue, workspace.datasets / "x")


# -- models -------------------------------------------------------------------------------------


def test_models_are_kept_apart_and_checked(workspace: Workspace) -> None:
    queue = make(workspace, gold_column="meta.known")
    work(queue, "ann")

    def rule(text: str) -> Any:
        if "number 7 " in text:
            raise RuntimeError("too odd")
        if "number 8 " in text:
            return "fine"
        return ("good", 0.9) if "2" in text else truth(text)

    found = label_with(queue, "rule", by_function(rule))
    assert (found.name, found.labels, found.none) == ("model:rule", ROWS - 2, 2)
    again = label_with(queue, "rule", by_function(rule))
    assert (again.labels, again.none, again.before) == (0, 0, ROWS)
    told = status(queue)
    person, model = told.labellers
    assert (person.kind, model.kind) == ("person", "model") and model.gold_seen == 6
    assert told.people.items == 0 and told.given == ROWS - 6  # its labels fill no place
    (pair,) = told.models
    assert pair.second == "people" and pair.items == ROWS - 6 - 2
    details = {g.detail for g in queue.store.read().answers_of("model:rule")}
    assert {"RuntimeError: too odd", "'fine' is no label here", "score 0.9"} <= details
    out = export_labels(queue, workspace.datasets / "test" / "by-rule", by="rule", gold=False)
    assert out.rows == ROWS - 6 - 2
    with pytest.raises(UsageError, match="model:rule"):
        export_labels(queue, workspace.datasets / "x", by="other")
    columns = label_with(queue, "meta.known", by_column(dataset_of(queue), "meta.known"))
    assert (columns.labels, columns.none) == (6, ROWS - 6)


def test_a_language_model_is_asked_and_read(workspace: Workspace) -> None:
    queue = make(workspace, question="Is the page fine?")
    asked: list[list[Message]] = []

    def ask(messages: list[Message]) -> str:
        asked.append(messages)
        text = messages[-1].content
        return "**Good.**" if "fine" in text else "I would say:\nbad" if "3" in text else "hm"

    found = label_with(queue, "tiny", asking(queue, ask), limit=20, at_once=4)
    assert found.labels + found.none == 20 and len(asked) == 20
    system, user = (m.content for m in asked[0])
    assert "Is the page fine?" in system and "good, bad" in system
    item = next(i for i in queue.items if i.text in user)
    mark = user[1:9]
    assert user.startswith(f"[{mark}]\n{item.text}\n[/{mark}]") and mark in system
    assert labelling_prompt(queue, item)[1].content == user
    assert item.text[5:] not in labelling_prompt(queue, item, 5)[1].content


def test_a_model_that_is_stopped_keeps_what_it_said(workspace: Workspace) -> None:
    queue = make(workspace)

    def stops(text: str) -> str:
        if "number 5 " in text:
            raise KeyboardInterrupt
        return "good"

    before = next(n for n, item in enumerate(queue.items) if "number 5 " in item.text)
    with pytest.raises(KeyboardInterrupt):
        label_with(queue, "m", by_function(stops))
    assert len(queue.store.read().answers_of("model:m")) == before
    assert label_with(queue, "m", by_function(truth)).labels == ROWS - before


@pytest.mark.parametrize(
    ("said", "label"),
    [("good", "good"), (" **Bad**. ", "bad"), ("It is good.", "good"), ("good or bad", None),
     ("goodness", None), ("", None), ("Bad, since ...\n\nGood", "good"),
     ("\u6807\u7b7e\u662f\u597d\u3002", "\u597d")],
)  # fmt: skip
def test_reading_a_label(said: str, label: str | None) -> None:
    assert read_label(said, ["good", "bad", "\u597d"]) == label


# -- the file -----------------------------------------------------------------------------------


def test_nothing_that_was_said_can_be_changed(workspace: Workspace) -> None:
    queue = quarrel(workspace)
    with sqlite3.connect(queue.path) as connection:
        for statement in ("UPDATE events SET labeller = 'x'", "DELETE FROM events"):
            with pytest.raises(sqlite3.IntegrityError, match="never"):
                connection.execute(statement)
    connection.close()
    state = queue.store.read()
    assert state.sequence > 100 and all(g.at.endswith("+00:00") for g in state.given.values())


def test_a_damaged_or_foreign_file_is_told_of(workspace: Workspace) -> None:
    make(workspace).close()
    path = workspace.root / "labels" / "q.db"
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(DataError, match="damaged"):
        open_queue("q", workspace)
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(DataError, match="version 99"):
        open_queue("q", workspace)


def test_a_failed_start_leaves_nothing(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatwright.curate.label.store.canonical_json", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        make(workspace)
    assert list((workspace.root / "labels").iterdir()) == []
