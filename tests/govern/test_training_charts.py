"""What the report says of a training: losses on both data, and what was answered on the way."""

from __future__ import annotations

import json
import re
from pathlib import Path

from built_house import HOSTILE, build_house
from test_report import report

from chatwright.govern.charts import loss_chart


def test_the_report_shows_held_out_losses_and_samples(tmp_path: Path) -> None:
    built = build_house(tmp_path)
    metrics = built.model / "metrics.jsonl"
    with metrics.open("w", encoding="utf-8") as file:
        for step in range(1, 101):
            values = {"step": step, "loss": 1 + 2 / step}
            if step % 20 == 0:
                values["validation_loss"] = 1.5 + 2 / step
            file.write(json.dumps(values) + "\n")
    lines = [
        {"step": 0, "prompt": "再说一遍？", "answer": "…", "finish_reason": "length"},
        {"step": 100, "prompt": HOSTILE, "answer": HOSTILE, "finish_reason": "stop"},
    ]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    metrics.with_name("samples.jsonl").write_text(text, encoding="utf-8")
    _, page, _ = report(built)
    shown = " ".join(page.text)
    assert "and the loss on held-out data" in shown
    assert "What it answered on the way" in shown and "再说一遍？" in shown
    assert HOSTILE in shown  # as text: `report` checks that nothing of it became a tag
    assert "nats per token" in shown


def test_a_loss_chart_without_held_out_data_or_unit() -> None:
    points = [(float(s), 0.7 - 0.001 * s) for s in range(1, 50)]
    plain = loss_chart(points, "a", "Loss", unit="")
    assert "nats" not in plain and "held out" not in plain
    both = loss_chart(points, "a", "Loss", held_out=[(10.0, 0.8), (49.0, 0.9)])
    assert "held out" in both and "nats per token" in both
    assert both == loss_chart(points, "a", "Loss", held_out=[(10.0, 0.8), (49.0, 0.9)])


def test_a_wild_beginning_does_not_flatten_the_rest() -> None:
    wild = [(1.0, 500.0), *((float(s), 2.0 + 1 / s) for s in range(2, 200))]
    calm = [(1.0, 3.0), *wild[1:]]
    for points, most in ((wild, 2.6), (calm, 3.0)):
        ticks = re.findall(r"<text[^>]*>([\d.]+)</text>", loss_chart(points, "a", "Loss"))
        losses = [float(t) for t in ticks if "." in t]
        assert losses and max(losses) <= most, ticks
