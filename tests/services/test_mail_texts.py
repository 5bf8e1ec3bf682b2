"""What mails say is complete in every language of the site."""

from __future__ import annotations

import string
from typing import get_args

import pytest

from oklp import contract
from oklp.errors import InvariantBroken
from oklp.services import mail_texts, notice_texts
from oklp.web.languages import LANGUAGES, SOURCE

OTHERS = sorted(set(LANGUAGES) - {SOURCE})


def filled_in(text: str) -> set[str]:
    """The names of what is filled in."""
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_mails_are_in_the_languages_of_the_site_and_no_other() -> None:
    chosen = get_args(contract.NotificationChoices.model_fields["language"].annotation)
    for languages in (mail_texts.TEXTS, notice_texts.TOLD, notice_texts.FRAME, chosen):
        assert set(languages) == set(LANGUAGES)
    assert mail_texts.SOURCE == SOURCE


@pytest.mark.parametrize("language", OTHERS)
def test_mails_about_accounts_have_the_same_kinds_and_fill_in_the_same(language: str) -> None:
    source, other = mail_texts.TEXTS[SOURCE], mail_texts.TEXTS[language]
    assert set(source) == set(other)
    for kind, text in source.items():
        assert [filled_in(part) for part in text] == [filled_in(part) for part in other[kind]], kind
        assert text.subject != other[kind].subject, kind


@pytest.mark.parametrize("language", OTHERS)
def test_mails_about_notifications_have_the_same_kinds_and_fill_in_the_same(language: str) -> None:
    source, other = notice_texts.TOLD[SOURCE], notice_texts.TOLD[language]
    assert set(source) == set(other)
    for kind, told in source.items():
        assert [filled_in(part) for part in told] == [filled_in(part) for part in other[kind]], kind
    assert filled_in(notice_texts.FRAME[SOURCE]) == filled_in(notice_texts.FRAME[language])


@pytest.mark.parametrize(
    ("seconds", "english", "german"),
    [
        (1, "1 second", "1 Sekunde"),
        (90, "90 seconds", "90 Sekunden"),
        (1_800, "30 minutes", "30 Minuten"),
        (3_600, "1 hour", "1 Stunde"),
        (5_400, "90 minutes", "90 Minuten"),
        (86_400, "1 day", "1 Tag"),
        (259_200, "3 days", "3 Tage"),
    ],
)
def test_a_duration_is_exact_and_in_the_language(seconds: int, english: str, german: str) -> None:
    assert (mail_texts.life(seconds, "en"), mail_texts.life(seconds, "de")) == (english, german)


def test_a_mail_with_a_hole_is_not_written() -> None:
    with pytest.raises(InvariantBroken, match="link"):
        mail_texts.write("password-changed", {"language": "de", "username": "ada"})
