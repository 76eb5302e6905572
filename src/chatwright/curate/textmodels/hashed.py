"""A logistic regression over hashed n-grams: numpy alone, thousands of short texts in a second.

The arrays are one `.npz` file without pickles: weights in int8 with one scale, a bias, and what
the features are. Feature hashing after Weinberger et al. 2009 (arXiv:0902.2206).
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatwright.errors import ModelError
from chatwright.records import write_atomic

_PRIME = np.uint64(0x9E3779B97F4A7C15)  # odd, so that it has an inverse modulo 2^64
_INVERSE = np.uint64(pow(int(_PRIME), -1, 2**64))
_MIX = np.uint64(0xBF58476D1CE4E5B9)
_SPACE = 32
_BATCH = 16_384  # characters hashed at once: the arrays stay in the processor's cache


@dataclass(frozen=True, slots=True)
class Features:
    """Which n-grams of a text count; each counts once, and a text's row has length 1.

    `characters`: lengths of character n-grams, which hold a space at most at their ends.
    `words`: lengths of word n-grams, a word being what stands between spaces.
    `prefixes`: only character n-grams with which a word begins. "shoes" must not share what makes
    "hoes" an insult.
    """

    bits: int
    characters: tuple[int, ...]
    words: tuple[int, ...]
    prefixes: bool = False

    def indices(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Column numbers of all texts, one after the other, and where each text begins `[n+1]`."""
        parts, counts = [], [np.zeros(1, np.int64)]
        start = 0
        while start < len(texts):
            end, size = start, 0
            while end < len(texts) and (size == 0 or size + len(texts[end]) <= _BATCH):
                size += len(texts[end]) + 2
                end += 1
            columns, rows = self._batch(texts[start:end])
            parts.append(columns)
            counts.append(np.bincount(rows, minlength=end - start))
            start = end
        columns = np.concatenate(parts) if parts else np.zeros(0, np.int64)
        return columns, np.cumsum(np.concatenate(counts))

    def _batch(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        padded = [f" {' '.join(text.split())} " if text.strip() else "" for text in texts]
        raw = "".join(padded).encode("utf-32-le", "replace")
        letters = np.frombuffer(raw, np.uint32).astype(np.uint64)
        row = np.repeat(np.arange(len(texts)), [len(text) for text in padded])
        keys = [
            *self._character_keys(letters, row),
            *self._word_keys(letters, row),
        ]
        if not keys:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        # Row above column in one number: sorting and taking each once is one operation.
        both = np.unique(np.concatenate(keys))
        return both & ((1 << self.bits) - 1), both >> self.bits

    def _key(
        self, value: NDArray[np.uint64], row: NDArray[np.int64], salt: int
    ) -> NDArray[np.int64]:
        mixed = value + np.uint64(salt)
        mixed = (mixed ^ (mixed >> np.uint64(31))) * _MIX
        mixed = (mixed ^ (mixed >> np.uint64(29))) * _PRIME
        column = (mixed >> np.uint64(64 - self.bits)).astype(np.int64)
        return (row << self.bits) | column

    def _character_keys(
        self, letters: NDArray[np.uint64], row: NDArray[np.int64]
    ) -> list[NDArray[np.int64]]:
        keys = []
        spaces = np.concatenate([[0], np.cumsum(letters == _SPACE)])
        value = np.zeros(len(letters), np.uint64)
        for n in range(1, max(self.characters, default=0) + 1):
            size = len(letters) - n + 1
            if size <= 0:
                break
            value = value[:size] * _PRIME + letters[n - 1 :]
            if n not in self.characters:
                continue
            first, last = np.arange(size), np.arange(size) + n - 1
            inner = spaces[np.maximum(last, first + 1)] - spaces[first + 1]
            whole = (row[first] == row[last]) & (inner == 0)
            if self.prefixes:
                whole &= letters[:size] == _SPACE
            if n == 1:
                whole &= letters[:size] != _SPACE
            keys.append(self._key(value[whole], row[:size][whole], n))
        return keys

    def _word_keys(
        self, letters: NDArray[np.uint64], row: NDArray[np.int64]
    ) -> list[NDArray[np.int64]]:
        if not self.words or not len(letters):
            return []
        inside = letters != _SPACE
        edge = np.diff(np.concatenate([[0], inside.astype(np.int8), [0]]))
        starts, ends = np.flatnonzero(edge == 1), np.flatnonzero(edge == -1)
        if not len(starts):
            return []
        # A word's hash is the sum of c·p^i, brought to its own beginning by the inverse of p^start.
        power = np.cumprod(np.full(len(letters), _PRIME, np.uint64))
        inverse = np.cumprod(np.full(len(letters), _INVERSE, np.uint64))
        total = np.concatenate([np.zeros(1, np.uint64), np.cumsum(letters * power)])
        word = (total[ends] - total[starts]) * inverse[starts]
        word_row = row[starts]
        keys, value = [], np.zeros(len(word), np.uint64)
        for n in range(1, max(self.words) + 1):
            size = len(word) - n + 1
            if size <= 0:
                break
            value = (value[:size] ^ (value[:size] >> np.uint64(32))) * _MIX + word[n - 1 :]
            if n in self.words:
                whole = word_row[:size] == word_row[n - 1 :]
                keys.append(self._key(value[whole], word_row[:size][whole], 1000 + n))
        return keys


@dataclass(frozen=True, slots=True)
class HashedModel:
    """Weights `[2^bits]` (int8, times `scale`) and a bias, already calibrated (Platt 1999)."""

    features: Features
    weights: NDArray[np.int8]
    scale: float
    bias: float

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """The positive class's probability for each text, `[n]`.

        A text without any feature gets the bias's.
        """
        columns, starts = self.features.indices(texts)
        sums = np.concatenate([[0.0], np.cumsum(self.weights[columns], dtype=np.int64)])
        totals = sums[starts[1:]] - sums[starts[:-1]]
        sizes = np.maximum(np.diff(starts), 1)
        logits = self.scale * totals / np.sqrt(sizes) + self.bias
        result: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(logits, -60, 60)))
        return result

    def save(self, path: Path) -> None:
        """Write the arrays; the same model gives the same bytes."""
        arrays: dict[str, NDArray[Any]] = {
            "weights": self.weights,
            "scale": np.array(self.scale, np.float64),
            "bias": np.array(self.bias, np.float64),
            "bits": np.array(self.features.bits, np.int64),
            "characters": np.array(self.features.characters, np.int64),
            "words": np.array(self.features.words, np.int64),
            "prefixes": np.array(self.features.prefixes, np.bool_),
        }
        out = BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for name, array in arrays.items():
                body = BytesIO()
                np.lib.format.write_array(body, array, allow_pickle=False)
                # A fixed date: np.savez writes the clock's.
                archive.writestr(
                    zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)),
                    body.getvalue(),
                    zipfile.ZIP_DEFLATED,
                )
        write_atomic(path, out.getvalue())


def load_model(path: Path) -> HashedModel:
    """Read what `HashedModel.save` wrote; `ModelError` where the file is missing or broken."""
    hint = (
        "reinstall Chatwright, or train it: python -m chatwright.curate.textmodels.train_toxicity"
    )
    try:
        with np.load(path, allow_pickle=False) as held:
            model = HashedModel(
                Features(
                    int(held["bits"]),
                    tuple(int(n) for n in held["characters"]),
                    tuple(int(n) for n in held["words"]),
                    bool(held["prefixes"]),
                ),
                held["weights"],
                float(held["scale"]),
                float(held["bias"]),
            )
    except FileNotFoundError:
        raise ModelError("a text model's file is missing", where=str(path), hint=hint) from None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
        raise ModelError(f"not a text model: {error}", where=str(path), hint=hint) from error
    if model.weights.dtype != np.int8 or model.weights.shape != (1 << model.features.bits,):
        raise ModelError(
            f"weights are {model.weights.dtype} {model.weights.shape}, "
            f"not int8 ({1 << model.features.bits},)",
            where=str(path),
            hint=hint,
        )
    return model
