"""What a `tokenizer.json` and the files beside it say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers

from chatwright.errors import ModelError
from chatwright.tokenizer.files import read_json_object


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """Which special tokens play which part; each is a token's text."""

    eos: str | None = None
    bos: str | None = None
    pad: str | None = None
    unk: str | None = None
    other_ends: tuple[str, ...] = ()


def added_tokens(spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The `added_tokens` of a `tokenizer.json`, checked."""
    added = spec.get("added_tokens") or []
    good = isinstance(added, list) and all(
        isinstance(a, dict)
        and isinstance(a.get("content"), str)
        and a["content"].strip()
        and isinstance(a.get("id"), int)
        and a["id"] >= 0
        for a in added
    )
    if not good:
        raise ModelError("an added token lacks its text or id", where="tokenizer.json")
    return added


class SpecialFinder:
    """Finds special tokens in text, the longest first where several begin at one place."""

    def __init__(self, added: Sequence[Mapping[str, Any]]) -> None:
        special = [a for a in added if a.get("special")]
        self.ids = {a["content"]: int(a["id"]) for a in special}
        self._lstrip = {a["content"] for a in special if a.get("lstrip")}
        self._rstrip = {a["content"] for a in special if a.get("rstrip")}
        ordered = sorted(self.ids, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def split(self, text: str) -> Iterator[str | int]:
        """Stretches of text, and the ids of the special tokens between them, in order.

        White space beside a token that says so (`lstrip`, `rstrip`) goes with the token.
        """
        at = 0
        for found in self._pattern.finditer(text) if self._pattern else ():
            token = found.group()
            before = text[at : max(at, found.start())]
            before = before.rstrip() if token in self._lstrip else before
            if before:
                yield before
            yield self.ids[token]
            at = found.end()
            if token in self._rstrip:
                at = len(text) - len(text[at:].lstrip())
        if text[at:]:
            yield text[at:]

    def last_end(self, text: str, ids: frozenset[int]) -> int | None:
        """Where the last token of `ids` in `text` ends; None without one."""
        found = self._pattern.finditer(text) if self._pattern else ()
        return max((f.end() for f in found if self.ids[f.group()] in ids), default=None)


def plain_tokenizer(
    spec: Mapping[str, Any], added: Sequence[Mapping[str, Any]]
) -> tokenizers.Tokenizer:
    """The same tokenizer without special tokens: neither added, nor in its vocabulary."""
    model = spec.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), dict):
        kind = model.get("type") if isinstance(model, dict) else None
        raise ModelError(
            f"a tokenizer of type {kind!r} is not supported",
            where="tokenizer.json",
            hint="byte-level BPE is: models of the GPT-2, Llama 3, Qwen and SmolLM families",
        )
    if "ByteLevel" not in _kinds(spec.get("decoder")):
        raise ModelError(
            "this tokenizer does not work on bytes",
            where="tokenizer.json",
            hint="byte-level BPE is supported: the GPT-2, Llama 3, Qwen and SmolLM families",
        )
    special = {a["content"] for a in added if a.get("special")}
    ordinary = [a for a in added if not a.get("special")]
    vocab = {token: i for token, i in model["vocab"].items() if token not in special}
    # An added token that the model's vocabulary lacks would get the next free id, not its own.
    vocab |= {a["content"]: a["id"] for a in ordinary}
    plain_spec = {
        **spec,
        "added_tokens": ordinary,
        "post_processor": None,
        "truncation": None,
        "padding": None,
        # Every byte is in a byte-level vocabulary, or stands for nothing: no use for "unknown",
        # which some vocabularies name after the token that ends a turn.
        "model": {**model, "vocab": vocab, "unk_token": None},
    }
    try:
        plain = tokenizers.Tokenizer.from_str(json.dumps(plain_spec, ensure_ascii=False))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the library panics (a BaseException) on some bad input
        raise ModelError(
            f"this tokenizer cannot be read: {error}", where="tokenizer.json"
        ) from error
    if any(plain.token_to_id(a["content"]) != a["id"] for a in ordinary):
        raise ModelError("two added tokens share an id", where="tokenizer.json")
    return plain


def _kinds(part: Any) -> set[str]:
    """Types in a pre-tokenizer or decoder, sequences opened."""
    if not isinstance(part, dict):
        return set()
    kinds = {str(part.get("type"))}
    for inner in [*(part.get("pretokenizers") or []), *(part.get("decoders") or [])]:
        kinds |= _kinds(inner)
    return kinds


def named_specials(
    folder: Path, config: Mapping[str, Any], spec: Mapping[str, Any]
) -> SpecialTokens:
    """Who is who among the special tokens, from the files that may say so."""

    def name(key: str) -> str | None:
        value = config.get(key)
        value = value.get("content") if isinstance(value, dict) else value
        return value if isinstance(value, str) else None

    ends = list(config.get("chatwright_other_ends") or [])
    names = {a["id"]: a["content"] for a in added_tokens(spec)}
    generation = folder / "generation_config.json"
    if generation.exists():
        ids = read_json_object(generation).get("eos_token_id")
        ids = ids if isinstance(ids, list) else [ids]
        ends += [names[i] for i in ids if isinstance(i, int) and i in names]
    return SpecialTokens(
        eos=name("eos_token"),
        bos=name("bos_token"),
        pad=name("pad_token"),
        unk=name("unk_token"),
        other_ends=tuple(sorted(str(e) for e in set(ends))),
    )


def chat_template(folder: Path, config: Mapping[str, Any]) -> str | None:
    """`chat_template.jinja` where there is one, as in `transformers`; else the configuration's."""
    file = folder / "chat_template.jinja"
    if file.exists():
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"this file cannot be read: {error}", where=str(file)) from error
    template = config.get("chat_template")
    if isinstance(template, list):
        named = {t.get("name"): t.get("template") for t in template if isinstance(t, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None
