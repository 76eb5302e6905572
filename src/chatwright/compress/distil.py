"""A smaller student made from its teacher's layers, trained to answer as the teacher does.

The student starts from layers of the teacher at equal distances (Sanh et al. 2019, DistilBERT) and
is trained with the objective `distil` (`chatwright.train.distil`), as any model may be.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from chatwright.compress.recover import training_settings
from chatwright.compress.structured import spread_layers, take_layers
from chatwright.errors import UsageError
from chatwright.model.transformer import Transformer
from chatwright.progress import Progress
from chatwright.records import Dataset, Row
from chatwright.tokenizer import Tokenizer
from chatwright.train import TrainSettings, train
from chatwright.train.distil_settings import DistilSettings
from chatwright.train.numbers import decide


def student_of(teacher: Transformer, layers: int) -> Transformer:
    """A student of `layers` of the teacher's layers at equal distances, the first and last among
    them; with weights of its own, float32.
    """
    student = take_layers(teacher, spread_layers(len(teacher.layers), layers))
    state = {n: t.detach().float().clone() for n, t in student.state_dict().items()}
    student.load_state_dict(state, assign=True)
    return student


def distil(
    teacher: Transformer,
    tokenizer: Tokenizer,
    data: Dataset | Sequence[Row],
    *,
    layers: int,
    steps: int,
    temperature: float = 2.0,
    share: float = 0.5,
    settings: TrainSettings | None = None,
    seed: int = 0,
    scratch: Path,
    progress: Progress | None = None,
) -> tuple[Transformer, float]:
    """A student of `layers` layers, trained for `steps` steps, and the loss of the last one.

    `scratch` holds what an interrupted run goes on from: called again with the same arguments, it
    ends with the same bits. Raises `UsageError` for a student that is no smaller.
    """
    if not 0 < layers < len(teacher.layers):
        raise UsageError(
            f"a student of {layers} layers for a teacher of {len(teacher.layers)}", where="--keep"
        )
    try:
        how_to_learn = DistilSettings(temperature=temperature, share=share)
    except ValidationError as error:
        raise UsageError("the temperature is above 0 and the share from 0 to 1") from error
    student = student_of(teacher, layers)
    how = settings or training_settings(student, data, steps)
    how = how.model_copy(update={"objective": "distil", "distil": how_to_learn})
    # The teacher computes in the type that the student is trained in.
    teacher = teacher.to(decide(how, student.config, student.device).dtype)
    result = train(
        student,
        tokenizer,
        data,
        how,
        models={"teacher": teacher},
        seed=seed,
        scratch=scratch,
        stage="distil",
        progress=progress,
    )
    return result.model, result.loss
