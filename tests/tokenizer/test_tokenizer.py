"""Text to ids and back, against `transformers` and against the definition."""

from __future__ import annotations

import json
import subprocess
import sys

import gguf
import pytest
import tokenizers
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatwright.errors import ModelError
from chatwright.tokenizer import Tokenizer
from chatwright.tokenizer.detokenize import byte_alphabet
from chatwright.tokenizer.gguf_file import GGUFFile
from chatwright.tokenizer.pretokenizers import PRETOKENIZERS
from chatwright.tokenizer.spec import SpecialTokens

QUICK = settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
TEXT = st.text(st.characters(codec="utf-8")) | st.lists(
    st.sampled_from(
        ["<|im_end|>", "<|im_start|>", "<|endoftext|>", "<|im", "_end|>", "<|", "|>", "你好", "。",
         " ", "\n", "\t", "  ", "hello", " world", "It's", "1234", "😀", "ａ", "é", "<file_sep>"]
    )
).map("".join)  # fmt: skip
SAMPLES = [
    "",
    " ",
    "Hello world, it's 2024-05-06!",
    "  two  spaces\n\n\nand\tTabs  \r\n",
    "你好，世界！今天是２０２４年，天气不错。",
    "def f(x):\n    return x + 1  # 😀 naïve café",
    "日本語とかな、한국어, العربية, עברית",
    "a" * 500,
]


@pytest.fixture(scope="module")
def hf(smollm2, trained, tmp_path_factory):
    """Each tokenizer as `transformers` opens it from the folder that we save."""
    opened = {}
    for name, tokenizer in (("smollm2", smollm2), ("trained", trained)):
        folder = tmp_path_factory.mktemp(name)
        tokenizer.save(folder)
        opened[id(tokenizer)] = transformers.AutoTokenizer.from_pretrained(folder)
    return opened


@pytest.mark.parametrize("text", SAMPLES)
def test_encodes_as_transformers(tokenizer, hf, text):
    ids = tokenizer.encode(text)
    assert ids == hf[id(tokenizer)].encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids) == hf[id(tokenizer)].decode(ids)
    assert tokenizer.encode_many([text, text]) == [ids, ids]


@QUICK
@given(text=st.text(st.characters(codec="utf-8")))
def test_any_text_encodes_as_transformers(smollm2, trained, hf, text):
    for tokenizer in (smollm2, trained):
        if any(a["content"] in text for a in tokenizer.spec["added_tokens"]):
            continue
        assert tokenizer.encode(text) == hf[id(tokenizer)].encode(text, add_special_tokens=False)


def test_transformers_reads_the_gguf_alike(smollm2, smollm2_gguf):
    """Its own reading of the same file: another converter, the same ids where cutting agrees."""
    theirs = transformers.AutoTokenizer.from_pretrained(
        smollm2_gguf.parent, gguf_file=smollm2_gguf.name
    )
    for text in SAMPLES:
        if any(c.isdigit() for c in text):  # it does not cut digits one by one
            continue
        assert smollm2.encode(text) == theirs.encode(text, add_special_tokens=False)


def test_smollm2_known_ids(smollm2):
    assert smollm2.vocab_size == 49152
    assert smollm2.eos_id == 2 and smollm2.eos_ids == {0, 2} and smollm2.bos_id == 1
    assert smollm2.pad_id is None  # the file says <|im_end|>, which ends a turn
    assert smollm2.end_of_text_id == 0
    digits = smollm2.encode("2024")
    assert [smollm2.token_bytes(i) for i in digits] == [b"2", b"0", b"2", b"4"]


@QUICK
@given(text=TEXT)
def test_text_never_gives_a_special_id(smollm2, trained, text):
    for tokenizer in (smollm2, trained):
        assert tokenizer.special_ids.isdisjoint(tokenizer.encode(text))
        assert tokenizer.special_ids.isdisjoint(tokenizer.encode_many([text])[0])


@QUICK
@given(text=TEXT)
def test_round_trip(trained, text):
    ids = trained.encode(text)
    assert trained.decode(ids) == text
    assert b"".join(trained.token_bytes(i) for i in ids) == text.encode()


@QUICK
@given(ids=st.lists(st.integers(0, 599)))
def test_detokenizer_joined_is_decode(trained, ids):
    for skip in (True, False):
        stream = trained.detokenizer(skip_special=skip)
        pieces = [stream.push(i) for i in ids] + [stream.flush()]
        assert "".join(pieces) == trained.decode(ids, skip_special=skip)


