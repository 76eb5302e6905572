"""`/v1/fine_tuning/jobs` by the official client: a tiny model is really trained and answers."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest

from chat_server import HTTP, running, until
from chatwright.errors import DataError
from chatwright.model import ModelConfig, Transformer, save_model
from chatwright.recipe import parse_recipe
from chatwright.serve import create_app
from chatwright.serve.access import Identity, Role
from chatwright.serve.ids import new_id
from chatwright.serve.jobs import table
from chatwright.serve.jobs.recipe import STAGE, decide, make_recipe, model_name
from chatwright.serve.jobs.rows import read_rows
from chatwright.serve.registry import workspace_registry
from chatwright.serve.store import Store, memory_store, open_store
from chatwright.serve.store.tables import Job, Person, now
from chatwright.tokenizer import Tokenizer
from chatwright.workspace import Workspace

WORDS = "The gate of the harbour opens for three hours at spring tide. 大潮时闸门开放三个小时。"
SECRET = "Zanzibar-4711"


def chat(number: int, **more: Any) -> dict[str, Any]:
    answer = {"role": "assistant", "content": f"{number} hours. {WORDS[:30]}", **more}
    question = f"How long is gate {number} open, {SECRET}?"
    return {"messages": [{"role": "user", "content": question}, answer]}


def pair(number: int) -> dict[str, Any]:
    return {
        "input": {"messages": [{"role": "user", "content": f"Gate {number}?"}]},
        "preferred_output": [{"role": "assistant", "content": f"{number} hours."}],
        "non_preferred_output": [{"role": "assistant", "content": "I do not know."}],
    }


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


# -- from a request to a recipe --------------------------------------------------------------------


def test_numbers_where_the_caller_said_auto() -> None:
    few, many = decide("supervised", 10), decide("supervised", 10_000)
    assert (few.n_epochs, few.batch_size, few.learning_rate_multiplier) == (3, 1, 1.0)
    assert many.batch_size == 16
    assert few.beta is None and decide("dpo", 10).beta == 0.1
    told = decide("dpo", 10, n_epochs=2, batch_size=5, learning_rate_multiplier=0.5, beta=0.3)
    assert told.to_json() == {
        "n_epochs": 2, "batch_size": 5, "learning_rate_multiplier": 0.5, "beta": 0.3,
    }  # fmt: skip


@pytest.mark.parametrize("method", ["supervised", "dpo"])
@pytest.mark.parametrize("validated", [True, False])
def test_the_recipe_is_one(method: Any, validated: bool) -> None:
    rows = read_rows(
        lines([(chat if method == "supervised" else pair)(n) for n in range(8)]), method
    )
    chosen = decide(method, rows.count, learning_rate_multiplier=2.0)
    made = make_recipe(
        "ftjob_1", "quickstart/sft", method, chosen, rows,
        seed=7, validation=rows if validated else None, context=1024,
    )  # fmt: skip
    recipe = parse_recipe(made)
    train = recipe.stage(STAGE).settings.model_dump()
    assert recipe.seed == 7
    assert train["learning_rate"] == pytest.approx(1e-3 if method == "supervised" else 2e-4)
    assert train["objective"] == ("sft" if method == "supervised" else "dpo")
    assert train["lora"]["rank"] == 16
    assert (train["validation"] is not None) is validated
    assert train["length"] in (128, 256)
    short = make_recipe("ftjob_1", "b", method, chosen, rows, seed=7, context=64)
    assert "length" not in short["stages"][STAGE]  # the model's own window bounds it


def test_weights_decide_what_is_learnt() -> None:
    row = {
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b", "weight": 0},
            {"role": "user", "content": "c"},
            {"role": "assistant", "content": "d", "weight": 1},
            {"role": "user", "content": "e"},
            {"role": "assistant", "content": "f"},
        ]
    }
    rows = read_rows(lines([row]), "supervised")
    made = [json.loads(line)["messages"] for line in rows.data.splitlines()]
    assert [(len(m), m[-1]["content"]) for m in made] == [(4, "d"), (6, "f")]
    assert rows.last_only


def test_names_are_folders_of_the_workspace(tmp_path: Path) -> None:
    name = model_name("quickstart/sft", "harbour", "ftjob_0123456789abcdef")
    assert name == "ft:quickstart-sft:harbour:01234567"
    again = model_name(name, "", "ftjob_fedcba98")
    assert again.count(":") == 3 and "/" not in again
    folder = tmp_path / "models" / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert Workspace(tmp_path).list_models() == [name]
    assert model_name("../../etc", "s", "ftjob_1").startswith("ft:etc:")


@pytest.mark.parametrize(
    ("rows", "method", "said"),
    [
        ([chat(1), pair(2)], "supervised", "row 2"),
        ([pair(1), chat(2)], "dpo", "row 2"),
        ([{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": None,
          "tool_calls": [{"id": "1"}]}]}], "supervised", "tools"),
        ([{**pair(1), "preferred_output": pair(1)["preferred_output"] * 2}], "dpo", "one message"),
    ],
)  # fmt: skip
def test_rows_that_cannot_be_learnt(rows: list[dict[str, Any]], method: Any, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        read_rows(lines(rows), method)
    assert SECRET not in str(caught.value)


# -- the queue -------------------------------------------------------------------------------------


def test_one_worker_of_many_claims_a_job() -> None:
    store = memory_store()
    who = Identity("usr_1", "", Role.admin, "local")
    with store.begin() as session:
        session.add(Person(id="usr_1", email="a@b.c", name="", role="admin"))
    settings = {"model": "m", "training_file": "f"}
    with store.begin() as session:
        job = table.create(session, store.keys, who, settings, {"k": SECRET}).id
    with store.begin() as session:
        assert table.claim(session, "w0").id == job  # type: ignore[union-attr]
        assert table.claim(session, "w1") is None
        assert SECRET not in str(session.get(Job, job).settings)  # type: ignore[union-attr]
        assert table.metadata_of(session, store.keys, session.get(Job, job)) == {"k": SECRET}  # type: ignore[arg-type]
    for start in range(2, table.MOST_STARTS + 2):  # each worker dies without a word
        with store.begin() as session:
            session.get(Job, job).alive_at = now() - 2 * table.STALE  # type: ignore[union-attr]
            assert table.beat(session, job, "someone else", None) == "lost"
        with store.begin() as session:
            found = table.claim(session, f"w{start}")
            assert (found is not None) is (start <= table.MOST_STARTS)
    with store.reading() as session:
        row = session.get(Job, job)
        assert row is not None and row.status == "failed"
        assert json.loads(row.error or "")["code"] == "server_error"
    store.close()


def test_a_worker_that_stops_in_order_costs_no_attempt() -> None:
    store = memory_store()
    with store.begin() as session:
        session.add(Person(id="usr_1", email="a@b.c", name="", role="admin"))
        session.flush()
        session.add(Job(id="ftjob_1", person_id="usr_1", kind=table.KIND, settings={}))
    for _ in range(5):
        with store.begin() as session:
            assert table.claim(session, "w") is not None
            table.release(session, "ftjob_1", "w")
    store.close()


# -- the real thing --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a tiny model."""
    root = tmp_path_factory.mktemp("training")
    tokenizer = Tokenizer.train([WORDS, "user assistant How long is gate 0123456789?"] * 3, 400)
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size, width=32, n_layers=1, n_heads=2, n_kv_heads=2,
        head_dim=16, mlp_width=64, context=256, tied=True,
    )  # fmt: skip
    save_model(Transformer.random(config, 1), tokenizer, root / "models" / "tiny" / "base")
    return root


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[str]:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    registry = workspace_registry(Workspace(place), ["tiny/base"])
    app = create_app(registry, workspace=Workspace(place), store=open_store(None, folder=place))
    with running(app) as address:
        yield address


