"""The arena over HTTP: blind, within limits, and with errors that say what to do."""

from __future__ import annotations

import json
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from test_command import is_up, serving

from arena_house import ANSWERS, LABELS, PROMPTS, arena_app, make_study
from chat_server import HTTP, running, until
from chatwright.evaluate.arena import Study
from chatwright.serve import Limits, Registry, create_app


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return make_study(tmp_path, forms=("compare", "rate"))


@pytest.fixture
def arena(tmp_path: Path, study: Study) -> Iterator[str]:
    with running(arena_app(tmp_path)) as address:
        yield f"{address}/v1/chatwright/arena/studies"


def post(url: str, **body: Any) -> httpx.Response:
    return HTTP.post(url, json=body)


def judge_all(arena: str, judge: str) -> list[str]:
    """Everything that a judge who does all there is was told."""
    one = f"{arena}/harbour"
    told = [HTTP.get(arena, params={"judge": judge}).text, HTTP.get(one).text]
    for form, route in (("compare", "votes"), ("rate", "ratings")):
        reply = post(f"{one}/next", judge=judge, form=form)
        while reply.json()["task"] is not None:
            told.append(reply.text)
            task = reply.json()["task"]
            said: dict[str, Any] = {"judge": judge, "comment": "好", "seconds": 1.5}
            if form == "compare":
                said |= {"comparison": task["id"], "choice": "left", "reasons": ["correct"]}
            else:
                said |= {"rating": task["id"], "scores": {scale: 4 for scale in task["scales"]}}
            reply = post(f"{one}/{route}", **said)
            assert reply.status_code == 200, reply.text
        told.append(reply.text)
        told.append(post(f"{one}/undo", judge=judge, form=form).text)
        redo = {"judge": judge, "comparison" if form == "compare" else "rating": None}
        task = json.loads(told[-1])["task"]
        redo |= {"choice": "tie"} if form == "compare" else {"scores": {}}
        redo["comparison" if form == "compare" else "rating"] = task["id"]
        told.append(post(f"{one}/{route}", **redo).text)
    return told


def test_no_judging_route_says_which_model_it_is(arena: str, study: Study, tmp_path: Path) -> None:
    told = judge_all(arena, "Ada")
    told += [post(f"{arena}/harbour/votes", judge="Ada", comparison="x", choice="left").text]
    told += [HTTP.get(f"{arena}/nothing").text]
    ids = [item.id for item in study.items]
    secrets = [*LABELS, "secret-folder", str(tmp_path), study.description.key, "fingerprint", *ids]
    for reply in told:
        assert not [secret for secret in secrets if secret in reply], reply
    assert len(study.votes("person")) == len(PROMPTS)
    assert len(study.ratings("person")) == 2 * len(PROMPTS)
    assert [v.seconds for v in study.votes()][:-1] == [1.5] * (len(PROMPTS) - 1)
    # The results, asked for by themselves, do say it: so the search above could have found it.
    results = HTTP.get(f"{arena}/harbour/results")
    assert all(label in results.text for label in LABELS)


def test_what_a_judge_sees(arena: str) -> None:
    seen = set()
    reply = post(f"{arena}/harbour/next", judge=" Ada ", form="compare").json()
    assert reply["progress"] == {"done": 0, "total": 4, "skipped": 0}
    while (task := reply["task"]) is not None:
        assert [m["role"] for m in task["messages"]] == ["user", "assistant", "user"]
        where = PROMPTS.index(task["messages"][-1]["content"])
        seen.add(where)
        assert task["reference"] == ("Three hours." if where == 0 else None)
        if where < 3:
            assert {task["left"], task["right"]} == {texts[where] for texts in ANSWERS.values()}
        else:  # control characters, and those that turn the reading direction, are not sent
            texts = task["left"] + task["right"]
            assert "<script>" in texts and "right to left and a bell" in texts
        reply = post(
            f"{arena}/harbour/votes", judge="Ada", comparison=task["id"], choice="skip"
        ).json()
    assert seen == {0, 1, 2, 3}
    assert reply["progress"] == {"done": 4, "total": 4, "skipped": 4}
    [listed] = HTTP.get(arena, params={"judge": "Ada"}).json()["data"]
    assert listed == {
        "name": "harbour",
        "forms": ["compare", "rate"],
        "progress": {
            "compare": {"done": 4, "total": 4, "skipped": 4},
            "rate": {"done": 0, "total": 8, "skipped": 0},
        },
        "problem": None,
    }


def test_asking_again_changes_nothing_and_a_list_enters_nobody(arena: str, study: Study) -> None:
    HTTP.get(arena, params={"judge": "Bea"})
    assert study.judges == ()
    first = post(f"{arena}/harbour/next", judge="Ada", form="compare").json()
    assert post(f"{arena}/harbour/next", judge="Ada", form="compare").json() == first


