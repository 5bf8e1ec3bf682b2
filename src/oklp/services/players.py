"""Players: signing up, profiles, finding one another; suspending and reinstating."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from functools import cache
from typing import Any

from babel import Locale

from oklp import contract
from oklp.errors import Conflict, FieldError, NameTaken, NotFound, invalid
from oklp.services import factors, ledger, mails, matches, views
from oklp.services.vault import Vault
from oklp.settings import Settings
from oklp.storage import events
from oklp.storage import ledger as ledger_store
from oklp.storage import players as store
from oklp.storage.engine import Tx
from oklp.storage.tx import Row

# Locale data lists regions that are no countries as well. `XK` stays: Kosovo has no other code.
_NO_COUNTRIES = frozenset(["AC", "CP", "CQ", "DG", "EA", "EU", "EZ", "IC", "QO", "TA", "UN", "XA", "XB", "ZZ"])


@cache
def countries() -> frozenset[str]:
    """Their ISO 3166-1 codes of two letters. Made when first asked for: reading the locale data takes a while."""
    named = map(str, Locale("en").territories)
    return frozenset(code for code in named if code.isalpha() and len(code) == 2) - _NO_COUNTRIES


def taken(field: str, message: str) -> NameTaken:
    return NameTaken(f"{field}: {message}", errors=(FieldError(field, message),))


def age_years(date_of_birth: date, today: date) -> int:
    before_birthday = (today.month, today.day) < (date_of_birth.month, date_of_birth.day)
    return today.year - date_of_birth.year - before_birthday


def check_sign_up(settings: Settings, request: contract.SignUp, now: int) -> None:
    """What can be refused before a password is hashed: age and country."""
    today = datetime.fromtimestamp(now / 1000, UTC).date()
    if request.date_of_birth > today or request.date_of_birth.year < 1900:
        raise invalid("date_of_birth", "is not a date of birth")
    if age_years(request.date_of_birth, today) < settings.minimum_age_years:
        raise invalid("date_of_birth", f"players must be at least {settings.minimum_age_years} years old")
    if request.country not in countries():
        raise invalid("country", "is not an ISO 3166-1 alpha-2 code")


def sign_up(
    tx: Tx, settings: Settings, user_id: str, request: contract.SignUp, password_hash: str, language: str, now: int
) -> contract.Player:
    """A new player, who is written to in `language`. In the sandbox players are verified at once. Raises NameTaken.

    An e-mail address is taken as it is given, whoever else has given it: nobody has proved it to be his, and a refusal
    would tell strangers whose addresses are known here (decision 0008).
    """
    _insert(
        tx,
        user_id,
        request.username,
        password_hash,
        now,
        email=request.email,
        date_of_birth=request.date_of_birth.isoformat(),
        country=request.country,
        language=language,
        verified=settings.sandbox,
    )
    ledger_store.ensure_balances(tx, [(user_id, settings.currency)])
    return contract.Player(user_id=user_id, username=request.username)


def create(
    tx: Tx, settings: Settings, user_id: str, username: str, password_hash: str, grant: tuple[str, int] | None, now: int
) -> None:
    """A player made by the operator's command line: adult and verified; `grant` is (id, play money)."""
    _insert(
        tx,
        user_id,
        username,
        password_hash,
        now,
        email="",
        date_of_birth="1970-01-01",
        country="ZZ",
        verified=True,
    )
    ledger_store.ensure_balances(tx, [(user_id, settings.currency)])
    if grant is not None:
        ledger.grant(tx, grant[0], user_id, grant[1], settings.currency, now)


def _insert(tx: Tx, user_id: str, username: str, password_hash: str, now: int, **values: Any) -> None:
    if store.person_by_name(tx, "player", username.lower()) is not None:
        raise taken("username", "is taken")
    with tx.refusing(taken("username", "was taken a moment ago")):
        store.insert_person(
            tx,
            "player",
            id=user_id,
            username=username,
            username_key=username.lower(),
            password_hash=password_hash,
            status="active",
            created_at=now,
            **values,
        )


def profile_of(row: Row) -> contract.Profile:
    return contract.Profile(
        user_id=row.id,
        username=row.username,
        email=row.email,
        country=row.country,
        date_of_birth=date.fromisoformat(row.date_of_birth),
        status=row.status,
        verified=row.verified,
        email_verified=row.email_verified_at is not None,
        created_at=views.when(row.created_at),
    )


def profile(tx: Tx, user_id: str) -> contract.Profile:
    row = store.person(tx, "player", user_id)
    if row is None:
        raise NotFound("There is no such player.")
    return profile_of(row)


