"""A study: prompts, the models' answers to them, and judges who compare those blindly."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import filelock

from chatwright.errors import ChatwrightError, DataError, UsageError
from chatwright.evaluate.arena import checks
from chatwright.evaluate.arena.desk import Desk
from chatwright.evaluate.arena.files import (
    STUDY,
    VOTES,
    Answers,
    read_description,
    read_items,
    write_description,
    write_items,
)
from chatwright.evaluate.arena.places import HINT, checked_name, studies_folder
from chatwright.evaluate.arena.shapes import (
    SCALES,
    Answer,
    Choice,
    Comparison,
    Description,
    Form,
    Item,
    Judge,
    Kind,
    Rating,
    RatingTask,
    Sampling,
    StudyInfo,
    Verdict,
    Vote,
)
from chatwright.evaluate.arena.texts import GUIDELINES, pick_language
from chatwright.evaluate.arena.votes import Shown, VoteLog
from chatwright.progress import Progress, Silent
from chatwright.records import Message, disk_errors
from chatwright.workspace import Workspace

if TYPE_CHECKING:
    from chatwright.evaluate.arena.export import Exported
    from chatwright.evaluate.arena.judging import Ask, Judged
    from chatwright.evaluate.arena.results import StudyResults


class Study:
    """One study in `WORKSPACE/arena/NAME`. Safe to use from many threads and many processes.

    >>> study = Study.create("first", ["tiny/before", "tiny/after"], prompts="tiny/questions")
    >>> study.generate()
    >>> shown = study.next_comparison("alice")
    >>> study.vote("alice", shown.id, "left", reasons=["correct"])
    >>> study.results().people.strengths
    """

    def __init__(self, path: Path, description: Description, items: Sequence[Item]) -> None:
        self.path = path
        self.description = description
        self.items: tuple[Item, ...] = tuple(items)
        self._by_id = {item.id: item for item in items}
        self._answers = Answers(path)
        self._log = VoteLog(path / VOTES)
        self.desk = Desk(description, items, self._answers, self._log)

    @classmethod
    def create(
        cls,
        name: str,
        models: Sequence[str],
        prompts: str | os.PathLike[str],
        *,
        workspace: Workspace | None = None,
        limit: int | None = None,
        forms: Sequence[Form] = ("compare",),
        guidelines: str | Mapping[str, str] | None = None,
        sampling: Sampling | None = None,
        overlap: float = 0.3,
        seed: int = 0,
        key: str | None = None,
    ) -> Self:
        """Write a new study's description and prompts; `generate` makes the answers.

        `models`: two or more, each `REFERENCE` or `LABEL=REFERENCE`; a reference is what
        `load_assistant` takes, or a `.jsonl` file of answers made elsewhere (`id`, `text`).
        `prompts`: a dataset of conversations or questions by name or path, or a `.jsonl`, `.json`
        or `.txt` file. `limit` takes that many, chosen by `seed`. `overlap`: the share of pairs
        that every judge sees, so that agreement can be computed; others go first where votes are
        fewest. `guidelines`: Markdown, or one by language ("en", "zh"). `key` fixes the hidden
        order of items and sides (default: a random one).

        Raises `UsageError` for a bad name, one that exists, fewer than two models or an unknown
        one, `DataError` for prompts that cannot be used.
        """
        from chatwright.evaluate.arena.generating import model_entries
        from chatwright.evaluate.arena.prompts import read_prompts

        place = workspace or Workspace()
        folder = studies_folder(place) / checked_name(name)
        checks.settings(forms, overlap, limit)
        if (folder / STUDY).exists():
            raise UsageError(
                f"there is a study called {name!r} already",
                where=str(folder),
                hint="choose another name, or go on with it",
            )
        entries = model_entries(models, place)
        found = read_prompts(prompts, place, limit=limit, seed=seed)
        texts = {"en": guidelines, "zh": guidelines} if isinstance(guidelines, str) else guidelines
        description = Description(
            name=name,
            models=entries,
            forms=tuple(dict.fromkeys(forms)),
            guidelines=dict(GUIDELINES) | dict(texts or {}),
            seed=seed,
            key=key or secrets.token_hex(16),
            sampling=sampling or Sampling(),
            overlap=overlap,
            prompts=found.describe(),
        )
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            study = cls(folder, description, found.items)
            # A folder that lost its study.json may still hold people's votes.
            if study._log.read().sequence or study.answers:
                study.close()
                raise UsageError(
                    "the folder holds votes or answers of another study",
                    where=str(folder),
                    hint="bring its study.json back, or choose another name",
                )
            write_items(folder, found.items)
            with study._log.write():
                pass  # the file is there before several judges come at once
            write_description(folder, description)  # last: now it is a study
        return study

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open a study's folder. Raises `UsageError` where there is none, `DataError` where its
        files are damaged.
        """
        folder = Path(path)
        if not (folder / STUDY).exists():
            raise UsageError("there is no study here", where=str(folder), hint=HINT)
        return cls(folder, read_description(folder), read_items(folder))

    @property
    def name(self) -> str:
        return self.description.name

    @property
    def forms(self) -> tuple[Form, ...]:
        """What is asked: "compare" (side by side), "rate" (the scoring form), or both."""
        return self.description.forms

    @property
    def models(self) -> tuple[str, ...]:
        """The labels of the compared models: not for a judge's eyes."""
        return tuple(entry.label for entry in self.description.models)

    @property
    def answers(self) -> Mapping[tuple[str, str], Answer]:
        """By (model, item): all that has been answered so far."""
        return self._answers.all()

    @property
    def judges(self) -> tuple[Judge, ...]:
        return tuple(self._log.read().judges.values())

    @property
    def workspace(self) -> Workspace:
        """The workspace that the study lies in."""
        return Workspace(self.path.absolute().parent.parent)

    def guidelines(self, language: str | None = "en") -> str:
        """Markdown for judges."""
        texts = self.description.guidelines
        return texts.get(pick_language(language)) or next(iter(texts.values()))

    def generate(self, progress: Progress | None = None) -> int:
        """Have the models answer what is not answered yet; returns how many answers were made.

        One model is in memory at a time. Every answer is on disk before the next, so a killed run
        goes on. Prompts that do not fit a model's context are recorded with the reason. Raises
        `ChatwrightError` while another process generates for this study.
        """
        from chatwright.evaluate.arena.generating import generate

        lock = filelock.FileLock(self.path / ".generate.lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise ChatwrightError(
                f"another process is making answers for {self.name!r}",
                where=str(self.path),
                hint="wait for it to finish, or stop it",
            ) from error
        try:
            self._answers.mend()
            return generate(
                self.description.models,
                self.items,
                self._answers,
                sampling=self.description.sampling,
                seed=self.description.seed,
                workspace=self.workspace,
                progress=progress or Silent(),
            )
        finally:
            lock.release()

    # -- judging -----------------------------------------------------------------------------

    def next_comparison(self, judge: str) -> Comparison | None:
        """The next pair for a person, or None when there is no more.

        Asked again before a vote, it is the same one. Raises `UsageError` for a bad judge's name,
        that of a model judge, or a study that does not compare.
        """
        found = self.desk.next(judge, "compare")
        if found is None:
            return None
        shown, place = found
        item = self._by_id[shown.item]
        return Comparison(
            id=shown.task,
            judge=shown.judge,
            messages=_as_read(item),
            left=self._text(shown.left, item),
            right=self._text(shown.right or "", item),
            language=item.language,
            context=_context(item),
            reference=item.reference,
            place=place,
        )

    def vote(
        self,
        judge: str,
        comparison: str,
        choice: Choice,
        *,
        reasons: Sequence[str] = (),
        comment: str = "",
        seconds: float | None = None,
    ) -> Vote:
        """Record a choice. `reasons` are codes of `REASONS`, `seconds` how long it took.

        Raises `UsageError` for an unknown comparison, one that was shown to another judge, one
        already voted on, and values that cannot be.
        """
        value = {
            "choice": checks.choice(choice),
            "reasons": checks.reasons(reasons),
            "comment": checks.comment(comment),
            "seconds": checks.seconds(seconds),
        }
        found = self.desk.answer(judge, comparison, "compare", "vote", lambda shown: value)
        assert isinstance(found, Vote)
        return found

    def next_rating(self, judge: str) -> RatingTask | None:
        """The next answer to score, or None at the end; otherwise as `next_comparison`."""
        found = self.desk.next(judge, "rate")
        if found is None:
            return None
        shown, place = found
        item = self._by_id[shown.item]
        return RatingTask(
            id=shown.task,
            judge=shown.judge,
            messages=_as_read(item),
            answer=self._text(shown.left, item),
            scales=_scales(item),
            language=item.language,
            context=_context(item),
            reference=item.reference,
            place=place,
        )

    def rate(
        self,
        judge: str,
        rating: str,
        scores: Mapping[str, int],
        *,
        comment: str = "",
        seconds: float | None = None,
    ) -> Rating:
        """Record scores (1…5 by scale; scales that do not apply left out; none at all: skipped).

        Raises as `vote` does.
        """
        text, took = checks.comment(comment), checks.seconds(seconds)

        def value(shown: Shown) -> Mapping[str, object]:
            asked = _scales(self._by_id[shown.item])
            return {"scores": checks.scores(scores, asked), "comment": text, "seconds": took}

        found = self.desk.answer(judge, rating, "rate", "rate", value)
        assert isinstance(found, Rating)
        return found

    def undo(self, judge: str) -> Vote | Rating | None:
        """Take back the judge's latest vote or rating, which is then shown again.

        Nothing is deleted: the retraction is a row of its own. None where there is nothing left.
        """
        name = checks.judge(judge)
        with self._log.write() as (state, append):
            task = state.latest(name)
            if task is None:
                return None
            taken = state.standing[task]
            append(name, "retract", task, {"of": taken.sequence})
            return taken

    # -- what was said -----------------------------------------------------------------------

    def votes(self, kind: Kind | None = None) -> list[Vote]:
        """The votes that stand, skips included, in order."""
        state = self._log.read()
        return [v for v in state.votes() if kind in (None, state.judges[v.judge].kind)]

    def ratings(self, kind: Kind | None = None) -> list[Rating]:
        """The ratings that stand, skipped ones included, in order."""
        state = self._log.read()
        return [r for r in state.ratings() if kind in (None, state.judges[r.judge].kind)]

    def verdicts(self) -> list[Verdict]:
        """What model judges said, whether it became a vote or not."""
        return list(self._log.read().verdicts.values())

    def judge_with(
        self,
        model: str,
        *,
        ask: Ask | None = None,
        name: str | None = None,
        limit: int | None = None,
        max_tokens: int = 256,
        progress: Progress | None = None,
    ) -> Judged:
        """Have a model compare the pairs, asked both ways round; see `judging.judge_with`."""
        from chatwright.evaluate.arena.judging import judge_with

        return judge_with(
            self, model, ask=ask, name=name, limit=limit, max_tokens=max_tokens,
            progress=progress or Silent(),
        )  # fmt: skip

    def results(self, *, seed: int = 0, resamples: int = 1_000) -> StudyResults:
        """Ratings, win rates, agreement, position bias and scores; people and models apart."""
        from chatwright.evaluate.arena.summary import summarise

        return summarise(self, seed=seed, resamples=resamples)

    def export_preferences(
        self, path: str | os.PathLike[str], *, kind: Kind = "person", each_vote: bool = False
    ) -> Exported:
        """Write the votes as a dataset of preferences; see `export.export_preferences`."""
        from chatwright.evaluate.arena.export import export_preferences

        return export_preferences(self, Path(path), kind=kind, each_vote=each_vote)

    def info(self) -> StudyInfo:
        """What a list of studies shows."""
        state = self._log.read()
        return StudyInfo(
            name=self.name,
            forms=self.forms,
            models=self.models,
            items=len(self.items),
            answers=len(self.answers),
            votes=len(state.votes()),
            ratings=len(state.ratings()),
            judges=tuple(state.judges.values()),
        )

    def close(self) -> None:
        """Close the database; it is opened again when needed."""
        self._log.close()

    def _text(self, model: str, item: Item) -> str:
        text = self.answers[model, item.id].text
        assert text is not None
        return text


def list_studies(workspace: Workspace) -> list[StudyInfo]:
    """The studies of a workspace, by name; a damaged one is listed with its problem."""
    found: list[StudyInfo] = []
    for file in sorted(studies_folder(workspace).glob(f"*/{STUDY}")):
        try:
            study = Study.open(file.parent)
            found.append(study.info())
            study.close()
        except DataError as error:
            found.append(StudyInfo(file.parent.name, (), (), 0, 0, 0, 0, problem=error.message))
    return found


def _as_read(item: Item) -> tuple[Message, ...]:
    if item.question is None:
        return item.messages
    return (*item.messages[:-1], Message("user", item.question))


def _context(item: Item) -> str | None:
    return None if item.question is None else item.messages[-1].content


def _scales(item: Item) -> tuple[str, ...]:
    grounded = item.question is not None or item.reference is not None
    return SCALES if grounded else tuple(scale for scale in SCALES if scale != "grounded")