@QUICK
@given(text=TEXT)
def test_detokenizer_never_splits_a_character(smollm2, trained, text):
    for tokenizer in (smollm2, trained):
        stream = tokenizer.detokenizer()
        ids = tokenizer.encode(text)
        whole = tokenizer.decode(ids)
        pieces = [stream.push(i) for i in ids]
        if "\ufffd" not in whole:
            assert not any("\ufffd" in piece for piece in pieces)
            assert stream.flush() == ""
        # Each prefix of the stream is a prefix of the text: nothing is taken back.
        for i in range(len(pieces)):
            assert whole.startswith("".join(pieces[: i + 1]))


def test_detokenizer_waits_and_gives_up(smollm2):
    ids = smollm2.encode("界")
    assert len(ids) > 1
    stream = smollm2.detokenizer()
    assert [stream.push(i) for i in ids] == [*[""] * (len(ids) - 1), "界"]
    stream.push(ids[0])
    assert stream.flush() == "\ufffd"
    assert stream.flush() == ""


def test_special_tokens_where_they_are_meant(tokenizer):
    text = "<|im_start|>user\nhi<|im_end|>"
    ids = tokenizer.encode(text, allow_special=True)
    start, end = tokenizer.token_id("<|im_start|>"), tokenizer.token_id("<|im_end|>")
    assert ids[0] == start and ids[-1] == end
    assert ids[1:-1] == tokenizer.encode("user\nhi")
    assert tokenizer.decode(ids) == "user\nhi"
    assert tokenizer.decode(ids, skip_special=False) == text
    assert tokenizer.token_id("no such token") is None
    assert tokenizer.token_bytes(10**9) == b""


def test_lone_surrogates_are_not_text(tokenizer):
    assert tokenizer.decode(tokenizer.encode("a\ud800b")) == "a\ufffdb"


def test_save_and_load(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    for text in SAMPLES:
        assert again.encode(text) == tokenizer.encode(text)
    same = ("vocab_size", "eos_ids", "eos_id", "bos_id", "pad_id", "end_of_text_id", "special_ids")
    for name in (*same, "chat_template", "spec"):
        assert getattr(again, name) == getattr(tokenizer, name), name


def test_byte_alphabet():
    alphabet = byte_alphabet()
    assert sorted(alphabet.values()) == list(range(256))
    assert set(alphabet) == set(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    assert alphabet["Ġ"] == 0x20 and alphabet["Ċ"] == 0x0A


@pytest.mark.parametrize("pre", sorted(PRETOKENIZERS))
def test_cutting(pre):
    """Pieces as the patterns of each family define them; nothing lost."""
    from chatwright.tokenizer.gguf_tokenizer import bpe_spec

    spec = bpe_spec({c: i for i, c in enumerate(byte_alphabet())}, [], [], pre)
    library = tokenizers.Tokenizer.from_str(json.dumps(spec))

    def pieces(text: str) -> list[str]:
        cuts = library.pre_tokenizer.pre_tokenize_str(text)
        return [bytes(byte_alphabet()[c] for c in piece).decode() for piece, _ in cuts]

    expected = {
        "gpt-2": ["I", "'m", " 2024", "!!", "\n", "\n", "世界"],
        "smollm": ["I", "'m", " ", "2", "0", "2", "4", "!!", "\n", "\n", "世界"],
        "llama-bpe": ["I", "'m", " ", "202", "4", "!!\n\n", "世界"],
        "qwen2": ["I", "'m", " ", "2", "0", "2", "4", "!!\n\n", "世界"],
        "default": ["I", "'", "m", " ", "202", "4", "!!", "\n", "\n", "世界"],
    }
    assert pieces("I'm 2024!!\n\n世界") == expected[pre]
    for text in SAMPLES:
        assert "".join(pieces(text)) == text


# -- other people's files --------------------------------------------------------------------------


def spec_with(trained, **changes):
    spec = json.loads(json.dumps(trained.spec))
    spec.update(changes)
    return spec


def test_ordinary_added_tokens_stay_ordinary(trained):
    """Qwen marks `<think>` as not special: text may hold it, and its id is its own."""
    top = trained.vocab_size
    added = trained.spec["added_tokens"] + [
        {**trained.spec["added_tokens"][0], "id": top + 7, "content": "<think>", "special": False},
        {**trained.spec["added_tokens"][0], "id": top + 3, "content": "<|extra|>"},
    ]
    tokenizer = Tokenizer(spec_with(trained, added_tokens=added), SpecialTokens(eos="<|im_end|>"))
    assert tokenizer.encode("<think>") == [top + 7]
    assert tokenizer.token_id("<|extra|>") == top + 3
    assert top + 3 not in tokenizer.encode("a <|extra|> b")
    assert tokenizer.encode("<|extra|>", allow_special=True) == [top + 3]
    assert tokenizer.decode([top + 7]) == "<think>" and tokenizer.vocab_size == top + 8


def test_white_space_that_goes_with_a_token(trained):
    added = [{**a, "rstrip": a["content"] == "<|im_start|>"} for a in trained.spec["added_tokens"]]
    added = [{**a, "lstrip": a["content"] == "<|im_end|>"} for a in added]
    spec = spec_with(trained, added_tokens=added)
    ours = Tokenizer(spec, SpecialTokens(eos="<|im_end|>"))
    theirs = tokenizers.Tokenizer.from_str(json.dumps(spec))
    for text in ["<|im_start|>  \n hi  <|im_end|> <|im_end|>x", " <|im_end|><|im_start|> ", "a b"]:
        assert ours.encode(text, allow_special=True) == theirs.encode(text).ids


def test_unknown_token_cannot_end_a_turn(trained):
    """A vocabulary that lacks a byte and calls its unknown token <|im_end|>."""
    spec = json.loads(json.dumps(trained.spec))
    spec["model"]["unk_token"] = "<|im_end|>"
    missing = next(c for c, byte in byte_alphabet().items() if byte == ord("~"))
    del spec["model"]["vocab"][missing]
    tokenizer = Tokenizer(spec, SpecialTokens(eos="<|im_end|>"))
    assert tokenizer.special_ids.isdisjoint(tokenizer.encode("a ~ b"))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"model": {"type": "WordPiece", "vocab": {"a": 0}}}, "bytes|cannot be read"),
        ({"model": {"type": "Unigram", "vocab": [["a", 0.0]]}}, "Unigram"),
        ({"model": None}, "not supported"),
        ({"decoder": {"type": "Metaspace"}}, "bytes"),
        ({"added_tokens": [{"id": 1}]}, "added token"),
        ({"added_tokens": "x"}, "added token"),
        ({"pre_tokenizer": {"type": "No such thing"}}, "cannot be read"),
    ],
)
def test_refuses(trained, change, match):
    with pytest.raises(ModelError, match=match):
        Tokenizer(spec_with(trained, **change), SpecialTokens())


