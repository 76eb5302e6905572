"""Figures before and after, and which options go together."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from tiny_compress import SENTENCES, random_model, tokenizer

from chatwright.compress.layerwise import calibration_rows
from chatwright.compress.measure import Measured, Texts, file_bytes, measure, perplexity
from chatwright.compress.prune import prune
from chatwright.compress.report import Report, model_card
from chatwright.compress.run import out_path
from chatwright.compress.settings import CompressSettings, count_of, parse_keep
from chatwright.compress.speed import measure_speed
from chatwright.errors import DataError, UsageError
from chatwright.model import load_model, save_model
from chatwright.workspace import Workspace


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = tokenizer()
    model = random_model(vocab_size=words.vocab_size)
    prune(model, sparsity=0.25, criterion="magnitude")
    return save_model(model, words, tmp_path_factory.mktemp("models") / "m")


def test_perplexity_is_that_of_its_definition(folder: Path) -> None:
    """Windows of the context's length, each token once, behind what came before in its window."""
    model, words = load_model(folder, dtype=torch.float32, device="cpu")
    texts = [" ".join(SENTENCES) * 2, SENTENCES[2], ""]
    value, tokens = perplexity(model, words, texts, limit=10_000)
    nll = 0.0
    count = 0
    assert words.end_of_text_id is not None
    for text in texts:
        ids = [words.end_of_text_id, *words.encode(text)]
        at = 1
        while at < len(ids):
            begin = at - 1
            window = ids[begin : begin + model.config.context]
            with torch.no_grad():
                likely = torch.log_softmax(model(torch.tensor([window]))[0].double(), dim=-1)
            for place in range(1, len(window)):
                nll -= float(likely[place - 1, window[place]])
                count += 1
            at = begin + len(window)
    assert tokens == count == sum(len(words.encode(text)) for text in texts)
    assert value == pytest.approx(math.exp(nll / count), rel=1e-5)
    assert perplexity(model, words, texts, limit=7)[1] == 7
    with pytest.raises(DataError, match="--text"):
        perplexity(model, words, [""], limit=7)


def test_sizes(folder: Path) -> None:
    found = measure(folder, speed=False)
    weights = folder / "model.safetensors"
    assert found.file_bytes == file_bytes(weights) == weights.stat().st_size
    model, _ = load_model(folder, device="cpu")
    assert found.parameters == model.config.n_parameters
    assert found.weight_bytes == found.parameters * model.embed_tokens.weight.element_size()
    assert found.zeros == pytest.approx(0.25, abs=1e-3)
    assert found.tokens_per_second is None and found.perplexity is None and not found.notes


def test_a_model_that_cannot_be_loaded_has_no_speed(tmp_path: Path) -> None:
    """The figures of one that can are checked where the program is (tests/cli)."""
    with pytest.raises(RuntimeError, match="this folder holds no model"):
        measure_speed(tmp_path)


def test_speed_that_cannot_be_measured_is_a_note(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> None:
        raise RuntimeError("no such engine")

    monkeypatch.setattr("chatwright.compress.speed.measure_speed", fail)
    found = measure(folder, texts=Texts("t", [SENTENCES[0]]))
    assert found.notes == ["speed could not be measured: no such engine"]
    assert found.perplexity is not None and found.tokens > 5


def test_the_table_and_the_card() -> None:
    before = Measured(1000, 0.0, 2 << 20, 4 << 20, 100 << 20, 0.5, 50.0, 20.0, 99)
    after = Measured(500, 0.5, 1 << 20, 2 << 20, None, None, None, math.inf, 99, ["speed …: |x|"])
    settings = CompressSettings.checked(method="prune", sparsity=0.5)
    report = Report("m", "out", settings, {"pruned": "half"}, before, after, "a text")
    rows = {name: cells for name, *cells in report.rows()}
    assert rows["weights on disk"] == ["2.0 MiB", "1.0 MiB", "× 0.50"]
    assert rows["zeros in projections"] == ["0.0%", "50.0%", ""]
    assert rows["tokens a second"] == ["50.0", "not measured", ""]
    assert rows["perplexity on 99 tokens"] == ["20.00", "inf", ""]
    assert report.notes == ["after: speed …: |x|", "perplexity on a text"]
    assert report.to_json()["after"]["perplexity"] is None
    assert report.to_json()["settings"] == {"method": "prune", "sparsity": 0.5, "seed": 0}
    assert "| weights on disk | 2.0 MiB | 1.0 MiB | × 0.50 |" in report.markdown()
    assert "| pruned | half |" in model_card("m", settings, {"pruned": "half"})
    assert Report("m", "out", settings, {}).rows() == []


def test_how_much_is_kept() -> None:
    assert [parse_keep(t) for t in ("12", "0.75", "75%", "1.0", " 100% ")] == [12, 0.75, 0.75, 1, 1]
    for text in ("0", "-1", "1.5", "120%", "viel", "", "0.0"):
        with pytest.raises(UsageError, match="--keep"):
            parse_keep(text)
    assert count_of(None, 30, 0.75) == 22 and count_of("0.67", 9, 1, 3) == 6
    assert count_of("0.01", 9, 1, 3) == 3 and count_of("7", 30, 0.5) == 7
    assert count_of("0.75", 1536, 1, 32) == 1152


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "int4", "sparsity": 0.5}, "--sparsity"),
        ({"method": "prune", "calibrate": "awq"}, "--calibrate"),
        ({"method": "int8", "recover": 5, "data": "d"}, "--data"),
        ({"method": "prune", "sparsity": 0.5, "pattern": "2:4"}, "--sparsity, --pattern"),
        ({"method": "prune", "sparsity": 1.5}, "--sparsity"),
        ({"method": "prune", "criterion": "taylor"}, "--criterion"),
        ({"method": "prune", "recover": 5}, "--data"),
        ({"method": "prune", "data": "d"}, "--recover"),
        ({"method": "distil"}, "--recover, --data"),
        ({"method": "low-rank", "rank": 3, "keep": "0.5"}, "--keep, --rank"),
        ({"method": "low-rank", "rank": 0}, "--rank"),
        ({"method": "heads", "keep": "lots"}, "--keep"),
        ({"method": "heads", "unit": "halves"}, "--unit"),
        ({"method": "layers", "tie_embeddings": True}, "--tie-embeddings"),
        ({"method": "squash"}, "--method"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as error:
        CompressSettings.checked(**options)
    assert error.value.where == said


def test_calibration_rows_are_spread_over_the_text() -> None:
    texts = ["abcdefghij", "klmnopqrstuvwxyz"]

    def encode(text: str) -> list[int]:
        return [ord(c) for c in text]

    rows = calibration_rows(encode, texts, count=3, length=4)
    assert ["".join(map(chr, row)) for row in rows] == ["abcd", "ijkl", "qrst"]
    assert len(calibration_rows(encode, texts, count=99, length=4)) == 6
    assert calibration_rows(encode, ["abc"], count=2, length=4) == [[97, 98, 99]]
    assert calibration_rows(encode, [], count=2, length=4) == []


def test_a_name_is_a_model_of_the_workspace_and_a_path_is_a_path(tmp_path: Path) -> None:
    place = Workspace(tmp_path)
    assert out_path("my/int4", place) == tmp_path / "models" / "my" / "int4"
    assert out_path("./x", place) == Path("x") and out_path("/a/b", place) == Path("/a/b")
    for name in ("my/../../x", "my/.hidden", ""):
        with pytest.raises(UsageError):
            out_path(name, place)
