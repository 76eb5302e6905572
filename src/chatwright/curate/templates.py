"""How people ask about what a page defines: plain phrasings per kind, in English and Chinese.

`{n}` is the name asked about, `{p}` a parameter of it. Several phrasings per kind, some of them as
hastily typed as in a chat, so that a model learns the question and not its wording.
"""

from __future__ import annotations

ENGLISH: dict[str, tuple[str, ...]] = {
    "call": (
        "What does `{n}` do?",
        "What is `{n}` for?",
        "what does {n} do",
        "Explain `{n}`.",
        "What is the purpose of `{n}`?",
        "Can you tell me what {n} does?",
        "What happens when I call `{n}`?",
    ),
    "attribute": (
        "What is `{n}`?",
        "What does `{n}` hold?",
        "what is {n}",
        "Explain the `{n}` attribute.",
        "What does the attribute `{n}` stand for?",
    ),
    "class": (
        "What is `{n}`?",
        "What is the `{n}` class for?",
        "what is {n}",
        "What does the class `{n}` do?",
        "Explain `{n}`.",
    ),
    "exception": (
        "What does `{n}` mean?",
        "When is `{n}` raised?",
        "what is {n}",
        "Why do I get `{n}`?",
    ),
    "parameter": (
        "What does the `{p}` parameter of `{n}` do?",
        "What is `{p}` in `{n}`?",
        "what is {p} for in {n}",
        "What does `{p}` mean in `{n}`?",
        "Explain the parameter `{p}` of `{n}`.",
    ),
    "returns": (
        "What does `{n}` return?",
        "What do I get back from `{n}`?",
        "what is returned by {n}",
    ),
    "version": (
        "When was `{n}` added?",
        "In which version did `{n}` appear?",
        "since which version is there {n}",
    ),
    "deprecated": (
        "Is `{n}` deprecated?",
        "Should I still use `{n}`?",
        "is {n} deprecated",
    ),
    "section": (
        "What should I know about {n}?",
        "Tell me about {n}.",
        "Explain {n}.",
        "What do the pages say about {n}?",
        "what about {n}",
    ),
    "term": (
        "What is {n}?",
        "What does “{n}” mean?",
        "what does {n} mean",
        "Explain the term {n}.",
    ),
    "asked": ("{n}",),
}

CHINESE: dict[str, tuple[str, ...]] = {
    "call": (
        "`{n}` 是做什么的？",
        "`{n}` 有什么用？",
        "请解释一下 `{n}`。",
        "{n} 的作用是什么？",
        "调用 `{n}` 会怎样？",
    ),
    "attribute": ("`{n}` 是什么？", "`{n}` 表示什么？", "{n} 这个属性是什么意思？"),
    "class": ("`{n}` 是什么？", "`{n}` 类有什么用？", "请介绍一下 `{n}`。", "{n} 是干什么的？"),
    "exception": ("`{n}` 是什么意思？", "什么时候会抛出 `{n}`？", "为什么会出现 {n}？"),
    "parameter": (
        "`{n}` 的 `{p}` 参数是什么意思？",
        "`{n}` 里的 `{p}` 有什么用？",
        "{n} 的参数 {p} 怎么理解？",
    ),
    "returns": ("`{n}` 返回什么？", "{n} 的返回值是什么？"),
    "version": ("`{n}` 是哪个版本加入的？", "`{n}` 从哪个版本开始有？"),
    "deprecated": ("`{n}` 弃用了吗？", "还应该用 `{n}` 吗？"),
    "section": ("请介绍一下{n}。", "{n}是怎么回事？", "关于{n}，文档怎么说？", "{n}怎么理解？"),
    "term": ("什么是{n}？", "{n}是什么意思？", "请解释一下{n}。"),
    "asked": ("{n}",),
}

# The share of each kind in a set of questions; kinds that the pages do not have give theirs up.
SHARES: dict[str, float] = {
    "call": 0.26,
    "parameter": 0.18,
    "section": 0.16,
    "attribute": 0.10,
    "class": 0.10,
    "term": 0.05,
    "asked": 0.05,
    "returns": 0.04,
    "version": 0.03,
    "deprecated": 0.02,
    "exception": 0.01,
}
