"""What the page tells beside an answer: why a text was held back, what is kept in mind."""

from __future__ import annotations

import re

_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")

_EN = {
    "input": "This question was not answered: moderation judged it to break the rules here.",
    "output": "The rest of this answer was withheld: moderation judged it to break the rules here.",
}
_ZH = {
    "input": "这个问题没有回答\uff1a审核认为它违反了这里的规则\u3002",
    "output": "回答的其余部分已隐去\uff1a审核认为它违反了这里的规则\u3002",
}


def reason_for(direction: str, question: str) -> str:
    """The reason, in the question's language."""
    return (_ZH if _HAN.search(question) else _EN)[direction]


def unsaved_note(question: str) -> str:
    """That an answer could not be written down, in the question's language."""
    if _HAN.search(question):
        return "这个回答未能保存\uff0c请联系服务器管理者\u3002"
    return "This answer could not be saved; tell whoever runs the server."


def remembered_note(text: str) -> str:
    """That something is kept in mind, in its own language."""
    return f"已记住\uff1a{text}" if _HAN.search(text) else f"Kept in mind: {text}"
