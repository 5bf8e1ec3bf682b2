"""Money as people write it, by language."""

from __future__ import annotations

from decimal import Decimal

PLAY_MONEY = "XTS"


def unit(currency: str) -> Decimal:
    """One minor unit: 0.01 of a dollar."""
    # Babel with its data costs a tenth of a second, and commands that show no money need not wait for it.
    from babel.numbers import get_currency_precision

    return Decimal(1).scaleb(-get_currency_precision(currency))


def money(amount: int, currency: str, language: str, *, signed: bool = False) -> str:
    """Minor units as people write them: `$5.00`, `5,00 €`; play money has no sign of its own: `5.00 XTS`."""
    from babel.numbers import format_currency

    if currency == PLAY_MONEY:
        text = f"{plain_money(amount, currency, language)}\N{NO-BREAK SPACE}{currency}"
    else:
        text = format_currency(Decimal(amount) * unit(currency), currency, locale=language)
    text = text.replace("-", "\N{MINUS SIGN}")
    return f"+{text}" if signed and amount > 0 else text


def money_in_address(amount: int, currency: str) -> str:
    """Minor units for an address, which is the same in all languages: `1234.50`."""
    return str(Decimal(amount) * unit(currency))


def plain_money(amount: int, currency: str, language: str) -> str:
    """Minor units without their currency, as they are typed into a form."""
    from babel.numbers import format_decimal, get_currency_precision

    digits = get_currency_precision(currency)
    pattern = "#,##0." + "0" * digits if digits else "#,##0"
    return format_decimal(Decimal(amount) * unit(currency), pattern, locale=language)