def search(tx: Tx, query: str, limit: int) -> contract.PlayerPage:
    """Active players whose username starts with `query`, without regard to case."""
    rows = store.search(tx, query.lower(), limit)
    return contract.PlayerPage(players=[contract.Player(user_id=row.id, username=row.username) for row in rows])


def game_user(tx: Tx, game_id: str, user_id: str) -> contract.GameUser:
    """A player as a game may see him: only one who is or was in its matches (A4)."""
    row = store.by_ids(tx, [user_id]).get(user_id)
    if row is None or not store.shares_a_match(tx, game_id, user_id):
        raise NotFound("There is no such player in this game's matches.")
    return contract.GameUser(user_id=row.id, username=row.username)


# --- operators -------------------------------------------------------------------------------------------------------


def act(
    tx: Tx,
    settings: Settings,
    vault: Vault,
    actor: str,
    user_id: str,
    request: contract.PlayerAction,
    mail_id: str,
    now: int,
) -> contract.Profile:
    """Suspend (his pending matches are aborted, live ones go on, winnings are held), reinstate or verify a player.

    Or remove his second factors (`factors.remove_all`). Of all but `verify` he is told by mail, without the reason,
    which is for operators; not of a suspension and its end when one undoes the other before its mail has gone. Raises
    NotFound, Conflict, WrongState.
    """
    row = store.lock_player(tx, user_id)
    if row is None:
        raise NotFound("There is no such player.")
    detail: dict[str, Any] = {}
    if request.action == "verify":
        store.update_player(tx, user_id, verified=True)
    elif request.action == "remove-factors":
        pen = mails.Pen(settings, vault, mail_id, row.language)
        detail = factors.remove_all(tx, pen, "player", user_id, now)
    else:
        _set_status(tx, settings, row, request, now)
        _tell(tx, settings, vault, row, request, mail_id, now)
    events.insert_audit(
        tx,
        at=now,
        actor=actor,
        action=f"player.{request.action}",
        subject=f"player:{user_id}",
        reason=request.reason,
        detail=json.dumps(detail),
    )
    return profile(tx, user_id)


def _set_status(tx: Tx, settings: Settings, row: Row, request: contract.PlayerAction, now: int) -> None:
    suspend = request.action == "suspend"
    if (row.status == "suspended") == suspend:
        raise Conflict(f"The player is {row.status} already.")
    store.update_player(
        tx,
        row.id,
        status="suspended" if suspend else "active",
        status_reason=request.reason if suspend else None,
    )
    # Matches are locked before balances, and balances by id, here as everywhere.
    if suspend:
        detail = "A player of this match was suspended."
        matches.abort_pending(tx, settings, "player-suspended", detail, now, user_id=row.id)
    else:
        ledger.lock(tx, [row.id])
    ledger_store.hold_winnings_of(tx, row.id, suspend)


def _tell(
    tx: Tx, settings: Settings, vault: Vault, row: Row, request: contract.PlayerAction, mail_id: str, now: int
) -> None:
    """Of what he has not been told before: each of the two mails takes back the other while that waits.

    Retries may take hours. Whoever reads first that his account is open, and then that it is suspended, believes the
    latter; and the end of a suspension that no mail has told of would only puzzle him. What may be on its way cannot be
    taken back: this mail then waits for its turn.
    """
    kind, opposite, page = "account-suspended", "account-reinstated", "wallet"
    if request.action == "reinstate":
        kind, opposite, page = opposite, kind, "games"
    if mails.withdraw(tx, opposite, row.id):
        return
    link = mails.link(settings, "player", page)
    values = {"language": row.language, "username": row.username, "link": link}
    mails.post(tx, vault, mail_id, kind, row.email, values, now, about=row.id)


def operator_player(tx: Tx, settings: Settings, user_id: str) -> contract.OperatorPlayer:
    row = store.person(tx, "player", user_id)
    if row is None:
        raise NotFound("There is no such player.")
    held = [
        contract.HeldWinning(match_id=h.match_id, amount=h.amount, currency=h.currency, state=h.state)
        for h in ledger_store.held_of(tx, [user_id])
    ]
    return contract.OperatorPlayer(
        **profile_of(row).model_dump(),
        balances=ledger.wallet(tx, user_id, settings.currency).balances,
        held_winnings=held,
        status_reason=row.status_reason,
        second_factor=row.second_factor,
    )


def operator_page(tx: Tx, query: str, after: str, limit: int) -> tuple[contract.OperatorPlayerPage, str | None]:
    rows = store.page(tx, query.lower(), after, limit + 1)
    more = rows[limit - 1].username_key if len(rows) > limit else None
    return contract.OperatorPlayerPage(players=[profile_of(row) for row in rows[:limit]]), more