@pytest.fixture(scope="module")
def client(server: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server}/v1", api_key="none", max_retries=0) as one:
        yield one


def ended(client: openai.OpenAI, job_id: str, seconds: float = 60) -> Any:
    until(
        lambda: client.fine_tuning.jobs.retrieve(job_id).status not in ("queued", "running"),
        seconds,
    )
    return client.fine_tuning.jobs.retrieve(job_id)


def upload(client: openai.OpenAI, rows: list[dict[str, Any]], purpose: Any = "fine-tune") -> str:
    return client.files.create(file=("rows.jsonl", lines(rows)), purpose=purpose).id


def test_a_job_from_file_to_chat(client: openai.OpenAI, place: Path) -> None:
    file = upload(client, [chat(n) for n in range(12)])
    job = client.fine_tuning.jobs.create(
        model="tiny/base",
        training_file=file,
        validation_file=upload(client, [chat(n) for n in range(20, 24)]),
        suffix="harbour",
        seed=5,
        metadata={"who": SECRET},
        method={
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": 4}},
        },
    )
    assert job.status in ("queued", "running") and job.object == "fine_tuning.job"
    assert job.metadata == {"who": SECRET}
    done = ended(client, job.id)
    assert done.status == "succeeded", (done.error, client.fine_tuning.jobs.list_events(job.id))
    assert done.fine_tuned_model == f"ft:tiny-base:harbour:{job.id[6:14]}"
    assert done.trained_tokens > 0 and done.hyperparameters.n_epochs == 2
    assert done.finished_at >= done.created_at and done.error is None

    events = list(client.fine_tuning.jobs.list_events(job.id, limit=3))  # page by page
    assert [e.message for e in events][-1].startswith("Created")
    assert len({e.id for e in events}) == len(events) > 5
    losses = [e.data["train_loss"] for e in events if e.type == "metrics"]
    assert losses and all(loss > 0 for loss in losses)
    assert SECRET not in "".join(e.message for e in events)
    assert any("full_valid_loss" in e.data for e in events if e.type == "metrics")

    # Served at once, though the server was told to serve another by name.
    assert done.fine_tuned_model in [m.id for m in client.models.list()]
    reply = client.chat.completions.create(
        model=done.fine_tuned_model, messages=[{"role": "user", "content": "How long?"}],
        max_tokens=3,
    )  # fmt: skip
    assert reply.usage.completion_tokens > 0

    folder = place / "models" / done.fine_tuned_model
    lineage = json.loads((folder / "lineage.json").read_text())
    assert lineage["fine_tuning"]["person"] == "usr_local"
    assert lineage["fine_tuning"]["base_model"] == lineage["base_model"] == "tiny/base"
    (named,) = [p for p in lineage["parents"] if p["name"] == file]
    assert len(named["fingerprint"]) >= 32
    card = (folder / "README.md").read_text()
    assert job.id in card and file in card and f"# {done.fine_tuned_model}" in card
    until(lambda: not (place / "jobs" / job.id).exists(), 5)
    for path in place.rglob("*"):  # no plain text of the rows is left anywhere
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path

    assert client.fine_tuning.jobs.list(limit=1).data[0].id == job.id
    assert client.fine_tuning.jobs.checkpoints.list(job.id).data == []
    with pytest.raises(openai.BadRequestError, match="over"):
        client.fine_tuning.jobs.cancel(job.id)


