"""What is typed into a form → a model of the contract, with a message for each field at fault; and work done once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, TypeVar

from pydantic import BaseModel, ValidationError

from oklp.errors import FieldError, InvalidRequest, OklpError
from oklp.services import idempotency
from oklp.services.idempotency import Answer, Claim
from oklp.storage.engine import Tx
from oklp.web import problems
from oklp.web.pages import refusals, words
from oklp.web.pages.visit import ONCE_FIELD, Visit

P = ParamSpec("P")
Model = TypeVar("Model", bound=BaseModel)


@dataclass
class Form:
    """A form to show: what is in its fields, what is wrong with them, and what is wrong with the whole.

    `action` is the address that it was sent to; empty for one that was not sent.
    """

    values: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    error: str = ""
    action: str = ""

    def __getitem__(self, name: str) -> str:
        return self.values.get(name, "")

    def came_from(self, action: str, values: Mapping[str, str]) -> bool:
        """Whether it was sent to `action`, with all of these in it."""
        return self.action == action and values.items() <= self.values.items()


def refused(visit: Visit, refusal: OklpError) -> Form:
    """The form as it was sent, with what is wrong with it."""
    visit.retry_after_seconds = refusal.retry_after_seconds
    errors = refusals.by_field(visit, refusal)
    return Form(visit.fields, errors, "" if errors else refusals.sentence(visit, refusal), visit.at)


def model(kind: type[Model], values: Mapping[str, Any]) -> Model:
    """Raises InvalidRequest, whose fields are those of the form."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise problems.invalid_fields(error.errors(include_url=False, include_input=False)) from None


def amount(visit: Visit, name: str) -> int:
    """The minor units of a field for money. Raises InvalidRequest."""
    units = words.minor_units(visit.fields.get(name, ""), visit.here.settings.currency, visit.language)
    if units is None:
        raise InvalidRequest("not an amount", errors=(FieldError(name, "is not an amount of money"),))
    return units


def amount_in_address(visit: Visit, name: str) -> str | None:
    """An amount that a link fills a field with, as it is typed in the visitor's language; None where there is none.

    An address goes from one language to another, and what is typed does not.
    """
    currency = visit.here.settings.currency
    units = words.units_of_address(visit.argument(name) or "", currency)
    return words.plain_money(units, currency, visit.language) if units is not None else None


def number(visit: Visit, name: str, otherwise: int, digits: int = 6) -> int:
    text = visit.fields.get(name, "")
    if not text:
        return otherwise
    if not text.isascii() or not text.isdigit() or len(text) > digits:
        raise InvalidRequest("not a number", errors=(FieldError(name, "is not a number"),))
    return int(text)


def claim(visit: Visit) -> Claim | None:
    """The form's own key: a form that is sent twice, by a double click or a reload, does its work once."""
    key = visit.fields.get(ONCE_FIELD)
    if not key or len(key) > 64 or visit.person is None:
        return None
    now = visit.here.clock()
    rest = json.dumps(sorted(visit.fields.items()))
    return Claim(
        key=idempotency.Key(visit.person.id, f"POST {visit.at}", f"form:{key}"),
        body_hash=hashlib.sha256(rest.encode()).hexdigest(),
        now=now,
        valid_since=now - visit.here.settings.idempotency_seconds * 1000,
    )


async def once(
    visit: Visit, kind: type[Model], work: Callable[Concatenate[Tx, P], BaseModel], /, *args: P.args, **kwargs: P.kwargs
) -> Model:
    """Do `work`, or have what it answered when this form was first sent. Raises what `work` refuses."""
    answer = await visit.here.db.write(idempotency.once, claim(visit), 200, work, *args, **kwargs)
    return outcome(kind, answer)


def outcome(kind: type[Model], answer: Answer) -> Model:
    """A kept answer as what it was. Raises the refusal that it was."""
    if answer.status < 400:
        return kind.model_validate_json(answer.body)
    body = json.loads(answer.body)
    code = body["type"].rpartition(":")[2]
    fields = tuple(FieldError(each["field"], each["message"]) for each in body.get("errors", ()))
    raise _refusals()[code](body["detail"], errors=fields)


def _refusals() -> dict[str, type[OklpError]]:
    known: dict[str, type[OklpError]] = {}
    waiting = [OklpError]
    while waiting:
        kind = waiting.pop()
        known.setdefault(kind.code, kind)
        waiting.extend(kind.__subclasses__())
    return known
