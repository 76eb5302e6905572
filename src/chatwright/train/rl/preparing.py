"""From what a run was given to those who take part in it: the same for PPO and GRPO."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

from chatwright.errors import TrainingError, UsageError
from chatwright.model import Transformer
from chatwright.model.lora import lora_parameters
from chatwright.records import Document, Message
from chatwright.tokenizer import Tokenizer
from chatwright.train.plan import Mixed, Plan
from chatwright.train.preference.scoring import score_conversations
from chatwright.train.rl.actors import Actors, HeldOutPrompts, Judge
from chatwright.train.rl.objective import PolicyObjective
from chatwright.train.rl.prompts import Prompts
from chatwright.train.rl.rewards import RewardFunction, Sample, judge
from chatwright.train.rl.samples import SampleLog
from chatwright.train.rl.settings import GrpoSettings, KlSettings, PpoSettings, RolloutSettings
from chatwright.train.rl.source import RolloutSource
from chatwright.train.setup import Data, Prepared, Setup, steps_of


def prepare_rollouts(
    setup: Setup,
    settings: PpoSettings | GrpoSettings,
    source_type: type[RolloutSource],
    objective: PolicyObjective,
    *,
    mix: tuple[float, int] = (0.0, 0),
) -> Prepared:
    """Read the prompts, find who judges and who the reference is, and plan the run.

    `mix` is how much documents count, and how many tokens of them a step takes. Held-out prompts
    are those of the validation data. Raises `UsageError` or `TrainingError` naming the key that is
    missing or does not fit.
    """
    if setup.settings.tokens is not None:
        raise UsageError(
            f"objective {setup.settings.objective} is measured in steps or epochs, not in tokens",
            where=f"stage {setup.stage}: tokens",
            hint="give steps, or epochs of the prompts",
        )
    talk = [(data, weight) for data, weight in setup.data if not _documents(data)]
    documents = [(data, weight) for data, weight in setup.data if _documents(data)]
    pretrain = _pretrain(setup, documents, mix)
    actors = Actors(setup.model, setup.tokenizer, _reference(setup, settings.kl), judge_of(setup))
    source = source_type(
        actors,
        _prompts(setup, settings, talk, _places(setup)),
        settings,
        settings.kl,
        seed=setup.seed,
        context=setup.numbers.length,
        log=SampleLog(setup.folder, settings.samples),
        pretrain=pretrain,
    )
    held_out = None
    if setup.validation is not None:
        held_out = HeldOutPrompts(
            actors,
            _prompts(setup, settings, [(setup.validation, 1.0)]),
            settings,
            seed=setup.seed,
            context=setup.numbers.length,
        )
    total = steps_of(setup.settings, setup.numbers, source.end_after)
    return Prepared(objective, source, total, validation=held_out)


def judge_of(setup: Setup) -> Judge:
    """The reward model, the reward function, or the sum of both. `UsageError` without either."""
    functions: list[Callable[[Sequence[Sample]], Sequence[float]]] = []
    if setup.reward is not None:
        functions.append(setup.reward)
    if "reward" in setup.models or not functions:
        model = setup.helper("reward").to(setup.model.device)
        functions.append(model_reward(model, setup.tokenizer))

    def total(samples: Sequence[Sample]) -> list[float]:
        found = [judge(function, samples) for function in functions]
        return [sum(values) for values in zip(*found, strict=True)]

    return total


def model_reward(model: Transformer, tokenizer: Tokenizer) -> RewardFunction:
    """A reward function that asks a reward model; rewards are normalised as it was trained."""
    model.requires_grad_(False)

    def reward_model(samples: Sequence[Sample]) -> list[float]:
        talks = [[*sample.prompt, Message("assistant", sample.text)] for sample in samples]
        return [float(score) for score in score_conversations(model, tokenizer, talks)]

    return reward_model


def _pretrain(
    setup: Setup, documents: Sequence[tuple[Data, float]], mix: tuple[float, int]
) -> tuple[Plan, float] | None:
    """The order of the documents that are learnt beside the answers, and how much they count."""
    weight, tokens = mix
    if bool(weight) != bool(documents):
        raise UsageError(
            "documents are among the data and pretrain_mix is 0"
            if documents
            else "pretrain_mix needs documents, and there are none among the data",
            where=f"stage {setup.stage}: {setup.settings.objective}.pretrain_mix",
            hint="name a dataset of documents beside the prompts and set pretrain_mix, or neither",
        )
    if not documents:
        return None
    length = min(setup.numbers.length, tokens)
    plan = Plan(
        [Mixed(setup.opener.open(data, "pretrain"), share) for data, share in documents],
        length=length,
        rows_per_step=-(-tokens // length),
        seed=setup.seed,
        chat=False,
        stage=setup.stage,
    )
    return plan, weight


def _reference(setup: Setup, kl: KlSettings) -> Transformer | None:
    """The model that was named; the policy without adapters (None); or a frozen copy of it."""
    found = setup.models.get("reference")
    if found is None:
        if kl.coefficient == 0 or lora_parameters(setup.model):
            return None
        found = copy.deepcopy(setup.model)
    return found.to(setup.model.device, setup.numbers.dtype).requires_grad_(False).eval()


def _prompts(
    setup: Setup,
    settings: RolloutSettings,
    data: Sequence[tuple[Data, float]],
    places: tuple[float, float] = (0.0, 1.0),
) -> Prompts:
    longest = setup.numbers.length - settings.max_new_tokens
    if longest < 1:
        raise TrainingError(
            f"answers of {settings.max_new_tokens} tokens leave no room for a prompt in "
            f"{setup.numbers.length}",
            where=f"stage {setup.stage}: {setup.settings.objective}.max_new_tokens",
            hint="lower max_new_tokens, or raise length",
        )
    return Prompts(
        data,
        setup.tokenizer,
        longest=longest,
        seed=setup.seed,
        stage=setup.stage,
        places=places,
    )


def _places(setup: Setup) -> tuple[float, float]:
    """Which prompts are learnt from: the range `preference.prompts` without what is held out.

    The same split as a reward model's and DPO's, but that nothing is held out unless it is asked
    for.
    """
    preference = setup.settings.preference
    low, high = preference.prompts
    return low, high - (preference.held_out or 0.0) * (high - low)


def _documents(data: Data) -> bool:
    return isinstance(next(iter(data), None), Document)
