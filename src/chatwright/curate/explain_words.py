"""Ledger lines in plain words: a sentence for each rule, and a general one for what comes later.

`SENTENCES` maps an action and a rule to a template. In it stand `{value}`, `{bound}`, `{detail}`
(bare), `{note}` (the detail in brackets, where there is one), `{other}` (the other row's address),
`{share}` (the value in percent), and for a counted noun `{lines}`, `{words}` and so on.
"""

from __future__ import annotations

from chatwright.curate.measures import MEASURES
from chatwright.records import LedgerEntry

_NOUNS = ("line", "word", "paragraph", "question", "passage", "time", "finding", "character")

_COLLECT = {
    ("keep", "read"): "kept: read{size}",
    ("keep", "same-content"): (
        "kept: read{size}; {other} has the same content, so this row got an id of its own"
    ),
    ("keep", "fetched"): "kept: fetched{size}",
    ("keep", "revisit"): "kept: as it was at an earlier fetch{note}",
    ("drop", "revisit"): "dropped: a record that says the page was as before{note}; see {other}",
    ("drop", "unreadable"): "dropped: it could not be read{note}",
    ("drop", "truncated"): "dropped: it is cut off{amount}{note}",
    ("edit", "truncated"): "noted: it is cut off, {detail}",
    ("drop", "unknown-format"): "dropped: files of this kind are not read{note}",
    ("drop", "no-rows"): "dropped: nothing in it is a row of the kind that was asked for{note}",
    ("drop", "not-text"): "dropped: it is not text{note}",
    ("drop", "too-large"): "dropped: it is too large{amount}{note}",
    ("drop", "bad-json"): "dropped: it is not valid JSON{note}",
    ("drop", "bad-csv"): "dropped: it is not a valid row of a table{note}",
    ("drop", "missing-column"): "dropped: a column that it needs is not there{note}",
    ("drop", "bad-conversation"): "dropped: it is no conversation that can be read{note}",
    ("drop", "bad-preference"): "dropped: it is no pair of answers that can be read{note}",
    ("drop", "tie"): "dropped: its two answers are the same, so that none is preferred",
    ("drop", "empty-answer"): "dropped: {detail}",
    ("drop", "prompts-differ"): "dropped: its two answers are not to the same prompt{note}",
    ("drop", "http-status"): "dropped: the server answered with status {value}, not {bound}",
    ("drop", "opt-out"): "dropped: its owner does not want it used for this{note}",
    ("drop", "noindex"): "dropped: the page asks not to be indexed",
    ("drop", "consent"): "dropped: the people who wrote it did not agree{note}",
    ("drop", "unknown-license"): "left out: no licence is known for it{note}",
    ("edit", "license-found"): "noted: its licence is stated in the page{note}",
    ("edit", "broken-encoding"): "noted: {share} of its characters came out broken{note}",
    ("edit", "robots"): "noted: about the site's robots.txt{note}",
    ("drop", "robots"): "not fetched: the site's robots.txt says no{note}",
    ("drop", "redirect"): "not kept: it leads elsewhere (status {value}{more})",
    ("edit", "redirect"): "noted: it leads elsewhere{note}",
    ("drop", "redirects"): "not fetched: it leads on too often{amount}{note}",
    ("edit", "nofollow"): "noted: links were not followed{note}",
    ("edit", "sitemap"): "noted: about the site's sitemap{note}",
    ("drop", "outside"): "not fetched: it is outside the site that was asked for{note}",
    ("drop", "max-depth"): "not fetched: it is too many links away{amount}",
    ("drop", "trap"): "not fetched: it looks like an endless series of pages{note}",
    ("drop", "no-answer"): "dropped: the server gave no answer{note}",
    ("drop", "private-address"): "not fetched: it leads into a private network{note}",
    ("drop", "stopped"): "not fetched: {detail}",
    # Chats of one's own service (`collect feedback`).
    ("drop", "imported"): "left out: the chat was imported{note}",
    ("drop", "tool-calls"): "left out: it rests on what tools returned{note}",
    ("drop", "before-consent"): "left out: it was written before its person agreed{note}",
    ("drop", "moderated"): "left out: moderation stopped it{note}",
    ("drop", "private-sources"): "left out: it rests on somebody's own documents{note}",
    ("drop", "not-whole"): "left out: an answer was cut off{note}",
    ("drop", "empty-turn"): "left out: a turn has no text{note}",
    ("drop", "rated-down"): "left out: its answer was rated down{note}",
    ("drop", "unanswered"): "left out: no question in it has a whole answer{note}",
    ("drop", "both-bad"): "left out: neither answer was good, so that none is preferred{note}",
    ("drop", "withdrawn"): "taken out: it was withdrawn, or its person no longer agrees{note}",
}