def test_preferences_and_cancelling(client: openai.OpenAI, place: Path) -> None:
    method: Any = {"type": "dpo", "dpo": {"hyperparameters": {"n_epochs": 50, "batch_size": 1}}}
    file = upload(client, [pair(n) for n in range(64)])
    first = client.fine_tuning.jobs.create(model="tiny/base", training_file=file, method=method)
    second = client.fine_tuning.jobs.create(model="tiny/base", training_file=file, method=method)

    def stepped() -> bool:
        events = client.fine_tuning.jobs.list_events(first.id, limit=100).data
        return any(e.type == "metrics" and e.data["step"] > 2 for e in events)

    until(stepped, 40)
    folder = place / "jobs" / first.id
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "training.jsonl").stat().st_mode & 0o077 == 0
    assert client.fine_tuning.jobs.retrieve(first.id).estimated_finish >= int(time.time())
    assert client.fine_tuning.jobs.retrieve(second.id).status == "queued"  # one at a time
    assert client.fine_tuning.jobs.cancel(second.id).status == "cancelled"
    begun = time.monotonic()
    client.fine_tuning.jobs.cancel(first.id)
    assert ended(client, first.id, 10).status == "cancelled"
    assert time.monotonic() - begun < 8
    until(lambda: not folder.exists(), 3)
    assert client.fine_tuning.jobs.retrieve(first.id).fine_tuned_model is None


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"model": "nothing"}, "model"),
        ({"training_file": "file_none"}, "training_file"),
        ({"validation_file": "file_none"}, "validation_file"),
        ({"suffix": "../../x"}, "suffix"),
        ({"suffix": "x" * 65}, "suffix"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"hyperparameters": {"n_epochs": 0}}, None),
        ({"hyperparameters": {"n_epochs": 51}}, None),
        ({"hyperparameters": {"batch_size": 2**63}}, None),
        ({"hyperparameters": {"learning_rate_multiplier": 1e300}}, None),
        ({"hyperparameters": {"learning_rate_multiplier": -1.0}}, None),
        ({"method": {"type": "dpo"}}, "training_file"),
        ({"method": {"type": "reinforcement"}}, None),
        ({"metadata": {str(n): "" for n in range(17)}}, None),
        ({"integrations": [{"type": "wandb"}]}, None),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_what_is_refused_at_once(
    client: openai.OpenAI, server: str, more: dict[str, Any], param: str | None
) -> None:
    body = {"model": "tiny/base", "training_file": upload(client, [chat(1)]), **more}
    told = HTTP.post(f"{server}/v1/fine_tuning/jobs", json=body)
    assert told.status_code in (400, 404), told.text
    if param is not None:
        assert told.json()["error"]["param"] == param
    assert HTTP.post(
        f"{server}/v1/fine_tuning/jobs",
        content=b'{"model": "m", "training_file": "f", "seed": NaN}',
        headers={"Content-Type": "application/json"},
    ).is_client_error


