"""The outbox of mails: written in the transaction of the work that they tell of, sent by the postman afterwards.

A mail holds what its text is made of, encrypted, since there are tokens in it; the text is made when it is sent. It is
sent at least once: an attempt whose outcome is never recorded, since the process ended, is made again.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from oklp import contract
from oklp.errors import Conflict
from oklp.services import mail_texts, views
from oklp.services.vault import Vault
from oklp.settings import Settings
from oklp.storage import mails as store
from oklp.storage.engine import Tx
from oklp.storage.tx import Row

# An attempt that is not recorded in this time is made again.
LEASE_MS = 120_000
BACK_OFF_SECONDS = (5, 30, 120, 600, 1_800, 3_600)
NOTICE_SECONDS = 24 * 3_600

# Where the pages are that links lead to, by kind of person.
_PAGES = {"player": "", "member": "/studio", "operator": "/operator"}


class Letter(NamedTuple):
    """A mail as it is sent. `attempt` says which one this is; after `give_up_at` there is no other."""

    mail_id: str
    attempt: int
    give_up_at: int
    recipient: str
    subject: str
    text: str
    unsubscribe: str  # a link out of mails of its kind, empty where it has to be read


class Pen(NamedTuple):
    """What a mail to somebody is written with. `language` is that of the request, for whom no other is known."""

    settings: Settings
    vault: Vault
    mail_id: str
    language: str


def link(settings: Settings, kind: str, page: str, **query: str) -> str:
    """The address of a page for a kind of person."""
    tail = f"?{urlencode(query)}" if query else ""
    return f"{settings.public_url}{_PAGES[kind]}/{page}{tail}"


def language_of(kind: str, row: Row, asked: str) -> str:
    """The language to write to a person in: a player's own, which is kept; of the others, that of the request."""
    return str(row.language) if kind == "player" else asked


def news(settings: Settings, kind: str, row: Row, asked: str) -> dict[str, str]:
    """What a mail is made of that tells a person of a change: the link is for whoever did not make it."""
    return {
        "language": language_of(kind, row, asked),
        "username": row.username,
        "link": link(settings, kind, "forgot-password"),
    }


def post(
    tx: Tx,
    vault: Vault,
    mail_id: str,
    kind: str,
    recipient: str,
    values: Mapping[str, str],
    now: int,
    life_seconds: int = NOTICE_SECONDS,
    about: str | None = None,
) -> None:
    """Put a mail into the outbox. It is not tried for longer than `life_seconds`: a link is of no use after that.

    `values` are what mail_texts fills in, and the `language`. People made by the command line may have no address, and
    get no mail. No id comes twice: it is random, or made of what happens once. That is a recovery code, which is used
    up, or a notification, which is kept for longer than its mail.

    Mails `about` the same player go in turn: none is begun while another of them is on its way or is tried again.
    """
    if recipient:
        _insert(tx, vault, mail_id, kind, recipient, "waiting", values, now, life_seconds, about)


def withdraw(tx: Tx, kind: str, about: str) -> bool:
    """Take a mail of this kind about a player out of the outbox, unless it may have been sent; whether there was one.

    By the player: his address may be others' as well, and another by now.
    """
    return store.withdraw(tx, kind, about)


def tell(tx: Tx, pen: Pen, kind: str, row: Row, what: str, now: int) -> None:
    """Put a mail into the outbox that tells a person of a change of his account, made of `news`."""
    values = news(pen.settings, kind, row, pen.language)
    post(tx, pen.vault, pen.mail_id, what, row.email, values, now)


def ask(tx: Tx, vault: Vault, mail_id: str, kind: str, values: Mapping[str, str], now: int, life_seconds: int) -> None:
    """Put a question into the outbox that becomes mails when it is looked at: none, one or several."""
    _insert(tx, vault, mail_id, kind, "", "asked", values, now, life_seconds)


def _insert(
    tx: Tx,
    vault: Vault,
    mail_id: str,
    kind: str,
    recipient: str,
    state: str,
    values: Mapping[str, str],
    now: int,
    life_seconds: int,
    about: str | None = None,
) -> None:
    store.insert(
        tx,
        id=mail_id,
        kind=kind,
        recipient=recipient,
        content=vault.encrypt(json.dumps(dict(values))),
        state=state,
        attempts=0,
        next_attempt_at=now,
        give_up_at=now + life_seconds * 1000,
        created_at=now,
        about=about,
    )


def values_of(vault: Vault, row: Row) -> dict[str, str]:
    """What `post` or `ask` were given. Raises Conflict when another key encrypted it."""
    found: dict[str, str] = json.loads(vault.decrypt(row.content))
    return found


