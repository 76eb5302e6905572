"""Requests and answers of `/v1/fine_tuning/jobs`, in OpenAI's form."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, model_validator

from chatwright.serve.bodies import Body

Status = Literal["validating_files", "queued", "running", "succeeded", "failed", "cancelled"]

_Epochs = Annotated[int, Field(ge=1, le=50)] | Literal["auto"]
_Batch = Annotated[int, Field(ge=1, le=256)] | Literal["auto"]
_Rate = Annotated[float, Field(gt=0, le=10)] | Literal["auto"]
_Beta = Annotated[float, Field(gt=0, le=2)] | Literal["auto"]
_FileId = Annotated[str, Field(min_length=1, max_length=64)]


class SupervisedParameters(Body):
    """Numbers of the training; `auto` lets the server choose."""

    n_epochs: _Epochs = "auto"
    batch_size: _Batch = "auto"
    learning_rate_multiplier: _Rate = "auto"


class DpoParameters(SupervisedParameters):
    """The same, and how dearly the model pays for leaving what it was."""

    beta: _Beta = "auto"


class Supervised(Body):
    """Conversations: the assistant's answers are learnt."""

    hyperparameters: SupervisedParameters = SupervisedParameters()


class Dpo(Body):
    """Pairs of answers: the preferred one is learnt against the other."""

    hyperparameters: DpoParameters = DpoParameters()


class MethodChoice(Body):
    """How to learn."""

    type: Literal["supervised", "dpo"]
    supervised: Supervised | None = None
    dpo: Dpo | None = None

    @model_validator(mode="after")
    def _own(self) -> MethodChoice:
        other = self.dpo if self.type == "supervised" else self.supervised
        if other is not None:
            raise ValueError(f"the settings are not those of {self.type}")
        return self


class JobRequest(Body):
    """What shall be trained on what."""

    model: str = Field(min_length=1, max_length=300)
    training_file: _FileId
    validation_file: _FileId | None = None
    suffix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    seed: int | None = Field(None, ge=0, lt=2**32)
    method: MethodChoice | None = None
    hyperparameters: SupervisedParameters | None = None
    metadata: (
        Annotated[
            dict[
                Annotated[str, Field(max_length=64)],
                Annotated[str, Field(max_length=512)],
            ],
            Field(max_length=16),
        ]
        | None
    ) = None
    integrations: Annotated[list[dict[str, Any]], Field(max_length=0)] | None = None

    @property
    def kind(self) -> Literal["supervised", "dpo"]:
        return self.method.type if self.method is not None else "supervised"

    def parameters(self) -> dict[str, Any]:
        """The numbers as they were asked for."""
        method = self.method
        told: SupervisedParameters | None = self.hyperparameters
        if method is not None:
            part = method.dpo if method.type == "dpo" else method.supervised
            told = part.hyperparameters if part is not None else told
        return {} if told is None else told.model_dump()


class JobError(BaseModel):
    """Why it failed; all three are null where it did not."""

    code: str | None = None
    message: str | None = None
    param: str | None = None


class JobObject(BaseModel):
    """OpenAI's job object."""

    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    created_at: int
    estimated_finish: int | None
    finished_at: int | None
    error: JobError | None
    fine_tuned_model: str | None
    hyperparameters: dict[str, Any]
    integrations: list[dict[str, Any]] = []
    metadata: dict[str, str] | None
    method: dict[str, Any]
    model: str
    organization_id: str = ""
    result_files: list[str] = []
    seed: int
    status: Status
    trained_tokens: int | None
    training_file: str
    user_provided_suffix: str | None
    validation_file: str | None


class JobObjects(BaseModel):
    """A page of jobs, the newest first."""

    object: Literal["list"] = "list"
    data: list[JobObject]
    has_more: bool


class EventObject(BaseModel):
    """Something that a job told of itself; `data` of a `metrics` event holds step and loss."""

    id: str
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: int
    level: Literal["info", "warn", "error"]
    message: str
    type: Literal["message", "metrics"]
    data: dict[str, Any] | None


class EventObjects(BaseModel):
    """A page of events, the newest first."""

    object: Literal["list"] = "list"
    data: list[EventObject]
    has_more: bool


class Checkpoints(BaseModel):
    """Checkpoints of a job: none is kept here once it has ended."""

    object: Literal["list"] = "list"
    data: list[dict[str, Any]] = []
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool = False
