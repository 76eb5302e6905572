"""Learned models on disk: numeric arrays and a JSON file, never pickle; every size is checked."""

from __future__ import annotations

import json
import zipfile
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatwright.curate.learned.linear import QualityModel
from chatwright.curate.learned.ngram import FIRST, KEY_BITS, NgramModel, Order
from chatwright.curate.textmodels.hashed import load_model as load_hashed
from chatwright.errors import ModelError
from chatwright.records import canonical_json, file_digest, read_json, write_atomic

DESCRIPTION = "quality.json"
ARRAYS = "model.npz"
LearnedModel = QualityModel | NgramModel

_HINT = "train it again: kind quality_model or perplexity_model"
_MOST_BYTES = 2_000_000_000  # of all arrays, unpacked
_MOST_ARRAYS = 64
_MOST_BITS = 24  # of a hashed model's columns
_LONGEST_GRAM = 10
_MOST_CHARACTERS = 10_000_000


def save_model(model: LearnedModel, folder: Path) -> None:
    """Write `model.npz` and `quality.json`; the same model gives the same bytes."""
    if isinstance(model, QualityModel):
        model.model.save(folder / ARRAYS)
        about: dict[str, Any] = {"kind": "linear"}
    else:
        _write_arrays(folder / ARRAYS, _arrays_of(model))
        about = {
            "kind": "ngram",
            "unit": model.unit,
            "bits": model.bits,
            "order": len(model.orders) + 1,
        }
    about |= {
        "format": 1,
        "characters": model.characters,
        "arrays": file_digest(folder / ARRAYS),
    }
    write_atomic(folder / DESCRIPTION, canonical_json(about) + "\n")


def load_model(folder: Path) -> LearnedModel:
    """Read what `save_model` wrote; what has been read is kept as long as it says the same.

    Raises `ModelError` where a file is missing, changed or broken.
    """
    return _load(folder, canonical_json(_describe(folder)))


@lru_cache(maxsize=8)
def _load(folder: Path, description: str) -> LearnedModel:
    where = str(folder / ARRAYS)
    about = json.loads(description)
    try:
        _check_archive(folder / ARRAYS)
        if about["arrays"] != file_digest(folder / ARRAYS):
            raise ValueError("the file is not the one that quality.json describes")
        characters = _between(about["characters"], 1, _MOST_CHARACTERS, "characters")
        if about["kind"] == "linear":
            return _linear(folder / ARRAYS, characters)
        with np.load(folder / ARRAYS, allow_pickle=False) as held:
            return _ngram(about, dict(held.items()), characters)
    except FileNotFoundError:
        raise ModelError("a learned model's arrays are missing", where=where, hint=_HINT) from None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ModelError(f"not a learned model: {error}", where=where, hint=_HINT) from error


def _describe(folder: Path) -> dict[str, Any]:
    file = folder / DESCRIPTION
    if not file.is_file():
        raise ModelError("there is no learned model here", where=str(folder), hint=_HINT)
    about = read_json(file, "learned model")
    if about.get("format") != 1 or about.get("kind") not in ("linear", "ngram"):
        raise ModelError(
            f"a learned model of another kind or format: {about.get('kind')!r}, "
            f"{about.get('format')!r}",
            where=str(file),
            hint="it was written by another version of Chatwright",
        )
    return about


def _check_archive(path: Path) -> None:
    """Refuse an archive that would unpack to more than a model is."""
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        size = sum(part.file_size for part in parts)
    if len(parts) > _MOST_ARRAYS or size > _MOST_BYTES:
        raise ValueError(f"{len(parts)} arrays of {size:,} bytes are more than a model has")


def _between(value: Any, least: int, most: int, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{what} is {value!r}, not a number from {least} to {most:,}")
    return value


def _linear(path: Path, characters: int) -> QualityModel:
    with np.load(path, allow_pickle=False) as held:
        _between(int(held["bits"]), 1, _MOST_BITS, "bits")
        for name in ("characters", "words"):
            for length in held[name].tolist():
                _between(length, 1, _LONGEST_GRAM, name)
    model = load_hashed(path)
    if not (np.isfinite(model.scale) and np.isfinite(model.bias)):
        raise ValueError("scale or bias is not a number")
    return QualityModel(model, characters)


def _arrays_of(model: NgramModel) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {
        "vocabulary": model.vocabulary,
        "unigram": model.unigram,
        "letters": model.letters,
        "log_letters": model.log_letters,
    }
    for n, order in enumerate(model.orders, start=2):
        arrays[f"keys_{n}"] = order.keys
        arrays[f"log_probability_{n}"] = order.log_probability
        arrays[f"contexts_{n}"] = order.contexts
        arrays[f"log_backoff_{n}"] = order.log_backoff
    return arrays


def _ngram(about: dict[str, Any], held: dict[str, NDArray[Any]], characters: int) -> NgramModel:
    bits = _between(about["bits"], 2, KEY_BITS, "bits")
    order = _between(about["order"], 2, KEY_BITS // bits, "order")
    if about["unit"] not in ("words", "characters"):
        raise ValueError(f"its unit is {about['unit']!r}")
    vocabulary = _sorted(held, "vocabulary", np.uint64)
    unigram = _logs(held, "unigram", len(vocabulary) + FIRST)
    if len(unigram) > 1 << bits:
        raise ValueError(f"{len(unigram):,} words do not fit into {bits} bits")
    letters = _sorted(held, "letters", np.uint32)
    log_letters = _logs(held, "log_letters", len(letters) + 2)
    orders = []
    for n in range(2, order + 1):
        keys = _sorted(held, f"keys_{n}", np.int64)
        contexts = _sorted(held, f"contexts_{n}", np.int64)
        orders.append(
            Order(
                keys,
                _logs(held, f"log_probability_{n}", len(keys)),
                contexts,
                _logs(held, f"log_backoff_{n}", len(contexts)),
            )
        )
    return NgramModel(
        unit=about["unit"],
        bits=bits,
        vocabulary=vocabulary,
        unigram=unigram,
        orders=tuple(orders),
        letters=letters,
        log_letters=log_letters,
        characters=characters,
    )


def _sorted(held: dict[str, NDArray[Any]], name: str, dtype: type) -> NDArray[Any]:
    array = held[name]
    if array.dtype != dtype or array.ndim != 1 or (array[1:] <= array[:-1]).any():
        raise ValueError(f"{name} is not a sorted list of {dtype.__name__}")
    return array


def _logs(held: dict[str, NDArray[Any]], name: str, length: int) -> NDArray[np.float32]:
    array = held[name]
    if array.dtype != np.float32 or array.shape != (length,) or not np.isfinite(array).all():
        raise ValueError(f"{name} is not a list of {length:,} finite numbers")
    return array


def _write_arrays(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, array in arrays.items():
            body = BytesIO()
            np.lib.format.write_array(body, array, allow_pickle=False)
            # A fixed date: np.savez writes the clock's.
            entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            archive.writestr(entry, body.getvalue(), zipfile.ZIP_DEFLATED)
    write_atomic(path, out.getvalue())