_CURATE = {
    ("keep", "curated"): "kept, with {words}",
    ("drop", "block-list"): "dropped: its address is on the block list {bound}{note}",
    ("drop", "only-list"): "dropped: its address is on none of the lists {bound}{note}",
    ("drop", "empty"): "dropped: no text was left{note}",
    ("drop", "timeout"): "dropped: it {took}",
    ("drop", "died"): "dropped: reading it ended the worker process{note}",
    ("drop", "memory"): "dropped: working on it took too much memory{note}",
    ("drop", "error"): "dropped: a step failed on it{note}",
    ("edit", "extract"): (
        "edited: its main content, {value} characters, was extracted{note}"
    ),
    ("edit", "normalise"): "edited: {lines} brought into normal form",
    ("edit", "mojibake"): "edited: broken encoding repaired in {lines}",
    ("edit", "controls"): "edited: control or invisible characters taken out of {lines}",
    ("edit", "nfc"): "edited: letters and their marks composed (NFC) in {lines}",
    ("edit", "spaces"): "edited: odd spaces made plain in {lines}",
    ("edit", "width"): "edited: full-width letters, digits or signs made half-width in {lines}",
    ("edit", "simplified"): "edited: {lines} converted to simplified Chinese (table {bound})",
    ("edit", "punctuation"): "edited: punctuation of another script replaced in {lines}",
    ("edit", "quotes"): "edited: curly quotes made straight in {lines}",
    ("edit", "spelling"): "edited: words respelled in {lines} (to {bound})",
    ("drop", "language"): (
        "dropped: its language is {detail} (confidence {value}), and only {bound} was asked for"
    ),
    ("drop", "language-confidence"): (
        "dropped: its language, {detail}, is not sure enough: {value}, where {bound} is asked"
    ),
    ("drop", "script"): "dropped: it is written in {detail}, and only {bound} was asked for",
    ("edit", "other-language-lines"): (
        "edited: {lines} of other languages than {bound} taken out{note}"
    ),
    ("edit", "line-terminal-punctuation"): (
        "edited: {lines} taken out that end in no mark of a sentence{quoted}"
    ),
    ("edit", "line-min-words"): "edited: {lines} taken out that have too few words{quoted}",
    ("edit", "line-word-length"): "edited: {lines} taken out that have too long a word{quoted}",
    ("edit", "line-citations"): "edited: citation marks such as [1] taken out of {lines}{quoted}",
    ("drop", "quality-model"): (
        "dropped: the learned score {detail} is {value}, where {bound} is asked"
    ),
    ("drop", "perplexity"): (
        "dropped: its perplexity under {detail} is {value}, where {bound} is asked"
    ),
    ("drop", "adult"): (
        "dropped: its score for adult content is {value}, where {bound} is asked{note}"
    ),
    ("drop", "offensive"): (
        "dropped: its score for offensive language is {value}, where {bound} is asked{note}"
    ),
    ("drop", "spam"): "dropped: its score for spam is {value}, where {bound} is asked{note}",
    ("drop", "personal_data"): (
        "dropped: it is a list of personal data, {value} of its lines, where {bound} is asked{note}"
    ),
    ("drop", "pii-list"): (
        "dropped: it holds {findings} of personal data, where {bound} is asked{note}"
    ),
    ("drop", "duplicate-url"): "dropped: {other} has the same address{stays}",
    ("drop", "duplicate-document"): (
        "dropped: it says the same as {other}, which came before"
    ),
    ("drop", "near-duplicate"): (
        "dropped: it is nearly the same as {other}: their Jaccard index is {value}, and only what "
        "is {bound} stays{stays}"
    ),
    ("merge", "near-duplicate"): (
        "kept for {rows} nearly the same as this one, which went; the ledger names this row in "
        "the line of each"
    ),
    ("edit", "duplicate-paragraphs"): (
        "edited: {paragraphs}, {detail}, taken out: other pages say the same (a paragraph stays "
        "{bound}); for one, {other}"
    ),
    ("edit", "duplicate-lines"): (
        "edited: {lines}, {detail}, taken out: other pages of the site have the same (a line stays "
        "{bound}); for one, {other}"
    ),
}  # fmt: skip

_LATER = {
    ("drop", "held-out"): "left out of this part: it is {detail} ({bound} held out)",
    ("keep", "held-out"): "kept in this part: it is {detail} ({bound} held out)",
    ("keep", "augment"): "kept, with {copies} made of it{note}",
    ("drop", "augment"): "left out, with {copies} made of it{note}",
    ("edit", "augmented"): "made from {other}: {words} changed ({bound} may be){note}",
    ("keep", "questions"): "kept: {questions} made from it",
    ("drop", "no_question"): "not used: no question could be made from it",
    ("keep", "chunks"): "kept: cut into {passages}",
    ("drop", "chunks"): "dropped: no passage could be made of it",
    ("keep", "mixture"): "taken into the mixture {times} (asked: {bound}){note}",
    ("drop", "mixture"): "left out of the mixture (asked: {bound}){note}",
    ("drop", "same-id"): "left out: {detail}",
    ("edit", "repeated"): "a repeat: {other}, taken once more (number {value}, {bound} times)",
    ("keep", "reweighed"): "kept at weight {value} ({bound}){note}",
    ("drop", "reweighed"): "left out at weight {value}{note}",
    ("keep", "counterfactual"): "kept; counterparts of it made: {value}{note}",
    ("drop", "counterfactual"): "left out: {detail}",
    ("edit", "exchanged"): "made from {other}: {words} of {bound} exchanged",
    ("keep", "test-item"): (
        "kept: at most {share} of a test item's runs of words is in it (asked: {bound}){note}"
    ),
    ("edit", "test-item"): (
        "edited: a passage of a test item was cut out, {share} of its runs were in it: {detail}"
    ),
    ("drop", "test-item"): (
        "dropped: {share} of a test item's runs of words are in it (asked: {bound}): {detail}"
    ),
    ("keep", "label"): "kept: labelled {detail}",
    ("drop", "label"): "left out: {detail} (asked: {bound})",
}

