"""Privacy as a step: texts, ledger lines, counts, and a key that is nowhere written down."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from pydantic import ValidationError

from chatwright.curate.candidate import Candidate
from chatwright.curate.language import Language
from chatwright.curate.privacy import Found, PrivacySettings, Redactor, key_check, make_step
from chatwright.curate.privacy.cued_names import CuedRecogniser
from chatwright.curate.privacy.recognisers import (
    JiebaRecogniser,
    english_recogniser,
    installed_recognisers,
)
from chatwright.errors import UsageError
from chatwright.records import Document

TEXT = "Mail bob@x.com or ann@x.com, call 13812345678."


def candidate(text: str, title: str | None = None, language: str = "en") -> Candidate:
    document = Document("id1", text, "https://x.test/", "test")
    return Candidate(document, "curate", text, title=title, language=Language(language, 1.0))


def run(settings: PrivacySettings, *candidates: Candidate) -> None:
    step = make_step(settings)
    assert step is not None
    pickle.loads(pickle.dumps(step))(list(candidates))


def test_edits_are_counted_in_the_ledger_and_the_meta_without_the_values() -> None:
    row = candidate(TEXT, title="About bob@x.com")
    clean = candidate("Nothing here.")
    run(PrivacySettings(), row, clean)
    assert row.text == "Mail [EMAIL] or [EMAIL], call [PHONE]."
    assert row.title == "About [EMAIL]"
    assert row.document.text == TEXT
    assert row.meta["pii"] == {"email": 3, "phone": 1}
    assert [(e.action, e.rule, e.value) for e in row.lines] == [
        ("edit", "pii-email", 3.0),
        ("edit", "pii-phone", 1.0),
    ]
    kept = json.dumps([repr(row.lines), row.meta])
    assert "bob" not in kept
    assert "13812345678" not in kept
    assert clean.lines == []
    assert clean.meta == {}


def test_headings_and_a_title_kept_in_the_meta_are_cleaned_too() -> None:
    row = candidate("## Ask bob@x.com\n\nText.")
    row.document.meta["title"] = "bob@x.com"
    row.anchors = [("## Ask bob@x.com", "ask"), ("## Other", None)]
    run(PrivacySettings(), row)
    assert row.text == "## Ask [EMAIL]\n\nText."
    assert row.anchors == [("## Ask [EMAIL]", "ask"), ("## Other", None)]
    assert row.title == "[EMAIL]"


def test_drop_for_one_type_and_for_too_many() -> None:
    settings = PrivacySettings(modes={"phone": "drop"}, most=3)
    row, fine = candidate(TEXT), candidate("a@b.com")
    many = candidate(" ".join(f"u{i}@x.com" for i in range(4)))
    run(settings, row, fine, many)
    assert row.dropped
    assert (row.lines[-1].rule, row.lines[-1].value) == ("pii-phone", 1.0)
    assert row.lines[-1].detail == "2 email, 1 phone"
    assert fine.text == "[EMAIL]"
    assert not fine.dropped
    assert many.dropped
    assert (many.lines[-1].rule, many.lines[-1].bound) == ("pii-list", "max 3")


def test_nothing_to_look_for_is_no_step() -> None:
    assert make_step(None) is None
    assert make_step(PrivacySettings(types=())) is None


def test_the_key_comes_from_outside_and_is_never_in_the_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secret = "0123456789abcdef0123456789abcdef"
    settings = PrivacySettings(mode="pseudonym", key_env="CW_TEST_KEY")
    with pytest.raises(UsageError, match="not set"):
        make_step(settings)
    monkeypatch.setenv("CW_TEST_KEY", "short")
    with pytest.raises(UsageError, match="16 or more"):
        make_step(settings)
    monkeypatch.setenv("CW_TEST_KEY", secret)
    row = candidate(TEXT)
    run(settings, row)
    assert "@example.com" in row.text
    step = make_step(settings)
    assert secret not in repr(step)
    assert secret not in settings.model_dump_json()
    path = tmp_path / "key"
    path.write_text(secret + "\n")
    from_file = PrivacySettings(mode="pseudonym", key_file=str(path))
    again = candidate(TEXT)
    run(from_file, again)
    assert again.text == row.text
    assert key_check(from_file) == key_check(settings)
    path.write_text(secret[::-1])
    assert key_check(from_file) != key_check(settings)
    assert key_check(PrivacySettings()) is None
    path.unlink()
    with pytest.raises(UsageError, match="cannot be read"):
        make_step(from_file)


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValidationError, match="need a key"):
        PrivacySettings(mode="pseudonym")
    with pytest.raises(ValidationError, match="not both"):
        PrivacySettings(key_env="A", key_file="b")
    with pytest.raises(ValidationError, match="0 to 1"):
        PrivacySettings(least={"email": 2})


def test_a_row_that_cannot_be_searched_is_dropped_and_the_others_go_on() -> None:
    from chatwright.curate.privacy.step import PrivacyStep

    class Broken:
        languages = frozenset({"en"})

        def find(self, text: str, language: str | None) -> list[Found]:
            if "bad" in text:
                raise ValueError("no")
            return []

    bad, good = candidate("bad a@b.com"), candidate("a@b.com")
    PrivacyStep(Redactor(recognisers=(Broken(),)))([bad, good])
    assert (bad.dropped, bad.lines[-1].rule) == (True, "error")
    assert good.text == "[EMAIL]"


# --- names ----------------------------------------------------------------------------------------


def test_chinese_names_and_places_by_jieba() -> None:
    text = "我叫王小明，住在北京市。李雷和诸葛亮也来了，明天会更好。"
    found = [(f.type, text[f.start : f.end]) for f in JiebaRecogniser().find(text)]
    assert found == [("name", "王小明"), ("place", "北京市"), ("name", "李雷"), ("name", "诸葛亮")]


def test_names_that_words_announce() -> None:
    english = "Dear Sir, Dr. Ada Lovelace wrote. My name is Zoë O'Brien."
    found = CuedRecogniser().find(english, "en")
    assert [english[f.start : f.end] for f in found] == ["Ada Lovelace", "Zoë O'Brien"]
    chinese = "请联系王先生或欧阳老师，收件人\uff1a赵云。"
    found = CuedRecogniser().find(chinese, "zh")
    assert [chinese[f.start : f.end] for f in found] == ["王", "欧阳", "赵云"]


def test_names_by_whatever_recogniser_is_given() -> None:
    redactor = Redactor(recognisers=(CuedRecogniser(),))
    result = redactor.redact("Mr. Bob Stone, bob@x.com", "en")
    assert result.text == "Mr. [NAME], [EMAIL]"


def test_names_of_the_installed_recognisers() -> None:
    if english_recogniser() is None:
        with pytest.raises(UsageError, match="no recogniser"):
            installed_recognisers()
        pytest.skip("spaCy and a model of English are not installed: pip install chatwright[names]")
    row = candidate("Barack Obama met Angela Merkel in Berlin on Sunday.")
    run(PrivacySettings(names=True), row)
    assert row.text == "[NAME] met [NAME] in Berlin on Sunday."
    row = candidate("Barack Obama met Angela Merkel in Berlin on Sunday.")
    run(PrivacySettings(names=True, places=True), row)
    assert row.meta["pii"] == {"name": 2, "place": 1}
