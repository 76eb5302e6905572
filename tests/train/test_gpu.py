"""On a GPU training computes what it computes on a CPU; skipped where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from chatwright.model import ModelConfig, Transformer
from chatwright.tokenizer import Tokenizer
from chatwright.train import LoraSettings, TrainResult, TrainSettings, api, compiled, train
from chatwright.train.attention import PackedAttention
from chatwright.train.flex import Segments, can_flash
from chatwright.train.loop import Trainer
from chatwright.train.objectives import NextToken
from chatwright.train.packing import make_batch
from chatwright.train.watch import Watcher

from .conftest import make_conversations, make_documents, tiny_model
from .preference.conftest import make_preferences as make_pairs
from .rl.conftest import letters, make_prompts
from .rl.conftest import settings as rl_settings

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
CPU = torch.device("cpu")


def wide_model(tokenizer: Tokenizer, **options: Any) -> Transformer:
    """Heads of 64, as real models have them; kernels for small ones are others."""
    config = ModelConfig.from_depth(4, tokenizer.vocab_size, context=256, **options)
    return Transformer.random(config, 1)


def run(
    tokenizer: Tokenizer,
    objective: str = "pretrain",
    *,
    device: str = "cuda",
    model: Transformer | None = None,
    scratch: Path | None = None,
    callbacks: Sequence[Watcher] = (),
    **values: Any,
) -> TrainResult:
    known = {
        "objective": objective, "length": 128, "batch_tokens": 512, "steps": 20, "threads": 1,
        "precision": "fp32", "optimizer": "adamw", "learning_rate": 2e-3,
    }  # fmt: skip
    wanted = TrainSettings(**{**known, **values})
    rows: Any = make_documents(40) if objective == "pretrain" else make_conversations(40)
    with pytest.MonkeyPatch.context() as patch:
        if device == "cpu":  # a model on the CPU is moved to the GPU otherwise
            patch.setattr(api, "_device", lambda *_: CPU)
        return train(
            model or wide_model(tokenizer), tokenizer, rows, wanted, scratch=scratch,
            callbacks=callbacks,
        )  # fmt: skip


def losses(result: TrainResult) -> list[float]:
    return [line["loss"] for line in result.metrics]


# -- the same numbers ------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", ["pretrain", "sft"])
@pytest.mark.parametrize("shape", ["heads-of-64", "heads-of-8"])
def test_float32_losses_are_those_of_a_cpu(
    tokenizer: Tokenizer, objective: str, shape: str
) -> None:
    make = wide_model if shape == "heads-of-64" else tiny_model
    gpu = run(tokenizer, objective, model=make(tokenizer))
    cpu = run(tokenizer, objective, model=make(tokenizer), device="cpu")
    assert gpu.model.device.type == "cuda"
    assert cpu.model.device.type == "cpu"
    assert losses(gpu)[-1] < 0.9 * losses(gpu)[0]
    assert losses(gpu) == pytest.approx(losses(cpu), rel=1e-4)


def test_muon_learns_as_on_a_cpu(tokenizer: Tokenizer) -> None:
    """It orthogonalises in bfloat16, where a last digit may fall either way."""
    found = [losses(run(tokenizer, optimizer="auto", device=d)) for d in ("cuda", "cpu")]
    assert found[0] == pytest.approx(found[1], rel=5e-3)


def test_bfloat16_is_near_float32(tokenizer: Tokenizer) -> None:
    found = [losses(run(tokenizer, precision=p)) for p in ("bf16", "fp32")]
    assert found[0] == pytest.approx(found[1], rel=0.03)


def test_float16_with_scaling_is_near_float32(tokenizer: Tokenizer) -> None:
    found = [run(tokenizer, precision=p) for p in ("fp16", "fp32")]
    assert losses(found[0]) == pytest.approx(losses(found[1]), rel=0.02)
    assert [line["loss_scale"] for line in found[0].metrics] == [128] * 20
    assert found[0].model.dtype == torch.float16


@pytest.mark.parametrize("objective", ["pretrain", "sft"])
@pytest.mark.parametrize(
    "way",
    [
        {"micro_batch_tokens": 256},
        {"micro_batch_tokens": 1},
        {"packing": "padded"},
        {"checkpoint_activations": True},
        {"compile": True},
    ],
    ids=lambda way: "-".join(map(str, way.values())),
)
def test_the_way_of_computing_changes_no_loss(
    tokenizer: Tokenizer, objective: str, way: dict[str, Any]
) -> None:
    torch._dynamo.reset()
    usual = losses(run(tokenizer, objective, steps=10))
    assert losses(run(tokenizer, objective, steps=10, **way)) == pytest.approx(usual, rel=1e-4)


def test_compiled_bfloat16_is_near_float32(tokenizer: Tokenizer) -> None:
    torch._dynamo.reset()
    found = [losses(run(tokenizer, precision=p, compile=p == "bf16")) for p in ("bf16", "fp32")]
    assert found[0] == pytest.approx(found[1], rel=0.03)


# -- attention -------------------------------------------------------------------------------------

LENGTHS = {
    "mixed": [70, 300, 3, 300, 1], "rows": [256, 256, 256], "one": [384], "odd": [77, 77],
    "short": [30, 1, 60],
}  # fmt: skip


def attended(
    attend: Any, inputs: list[Tensor], grad: Tensor
) -> tuple[Tensor, ...]:  # fmt: skip
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    out = attend(*leaves)
    out.backward(grad.to(out))
    return (out.detach(), *(x.grad for x in leaves))  # type: ignore[misc]


@pytest.mark.parametrize(("window", "sinks"), [(None, 0), (40, 0), (40, 3)])
@pytest.mark.parametrize("kind", list(LENGTHS))
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("deterministic", [False, True], ids=["fast", "deterministic"])
def test_packed_is_alone(
    dtype: torch.dtype, kind: str, window: int | None, sinks: int, deterministic: bool
) -> None:
    """Outputs and gradients beside the loop over sequences, in float64 on the CPU."""
    if deterministic and (dtype != torch.bfloat16 or sinks):
        pytest.skip("the same kernels")
    lengths = LENGTHS[kind]
    generator = torch.Generator().manual_seed(1)
    total, size = sum(lengths), 64
    inputs = [
        torch.randn(1, total, heads, size, generator=generator).to(dtype).transpose(1, 2)
        for heads in (4, 2, 2)
    ]
    grad = torch.randn(1, 4, total, size, generator=generator).to(dtype)
    config = None
    if window is not None:
        config = ModelConfig(
            vocab_size=5, width=256, n_layers=1, n_heads=4, n_kv_heads=2, head_dim=64,
            mlp_width=64, context=512, sliding_window=window, attention_sinks=sinks,
        )  # fmt: skip
    expected = attended(
        lambda *x: PackedAttention(lengths, config)(0, *x), [x.double() for x in inputs], grad
    )
    torch.use_deterministic_algorithms(deterministic)
    try:
        found = attended(
            lambda *x: PackedAttention(lengths, config)(0, *x), [x.cuda() for x in inputs],
            grad.cuda(),
        )  # fmt: skip
    finally:
        torch.use_deterministic_algorithms(False)
    bound = {torch.bfloat16: 1e-2, torch.float16: 2e-3, torch.float32: 2e-5}[dtype]
    for one, other in zip(found, expected, strict=True):
        assert one.isfinite().all()
        apart = (one.double().cpu() - other).norm() / other.norm()
        assert apart < bound


def test_what_takes_which_kernel() -> None:
    q = torch.zeros(1, 2, 8, 64, device="cuda")
    capable = torch.cuda.get_device_capability() >= (8, 0)
    assert can_flash(q.bfloat16()) == capable
    assert not can_flash(q)
    assert not can_flash(torch.zeros(1, 2, 8, 12, device="cuda").bfloat16())
    assert Segments([128, 128], CPU)._rows == 2
    assert Segments([77, 77], CPU)._rows == Segments([128, 256], CPU)._rows == 0


def test_many_packings_are_one_graph() -> None:
    """FlexAttention is not compiled anew for each batch."""
    torch._dynamo.reset()
    counted = torch._dynamo.utils.counters
    generator = torch.Generator().manual_seed(1)
    graphs = []
    for number in range(12):
        lengths = torch.randint(1, 300, (3 + number % 4,), generator=generator).tolist()
        x = torch.randn(1, 2, sum(lengths), 32, device="cuda")
        PackedAttention(lengths)(0, x, x, x)
        graphs.append(counted["stats"]["unique_graphs"])
    assert graphs[-1] - graphs[2] <= 1, graphs


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_compiled_cross_entropy(dtype: torch.dtype) -> None:
    """Losses and gradients, also of a token whose probability is 0 in float32."""
    generator = torch.Generator().manual_seed(2)
    logits = (torch.randn(67, 1000, generator=generator) * 4).to(dtype)
    logits[3, 7] = -300
    targets = torch.randint(0, 1000, (67,), generator=generator)
    targets[3] = 7
    wide = logits.double().requires_grad_()
    expected = torch.nn.functional.cross_entropy(wide, targets, reduction="none")
    expected.sum().backward()
    found = logits.cuda()
    values = compiled.cross_entropy(found, targets.cuda())
    torch.testing.assert_close(values.double().cpu(), expected.detach(), rtol=1e-5, atol=1e-4)
    assert wide.grad is not None
    torch.testing.assert_close(found.double().cpu(), wide.grad, rtol=1e-2, atol=1e-4)


def test_loss_of_a_model_is_the_cpus(tokenizer: Tokenizer) -> None:
    model = wide_model(tokenizer)
    generator = torch.Generator().manual_seed(3)
    rows = [torch.randint(0, 97, (2, n), generator=generator).numpy() for n in (90, 128, 5)]
    batch = make_batch([(tokens, targets) for tokens, targets in rows], ["row"])
    cpu = NextToken().loss(model, batch).sum.item()
    model.to("cuda")
    assert NextToken().loss(model, batch.to(model.device)).sum.item() == pytest.approx(cpu, 1e-5)


# -- going on --------------------------------------------------------------------------------------


class Stopped(Exception):  # noqa: N818 - no error
    """Stands for a kill."""


class StopAt(Watcher):
    def __init__(self, step: int) -> None:
        self.step = step

    def after_step(self, trainer: Trainer, step: int, values: dict[str, float]) -> None:
        if step == self.step:
            raise Stopped


@pytest.mark.parametrize("compile", [False, True], ids=["plain", "compiled"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_resumed_is_undisturbed(
    tokenizer: Tokenizer, tmp_path: Path, precision: str, compile: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Bit for bit, with `deterministic`."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch._dynamo.reset()
    values: dict[str, Any] = {
        "precision": precision, "compile": compile, "steps": 12, "checkpoint_every": 4,
        "optimizer": "auto", "deterministic": True,
    }  # fmt: skip
    whole = run(tokenizer, scratch=tmp_path / "whole", **values)
    with pytest.raises(Stopped):
        run(tokenizer, scratch=tmp_path / "cut", callbacks=[StopAt(7)], **values)
    gone_on = run(tokenizer, scratch=tmp_path / "cut", **values)
    assert losses(gone_on) == losses(whole)
    for (name, one), other in zip(
        whole.model.named_parameters(), gone_on.model.parameters(), strict=True
    ):
        assert torch.equal(one, other), name


# -- every objective -------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("objective", ["ppo", "grpo"])
def test_rollouts(tokenizer: Tokenizer, objective: str, precision: str) -> None:
    wanted = rl_settings(objective, steps=3, precision=precision)
    result = train(tiny_model(tokenizer), tokenizer, make_prompts(), wanted, reward=letters)
    assert result.model.device.type == "cuda"
    first = result.metrics[0]
    assert first["ratio"] == pytest.approx(1, abs=1e-5 if precision == "fp32" else 1e-2)
    assert first["engine_mismatch"] < (1e-4 if precision == "fp32" else 0.05)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("objective", ["reward", "dpo"])
def test_preferences(tokenizer: Tokenizer, objective: str, precision: str) -> None:
    found = []
    for device in ("cuda", "cpu"):
        wanted = TrainSettings(
            objective=objective, length=128, batch_size=4, steps=12, precision=precision,
            optimizer="adamw", learning_rate=5e-3, threads=1,
        )  # fmt: skip
        with pytest.MonkeyPatch.context() as patch:
            if device == "cpu":
                patch.setattr(api, "_device", lambda *_: CPU)
            result = train(tiny_model(tokenizer), tokenizer, make_pairs(40), wanted)
        assert result.model.device.type == device
        found.append(losses(result))
    bound = {"rel": 1e-4, "abs": 1e-5} if precision == "fp32" else {"rel": 0.2, "abs": 0.05}
    assert found[0] == pytest.approx(found[1], **bound)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("compile", [False, True], ids=["plain", "compiled"])
def test_adapters(tokenizer: Tokenizer, precision: str, compile: bool) -> None:
    torch._dynamo.reset()
    values: dict[str, Any] = {
        "objective": "sft", "lora": LoraSettings(rank=4), "precision": precision,
        "learning_rate": 1e-3,
    }  # fmt: skip
    found = [
        losses(run(tokenizer, device=d, compile=compile and d == "cuda", **values))
        for d in ("cuda", "cpu")
    ]
    assert found[0][-1] < found[0][0]
    assert found[0] == pytest.approx(found[1], rel=1e-4 if precision == "fp32" else 0.03)


def test_distilling(tokenizer: Tokenizer) -> None:
    found = []
    for device in ("cuda", "cpu"):
        wanted = TrainSettings(
            objective="distil", length=128, steps=10, batch_tokens=512, precision="fp32",
            optimizer="adamw", learning_rate=2e-3, threads=1,
        )  # fmt: skip
        with pytest.MonkeyPatch.context() as patch:
            if device == "cpu":
                patch.setattr(api, "_device", lambda *_: CPU)
            result = train(
                tiny_model(tokenizer), tokenizer, make_conversations(24), wanted,
                models={"teacher": tiny_model(tokenizer, seed=2)},
            )  # fmt: skip
        found.append(losses(result))
    assert found[0] == pytest.approx(found[1], rel=1e-4)
