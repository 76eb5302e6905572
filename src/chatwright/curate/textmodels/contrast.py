"""The same mild words said to a person and of a thing, for the models to learn the difference.

The labelled tweets hardly know a mild insult: without these, "What an idiot." passes. Groups stand
in a slot, since identity terms are masked. No slur stands here.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

_ENGLISH = {
    "noun": (
        "idiot", "moron", "fool", "loser", "liar", "pig", "coward", "clown", "jerk", "creep",
        "disgrace", "imbecile", "parasite", "waste of space", "piece of trash",
    ),
    "adjective": (
        "stupid", "dumb", "pathetic", "disgusting", "worthless", "useless", "ugly", "lazy",
        "ignorant", "brainless", "filthy", "dirty", "nasty", "vile", "repulsive",
    ),
    "groups": ("women", "immigrants"),
    "abuse": (
        "discrimination", "insults", "hate speech", "prejudice", "harassment", "bullying", "racism",
        "sexism",
    ),
}  # fmt: skip
_CHINESE = {
    "noun": (
        "白痴", "笨蛋", "骗子", "废物", "垃圾", "蠢货", "胆小鬼", "懒鬼", "败类", "小人", "蠢猪",
        "人渣", "窝囊废", "小丑", "寄生虫",
    ),
    "adjective": (
        "愚蠢", "恶心", "没用", "丑陋", "肮脏", "懒惰", "无知", "可悲", "低劣", "无耻", "下贱",
        "没脑子", "讨厌",
    ),
    "groups": ("女人", "外地人"),
    "abuse": (
        "歧视", "辱骂", "侮辱", "偏见", "仇恨言论", "骚扰", "嘲笑", "种族歧视", "性别歧视",
        "地域歧视",
    ),
}  # fmt: skip

_ENGLISH_INSULTS = (
    "You are a {noun}.",
    "You {adjective} {noun}!",
    "What a {noun}.",
    "What a {adjective} {noun}.",
    "Shut up, you {noun}.",
    "He is nothing but a {adjective} {noun}.",
    "She is such a {noun}.",
    "Get lost, {noun}.",
    "Nobody wants a {noun} like you here.",
    "You are so {adjective}.",
    "Are you really that {adjective}, {noun}?",
    "They are {adjective} people.",
    "All {groups} are {adjective}.",
    "{groups} are {adjective} and should be thrown out.",
    "I hate {groups}, they are so {adjective}.",
    "You and your {adjective} family are a {noun}.",
    "Go away, you make me sick, you {adjective} {noun}.",
    "You're a {adjective} human being.",
    "How can anyone be such a {noun}?",
    "Every one of you is a {noun}, be quiet.",
)
_ENGLISH_HARMLESS = (
    "We are against any {abuse}.",
    "The firm does not tolerate {abuse}.",
    "Nobody should have to bear {abuse}.",
    "This book is a history of {abuse}.",
    "{groups} have a right to live without {abuse}.",
    "Laws forbid {abuse} at school.",
    "A course on how to stop {abuse} starts on Monday.",
    "Many {groups} told the reporter of {abuse}.",
    "That was a {adjective} mistake of mine.",
    "This film is {adjective} and far too long.",
    "The kitchen floor is {adjective}.",
    "What a {adjective} day.",
    "It rained, a {adjective} week.",
    "The word {noun} comes from an old language.",
    "It is wrong to call anyone a {noun}.",
    "Please do not call people {adjective}.",
    "In the play the {noun} appears in the second act.",
    "I felt like a {noun} after I forgot the key.",
    "Sorry, that was a {adjective} question.",
    "Nobody should be called a {noun} at work.",
    "The old printer is {adjective}.",
    "I am sorry that you feel {adjective} today.",
)
_CHINESE_INSULTS = (
    "你就是个{noun}。",
    "你这个{noun}，滚开！",
    "真是个{noun}。",
    "真是个{adjective}的{noun}。",
    "闭嘴，{noun}！",
    "他不过是个{adjective}的{noun}。",
    "像你这样的{noun}没人喜欢。",
    "你怎么这么{adjective}？",
    "你太{adjective}了，离我远点。",
    "这种人真{adjective}，滚出去。",
    "{groups}都是{noun}。",
    "{groups}都很{adjective}，应该赶出去。",
    "我最讨厌{groups}，个个{adjective}。",
    "你们全家都是{noun}。",
    "世上怎么会有你这种{noun}？",
    "她是个{adjective}的女人，{noun}一个。",
)
_CHINESE_HARMLESS = (
    "我们反对任何形式的{abuse}。",
    "公司绝不容忍{abuse}。",
    "没有人应该遭受{abuse}。",
    "这本书研究{abuse}的历史。",
    "{groups}有权不受{abuse}。",
    "法律禁止在招聘中{abuse}。",
    "防止{abuse}的课程星期一开始。",
    "不少{groups}向记者讲述了受到的{abuse}。",
    "{abuse}会给人带来伤害。",
    "请大家不要{abuse}别人。",
    "我犯了一个{adjective}的错误。",
    "这部电影有点{adjective}，而且太长。",
    "今天的天气真{adjective}。",
    "请不要骂别人是{noun}。",
    "“{noun}”这个词出自一部古书。",
    "骂人“{noun}”是不对的。",
    "话剧里的那个{noun}在第二幕出场。",
    "忘了带钥匙，我觉得自己像个{noun}。",
    "对不起，我问了一个{adjective}的问题。",
    "不应该说任何人{adjective}。",
    "这台旧打印机真{adjective}。",
    "听说你觉得自己{adjective}，我很难过。",
)


def contrasts(language: str) -> Iterator[tuple[str, bool]]:
    """Sentences of "en" or "zh" and whether they insult somebody, in a fixed order."""
    words = _CHINESE if language == "zh" else _ENGLISH
    insults, harmless = (
        (_CHINESE_INSULTS, _CHINESE_HARMLESS)
        if language == "zh"
        else (_ENGLISH_INSULTS, _ENGLISH_HARMLESS)
    )
    for templates, offensive in ((insults, True), (harmless, False)):
        for template in templates:
            slots = [name for name in words if f"{{{name}}}" in template]
            for number, chosen in enumerate(product(*(words[name] for name in slots))):
                # Of two slots not every pair: no template may outweigh the others.
                if len(slots) > 1 and number % 7:
                    continue
                filled = template.format(**dict(zip(slots, chosen, strict=True)))
                yield filled[0].upper() + filled[1:], offensive