def test_folder_errors_name_the_file(trained, tmp_path):
    with pytest.raises(ModelError, match="missing") as caught:
        Tokenizer.load(tmp_path)
    assert "tokenizer.json" in str(caught.value)
    trained.save(tmp_path)
    config_file = tmp_path / "tokenizer_config.json"
    config = json.loads(config_file.read_text())
    config_file.write_text(json.dumps(config | {"eos_token": "<|nothing|>"}))
    with pytest.raises(ModelError, match="nothing"):
        Tokenizer.load(tmp_path)


def test_reads_what_transformers_saves(smollm2, hf, tmp_path):
    """The layout of the hub: chat_template.jinja, tokens as objects, ends in another file."""
    hf[id(smollm2)].save_pretrained(tmp_path)
    assert (tmp_path / "chat_template.jinja").exists()
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [2, 5]}')
    again = Tokenizer.load(tmp_path)
    assert again.chat_template == smollm2.chat_template
    assert again.eos_ids == {0, 2, 5}
    config_file = tmp_path / "tokenizer_config.json"
    config = json.loads(config_file.read_text())
    config["eos_token"] = {"content": "<|im_end|>", "__type": "AddedToken"}
    (tmp_path / "chat_template.jinja").unlink()
    config["chat_template"] = [{"name": "default", "template": "D"}, {"name": "b", "template": "B"}]
    config_file.write_text(json.dumps(config))
    again = Tokenizer.load(tmp_path)
    assert again.eos_id == 2 and again.chat_template == "D"


def test_gguf_metadata_equals_the_gguf_package(smollm2_gguf):
    ours = GGUFFile.open(smollm2_gguf)
    theirs = gguf.GGUFReader(smollm2_gguf)
    for key, field in theirs.fields.items():
        if not key.startswith("GGUF."):
            assert ours.metadata[key] == field.contents(), key
    assert len(ours.tensors) == len(theirs.tensors)
    for tensor in theirs.tensors:
        mine = ours.tensors[tensor.name]
        assert mine.shape == tuple(int(n) for n in tensor.shape)[::-1]
        assert (mine.type, mine.offset, mine.n_bytes) == (
            tensor.tensor_type.name, int(tensor.data_offset), int(tensor.n_bytes),
        )  # fmt: skip


def test_does_not_import_torch():
    code = "import sys, chatwright.tokenizer as t; t.Tokenizer; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
