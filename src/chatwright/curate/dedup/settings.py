"""Settings of `dedup:`: which duplicates go, and which of them stays."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from chatwright.curate.quality import RepeatedParagraphs
from chatwright.stage import Settings

Survivor = Literal["first", "longest", "newest", "best"]


class UrlSettings(Settings):
    """Rows of one address: `survivor` stays. A crawl's newest capture, unless told otherwise."""

    survivor: Survivor = "newest"


class NearSettings(Settings):
    """Near-duplicates: rows whose sets of word n-grams have a Jaccard index of `threshold` or more.

    `ngram` is a length in words; Chinese characters count 5/8 of a word, so that 5 words and 8
    characters are one length. `hashes` is the length of a MinHash signature; `bands` and `rows`
    cut it up (bands x rows of it are used), and are chosen from the threshold where left out.
    `least`: rows of fewer words are not compared. `probes`: with how many of its members a bucket's
    members are compared; a smaller bucket is compared whole. `seed` chooses the hash functions.
    """

    threshold: float = Field(default=0.7, gt=0, le=1)
    survivor: Survivor = "longest"
    ngram: int = Field(default=5, ge=1, le=50)
    least: int = Field(default=1, ge=1)
    hashes: int = Field(default=128, ge=16, le=1024)
    bands: int | None = Field(default=None, ge=1, le=512)
    rows: int | None = Field(default=None, ge=1, le=64)
    probes: int = Field(default=16, ge=1, le=1000)
    seed: int = Field(default=1, ge=0, lt=2**32)

    @model_validator(mode="after")
    def _bands_fit(self) -> Self:
        if (self.bands is None) != (self.rows is None):
            raise ValueError("give bands and rows, or neither")
        if (self.bands or 0) * (self.rows or 0) > self.hashes:
            raise ValueError(f"bands x rows are more than {self.hashes} hashes")
        return self


class LineSettings(Settings):
    """A line of `least` letters or more that stands in at least `pages` pages of one site.

    It stays in the first `copies` of them. Headings, tables and code are never taken out.
    """

    pages: int = Field(default=5, ge=2)
    copies: int = Field(default=1, ge=0)
    least: int = Field(default=4, ge=1)

    def __str__(self) -> str:
        return f"in at most {self.copies} pages of a site, where {self.pages} or more have it"


class DedupSettings(Settings):
    """Which duplicates go. `true` takes the defaults of a kind, `false` leaves it alone.

    `paragraphs: null` takes the preset's bounds (`resolved`).
    """

    urls: UrlSettings | bool = False
    documents: bool = True
    near: NearSettings | bool = False
    paragraphs: RepeatedParagraphs | Literal[False] | None = None
    lines: LineSettings | bool = False

    def resolved(self, preset: RepeatedParagraphs | None = None) -> Self:
        """The same with every `true` and `null` replaced by what it stands for."""
        paragraphs = (preset or False) if self.paragraphs is None else self.paragraphs
        return self.model_copy(
            update={
                "urls": UrlSettings() if self.urls is True else self.urls,
                "near": NearSettings() if self.near is True else self.near,
                "lines": LineSettings() if self.lines is True else self.lines,
                "paragraphs": paragraphs,
            }
        )

    @property
    def any(self) -> bool:
        """Whether there is anything to join."""
        return bool(self.urls or self.documents or self.near or self.paragraphs or self.lines)