def test_guidelines_reasons_and_scales_in_both_languages(arena: str) -> None:
    told = HTTP.get(f"{arena}/harbour").json()
    assert "How to judge" in told["guidelines"]["en"] and "评判说明" in told["guidelines"]["zh"]
    assert {"code": "correct", "en": "More correct", "zh": "更正确"} in told["reasons"]
    assert [scale["code"] for scale in told["scales"]] == [
        "helpful", "honest", "harmless", "fluent", "grounded",
    ]  # fmt: skip


def test_undo_shows_it_again_with_what_was_said(arena: str, study: Study) -> None:
    one = f"{arena}/harbour"
    nothing = post(f"{one}/undo", judge="Ada", form="compare").json()
    assert nothing["undone"] is None and nothing["task"]
    task = nothing["task"]["id"]
    said = {"choice": "right", "reasons": ["clear"], "comment": "a\nb"}
    after = post(f"{one}/votes", judge="Ada", comparison=task, **said).json()
    assert after["task"]["id"] != task and after["progress"]["done"] == 1
    back = post(f"{one}/undo", judge="Ada", form="rate").json()  # the latest, whatever is open
    assert back["undone"] == said and back["form"] == "compare"
    assert back["task"]["id"] == task and back["progress"]["done"] == 0
    assert study.votes() == []


def test_refusals(arena: str, study: Study) -> None:
    one = f"{arena}/harbour"
    mine = post(f"{one}/next", judge="Ada", form="compare").json()["task"]["id"]
    rating = post(f"{one}/next", judge="Ada", form="rate").json()["task"]["id"]

    def refused(reply: httpx.Response, status: int, code: str) -> str:
        error = reply.json()["error"]
        assert (reply.status_code, error["code"]) == (status, code), reply.text
        return str(error["message"])

    refused(HTTP.get(f"{arena}/nothing"), 404, "study_not_found")
    refused(HTTP.get(f"{arena}/..%2f..%2fetc"), 404, "not_found")
    refused(HTTP.get(f"{arena}/.hidden"), 404, "study_not_found")
    refused(HTTP.get(f"{arena}/nothing/results"), 404, "study_not_found")
    refused(post(f"{arena}/x/next", judge="Ada", form="compare"), 404, "study_not_found")
    vote = {"judge": "Ada", "comparison": mine, "choice": "left"}
    unknown = refused(
        post(f"{one}/votes", **vote | {"comparison": "f" * 24}), 404, "task_not_found"
    )
    # Another judge's is told just as one that never was: ids cannot be tried out.
    assert (
        refused(post(f"{one}/votes", **vote | {"judge": "Bea"}), 404, "task_not_found") == unknown
    )
    refused(post(f"{one}/votes", **vote | {"comparison": rating}), 404, "task_not_found")
    refused(post(f"{one}/ratings", judge="Ada", rating=mine, scores={}), 404, "task_not_found")
    for wrong in (
        {"choice": "both"},
        {"reasons": ["because"]},
        {"reasons": "correct"},
        {"seconds": -1},
        {"comment": "x" * 4001},
        {"more": 1},
    ):
        refused(post(f"{one}/votes", **vote | wrong), 400, "invalid_value")
    for name in ("", "model:tiny", "a\u0000b", "x" * 61, 7):
        reply = post(f"{one}/votes", **vote | {"judge": name})
        assert reply.status_code == 400 and "judge" in reply.json()["error"]["message"]
    for scores in ({"helpful": 6}, {"helpful": "5"}, {"beautiful": 3}, {"helpful": True}):
        reply = post(f"{one}/ratings", judge="Ada", rating=rating, scores=scores)
        refused(reply, 400, "invalid_value")
    assert study.votes() == [] and study.ratings() == []
    assert post(f"{one}/votes", **vote).status_code == 200
    refused(post(f"{one}/votes", **vote | {"choice": "right"}), 409, "already_judged")
    assert [v.choice for v in study.votes()] == ["left"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Study]]:
    """One server for the requests that change nothing."""
    folder = tmp_path_factory.mktemp("shared")
    study = make_study(folder)
    with running(arena_app(folder)) as address:
        yield f"{address}/v1/chatwright/arena/studies", study


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"{", {}, 400),
        (b"[]", {}, 400),
        (b'{"judge": "Ada", "form": "compare"', {}, 400),
        (b'{"judge": "\xff", "form": "compare"}', {}, 400),
        (b'{"judge": "Ada", "form": "other"}', {}, 400),
        (b'{"judge": "Ada", "form": "compare"}', {"content-type": "text/plain"}, 415),
        (b" " * 70_000, {}, 413),
        (b'{"judge": "Ada", "form": "compare"}', {"origin": "https://evil.example"}, 403),
        (b'{"judge": "Ada", "form": "compare"}', {"sec-fetch-site": "cross-site"}, 403),
        (b'{"judge": "Ada", "form": "compare"}', {"host": "evil.example"}, 421),
    ],
)
def test_bad_requests(
    shared: tuple[str, Study], content: bytes, headers: dict[str, str], status: int
) -> None:
    arena, study = shared
    sent = {"content-type": "application/json"} | headers
    reply = HTTP.post(f"{arena}/harbour/next", content=content, headers=sent)
    assert reply.status_code == status and reply.json()["error"]["message"]
    assert study.judges == ()