# --- sending ---------------------------------------------------------------------------------------------------------


def next_at(tx: Tx) -> int | None:
    """When the first of the outbox is due."""
    return store.next_at(tx)


def claim(tx: Tx, vault: Vault, now: int, limit: int) -> tuple[list[Letter], list[str]]:
    """Begin an attempt for mails that are due. It is recorded before it is made.

    Also the ids of those that were given up instead: of what had come too late nobody has a use any more, and nobody
    can read what was encrypted with a key that is lost.
    """
    letters: list[Letter] = []
    given_up: list[str] = []
    for row in store.due(tx, "waiting", now, limit):
        if row.give_up_at <= now:
            unknown = "its last attempt has not ended, and there is no time for another"
            error = row.last_error or (unknown if row.attempts else "it could not be sent in time")
            store.update(tx, row.id, state="failed", next_attempt_at=None, last_error=error, content=None)
            given_up.append(row.id)
            continue
        try:
            values = values_of(vault, row)
        except Conflict as misfit:
            store.update(tx, row.id, state="failed", next_attempt_at=None, last_error=misfit.detail)
            given_up.append(row.id)
            continue
        text = mail_texts.write(row.kind, values)
        attempt = row.attempts + 1
        out = values.get("unsubscribe", "")
        letters.append(Letter(row.id, attempt, row.give_up_at, row.recipient, text.subject, text.body, out))
        # An error is that of the last attempt. While there is none, one may be on its way: see `withdraw`. Of one whose
        # server has ended nobody knows how it went.
        uncertain = bool(row.uncertain) or (row.attempts > 0 and row.last_error is None)
        going = {"attempts": attempt, "next_attempt_at": now + LEASE_MS, "last_error": None, "uncertain": uncertain}
        store.update(tx, row.id, **going)
    return letters, given_up


def sent(tx: Tx, settings: Settings, letter: Letter, now: int) -> None:
    _finish(tx, settings, letter, state="sent", next_attempt_at=None, sent_at=now, last_error=None)


def not_sent(
    tx: Tx, settings: Settings, letter: Letter, error: str, permanent: bool, uncertain: bool, now: int
) -> bool:
    """Try again later, unless it is hopeless or would be too late. Returns whether it was given up."""
    wait_ms = BACK_OFF_SECONDS[min(letter.attempt, len(BACK_OFF_SECONDS)) - 1] * 1000
    given_up = permanent or now + wait_ms > letter.give_up_at
    if given_up:
        _finish(tx, settings, letter, state="failed", next_attempt_at=None, last_error=error)
    else:
        later: dict[str, Any] = {"next_attempt_at": now + wait_ms, "last_error": error}
        if uncertain:
            later["uncertain"] = True
        store.finish(tx, letter.mail_id, letter.attempt, **later)
    return given_up


def _finish(tx: Tx, settings: Settings, letter: Letter, **values: Any) -> None:
    if not settings.sandbox:
        values["content"] = None  # the tokens in it are of no use here any more
    store.finish(tx, letter.mail_id, letter.attempt, **values)


# --- looking ---------------------------------------------------------------------------------------------------------


def page(
    tx: Tx,
    settings: Settings,
    vault: Vault,
    recipient: str | None,
    state: str | None,
    before: tuple[int, str] | None,
    limit: int,
) -> tuple[list[contract.Mail], tuple[int, str] | None]:
    """Newest first, and where the rest begins. Texts are shown in the sandbox alone: there are tokens in them."""
    rows = store.page(tx, recipient, state, before, limit + 1)
    more = (rows[limit - 1].created_at, rows[limit - 1].id) if len(rows) > limit else None
    return [_view(row, vault if settings.sandbox else None) for row in rows[:limit]], more


def _view(row: Row, vault: Vault | None) -> contract.Mail:
    text = None
    if vault is not None and row.content is not None:
        with contextlib.suppress(Conflict):  # of a key that the sandbox has replaced
            text = mail_texts.write(row.kind, values_of(vault, row))
    return contract.Mail(
        mail_id=row.id,
        kind=row.kind,
        recipient=row.recipient,
        state=row.state,
        attempts=row.attempts,
        created_at=views.when(row.created_at),
        next_attempt_at=views.maybe_when(row.next_attempt_at),
        sent_at=views.maybe_when(row.sent_at),
        last_error=row.last_error,
        subject=text.subject if text is not None else None,
        text=text.body if text is not None else None,
    )
