"""What an entry of the audit log says besides who, what and why: its detail, a line for each fact.

Names are those of the API; amounts and shares are as people write them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from oklp.web.pages import words

BEFORE, AFTER = "from", "to"
Fact = tuple[str, str]


def of(detail: Mapping[str, Any], language: str, currency: str) -> list[Fact]:
    """Names and texts. `currency` is that of amounts which have none of their own.

    >>> of({"amount": 900, "settings.fee_bps": {"from": 1000, "to": 500}}, "en", "XTS")
    [('amount', '9.00\\xa0XTS'), ('settings.fee_bps', '10% → 5%')]
    """
    said = dict(detail)
    if isinstance(said.get("currency"), str) and ("amount" in said or "prizes" in said):
        currency = said.pop("currency")
    return list(_Reader(language, currency).facts("", said))


class _Reader(NamedTuple):
    language: str
    currency: str

    def facts(self, name: str, value: object) -> Iterator[Fact]:
        if not isinstance(value, dict):
            yield name, self._text(name, value)
            return
        for key, each in value.items():
            if not {BEFORE, AFTER} <= value.keys() or key not in (BEFORE, AFTER):
                yield from self.facts(_below(name, key), each)
        if {BEFORE, AFTER} <= value.keys():
            yield from self._change(name, value[BEFORE], value[AFTER])

    def _change(self, name: str, before: object, after: object) -> Iterator[Fact]:
        if isinstance(before, dict) and isinstance(after, dict):
            for key in {**before, **after}:
                if before.get(key) != after.get(key):
                    yield from self._change(_below(name, key), before.get(key), after.get(key))
        else:
            yield name or f"{BEFORE} → {AFTER}", f"{self._text(name, before)} → {self._text(name, after)}"

    def _text(self, name: str, value: object) -> str:
        if value is None:
            return "\N{EN DASH}"
        if isinstance(value, str):
            return value
        own = name.rpartition(".")[2]
        if isinstance(value, list):
            return ", ".join(self._entry(own, each) for each in value)
        if type(value) is int and (own == "amount" or own.startswith("entry_fee_")):
            return words.money(value, self.currency, self.language)
        if type(value) is int and own.endswith("_bps"):
            return words.percent(value, self.language)
        return json.dumps(value, ensure_ascii=False)

    def _entry(self, name: str, value: object) -> str:
        """One of a list: of `prizes` a player and an amount, of a `ranking` a team and its place."""
        if not isinstance(value, list):
            return self._text(name, value)
        within = ["", "amount"] if name == "prizes" else [""] * len(value)
        return ": ".join(map(self._text, within, value))


def _below(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key