def test_a_long_comment_in_chinese_fits(arena: str, study: Study) -> None:
    task = post(f"{arena}/harbour/next", judge="Ada", form="compare").json()["task"]["id"]
    comment = "海" * 4_000
    body = json.dumps(  # every character escaped: the longest a body can honestly be
        {"judge": "Ada", "comparison": task, "choice": "tie", "comment": comment}
    )
    url = f"{arena}/harbour/votes"
    reply = HTTP.post(url, content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 200 and study.votes()[0].comment == comment


def test_two_judges_at_once(arena: str, study: Study) -> None:
    failures: list[BaseException] = []

    def judge(name: str) -> None:
        try:
            judge_all(arena, name)
        except BaseException as error:
            failures.append(error)

    names = ["Ada", "小林", "Grace"]
    threads = [threading.Thread(target=judge, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    for name in names:
        assert len([v for v in study.votes() if v.judge == name]) == len(PROMPTS)


def test_a_study_that_vanishes_comes_back_or_is_damaged(
    arena: str, study: Study, tmp_path: Path
) -> None:
    make_study(tmp_path, "other", items=2).close()
    task = post(f"{arena}/harbour/next", judge="Ada", form="compare").json()["task"]["id"]
    away = tmp_path / "away"
    study.close()
    shutil.move(study.path, away)
    reply = post(f"{arena}/harbour/votes", judge="Ada", comparison=task, choice="left")
    assert reply.status_code == 404 and reply.json()["error"]["code"] == "study_not_found"
    assert [s["name"] for s in HTTP.get(arena).json()["data"]] == ["other"]
    shutil.move(away, study.path)
    reply = post(f"{arena}/harbour/votes", judge="Ada", comparison=task, choice="left")
    assert reply.status_code == 200, reply.text
    (study.path / "study.json").write_text("{", encoding="utf-8")
    damaged = {s["name"]: s["problem"] for s in HTTP.get(arena).json()["data"]}
    assert damaged["harbour"] and damaged["other"] is None
    reply = post(f"{arena}/harbour/next", judge="Ada", form="compare")
    assert reply.status_code == 500 and str(tmp_path) not in reply.text


def test_results_are_kept_until_somebody_votes(
    arena: str, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    worked: list[int] = []
    real = Study.results

    def counted(self: Study) -> Any:
        worked.append(1)
        return real(self, resamples=50)

    monkeypatch.setattr(Study, "results", counted)
    first = HTTP.get(f"{arena}/harbour/results").json()
    assert first["people"]["votes"] == 0 and first["models"] == list(LABELS)
    HTTP.get(f"{arena}/harbour/results")
    assert len(worked) == 1
    judge_all(arena, "Ada")
    told = HTTP.get(f"{arena}/harbour/results").json()
    assert len(worked) == 2 and told["people"]["votes"] == len(PROMPTS)
    assert told["model_judges"]["judges"] == []


def test_only_what_a_study_asks_is_answered(tmp_path: Path) -> None:
    make_study(tmp_path, "plain", forms=("compare",)).close()
    with running(arena_app(tmp_path, limits=Limits(body_bytes=200))) as address:
        root = f"{address}/v1/chatwright/arena/studies"
        reply = post(f"{root}/plain/next", judge="Ada", form="rate")
        assert reply.status_code == 400 and "compare" in reply.json()["error"]["message"]
        assert post(f"{root}/plain/next", judge="A" * 190, form="compare").status_code == 413


def test_without_a_workspace_there_are_no_studies() -> None:
    with running(create_app(Registry(lambda: [], lambda _: pytest.fail("loaded")))) as address:
        root = f"{address}/v1/chatwright/arena/studies"
        assert HTTP.get(root).json() == {"object": "list", "data": []}
        assert HTTP.get(f"{root}/x").status_code == 404
        assert HTTP.get(f"{address}/arena").text == HTTP.get(address).text


def test_the_program_serves_the_workspaces_studies(tmp_path: Path) -> None:
    make_study(tmp_path).close()
    weights = tmp_path / "never-loaded.gguf"
    weights.touch()
    with serving(tmp_path / "place", str(weights)) as started:
        address = started.address
        until(lambda: is_up(address), seconds=30)
        root = f"{address}/v1/chatwright/arena/studies"
        assert [study["name"] for study in HTTP.get(root).json()["data"]] == ["harbour"]
        assert post(f"{root}/harbour/next", judge="Ada", form="compare").json()["task"]
        code, printed, errors = started.stop(signal.SIGTERM)
        assert code == 0 and f"Judging    {address}/arena" in printed, errors
