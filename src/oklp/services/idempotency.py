"""`Idempotency-Key`: the first answer is kept with the work it tells of, and replayed (contract section B3).

A key belongs to a caller and a route. Refusals are answers too; only those that say "later" (429, 5xx) are not kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Concatenate, NamedTuple, ParamSpec

from pydantic import BaseModel

from oklp.errors import FieldError, IdempotencyReuse, OklpError
from oklp.storage import events as store
from oklp.storage.engine import Tx
from oklp.storage.events import Key as Key
from oklp.storage.tx import Row

P = ParamSpec("P")


class Claim(NamedTuple):
    """What a request claims: `body_hash` tells apart other requests under the same key."""

    key: Key
    body_hash: str
    now: int
    valid_since: int


class Answer(NamedTuple):
    """An HTTP answer: JSON of the body, or of a problem."""

    status: int
    body: str
    replayed: bool = False


def problem_json(refusal: OklpError) -> str:
    """RFC 9457 (contract section B1)."""
    body: dict[str, object] = {
        "type": f"urn:oklp:error:{refusal.code}",
        "title": refusal.title,
        "status": refusal.status,
        "detail": refusal.detail,
    }
    if refusal.errors:
        body["errors"] = [{"field": error.field, "message": error.message} for error in refusal.errors]
    return json.dumps(body | refusal.members())


def keepable(refusal: OklpError) -> bool:
    return refusal.status < 500 and refusal.status != 429


def check_body(claim: Claim, body_hash: str) -> None:
    """Raises IdempotencyReuse when the key was used for another body."""
    if body_hash != claim.body_hash:
        message = "was used for another request"
        raise IdempotencyReuse(f"This Idempotency-Key {message}.", errors=(FieldError("Idempotency-Key", message),))


def replay(claim: Claim, row: Row) -> Answer:
    """The kept answer. Raises IdempotencyReuse."""
    check_body(claim, row.body_hash)
    return Answer(row.status, row.answer, replayed=True)


def find(tx: Tx, claims: Sequence[Claim]) -> dict[Key, Row]:
    """Kept answers that are still valid; those too old are dropped so that their key can be used anew."""
    found = store.answers(tx, [claim.key for claim in claims])
    stale = {claim.key for claim in claims if claim.key in found and found[claim.key].created_at < claim.valid_since}
    store.delete_answers(tx, sorted(stale))
    return {key: row for key, row in found.items() if key not in stale}


def keep(tx: Tx, claims: Sequence[tuple[Claim, Answer]]) -> None:
    store.insert_answers(
        tx,
        [(*claim.key, claim.body_hash, answer.status, answer.body, claim.now) for claim, answer in claims],
    )


def _answer(status: int, done: BaseModel) -> Answer:
    return Answer(getattr(type(done), "ANSWER_STATUS", status), done.model_dump_json())


def once(
    tx: Tx,
    claim: Claim | None,
    status: int,
    work: Callable[Concatenate[Tx, P], BaseModel],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> Answer:
    """Do `work` unless this claim has an answer already.

    The answer's status is `status`, that of a model which has an `ANSWER_STATUS`, or the refusal's.
    """
    if claim is None:
        return _answer(status, work(tx, *args, **kwargs))
    kept = find(tx, [claim]).get(claim.key)
    if kept is not None:
        return replay(claim, kept)
    try:
        with tx.savepoint():
            answer = _answer(status, work(tx, *args, **kwargs))
    except OklpError as refusal:
        if not keepable(refusal):
            raise
        answer = Answer(refusal.status, problem_json(refusal))
    keep(tx, [(claim, answer)])
    return answer
