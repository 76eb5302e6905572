"""What a checkpoint's settings name, and where it lies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chatwright.records.dataset import Parent
from chatwright.records.results import Result, data_names, place_of, read_result, training_chain


@pytest.mark.parametrize(
    ("data", "names"),
    [
        ("pages", ["pages"]),
        (["pages", "chats"], ["pages", "chats"]),
        ([{"data": "pages", "weight": 2}, "chats", {"weight": 1}, 3], ["pages", "chats"]),
        (None, []),
        ({"data": "pages"}, []),
    ],
)
def test_the_datasets_of_a_training(data: Any, names: list[str]) -> None:
    assert data_names(data) == names


def test_a_parent_comes_first_then_the_workspace_then_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model, datasets = tmp_path / "models" / "m", tmp_path / "datasets"
    parent = Parent("pages", "f", "../../elsewhere/pages")
    result = Result("m", "model", model, "f", [parent])
    where = tmp_path / "elsewhere" / "pages"

    def put(folder: Path) -> Path:
        folder.mkdir(parents=True)
        (folder / "dataset.json").write_text("{}", encoding="utf-8")
        return folder

    assert place_of(result, "pages", datasets) == where  # gone: where it should be
    assert place_of(result, "chats", datasets) == datasets / "chats"
    assert place_of(result, "chats") == Path("chats")
    put(tmp_path / "pages")
    assert place_of(result, "pages", datasets) == Path("pages")
    put(datasets / "pages")
    assert place_of(result, "pages", datasets) == datasets / "pages"
    put(where)
    assert place_of(result, "pages", datasets) == where


def test_a_chain_of_trainings_ends_where_nothing_is_known(tmp_path: Path) -> None:
    models = tmp_path / "models"

    def model(name: str, base: str | None, parent: str | None = None) -> Path:
        (models / name).mkdir(parents=True)
        parents = [{"name": base, "fingerprint": "f", "path": parent}] if parent else []
        lineage = {"fingerprint": name, "settings": {"model": base}, "parents": parents}
        (models / name / "lineage.json").write_text(json.dumps(lineage), encoding="utf-8")
        return models / name

    def chain(path: Path, folder: Path | None = models) -> tuple[list[str], str | None]:
        found, unknown = training_chain(read_result(path), folder)
        return [result.path.name for result in found], unknown

    last = model("dpo", "tuned", "../sft")  # a parent, under another name
    model("sft", "base")  # no parent: another recipe's
    model("base", None)
    assert chain(last) == (["dpo", "sft", "base"], None)
    assert chain(last, None) == (["dpo", "sft"], "base")
    assert chain(model("other", "gpt2")) == (["other"], "gpt2")
    assert chain(model("loop", "loop")) == (["loop"], "loop")
    (models / "base" / "lineage.json").write_text("{", encoding="utf-8")
    assert chain(last) == (["dpo", "sft"], "base")
    (models / "sft" / "lineage.json").write_text(
        '{"fingerprint": "s", "settings": 3, "parents": []}'
    )
    assert chain(last) == (["dpo", "sft"], None)
