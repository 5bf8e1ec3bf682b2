"""Every message of the site is in every language."""

from __future__ import annotations

import pytest

from scripts import words


@pytest.mark.parametrize("language", words.languages())
def test_a_language_is_complete(language: str) -> None:
    assert words.faults(language) == []


def test_there_is_a_language_beside_english() -> None:
    assert "de" in words.languages()
