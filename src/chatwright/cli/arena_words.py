"""What the arena says in the terminal, in English and Chinese."""

from __future__ import annotations

import os

WORDS = {
    "en": {
        "left": "Left",
        "right": "Right",
        "answer": "Answer",
        "prompt": "Prompt",
        "of": "{done} of {total} done",
        "empty": "(the answer is empty)",
        "vote_keys": "← left   → right   t tie   b both bad   s skip   u undo   c comment   "
        "↑↓ scroll   ? guidelines   q quit",
        "rate_keys": "1-5 score   - does not apply   Tab next   Enter done   s skip   u undo   "
        "c comment   ↑↓ scroll   ? guidelines   q quit",
        "more_key": "i passages and reference",
        "page_keys": "↑↓ scroll   any other key goes back",
        "comment_keys": "write, then Enter   Esc leaves it out",
        "reasons": "Why? Digits, then your choice:",
        "comment": "Comment",
        "voted": "Noted: {choice}.",
        "rated": "Noted.",
        "undone": "Taken back: judge again.",
        "end_keys": "u undo the last one   q leave",
        "nothing": "There is nothing to take back.",
        "no_scores": "Give a score first, or skip with s.",
        "all": "That was all. Thank you!",
        "later": "{done} of {total} judged. The same command goes on from here.",
        "passages": "What the model was shown",
        "reference": "Reference answer",
        "tie": "tie",
        "both_bad": "both bad",
        "skip": "skipped",
        "plain_vote": "l left, r right, t tie, b both bad, s skip; digits after it are reasons "
        "(l 13); u undo, ? guidelines, q quit",
        "plain_rate": "one score each, 1 to 5, - where it does not apply (5 4 5 5); "
        "s skip, u undo, ? guidelines, q quit",
        "not_understood": "That was not understood.",
    },
    "zh": {
        "left": "左",
        "right": "右",
        "answer": "回答",
        "prompt": "提问",
        "of": "已完成 {done} / {total}",
        "empty": "（回答是空的）",
        "vote_keys": "← 左   → 右   t 平局   b 都不好   s 跳过   u 撤销   c 评论   ↑↓ 滚动   "
        "? 说明   q 退出",
        "rate_keys": "1-5 打分   - 不适用   Tab 下一项   Enter 完成   s 跳过   u 撤销   c 评论   "
        "↑↓ 滚动   ? 说明   q 退出",
        "more_key": "i 材料与参考答案",
        "page_keys": "↑↓ 滚动   其他任意键返回",
        "comment_keys": "输入后按 Enter   Esc 放弃",
        "reasons": "理由？先按数字，再作选择：",
        "comment": "评论",
        "voted": "已记下：{choice}。",
        "rated": "已记下。",
        "undone": "已撤销，请重新评判。",
        "end_keys": "u 撤销上一个   q 离开",
        "nothing": "没有可以撤销的。",
        "no_scores": "请先打分，或按 s 跳过。",
        "all": "全部完成，谢谢！",
        "later": "已评判 {done} / {total}。再次运行同一命令即可继续。",
        "passages": "模型看到的材料",
        "reference": "参考答案",
        "tie": "平局",
        "both_bad": "都不好",
        "skip": "已跳过",
        "plain_vote": "l 左，r 右，t 平局，b 都不好，s 跳过；后面的数字是理由（l 13）；u 撤销，"
        "? 说明，q 退出",
        "plain_rate": "每项一个分数，1 到 5，不适用填 -（5 4 5 5）；s 跳过，u 撤销，? 说明，q 退出",
        "not_understood": "没有看懂。",
    },
}


def own_language(told: str | None) -> str:
    """As told, else as the machine's locale says: "zh" or "en"."""
    said = told or next(
        (os.environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(name)), ""
    )
    return "zh" if said.lower().startswith("zh") else "en"
