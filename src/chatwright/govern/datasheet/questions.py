"""What only people can answer about a dataset: the questions, by section and key.

After Gebru et al. 2021, "Datasheets for Datasets" (Communications of the ACM 64:12), in our words.
"""

from __future__ import annotations

QUESTIONS: dict[str, dict[str, str]] = {
    "motivation": {
        "purpose": "For what purpose was this dataset made, and what gap does it fill?",
        "creators": "Who made it, and on whose behalf?",
        "funding": "Who paid for it?",
    },
    "composition": {
        "missing": "Is anything missing that a reader would expect to be here, and why?",
        "sensitive": "Could what is in it offend, threaten or expose people, and what was done?",
    },
    "collection": {
        "sampling": "How were these sources chosen out of all that there are?",
        "people": "Who took part in collecting, and how were they paid?",
        "notice": "Were the authors told, and did they agree?",
    },
    "uses": {
        "suitable": "For what has it been used, and for what else is it good?",
        "unsuitable": "For what should it not be used?",
    },
    "distribution": {
        "given_to": "Who gets it, how, and from when on?",
        "terms": "Under what licence or terms is the whole given out?",
    },
    "maintenance": {
        "contact": "Who looks after it, and where does somebody write who objects to a row?",
        "updates": "Will it be corrected and renewed, and how will users hear of it?",
    },
}
KEYS: tuple[str, ...] = tuple(key for questions in QUESTIONS.values() for key in questions)
