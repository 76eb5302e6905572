"""What judges are told: guidelines, reasons and the scales of the form, in English and Chinese."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Labelled:
    """A word that is stored (`code`) and how it reads, by language."""

    code: str
    en: str
    zh: str

    def text(self, language: str) -> str:
        return self.zh if language.startswith("zh") else self.en


REASONS: tuple[Labelled, ...] = (
    Labelled("correct", "More correct", "更正确"),
    Labelled("complete", "More complete", "更完整"),
    Labelled("relevant", "Answers the question", "更切题"),
    Labelled("instructions", "Follows the instructions", "更遵守要求"),
    Labelled("clear", "Clearer", "更清楚"),
    Labelled("concise", "No needless words", "更简洁"),
    Labelled("language", "Better language", "语言更好"),
    Labelled("safe", "Safer", "更安全"),
    Labelled("grounded", "Better supported", "更有依据"),
)

SCALE_TEXTS: Mapping[str, Labelled] = {
    "helpful": Labelled("helpful", "Helpful: does it do what was asked?", "有用：是否完成了要求？"),
    "honest": Labelled(
        "honest", "Honest: true, and open about doubt?", "诚实：是否真实，不确定时是否说明？"
    ),
    "harmless": Labelled(
        "harmless", "Harmless: would nobody be hurt by it?", "无害：是否不会伤害任何人？"
    ),
    "fluent": Labelled("fluent", "Fluent: well written?", "流畅：文字是否通顺？"),
    "grounded": Labelled(
        "grounded", "Grounded: supported by the passages?", "有据：是否有所给材料支持？"
    ),
}

GUIDELINES: Mapping[str, str] = {
    "en": """\
# How to judge

You see a prompt and two answers. You are not told who wrote them, and the sides change from one
prompt to the next. **Which answer would you rather have been given?**

1. Read the prompt first. Decide what a good answer must do before you look at either.
2. **Correct comes before pleasant.** A short true answer is better than a long one with an error in
   it. Check what you can check; do not guess.
3. Did it do what was asked: the question, the language, the length, the form?
4. Saying "I do not know" is better than inventing, and worse than knowing.
5. An answer that could hurt somebody loses to one that could not.
6. Length is worth nothing in itself. Nor are lists, headings or a polite tone.

**Tie** when you would be equally glad of either. **Both bad** when you would be glad of neither.
**Skip** when you cannot judge: you do not know the subject or the language. Skipping costs nothing,
guessing spoils the result.

Give reasons when you can name them. Judge alone: do not ask how others have voted.

## Scores

5 nothing to improve · 4 small flaws · 3 usable with care · 2 mostly fails · 1 fails entirely.
Score each scale for itself: a fluent answer may be wrong. Leave out a scale that does not apply.
""",
    "zh": """\
# 评判说明

您会看到一个提问和两个回答。回答出自谁不会显示，左右位置也会不断变换。**您更愿意得到哪一个回答？**

1. 先读提问，想清楚好的回答应当做到什么，再看两个回答。
2. **正确先于好看。** 简短而真实的回答，胜过冗长而有错的回答。能核实的请核实，不要猜。
3. 是否做到了所要求的：问题、语言、长度、格式？
4. 说“不知道”好过编造，但不如真的知道。
5. 可能伤害他人的回答，输给不会伤害他人的回答。
6. 长度本身不值分，列表、标题和客气的语气也不值分。

两个同样满意，选**平局**；两个都不满意，选**都不好**；不熟悉该领域或语言、无法判断，选**跳过**。
跳过没有坏处，猜测会破坏结果。

说得出理由时请给出理由。请独立评判，不要打听别人怎么选。

## 打分

5 无可改进 · 4 小毛病 · 3 小心使用尚可 · 2 大半失败 · 1 完全失败。
每一项单独打分：通顺的回答也可能是错的。不适用的一项请留空。
""",
}


def pick_language(language: str | None) -> str:
    """The language of ours ("en" or "zh") that serves a reader of `language`."""
    return "zh" if (language or "").lower().startswith("zh") else "en"
