"""What a person may ask of `compress`, and which of it goes together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from pydantic import Field, ValidationError

from chatwright.errors import UsageError
from chatwright.stage import Settings

Method = Literal[
    "int8", "int4", "prune", "heads", "channels", "layers", "low-rank", "share", "distil"
]
METHODS: tuple[str, ...] = get_args(Method)
QUANTISING = ("int8", "int4")

_CRITERIA: dict[str, tuple[str, ...]] = {
    "prune": ("wanda", "magnitude"),
    "heads": ("activation", "taylor"),
    "channels": ("activation", "taylor"),
    "layers": ("influence", "spread"),
    "low-rank": ("activation", "plain"),
}
# Options by method; `seed` goes with all.
_TRAINED = {"recover", "data"}
_CHOSEN = {"criterion", "calibration", "rows"}
_OPTIONS: dict[str, set[str]] = {
    "int8": {"calibrate", "group", "calibration"},
    "int4": {"calibrate", "group", "calibration", "symmetric", "embedding"},
    "prune": {"sparsity", "pattern"} | _CHOSEN | _TRAINED,
    "heads": {"keep", "unit"} | _CHOSEN | _TRAINED,
    "channels": {"keep"} | _CHOSEN | _TRAINED,
    "layers": {"keep"} | _CHOSEN | _TRAINED,
    "low-rank": {"keep", "rank", "energy", "dense"} | _CHOSEN | _TRAINED,
    "share": {"keep", "dense", "tie_embeddings"} | _TRAINED,
    "distil": {"keep", "temperature", "teacher_share"} | _TRAINED,
}


class CompressSettings(Settings):
    """One method and its options; None: the method's own default.

    `keep` is how much stays: a share ("0.75", "75%") or a count ("12"): of query heads, of MLP
    channels, of layers, of each matrix's weights (low-rank), of sets of weights (share), of the
    teacher's layers (distil). `recover` steps of training on `data` follow (for distil: its
    training). `rows` rows of 512 tokens of `calibration` show which inputs the model sees.
    """

    method: Method
    calibrate: Literal["none", "awq", "gptq"] | None = None
    group: int | None = Field(default=None, ge=0)
    symmetric: bool | None = None
    embedding: Literal["int8", "same"] | None = None
    sparsity: float | None = Field(default=None, gt=0, lt=1)
    pattern: str | None = None
    criterion: str | None = None
    keep: str | None = None
    unit: Literal["groups", "queries"] | None = None
    rank: int | None = Field(default=None, ge=1)
    energy: float | None = Field(default=None, gt=0, le=1)
    dense: bool | None = None
    tie_embeddings: bool | None = None
    recover: int | None = Field(default=None, ge=1)
    data: str | None = None
    temperature: float | None = Field(default=None, gt=0)
    teacher_share: float | None = Field(default=None, ge=0, le=1)
    calibration: str | None = None
    rows: int | None = Field(default=None, ge=1, le=4096)
    seed: int = Field(default=0, ge=0, lt=2**32)

    @classmethod
    def checked(cls, **options: object) -> CompressSettings:
        """Settings from options. Raises `UsageError` naming the option that is wrong."""
        try:
            settings = cls.model_validate({k: v for k, v in options.items() if v is not None})
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0]) if first["loc"] else "method"
            raise UsageError(first["msg"], where=option(name)) from error
        settings.check()
        return settings

    def check(self) -> None:
        """Raise `UsageError` for options that do not go together, naming them."""
        known = _OPTIONS[self.method]
        given = {k for k, v in self.model_dump().items() if v is not None} - {"method", "seed"}
        if strange := sorted(given - known):
            fitting = [m for m, options in _OPTIONS.items() if strange[0] in options]
            raise UsageError(
                f"this does not go with --method {self.method}",
                where=option(strange[0]),
                hint=f"it goes with {', '.join(fitting)}; {self.method} has "
                f"{', '.join(map(option, sorted(known)))}",
            )
        self._check_pairs()
        criteria = _CRITERIA.get(self.method, ())
        if self.criterion is not None and self.criterion not in criteria:
            raise UsageError(
                f"{self.criterion!r} is no criterion of --method {self.method}",
                where="--criterion",
                hint=f"it has {' and '.join(criteria)}",
            )
        if self.keep is not None:
            parse_keep(self.keep)

    def _check_pairs(self) -> None:
        def refuse(message: str, *names: str) -> None:
            raise UsageError(message, where=", ".join(map(option, names)))

        if self.recover is not None and self.data is None:
            refuse("training needs data: a dataset of documents or conversations", "data")
        if self.data is not None and self.recover is None:
            refuse("say for how many steps to train on the data", "recover")
        if self.method == "distil" and self.recover is None:
            refuse("a student must be trained: say for how many steps, on what", "recover", "data")
        if self.pattern is not None and self.sparsity is not None:
            refuse("a pattern says how many weights stay", "sparsity", "pattern")
        how = [n for n in ("keep", "rank", "energy") if getattr(self, n) is not None]
        if self.method == "low-rank" and len(how) > 1:
            refuse("these exclude each other; give one", *how)

    @property
    def chosen_criterion(self) -> str:
        """The criterion, where the method has one: the given one or the method's first."""
        return self.criterion or _CRITERIA[self.method][0]


def parse_keep(text: str) -> int | float:
    """A count ("12") or a share ("0.75", "75%"; "1.0" is all). Raises `UsageError`."""
    cleaned = text.strip()
    try:
        if cleaned.isdecimal():
            count = int(cleaned)
            if count >= 1:
                return count
        value = float(cleaned.removesuffix("%")) / (100 if cleaned.endswith("%") else 1)
        if 0 < value <= 1:
            return value
    except ValueError:
        pass
    raise UsageError(
        f"{text!r} is neither a count nor a share",
        where="--keep",
        hint="12 keeps twelve, 0.75 or 75% three quarters",
    )


def count_of(keep: str | None, there: int, default: float, multiple: int = 1) -> int:
    """How many of `there` stay. A share is rounded to the nearest `multiple`, at least one."""
    asked = default if keep is None else parse_keep(keep)
    if isinstance(asked, int):
        return asked
    return min(there, max(1, round(asked * there / multiple)) * multiple)


def option(name: str) -> str:
    """A setting's name as the command line has it."""
    return "--" + name.replace("_", "-")


def said(settings: CompressSettings) -> Mapping[str, object]:
    """The settings that were given."""
    return {k: v for k, v in settings.model_dump(mode="json").items() if v is not None}
