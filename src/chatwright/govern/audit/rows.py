"""The rows that an audit looks at: those a checkpoint was trained on, and those held out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from chatwright.errors import DataError
from chatwright.evaluate.items import lot
from chatwright.evaluate.results import Skipped
from chatwright.records import Conversation, Dataset, Document
from chatwright.records.results import (
    Result,
    data_names,
    place_of,
    read_result,
    training_chain,
    training_settings,
)

if TYPE_CHECKING:
    from chatwright.tokenizer import Tokenizer
    from chatwright.workspace import Workspace

# An answer of fewer tokens can be right by chance; as a target it would prove nothing.
LEAST_TARGET = 8


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What a checkpoint was trained on.

    `own`: in its own training; `earlier`: in that of the checkpoints of ours that it began from.
    `held_out` None: nothing was held out. `base`: the model it began from, if any.
    """

    own: tuple[Path, ...]
    earlier: tuple[Path, ...] = ()
    held_out: Path | None = None
    base: str | None = None

    @property
    def datasets(self) -> tuple[Path, ...]:
        return tuple(dict.fromkeys((*self.own, *self.earlier)))


@dataclass(frozen=True, slots=True)
class Sample:
    """One row as the model saw it.

    `tokens`: the sequence; its first token has no prediction. `counted`: which of them carried loss
    in training. `start`, `end`: the tokens that an extraction attack tries to get back.
    """

    id: str
    uri: str
    kind: str
    tokens: list[int]
    counted: list[bool]
    start: int
    end: int

    @property
    def target(self) -> list[int]:
        return self.tokens[self.start : self.end]

    def prefix(self, length: int) -> list[int]:
        """The `length` tokens before the target, or all where the row has fewer."""
        return self.tokens[max(0, self.start - length) : self.start]


def training_data(checkpoint: Path, workspace: Workspace | None = None) -> TrainingData:
    """The datasets that a checkpoint, and those of ours that it began from, were trained on.

    Raises `DataError` where there is no lineage, or a dataset that it names is gone.
    """
    model = read_result(checkpoint)
    if model.kind != "model":
        raise DataError(f"this is a {model.kind} and no checkpoint", where=str(checkpoint))
    earlier: list[Path] = []
    own: list[Path] = []
    held_out: Path | None = None
    chain, _ = training_chain(model, workspace.models if workspace else None)
    for result in reversed(chain):
        settings = training_settings(result)
        (own if result is model else earlier).extend(
            _locate(result, name, workspace) for name in data_names(settings.get("data"))
        )
        # The checkpoint itself comes last, so its own held-out rows win.
        validation = settings.get("validation")
        if isinstance(validation, str):
            held_out = _locate(result, validation, workspace)
    if not own and not earlier:
        raise DataError(
            "its lineage names no training data",
            where=str(checkpoint / "lineage.json"),
            hint="name the datasets yourself: --train DATASET",
        )
    return TrainingData(tuple(own), tuple(earlier), held_out, base_of(model))


def base_of(model: Result) -> str | None:
    """The model that a checkpoint was trained from: a path where it is ours, else its name."""
    base = training_settings(model).get("model")
    if not isinstance(base, str):
        return None  # fresh weights
    return next((str(model.parent_path(p)) for p in model.parents if p.name == base), base)


def _locate(result: Result, name: str, workspace: Workspace | None) -> Path:
    """The folder of a dataset that a checkpoint's settings name."""
    place = place_of(result, name, workspace.datasets if workspace else None)
    if (place / "dataset.json").exists():
        return place
    raise DataError(
        f"{result.name} was trained on {name!r}, which is not there any more",
        where=str(place),
        hint="build it again, or name the training data yourself: --train DATASET",
    )


def lots(datasets: Sequence[Dataset], seed: int) -> list[tuple[Dataset, str]]:
    """Every row once, as (dataset, id), in an order drawn by `seed` and each row's id alone.

    Canaries are left out: they are measured by themselves.
    """
    seen: dict[str, Dataset] = {}
    for dataset in datasets:
        table = dataset.table(["id", "meta"])
        for row_id, meta in zip(table["id"].to_pylist(), table["meta"].to_pylist(), strict=True):
            if '"canary":' not in (meta or ""):
                seen.setdefault(row_id, dataset)
    return [(seen[row_id], row_id) for row_id in sorted(seen, key=lambda i: (lot(seed, i), i))]


