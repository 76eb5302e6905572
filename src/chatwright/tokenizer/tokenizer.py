"""Byte-level BPE tokenizers: text to ids and back, and conversations to ids.

The encoding itself is done by Hugging Face's `tokenizers`. What is ours is the treatment of special
tokens: the library is given a tokenizer that does not know them, so no text can become one, and
they enter only where a chat template (or `allow_special=True`) puts them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from chatwright.errors import DataError, ModelError
from chatwright.records import Message, write_atomic
from chatwright.tokenizer.chat import ChatTemplate, Protector, as_messages, clean_text
from chatwright.tokenizer.detokenize import Detokenizer, byte_alphabet
from chatwright.tokenizer.files import read_json_object
from chatwright.tokenizer.spec import (
    SpecialFinder,
    SpecialTokens,
    added_tokens,
    chat_template,
    named_specials,
    plain_tokenizer,
)

Messages = Sequence[Message | Mapping[str, Any]]

# Tokens that end a turn in one model family or another; one that is special in a vocabulary ends
# generation there even where the configuration names only the main one.
_TURN_ENDS = (
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|end|>",
    "<end_of_turn>",
    "</s>",
)
_DOCUMENT_ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>")


class Tokenizer:
    """Text ↔ ids for one vocabulary.

    `spec` is the content of a `tokenizer.json`. Special tokens are the added tokens marked so;
    added tokens not marked (Qwen's `<think>`) are ordinary vocabulary.
    """

    def __init__(
        self, spec: Mapping[str, Any], special: SpecialTokens, chat_template: str | None = None
    ) -> None:
        self.spec = dict(spec)
        self.special = special
        self.chat_template = chat_template
        added = added_tokens(self.spec)
        self._finder = SpecialFinder(added)
        self._special_ids = self._finder.ids
        self._plain = plain_tokenizer(self.spec, added)
        self._tokens = {i: token for token, i in self._plain.get_vocab().items()}
        self._tokens |= {i: token for token, i in self._special_ids.items()}
        self._alphabet = byte_alphabet()
        for token in (special.eos, special.bos):
            if token is not None and token not in self._special_ids:
                raise ModelError(
                    f"the token {token!r} is named in the configuration and not in the vocabulary",
                    where="tokenizer_config.json",
                )

    # -- in and out ------------------------------------------------------------------------------

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Open `tokenizer.json`, `tokenizer_config.json` and the chat template in `folder`."""
        folder = Path(folder)
        spec = read_json_object(folder / "tokenizer.json")
        config_file = folder / "tokenizer_config.json"
        config = read_json_object(config_file) if config_file.exists() else {}
        try:
            return cls(spec, named_specials(folder, config, spec), chat_template(folder, config))
        except ModelError as error:
            raise ModelError(
                error.message, where=f"{folder}: {error.where or ''}".rstrip(": "), hint=error.hint
            ) from error

    @classmethod
    def from_gguf(cls, path: Path | str) -> Self:
        """Read the tokenizer that a GGUF file carries (`tokenizer.ggml.*`)."""
        from chatwright.tokenizer.gguf_tokenizer import read_tokenizer

        spec, special, template = read_tokenizer(Path(path))
        return cls(spec, special, template)

    @classmethod
    def train(
        cls, texts: Iterable[str], vocab_size: int, *, chat_template: str | None = None
    ) -> Self:
        """Learn a byte-level BPE vocabulary of at most `vocab_size` tokens from `texts`.

        The same texts give the same vocabulary. The chat template is ChatML when None.
        """
        from chatwright.tokenizer.training import train_tokenizer

        spec, special, template = train_tokenizer(texts, vocab_size, chat_template)
        return cls(spec, special, template)

    def save(self, folder: Path | str) -> None:
        """Write `tokenizer.json` and `tokenizer_config.json`; `transformers` opens the folder."""
        folder = Path(folder)
        config: dict[str, Any] = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            "add_bos_token": False,
            "bos_token": self.special.bos,
            "eos_token": self.special.eos,
            "pad_token": self._token_of(self.pad_id),
            "unk_token": self.special.unk,
            "chatwright_other_ends": sorted(self.special.other_ends),
        }
        if self.chat_template is not None:
            config["chat_template"] = self.chat_template
        write_atomic(folder / "tokenizer.json", json.dumps(self.spec, ensure_ascii=False))
        write_atomic(
            folder / "tokenizer_config.json",
            json.dumps(config, ensure_ascii=False, indent=1) + "\n",
        )

    # -- what there is ---------------------------------------------------------------------------

    @cached_property
    def vocab_size(self) -> int:
        """One more than the highest id: the least number of rows that an embedding needs."""
        return max(self._tokens, default=-1) + 1

    @cached_property
    def special_ids(self) -> frozenset[int]:
        return frozenset(self._special_ids.values())

    @cached_property
    def eos_ids(self) -> frozenset[int]:
        """Every id that ends a turn; never empty for a tokenizer with a chat template."""
        names = {self.special.eos, *self.special.other_ends, *_TURN_ENDS}
        return frozenset(i for token, i in self._special_ids.items() if token in names)

    @property
    def eos_id(self) -> int | None:
        """The id that ends a turn in training."""
        return self._id_of(self.special.eos)

    @property
    def bos_id(self) -> int | None:
        return self._id_of(self.special.bos)

    @property
    def pad_id(self) -> int | None:
        """A token that stands for nothing, or None. Never one that ends a turn.

        Many checkpoints name their end token as padding; a trainer that masks padding would then
        never learn to stop, so such a name is not taken over.
        """
        pad = self._id_of(self.special.pad)
        return None if pad in self.eos_ids else pad

    @property
    def end_of_text_id(self) -> int | None:
        """What stands between documents in pretraining (`<|endoftext|>` where there is one)."""
        for token in _DOCUMENT_ENDS:
            if token in self._special_ids:
                return self._special_ids[token]
        return self.eos_id

    def token_id(self, token: str) -> int | None:
        """The id of a vocabulary entry, given as the vocabulary writes it."""
        if token in self._special_ids:
            return self._special_ids[token]
        found = self._plain.token_to_id(token)
        return None if found is None else int(found)

    def token_bytes(self, token: int) -> bytes:
        """The bytes that a token stands for (a special token's own text)."""
        text = self._tokens.get(int(token))
        if text is None:
            return b""  # an embedding may have more rows than the vocabulary has tokens
        if int(token) in self._literal_ids:
            return text.encode()
        return bytes(self._alphabet[c] for c in text)

    # -- text ------------------------------------------------------------------------------------

    def encode(self, text: str, allow_special: bool = False) -> list[int]:
        """Ids of `text`. Special tokens in it are plain text unless `allow_special`."""
        text = clean_text(text)
        if allow_special:
            return self._encode_with_special(text, None)
        return self._encode_plain(text)

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of each text, on all cores."""
        encoded = self._plain.encode_batch_fast(
            [clean_text(t) for t in texts], add_special_tokens=False
        )
        return [self._checked(e.ids) for e in encoded]

    def decode(self, ids: Iterable[int], skip_special: bool = True) -> str:
        """Text of `ids`; bytes that are not UTF-8 become U+FFFD."""
        pieces = self._bytes_of if skip_special else self.token_bytes
        return b"".join(pieces(i) for i in ids).decode("utf-8", "replace")

    def detokenizer(self, skip_special: bool = True) -> Detokenizer:
        """A decoder for a stream of ids that never splits a character."""
        return Detokenizer(self._bytes_of if skip_special else self.token_bytes)

    # -- conversations ---------------------------------------------------------------------------

    def chat(self, messages: Messages, add_generation_prompt: bool = True) -> list[int]:
        """Ids of a conversation, rendered by the chat template.

        Special tokens come from the template alone: in a message they are plain text. For other
        text the ids are those of `transformers`' `apply_chat_template`.
        """
        protector = Protector(self._special_ids)
        text = self._template().render(
            _hidden(as_messages(messages), protector), add_generation_prompt=add_generation_prompt
        )
        return self._encode_with_special(text, protector)

    def chat_with_mask(
        self, messages: Messages, *, last_only: bool = False
    ) -> tuple[list[int], list[bool]]:
        """Ids of a whole conversation, and which of them the assistant says.

        True for each assistant message's tokens up to and with its end-of-turn token; what the
        template adds (`<|im_start|>assistant`, the line end after a turn) is not the assistant's.
        An answer is encoded by itself, as a model that generates it would have to write it; an
        empty answer is its end-of-turn token. Without an assistant message all is False. With
        `last_only` that is so for the last assistant message alone; those before it are context.

        Raises `DataError` where the template writes an early turn in another way once more turns
        follow, so that no one sequence shows what the model saw at every turn.
        """
        protector = Protector(self._special_ids)
        hidden = _hidden(as_messages(messages), protector)
        template = self._template()
        whole = template.render(hidden, add_generation_prompt=False)
        ids: list[int] = []
        mask: list[bool] = []
        last = max((i for i, m in enumerate(hidden) if m["role"] == "assistant"), default=-1)

        def add(text: str, said: bool) -> None:
            piece = self._encode_with_special(text, protector)
            ids.extend(piece)
            mask.extend([said] * len(piece))

        at = 0
        for i, message in enumerate(hidden):
            if message["role"] != "assistant" or (last_only and i != last):
                continue
            before = template.render(hidden[:i], add_generation_prompt=True)
            after = template.render(hidden[: i + 1], add_generation_prompt=False)
            if not (after.startswith(before) and whole.startswith(after) and len(before) >= at):
                raise DataError(
                    "the chat template does not write this answer as it was when it was given",
                    where=f"message {i}",
                    hint="train on the conversation's last answer only (learn: last), or use a "
                    "template whose turns do not change when others follow",
                )
            answer = after[len(before) :]
            turn = self._finder.last_end(answer, self.eos_ids)
            end = len(before) + (len(answer) if turn is None else turn)
            add(whole[at : len(before)], False)
            add(whole[len(before) : end], True)
            at = end
        add(whole[at:], False)
        return ids, mask

    # -- inside ----------------------------------------------------------------------------------

    def _template(self) -> ChatTemplate:
        return self._compiled_template

    @cached_property
    def _compiled_template(self) -> ChatTemplate:
        if self.chat_template is None:
            raise ModelError(
                "this model has no chat template",
                hint="it is a base model: give it plain text, or fine-tune it to chat first",
            )
        names = {"bos": self.special.bos, "eos": self.special.eos, "unk": self.special.unk}
        variables = {f"{name}_token": token for name, token in names.items() if token is not None}
        return ChatTemplate(self.chat_template, variables)

    def _encode_plain(self, text: str) -> list[int]:
        return self._checked(self._plain.encode(text, add_special_tokens=False).ids)

    def _checked(self, ids: list[int]) -> list[int]:
        if not self.special_ids.isdisjoint(ids):
            raise ModelError(
                "this tokenizer makes special tokens of plain text, so it cannot be used safely"
            )
        return ids

    def _encode_with_special(self, text: str, protector: Protector | None) -> list[int]:
        """Ids of `text` whose special tokens are meant; `protector`'s surrogates become text."""
        ids: list[int] = []
        for part in self._finder.split(text):
            if isinstance(part, int):
                ids.append(part)
            else:
                ids.extend(self._encode_plain(protector.show(part) if protector else part))
        return ids

    def _bytes_of(self, token: int) -> bytes:
        return b"" if token in self.special_ids else self.token_bytes(token)

    @cached_property
    def _literal_ids(self) -> frozenset[int]:
        """Tokens whose text is their text, not the alphabet's characters for bytes."""
        added = {int(a["id"]) for a in added_tokens(self.spec)}
        alphabet = self._alphabet.keys()
        odd = {i for i, token in self._tokens.items() if not alphabet >= set(token)}
        return frozenset(added | odd)

    def _id_of(self, token: str | None) -> int | None:
        return None if token is None else self._special_ids.get(token)

    def _token_of(self, token: int | None) -> str | None:
        return None if token is None else self._tokens[token]


def _hidden(messages: list[dict[str, str]], protector: Protector) -> list[dict[str, str]]:
    return [{"role": m["role"], "content": protector.hide(m["content"])} for m in messages]
