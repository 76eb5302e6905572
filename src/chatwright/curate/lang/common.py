"""Commonest words of some languages in Latin and Cyrillic letters: nearly every sentence has one.

They answer one question cheaply: may this line be of another language than its page? Which one, the
votes say. Words that several of the languages share are left out when the table is made.
"""

from __future__ import annotations

from collections import Counter

_WORDS = {
    "en": """the and that this with from are to of is it its as was were be been has have had not
        but you your they their he she his her which would will there what when who we our
        or by""",
    "de": """der die das den dem des und ist nicht ein eine einen einem einer mit von zu auf für
        sich auch es im wird als sie wie bei nach wir ich aus werden hat zum zur oder sind
        war aber""",
    "fr": """le la les des et est une un du dans que qui pour pas sur avec ce cette au aux il
        elle nous vous sont par plus se ne ou mais son sa ses leur été""",
    "es": """el los las del y una por con para que se es como más su sus pero está lo al fue este
        esta son han muy también""",
    "it": """il lo gli della del di che è una per con non sono si anche come più nel nella alla
        dei delle questo questa ha ma da""",
    "pt": """os as do da dos das e uma um para com não que é se por mais como ao foi pelo pela
        são também em no na seu sua""",
    "nl": """de het een en van dat niet op te zijn voor met er aan ook als bij wordt deze dit
        naar maar om hij uit kan over zij""",
    "sv": """och att det som en är på för med av inte till den ett har jag han om men sig var kan
        från""",
    "pl": """i w na z się nie jest że do to jak po przez od dla ale czy być jego są oraz""",
    "id": """yang dan di ini itu dengan untuk tidak dari dalam akan pada ke juga oleh adalah atau
        ada bisa""",
    "tr": """ve bir bu için ile da de çok olarak daha gibi olan ama ne kadar en var""",
    "vi": """và của là có không được cho một những các trong với người này đã khi để""",
    "ru": """и в на не что с по как это из для то он она они но был от у так за же к его""",
    "uk": """і в на не що з по як це із для до та він вона вони але був від у за його й є""",
}
_LEAST_WORDS = 8  # a shorter line may well have none of them


def _own() -> dict[str, frozenset[str]]:
    counts = Counter(word for words in _WORDS.values() for word in set(words.split()))
    return {
        code: frozenset(word for word in words.split() if counts[word] == 1)
        for code, words in _WORDS.items()
    }


COMMON = _own()


def lacks_common_words(line: str, code: str) -> bool:
    """Whether a line of eight words or more has none of those of `code`, where it is known here."""
    words = line.lower().split()
    return len(words) >= _LEAST_WORDS and code in COMMON and COMMON[code].isdisjoint(words)


def has_common_words(line: str, code: str) -> bool:
    """Whether a line has a word that of the languages here only `code` uses all the time."""
    return code in COMMON and not COMMON[code].isdisjoint(line.lower().split())
