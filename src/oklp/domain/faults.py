"""Faults that a studio has the sandbox make, so that its retries are tested: one table of all there are.

A fault changes what the network, a clock or a key would have done to one request; what follows is decided by the same
rules as ever. `KINDS` is what the API checks against, and what the command line and `docs/faults.md` are made of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from oklp.errors import invalid

# Where a fault strikes: a webhook on its way to the game, or a call that comes from it.
PUT: Final = "put"
DELETE: Final = "delete"
ISSUER: Final = "issuer"
INFO: Final = "token-info"
FINISH: Final = "finish"
READ: Final = "read"
ANY: Final = "any"  # of a game's calls with an access token: INFO, FINISH, READ

MAX_A_GAME: Final = 100


@dataclass(frozen=True, slots=True)
class Kind:
    """`help` says what happens, `expect` what a sound game does about it. `options` are those it takes, with their
    defaults; bounds are the wire's (`contract.NewFault`). `section` is the contract's.
    """

    point: str
    section: str
    help: str
    expect: str
    options: Mapping[str, Any] = field(default_factory=dict)


KINDS: Final[Mapping[str, Kind]] = {
    # --- webhooks ---
    "put_timeout": Kind(
        PUT,
        "A3",
        "The game gets the PUT, and the platform hears no answer within its time-out.",
        "It forgets the match when the DELETE comes, and takes the same PUT again where start retries are on.",
    ),
    "put_refused": Kind(
        PUT,
        "A3",
        "The PUT is not sent, as if the connection had been refused.",
        "Nothing: it hears of this match by a later attempt or never, and no DELETE comes for it.",
    ),
    "answer_lost": Kind(
        PUT,
        "A3",
        "The game gets the PUT, and the connection breaks before its answer is read.",
        "As for put_timeout: the platform cannot know that it said yes.",
    ),
    "duplicate_put": Kind(
        PUT,
        "A3",
        "The same PUT comes twice, with one webhook-id, the copy delay_seconds after the first or at the same moment.",
        "It answers both with 200 and has one match; another answer to either aborts the match.",
        {"delay_seconds": 0.0},
    ),
    "late_put": Kind(
        PUT,
        "A3",
        "The PUT takes delay_seconds to arrive; longer than the time-out, it comes after the match was aborted.",
        "It starts the match late; one that was called off before, or whose results get 409, it lets go.",
        {"delay_seconds": 3.0},
    ),
    "wrong_signature": Kind(
        PUT,
        "A3",
        "The PUT is signed with a secret that is not the game's webhook secret.",
        "It refuses it, and the match aborts: somebody without the secret sent it.",
    ),
    "unknown_key": Kind(
        PUT,
        "A2",
        "The PUT's token is signed by a key that the platform does not publish.",
        "It looks the keys up once more, then refuses it, and the match aborts.",
    ),
    "expired_token": Kind(
        PUT,
        "A2",
        "The PUT's token expired an hour ago; its signature header is good.",
        "It refuses it, and the match aborts: it may be an old request that somebody sends again.",
    ),
    "wrong_audience": Kind(
        PUT,
        "A2",
        "The PUT's token was made for another game.",
        "It refuses it, and the match aborts.",
    ),
    "webhook_clock_skew": Kind(
        PUT,
        "A3",
        "The PUT's token and webhook-timestamp are of a clock that is offset_seconds off.",
        "It takes an offset of a few seconds, and refuses one of more than five minutes.",
        {"offset_seconds": -600},
    ),
    "delete_refused": Kind(
        DELETE,
        "A3",
        "The DELETE of an aborted match is not sent, as if the connection had been refused; it is tried again.",
        "It forgets the match when the DELETE comes at last.",
    ),
    "duplicate_delete": Kind(
        DELETE,
        "A3",
        "The DELETE of an aborted match comes twice, the copy delay_seconds after the first or at the same moment.",
        "It answers both with a 2xx: a match that is gone already is no error.",
        {"delay_seconds": 0.0},
    ),
    # --- the issuer ---
    "token_endpoint_503": Kind(
        ISSUER,
        "A2",
        "Asking for an access token is answered with 503 and Retry-After.",
        "It asks again after that time; nothing that waits for the token is lost.",
        {"retry_after_seconds": 1},
    ),
    "token_clock_skew": Kind(
        ISSUER,
        "A2",
        "An access token's iat and exp are of a clock that is offset_seconds off, while expires_in is as ever.",
        "When the API answers 401 before expires_in has passed, it asks for a new token and sends the request again.",
        {"offset_seconds": -3_600},
    ),
    # --- the game's calls ---
    "token_info_503": Kind(
        INFO,
        "A6",
        "token-info is answered with 503 and Retry-After.",
        "It asks again while the player waits; it neither lets the player in unseen nor turns him away for good.",
        {"retry_after_seconds": 1},
    ),
    "token_info_slow": Kind(
        INFO,
        "A6",
        "The answer to token-info takes delay_seconds longer.",
        "Its own time-out ends the wait, and it asks again; other players are not held up.",
        {"delay_seconds": 5.0},
    ),
    "match_token_expired": Kind(
        INFO,
        "A6",
        "token-info answers 404, as for a match token that is unknown or has expired.",
        "It tells the player so and leads back to the platform, where a fresh launch helps; it does not try again.",
    ),
    "finish_503": Kind(
        FINISH,
        "A7",
        "A result is answered with 503 and Retry-After, and not taken.",
        "It keeps the result and sends the same one again after that time.",
        {"retry_after_seconds": 1},
    ),
    "finish_answer_lost": Kind(
        FINISH,
        "A7",
        "A result is taken and on disk, and the connection breaks before the answer.",
        "It sends the same result again, and is told accepted: true.",
    ),
    "finish_slow": Kind(
        FINISH,
        "A7",
        "A result is taken and on disk, and the answer takes delay_seconds longer.",
        "Its time-out ends the wait, it sends the same result again, and is told accepted: true.",
        {"delay_seconds": 5.0},
    ),
    "rate_limited": Kind(
        ANY,
        "B1",
        "A call of the game's is answered with 429 and Retry-After.",
        "It waits for that time and sends the call again.",
        {"retry_after_seconds": 1, "call": ANY},
    ),
    "access_token_expired": Kind(
        ANY,
        "A2",
        "A call of the game's is answered with 401, as if its access token had expired, although it has not.",
        "It asks for a new token, once, and sends the call again with it.",
        {"call": ANY},
    ),
}


@dataclass(frozen=True, slots=True)
class Chosen:
    """A fault as it will be kept: where it strikes, and every option that its kind takes."""

    kind: str
    point: str
    options: Mapping[str, Any]


def choose(kind: str, given: Mapping[str, Any]) -> Chosen:
    """A fault of this kind with these options, the others at their defaults.

    Raises InvalidRequest for a kind that there is not, and for an option that the kind does not take.
    """
    known = KINDS.get(kind)
    if known is None:
        raise invalid("kind", f"must be one of {', '.join(KINDS)}")
    for name in given:
        if name not in known.options:
            taken = ", ".join(known.options) or "no option"
            raise invalid(name, f"is not for {kind}, which takes {taken}")
    options = {**known.options, **given}
    return Chosen(kind, options.get("call", known.point), options)
