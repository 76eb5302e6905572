"""What conversations are about, where nobody said it: k-means over the words of the first question.

A help for looking, not a classification: the groups are marked as automatic wherever they are
shown, are named by their most telling words, and change when the conversations do.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chatwright.curate.words import is_chinese, phrase_words, stem

LEAST = 40  # conversations; below that groups are chance
MOST_GROUPS = 12
MARK = "auto: "
_NAME_WORDS = 3
# A word in a group's name was used by so many people: a name that one person typed stays out.
_LEAST_USES = 5
_LEAST_SHARE = 0.05  # of the group
_SAMPLE = 2_000
_LATIN = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True, slots=True)
class Question:
    """The opening of a conversation, and who asked (None: nobody in particular)."""

    text: str
    user: str | None


def automatic_intents(questions: Sequence[Question], *, seed: int = 0) -> list[str | None]:
    """A group's name (`auto: refund · order · money`) for each question; None where there is none.

    Chinese and other questions are grouped apart, since they share no words. The number of groups
    (2…12) is the one with the best silhouette (Rousseeuw 1987). Questions without a word that
    others use too, and languages with fewer than 40 questions, get None.
    """
    out: list[str | None] = [None] * len(questions)
    chinese = [is_chinese(q.text) for q in questions]
    for wanted in (False, True):
        places = [i for i, found in enumerate(chinese) if found is wanted]
        if len(places) < LEAST:
            continue
        for place, name in zip(places, _group([questions[i] for i in places], seed), strict=True):
            out[place] = name
    return out


def _group(questions: Sequence[Question], seed: int) -> list[str | None]:
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer

    # A single character (t of don't, 将, 给) and a bare number tell nothing.
    words = [
        [w for w in phrase_words(q.text) if len(w) > 1 and not w.isdecimal()] for q in questions
    ]
    vectorizer = TfidfVectorizer(
        analyzer=lambda found: found, min_df=3, max_df=0.6, sublinear_tf=True, max_features=20_000
    )
    try:
        table: Any = vectorizer.fit_transform(words)
    except ValueError:  # no word is shared
        return [None] * len(questions)
    filled = np.flatnonzero(np.diff(table.indptr) > 0)
    out: list[str | None] = [None] * len(questions)
    if len(filled) < LEAST:
        return out
    labels = _labels(table[filled], seed)
    shown = _surface_forms(questions)
    terms = vectorizer.get_feature_names_out()
    users = [q.user or f"\0{i}" for i, q in enumerate(questions)]
    names: dict[int, str] = {}
    for label in sorted(set(labels)):
        members = filled[np.flatnonzero(labels == label)]
        name = _name(table, members, terms, shown, [users[i] for i in members])
        if name is not None:
            # Two groups can share their best words; a number keeps them apart.
            taken = sum(n == name or n.startswith(f"{name} (") for n in names.values())
            names[label] = f"{name} ({taken + 1})" if taken else name
    for place, label in zip(filled, labels, strict=True):
        out[place] = names.get(label)
    return out


def _labels(table: Any, seed: int) -> Any:
    import numpy as np
    from sklearn.cluster import KMeans
    from sklearn.decomposition import TruncatedSVD
    from sklearn.metrics import silhouette_score
    from sklearn.preprocessing import normalize

    width = min(50, table.shape[0] - 1, table.shape[1] - 1)
    points = TruncatedSVD(width, random_state=seed).fit_transform(table) if width > 1 else None
    points = normalize(table.toarray() if points is None else points)
    distinct = len(np.unique(points.round(9), axis=0))
    best, best_score = np.zeros(len(points), int), -1.0
    for k in range(2, min(MOST_GROUPS, len(points) // 10, distinct) + 1):
        found = KMeans(k, n_init=3, random_state=seed).fit_predict(points)
        if len(set(found)) < 2:
            continue
        sample = min(_SAMPLE, len(points))
        score = silhouette_score(points, found, sample_size=sample, random_state=seed)
        if score > best_score + 0.005:  # more groups only where they are clearly tighter
            best, best_score = found, score
    return best


def _name(
    table: Any, members: Any, terms: Any, shown: dict[str, str], users: Sequence[str]
) -> str | None:
    """The words that tell this group from the rest, each used by several people."""
    import numpy as np

    inside = np.asarray(table[members].mean(axis=0)).ravel()
    overall = np.asarray(table.mean(axis=0)).ravel()
    telling = inside * np.log1p(inside / np.maximum(overall, 1e-12))
    used = table[members].tocsc()
    found: list[str] = []
    for column in np.argsort(-telling, kind="stable"):
        rows = used[:, column].nonzero()[0]
        people = len({users[r] for r in rows})
        if telling[column] > 0 and people >= max(_LEAST_USES, _LEAST_SHARE * len(members)):
            found.append(shown.get(terms[column], terms[column]))
        if len(found) == _NAME_WORDS or telling[column] <= 0:
            break
    return MARK + " · ".join(found) if found else None


def _surface_forms(questions: Sequence[Question]) -> dict[str, str]:
    """For each folded English word, the form in which people wrote it most: invoic → invoice."""
    forms: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for question in questions:
        for word in _LATIN.findall(unicodedata.normalize("NFKC", question.text).lower()):
            forms[stem(word)][word] += 1
    return {key: min(c, key=lambda w: (-c[w], w)) for key, c in forms.items()}
