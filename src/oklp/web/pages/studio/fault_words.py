"""What each fault does and what a sound game does about it, in the reader's language.

The English is that of `KINDS`, which the command line and docs/faults.md have: a test compares them.
"""

from __future__ import annotations

from collections.abc import Mapping

from oklp.services.faults import KINDS
from oklp.web.pages.visit import Visit


def of(visit: Visit) -> Mapping[str, tuple[str, str]]:
    """By kind: what happens, and what is expected."""
    _ = visit._
    known = {
        "put_timeout": (
            _("The game gets the PUT, and the platform hears no answer within its time-out."),
            _("It forgets the match when the DELETE comes, and takes the same PUT again where start retries are on."),
        ),
        "put_refused": (
            _("The PUT is not sent, as if the connection had been refused."),
            _("Nothing: it hears of this match by a later attempt or never, and no DELETE comes for it."),
        ),
        "answer_lost": (
            _("The game gets the PUT, and the connection breaks before its answer is read."),
            _("As for put_timeout: the platform cannot know that it said yes."),
        ),
        "duplicate_put": (
            _(
                "The same PUT comes twice, with one webhook-id, the copy delay_seconds after the first or at the "
                "same moment."
            ),
            _("It answers both with 200 and has one match; another answer to either aborts the match."),
        ),
        "late_put": (
            _("The PUT takes delay_seconds to arrive; longer than the time-out, it comes after the match was aborted."),
            _("It starts the match late; one that was called off before, or whose results get 409, it lets go."),
        ),
        "wrong_signature": (
            _("The PUT is signed with a secret that is not the game's webhook secret."),
            _("It refuses it, and the match aborts: somebody without the secret sent it."),
        ),
        "unknown_key": (
            _("The PUT's token is signed by a key that the platform does not publish."),
            _("It looks the keys up once more, then refuses it, and the match aborts."),
        ),
        "expired_token": (
            _("The PUT's token expired an hour ago; its signature header is good."),
            _("It refuses it, and the match aborts: it may be an old request that somebody sends again."),
        ),
        "wrong_audience": (
            _("The PUT's token was made for another game."),
            _("It refuses it, and the match aborts."),
        ),
        "webhook_clock_skew": (
            _("The PUT's token and webhook-timestamp are of a clock that is offset_seconds off."),
            _("It takes an offset of a few seconds, and refuses one of more than five minutes."),
        ),
        "delete_refused": (
            _("The DELETE of an aborted match is not sent, as if the connection had been refused; it is tried again."),
            _("It forgets the match when the DELETE comes at last."),
        ),
        "duplicate_delete": (
            _(
                "The DELETE of an aborted match comes twice, the copy delay_seconds after the first or at the same "
                "moment."
            ),
            _("It answers both with a 2xx: a match that is gone already is no error."),
        ),
        "token_endpoint_503": (
            _("Asking for an access token is answered with 503 and Retry-After."),
            _("It asks again after that time; nothing that waits for the token is lost."),
        ),
        "token_clock_skew": (
            _("An access token's iat and exp are of a clock that is offset_seconds off, while expires_in is as ever."),
            _(
                "When the API answers 401 before expires_in has passed, it asks for a new token and sends the "
                "request again."
            ),
        ),
        "token_info_503": (
            _("token-info is answered with 503 and Retry-After."),
            _(
                "It asks again while the player waits; it neither lets the player in unseen nor turns him away for "
                "good."
            ),
        ),
        "token_info_slow": (
            _("The answer to token-info takes delay_seconds longer."),
            _("Its own time-out ends the wait, and it asks again; other players are not held up."),
        ),
        "match_token_expired": (
            _("token-info answers 404, as for a match token that is unknown or has expired."),
            _(
                "It tells the player so and leads back to the platform, where a fresh launch helps; it does not try "
                "again."
            ),
        ),
        "finish_503": (
            _("A result is answered with 503 and Retry-After, and not taken."),
            _("It keeps the result and sends the same one again after that time."),
        ),
        "finish_answer_lost": (
            _("A result is taken and on disk, and the connection breaks before the answer."),
            _("It sends the same result again, and is told accepted: true."),
        ),
        "finish_slow": (
            _("A result is taken and on disk, and the answer takes delay_seconds longer."),
            _("Its time-out ends the wait, it sends the same result again, and is told accepted: true."),
        ),
        "rate_limited": (
            _("A call of the game's is answered with 429 and Retry-After."),
            _("It waits for that time and sends the call again."),
        ),
        "access_token_expired": (
            _("A call of the game's is answered with 401, as if its access token had expired, although it has not."),
            _("It asks for a new token, once, and sends the call again with it."),
        ),
    }
    return {name: known.get(name, (kind.help, kind.expect)) for name, kind in KINDS.items()}