SENTENCES: dict[tuple[str, str], str] = _COLLECT | _CURATE | _LATER

_PERSONAL = {
    "email": "e-mail addresses", "phone": "phone numbers", "id_card": "identity card numbers",
    "bank_card": "bank card numbers", "ip": "IP addresses", "mac": "MAC addresses",
    "passport": "passport numbers", "car_plate": "car plates", "iban": "IBANs",
    "us_ssn": "US social security numbers", "address": "postal addresses",
    "social": "names of social accounts", "api_key": "keys of services",
    "private_key": "private keys", "name": "people's names", "place": "names of places",
    "organisation": "names of organisations",
}  # fmt: skip
_VERBS = {"keep": "kept", "drop": "dropped", "edit": "edited", "merge": "merged"}


def words_of(entry: LedgerEntry, other: str) -> str:
    """One ledger line as a sentence. `other` is the other row's address, "" where there is none."""
    known = SENTENCES.get((entry.action, entry.rule))
    if known is None:
        return _by_family(entry) or _general(entry, other)
    value, detail = number(entry.value), entry.detail or ""
    share = "" if entry.value is None else f"{100 * entry.value:.3g} %"
    asked = f", where {entry.bound} is asked" if entry.bound else ""
    fields = {
        "value": value or "not known",
        "bound": entry.bound or "nothing else",
        "detail": detail or "no more is known",
        "note": f" ({detail})" if detail else "",
        "more": f", {detail}" if detail else "",
        "other": other or "another row",
        "share": share or "a share",
        "amount": f": {value}{asked}" if value else "",
        "size": _size(entry),
        "took": detail or "took too long",
        "quoted": f"; {detail}" if detail else "",
        "stays": f" ({detail})" if detail else "",
        "copies": f"{value or 'no'} changed {'copy' if entry.value == 1 else 'copies'}",
        "rows": "one row" if entry.value == 1 else f"{value or 'some'} rows",
    }
    fields |= {f"{noun}s": many(entry.value, noun) for noun in _NOUNS}
    return known.format(**fields)


def number(value: float | None) -> str:
    """A value as a person reads it; "" for none."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value == value // 1 else f"{value:.4g}"


def many(value: float | None, noun: str) -> str:
    """`3 lines`."""
    return f"{number(value) or 'some'} {noun}{'' if value == 1 else 's'}"


def _size(entry: LedgerEntry) -> str:
    """`, 1,204 bytes`; where the detail is no unit, it stands for itself."""
    said = " ".join(part for part in (number(entry.value), entry.detail or "") if part)
    return f", {said}" if said else ""


def _by_family(entry: LedgerEntry) -> str | None:
    """Rules whose names are made: of measures, of lines, of personal data."""
    note = f" ({entry.detail})" if entry.detail else ""
    value = number(entry.value) or "not known"
    if entry.rule in MEASURES and entry.action == "drop":
        return f"dropped by the rule {entry.rule}: {value}, where {entry.bound} is asked{note}"
    if entry.rule.startswith("line-") and entry.action == "edit":
        name = entry.rule.removeprefix("line-")
        return f"edited: {many(entry.value, 'line')} taken out by the rule for lines {name!r}" + (
            f"; {entry.detail}" if entry.detail else ""
        )
    if entry.rule.startswith("pii-"):
        kind = entry.rule.removeprefix("pii-").replace("-", "_")
        what = _PERSONAL.get(kind, f"personal data ({kind})")
        if entry.action == "drop":
            return f"dropped: it holds {what} ({value}){note}"
        return f"edited: {what}, {value} in all, {entry.detail or 'taken out'}"
    return None


def _general(entry: LedgerEntry, other: str) -> str:
    """What is right of any line: what happened, by which rule, what it measured and asked."""
    said = f"{_VERBS.get(entry.action, entry.action)} by the rule {entry.rule}"
    if entry.value is not None:
        said += f": {number(entry.value)}"
        said += f", where {entry.bound} is asked" if entry.bound else ""
    elif entry.bound:
        said += f" ({entry.bound})"
    said += f" ({entry.detail})" if entry.detail else ""
    return said + (f"; the other row is {other}" if other else "")
