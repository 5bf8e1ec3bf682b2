"""Words, money and times in the visitor's language: gettext catalogues, read by Babel, and its locale data.

English is the source; `locale/<language>/LC_MESSAGES/` has the others, a catalogue for each surface, so that two people
who write pages of different ones do not meet in a file. They are compiled in memory when a
language is first asked for, so that there is no build step to forget.
"""

from __future__ import annotations

import functools
import io
import re
from datetime import date as datetime_date
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path

from babel import Locale
from babel.dates import format_date, format_datetime, format_timedelta
from babel.numbers import NumberFormatError, format_decimal, parse_decimal
from babel.support import NullTranslations, Translations

from oklp.services.amounts import money, money_in_address, plain_money, unit
from oklp.services.mail_texts import life
from oklp.web.languages import LANGUAGES, SOURCE

__all__ = ["LANGUAGES", "SOURCE", "life", "money", "money_in_address", "plain_money"]  # with the other words of a page

FOLDER = Path(__file__).parent / "locale"
MAX_MONEY_CHARS = 24
# Python reads more as a number than people write: `1_000`, `1e3`, `+5`.
DIGITS = re.compile(r"[0-9.,]+")
PLAIN = re.compile(r"[0-9]+(\.[0-9]+)?")
MOST = 10**15  # of a currency's units: more than anybody has, and few enough digits for exact sums


@functools.cache
def translations(language: str) -> NullTranslations:
    """The catalogues of a language as one; for English, which is the source, none."""
    if language == SOURCE:
        return NullTranslations()
    # With the first page in another language.
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import read_po

    merged = Translations()
    for path in catalogues(language):
        with path.open("rb") as file:
            catalogue = read_po(file, locale=language)
        compiled = io.BytesIO()
        write_mo(compiled, catalogue)
        compiled.seek(0)
        merged.merge(Translations(compiled))
    return merged


def catalogues(language: str) -> list[Path]:
    return sorted((FOLDER / language / "LC_MESSAGES").glob("*.po"))


def minor_units(text: str, currency: str, language: str) -> int | None:
    """What somebody typed as an amount, in minor units; None when it is no amount, or has more places than there are.

    >>> minor_units("12.50", "USD", "en"), minor_units("12,5", "EUR", "de"), minor_units("0.001", "USD", "en")
    (1250, 1250, None)
    """
    text = text.strip()
    if len(text) > MAX_MONEY_CHARS or not DIGITS.fullmatch(text):
        return None
    try:
        value = parse_decimal(text, locale=language, strict=True)
    except NumberFormatError:
        try:  # whoever types a point where the language has a comma means it as one
            value = Decimal(text)
        except InvalidOperation:
            return None
    return _whole(value / unit(currency)) if value <= MOST else None


def units_of_address(text: str, currency: str) -> int | None:
    """Minor units of what `money_in_address` made, whatever the language; None for anything else."""
    if len(text) > MAX_MONEY_CHARS or not PLAIN.fullmatch(text) or Decimal(text) > MOST:
        return None
    return _whole(Decimal(text) / unit(currency))


def _whole(units: Decimal) -> int | None:
    return int(units) if units == units.to_integral_value() else None


def scaled(text: str, factor: int, language: str) -> int | None:
    """A number as somebody typed it, times `factor`, where that is whole: 12.5 per cent are 1250 basis points."""
    text = text.strip()
    if len(text) > MAX_MONEY_CHARS or not DIGITS.fullmatch(text):
        return None
    try:
        value = parse_decimal(text, locale=language, strict=True) if "." not in text else Decimal(text)
    except (NumberFormatError, InvalidOperation):
        return None
    return _whole(value * factor) if value <= MOST else None


def plain_percent(bps: int, language: str) -> str:
    """Basis points as they are typed into a form: 1250 → `12.5`."""
    return format_decimal(Decimal(bps) / 100, "0.##", locale=language)


def date(at: datetime, language: str) -> str:
    return format_date(at, "medium", locale=language)


def day(at: datetime_date, language: str) -> str:
    return format_date(at, "medium", locale=language)


def moment(at: datetime, language: str) -> str:
    """A time in UTC, which is said: pages with JavaScript show it in the visitor's own zone."""
    return f"{format_datetime(at, 'medium', locale=language)} UTC"


def countries(language: str) -> dict[str, str]:
    """ISO 3166 codes and names."""
    return {code: str(name) for code, name in Locale.parse(language).territories.items()}


def number(value: int, language: str) -> str:
    return format_decimal(value, locale=language)


def duration(seconds: int, language: str) -> str:
    """A length of time in its largest unit: `2 hours`, `5 minutes`."""
    return format_timedelta(timedelta(seconds=seconds), threshold=1.5, locale=language)


def names_in(text: str) -> list[str]:
    """The names that somebody typed, with blanks or commas between them."""
    return text.replace(",", " ").split()


def percent(bps: int, language: str) -> str:
    """Basis points as per cent: 1000 → `10%`."""
    text = format_decimal(Decimal(bps) / 100, "#,##0.##", locale=language)
    return f"{text}\N{NO-BREAK SPACE}%" if language == "de" else f"{text}%"
