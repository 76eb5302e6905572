"""What a recipe says about personal data."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from chatwright.curate.privacy.kinds import PATTERN_TYPES, Mode, PiiType
from chatwright.stage import Settings


class PrivacySettings(Settings):
    """`privacy:` of a curation. The key itself is never a setting: only where it is kept."""

    mode: Mode = Field(
        "tag",
        description="what becomes of personal data: tag ([EMAIL]), mask (stars), pseudonym (an "
        "invented value, the same for the same value), or drop (the row goes)",
    )
    types: tuple[PiiType, ...] = Field(
        PATTERN_TYPES,
        description="which types are looked for; names, places, organisations see `names`",
    )
    modes: dict[PiiType, Mode] = Field(
        default_factory=dict, description="another mode for a type: {private_key: drop}"
    )
    least: dict[PiiType, float] = Field(
        default_factory=dict,
        description="per type, the confidence 0…1 from which on a finding counts; 0.5 unless said",
    )
    names: bool = Field(
        False, description="people's names too, by the recogniser that is installed (extra `names`)"
    )
    places: bool = Field(False, description="with `names`: places and organisations too")
    key_env: str | None = Field(
        None, description="the environment variable that holds the key of the pseudonyms"
    )
    key_file: str | None = Field(None, description="or the file that holds it")
    most: int | None = Field(
        None,
        ge=1,
        description="a row with more findings than this is a list of personal data and is dropped",
    )

    @field_validator("least")
    @classmethod
    def _shares(cls, least: dict[PiiType, float]) -> dict[PiiType, float]:
        for name, value in least.items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name}: a confidence is 0 to 1, not {value}")
        return least

    @model_validator(mode="after")
    def _one_key(self) -> PrivacySettings:
        if self.key_env and self.key_file:
            raise ValueError("give key_env or key_file, not both")
        wanted = "pseudonym" in (self.mode, *self.modes.values())
        if wanted and not (self.key_env or self.key_file):
            raise ValueError("pseudonyms need a key: name it with key_env or key_file")
        return self

    @property
    def wanted(self) -> frozenset[PiiType]:
        """All types that are looked for."""
        names: tuple[PiiType, ...] = ()
        if self.names:
            names = ("name", "place", "organisation") if self.places else ("name",)
        return frozenset((*self.types, *names))