def draw(
    datasets: Sequence[Dataset],
    tokenizer: Tokenizer,
    *,
    limit: int,
    seed: int,
    prefixes: Sequence[int],
    suffix: int,
    window: int,
) -> tuple[list[Sample], list[Skipped]]:
    """`limit` rows drawn by `seed` that can be audited, and those drawn that cannot, with reasons.

    Rows are documents or conversations; others raise `DataError`. See `as_sample` for the rest.
    """
    for dataset in datasets:
        if dataset.row_type not in (Document, Conversation):
            raise DataError(
                f"an audit takes documents or conversations, and these are {dataset.info.kind} "
                "rows",
                where=str(dataset.path),
            )
    order = lots(datasets, seed)
    samples: list[Sample] = []
    skipped: list[Skipped] = []
    step = max(16, 2 * limit)
    for begin in range(0, len(order), step):
        chunk = order[begin : begin + step]
        rows = _fetch(chunk)
        for _, row_id in chunk:
            if len(samples) == limit:
                return samples, skipped
            try:
                samples.append(
                    as_sample(
                        rows[row_id], tokenizer, prefixes=prefixes, suffix=suffix, window=window
                    )
                )
            except (ValueError, DataError) as error:
                skipped.append(Skipped(row_id, getattr(error, "message", str(error))))
    return samples, skipped


def _fetch(chunk: Sequence[tuple[Dataset, str]]) -> dict[str, Any]:
    """The rows of some ids, each from its own dataset."""
    wanted: dict[Path, tuple[Dataset, list[str]]] = {}
    for dataset, row_id in chunk:
        wanted.setdefault(dataset.path, (dataset, []))[1].append(row_id)
    rows: dict[str, Any] = {}
    for dataset, ids in wanted.values():
        table = dataset.table(filter=pc.is_in(pc.field("id"), pa.array(ids, pa.string())))
        for values in table.to_pylist():
            rows.setdefault(values["id"], dataset.row_type.from_arrow(values))
    return rows


def as_sample(
    row: Document | Conversation,
    tokenizer: Tokenizer,
    *,
    prefixes: Sequence[int],
    suffix: int,
    window: int,
) -> Sample:
    """A row as the tokens that training made of it.

    A document's target is the `suffix` tokens after its first `max(prefixes)` (nearer to its
    beginning where it is short); it keeps its first `window` tokens. A conversation's target is its
    last answer, at most `suffix` tokens of it; where it is longer than `window`, what stands
    before the answer is cut. Raises `ValueError` for a row that is too short.
    """
    tokens, mask = encode(row, tokenizer)
    if isinstance(row, Document):
        tokens, mask = tokens[:window], mask[:window]
        start = min(max(prefixes) + 1, len(tokens) - suffix)
        if start < min(prefixes):
            least = min(prefixes) + suffix
            raise ValueError(f"too short: {len(tokens)} tokens, and {least} are needed")
        return Sample(row.id, row.uri, "document", tokens, mask, start, start + suffix)
    start = len(mask) - 1
    while start > 0 and mask[start - 1]:
        start -= 1
    end = min(len(tokens), start + suffix)
    if end - start < LEAST_TARGET:
        raise ValueError(f"the answer has {end - start} tokens, and {LEAST_TARGET} are needed")
    cut = max(0, min(len(tokens) - window, start - 1))
    tokens, mask = tokens[cut:][:window], mask[cut:][:window]
    mask[0] = False  # what came before it was cut, so nothing predicts it
    return Sample(
        row.id, row.uri, "conversation", tokens, mask, start - cut, min(end - cut, window)
    )


def encode(row: Document | Conversation, tokenizer: Tokenizer) -> tuple[list[int], list[bool]]:
    """Tokens of a row as training sees them, and which carry loss; the first never does.

    A document begins with what stands before it in training, the end of another text (or the
    tokenizer's begin token); the end of its own is left out. Raises `ValueError` for a row without
    text or without a supervised token.
    """
    # What training makes of a row is training's to say, so it is asked.
    from chatwright.train.tokens import encode_conversation, encode_documents

    if isinstance(row, Conversation):
        encoded = encode_conversation(row, tokenizer)
        if not any(encoded.mask or ()):
            raise ValueError("the assistant says nothing in it")
        return encoded.tokens, list(encoded.mask or ())
    if not row.text.strip():
        raise ValueError("the text is empty")
    ids = encode_documents([row], tokenizer)[0].tokens[:-1]
    begin = tokenizer.end_of_text_id
    tokens = ids if begin is None or ids[0] == tokenizer.bos_id else [begin, *ids]
    return tokens, [False] + [True] * (len(tokens) - 1)


def texts(datasets: Sequence[Dataset]) -> Iterator[str]:
    """The text of each row: a document's own, a conversation's messages one after the other."""
    for dataset in datasets:
        column = "text" if dataset.row_type is Document else "messages"
        for part in dataset.batches():
            for row in part:
                if column == "text":
                    yield row.text
                else:
                    yield "\n".join(message.content for message in row.messages)


def count_holders(datasets: Sequence[Dataset], targets: Mapping[str, str]) -> dict[str, int]:
    """For each target (name → text), how many rows hold that text, word for word.

    Told for training rows: 1 is the row itself, more are duplicates. For held-out rows: 0 is right.
    """
    found = dict.fromkeys(targets, 0)
    for text in texts(datasets):
        for name, target in targets.items():
            found[name] += target in text
    return found