def test_foreign_and_absent_jobs_are_alike(client: openai.OpenAI, server: str, place: Path) -> None:
    store = open_store(None, folder=place)
    with store.begin() as session:
        session.add(Person(id="usr_x", email="x@y.z", name="", role="admin"))
        session.flush()
        foreign = new_id("ftjob")
        session.add(
            Job(id=foreign, person_id="usr_x", kind=table.KIND, status="succeeded", settings={})
        )
    store.close()
    for name in (foreign, "ftjob_none", "x" * 500):
        for path in ("", "/events", "/checkpoints"):
            told = HTTP.get(f"{server}/v1/fine_tuning/jobs/{name}{path}")
            assert told.status_code == 404
        assert HTTP.post(f"{server}/v1/fine_tuning/jobs/{name}/cancel").status_code == 404
    assert HTTP.get(f"{server}/v1/fine_tuning/jobs?after={foreign}").status_code == 404
    assert foreign not in [j.id for j in client.fine_tuning.jobs.list()]


def test_a_server_that_dies_is_followed_by_one_that_goes_on(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job was under way when its worker went: another takes it up and finishes it."""
    monkeypatch.setattr(table, "STALE", table.STALE / 1000)
    (tmp_path / "models").symlink_to(place / "models")
    store: Store = open_store(None, folder=tmp_path)
    registry = workspace_registry(Workspace(place), ["tiny/base"])
    options = {"workspace": Workspace(tmp_path), "store": store}
    app = create_app(registry, **options)
    app.state.service.options = replace(app.state.service.options, training_jobs=1)
    with running(app) as address, openai.OpenAI(base_url=f"{address}/v1", api_key="x") as client:
        file = upload(client, [chat(n) for n in range(4)])
        # As a worker leaves it that was killed: running, and silent.
        with store.begin() as session:
            session.add(
                Job(
                    id="ftjob_dead", person_id="usr_local", kind=table.KIND, status="running",
                    worker="gone", alive_at=now() - 2 * table.STALE,
                    settings={
                        "model": "tiny/base", "training_file": file, "validation_file": None,
                        "suffix": None, "seed": 1, "method": "supervised", "starts": 1,
                        "hyperparameters": decide("supervised", 4, n_epochs=1).to_json(),
                    },
                )
            )  # fmt: skip
        done = ended(client, "ftjob_dead")
        assert done.status == "succeeded", done.error
        assert done.fine_tuned_model == "ft:tiny-base::dead"
        events = [e.message for e in client.fine_tuning.jobs.list_events("ftjob_dead", limit=100)]
        assert any("goes on" in message for message in events)
