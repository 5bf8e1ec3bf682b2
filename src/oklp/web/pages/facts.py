"""What an entry of the audit log says besides who, what and why: its detail, a line for each fact.

Names are those of the API, and so are values: an amount is in minor units where no currency stands beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from oklp.web.pages import words

BEFORE, AFTER = "from", "to"
Fact = tuple[str, str]


def of(detail: Mapping[str, Any], language: str) -> list[Fact]:
    """Names and texts.

    >>> of({"amount": 900, "currency": "XTS", "settings.fee_bps": {"from": 1000, "to": 500}}, "en")
    [('amount', '9.00\\xa0XTS'), ('settings.fee_bps', '1000 → 500')]
    """
    said = dict(detail)
    amount, currency = said.get("amount"), said.get("currency")
    if isinstance(amount, int) and isinstance(currency, str):
        said["amount"] = words.money(amount, currency, language)
        del said["currency"]
    return list(_facts("", said))


def _facts(name: str, value: object) -> Iterator[Fact]:
    if not isinstance(value, dict):
        yield name, _text(value)
        return
    for key, each in value.items():
        if not {BEFORE, AFTER} <= value.keys() or key not in (BEFORE, AFTER):
            yield from _facts(_below(name, key), each)
    if {BEFORE, AFTER} <= value.keys():
        yield from _change(name, value[BEFORE], value[AFTER])


def _change(name: str, before: object, after: object) -> Iterator[Fact]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in {**before, **after}:
            if before.get(key) != after.get(key):
                yield from _change(_below(name, key), before.get(key), after.get(key))
    else:
        yield name or f"{BEFORE} → {AFTER}", f"{_text(before)} → {_text(after)}"


def _below(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def _text(value: object) -> str:
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ", ".join(": ".join(map(_text, each)) if isinstance(each, list) else _text(each) for each in value)
    return json.dumps(value, ensure_ascii=False)
