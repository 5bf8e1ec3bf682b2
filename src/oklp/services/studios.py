"""Studios: signing up, members, and the door to what is theirs (contract section B4).

What belongs to a studio is known to its members alone: `of_game` and `of_delivery` answer NotFound to everyone else, in
the transaction of the work itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

from oklp import contract
from oklp.domain.ledger import studio_account
from oklp.errors import Conflict, Forbidden, InvariantBroken, NotFound
from oklp.services import factors as factor_room
from oklp.services import results, views, webhooks
from oklp.services.auth import Person
from oklp.services.mails import Pen
from oklp.services.players import taken
from oklp.storage import events, factors, games, ledger, matches, players, tickets
from oklp.storage import webhooks as outbox
from oklp.storage.engine import Tx
from oklp.storage.tx import Row

P = ParamSpec("P")
T = TypeVar("T")

DAY_MS = 24 * 3_600_000

OWNER = "owner"
DEVELOPER = "developer"
VIEWER = "viewer"
ROLES = (VIEWER, DEVELOPER, OWNER)  # each may what those before it may
_TOO_LITTLE = {
    DEVELOPER: "Viewers of a studio read, and change nothing.",
    OWNER: "This is for owners of the studio.",
}


class Member(NamedTuple):
    """A member who is logged in."""

    id: str
    username: str
    studio_id: str
    role: str

    @classmethod
    def of(cls, person: Person) -> Member:
        if person.studio_id is None or person.role is None:
            raise InvariantBroken(f"{person.username} is a member without a studio")
        return cls(person.id, person.username, person.studio_id, person.role)

    @property
    def actor(self) -> str:
        """Who it was, for the audit log."""
        return f"member:{self.username}"

    def may(self, least: str) -> bool:
        """Whether the role is `least` or one that may more."""
        return ROLES.index(self.role) >= ROLES.index(least)

    def need(self, least: str) -> None:
        """Raises Forbidden for a role that may less than `least`."""
        if not self.may(least):
            raise Forbidden(_TOO_LITTLE[least])


# --- what is a studio's ----------------------------------------------------------------------------------------------


def of_game(
    tx: Tx,
    studio_id: str,
    game_id: str,
    work: Callable[Concatenate[Tx, P], T],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Do `work` if the game is the studio's. Raises NotFound."""
    row = games.game(tx, game_id)
    if row is None or row.studio_id != studio_id:
        raise NotFound("There is no such game.")
    return work(tx, *args, **kwargs)


def of_delivery(
    tx: Tx,
    studio_id: str,
    delivery_id: str,
    work: Callable[Concatenate[Tx, P], T],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Do `work` if the delivery is of one of the studio's games. Raises NotFound."""
    row = outbox.get(tx, delivery_id)
    game = games.game(tx, row.game_id) if row is not None else None
    if game is None or game.studio_id != studio_id:
        raise NotFound("There is no such delivery.")
    return work(tx, *args, **kwargs)


LISTED_LAUNCHES = 100


class MatchAtAGlance(NamedTuple):
    """Everything about a match that is its studio's to know; `share` is what it earned, minor units."""

    match: contract.Match
    share: contract.Money
    deliveries: list[contract.Delivery]
    launches: list[contract.MatchLaunch]
    refused: contract.RefusedResults


def match(tx: Tx, studio_id: str, game_id: str, match_id: str) -> MatchAtAGlance:
    """A match of one of the studio's games, within `of_game`. Raises NotFound."""
    row = matches.get(tx, [match_id]).get(match_id)
    if row is None or row.game_id != game_id:
        raise NotFound("There is no such match of this game.")
    seats = [views.seat(each) for each in matches.seats(tx, [match_id]).get(match_id, [])]
    own = studio_account(studio_id)
    share = sum(int(each.amount) for each in ledger.postings_of_match(tx, match_id) if each.account == own)
    return MatchAtAGlance(
        views.match(row, seats),
        contract.Money(amount=share, currency=row.currency),
        [views.delivery(each) for each in outbox.of_match(tx, match_id)],
        [views.launch(each) for each in matches.launches_of(tx, match_id, LISTED_LAUNCHES)],
        results.refused_of(tx, match_id),
    )


def resend(tx: Tx, actor: str, delivery_id: str, now: int) -> contract.Delivery:
    """Send a delivery once more. Raises WrongState while it is on its way."""
    row = webhooks.resend(tx, delivery_id, now)
    _audit(tx, actor, "delivery.resend", f"game:{row.game_id}", {"delivery_id": delivery_id}, now)
    return views.delivery(row)


def send_test_event(
    tx: Tx, actor: str, game_id: str, delivery_id: str, match_id: str, event: contract.TestEvent, now: int
) -> contract.Delivery:
    """Send the game an event about a match that does not exist. Raises WrongState without a webhook URL."""
    game = games.game(tx, game_id)
    if game is None:
        raise NotFound("There is no such game.")
    webhooks.test_event(tx, game, delivery_id, event.match_id or match_id, event, now)
    _audit(tx, actor, "game.test-event", f"game:{game_id}", {"delivery_id": delivery_id}, now)
    row = outbox.get(tx, delivery_id)
    if row is None:
        raise InvariantBroken(f"delivery {delivery_id} was written and is not there")
    return views.delivery(row)


class GameAtAGlance(NamedTuple):
    """A game for the studio's first page: matches by status, and deliveries that failed in the last day."""

    game: contract.StudioGame
    matches: dict[str, int]
    failed_deliveries: int


def overview(tx: Tx, studio_id: str, now: int) -> list[GameAtAGlance]:
    """All of the studio's games."""
    rows = games.games_of_studio(tx, studio_id)
    ids = [row.id for row in rows]
    counts, failed = matches.counts_of_games(tx, ids), outbox.failed_of_games(tx, ids, now - DAY_MS)
    return [GameAtAGlance(views.studio_game(row), counts.get(row.id, {}), failed.get(row.id, 0)) for row in rows]


# --- members ---------------------------------------------------------------------------------------------------------


def sign_up(
    tx: Tx, studio_id: str, member_id: str, request: contract.NewStudio, password_hash: str, now: int
) -> contract.Studio:
    """A studio with its first member, the owner. Raises NameTaken."""
    games.insert_studio(tx, id=studio_id, name=request.name, created_at=now)
    _insert(tx, studio_id, member_id, request.username, request.email, OWNER, password_hash, now)
    _audit(tx, f"member:{request.username}", "studio.sign-up", f"studio:{studio_id}", {"name": request.name}, now)
    return contract.Studio(studio_id=studio_id, name=request.name, member_id=member_id)


def profile(tx: Tx, member_id: str) -> contract.StudioProfile:
    row = players.person(tx, "member", member_id)
    studio = games.studio(tx, row.studio_id) if row is not None else None
    if row is None or studio is None:
        raise NotFound("There is no such member.")
    return contract.StudioProfile(
        studio_id=studio.id,
        name=studio.name,
        member_id=row.id,
        username=row.username,
        email=row.email,
        email_verified=row.email_verified_at is not None,
        role=row.role,
    )


def members(tx: Tx, studio_id: str) -> contract.StudioMemberPage:
    return contract.StudioMemberPage(members=[_member(row) for row in games.members_of(tx, studio_id)])


def add_member(
    tx: Tx,
    actor: str,
    studio_id: str,
    member_id: str,
    request: contract.NewStudioMember,
    password_hash: str,
    now: int,
) -> contract.StudioMember:
    """Raises NameTaken: usernames are unique among the members of all studios, since they log in by them."""
    _insert(tx, studio_id, member_id, request.username, request.email, request.role, password_hash, now)
    _audit(tx, actor, "member.add", f"studio:{studio_id}", {"username": request.username, "role": request.role}, now)
    row = players.person(tx, "member", member_id)
    if row is None:
        raise InvariantBroken(f"member {member_id} was written and is not there")
    return _member(row)


def change_member(
    tx: Tx, actor: str, studio_id: str, member_id: str, role: contract.Role, now: int
) -> contract.StudioMember:
    """Another role. Sessions end with the old one, but those of somebody who changes his own.

    Whoever found a viewer's session is not to be an owner by it, and no open stream outlives what it was opened by.
    Raises Conflict for the last owner, NotFound.
    """
    found = _lock_member(tx, studio_id, member_id, keeps_owner=role == OWNER)
    if found.role != role:
        players.update_person(tx, "member", member_id, role=role)
        if actor != f"member:{found.username}":
            players.delete_sessions_of(tx, member_id)
        detail = {"username": found.username, "from": found.role, "to": role}
        _audit(tx, actor, "member.role", f"studio:{studio_id}", detail, now)
    row = players.person(tx, "member", member_id)
    if row is None:
        raise InvariantBroken(f"member {member_id} was changed and is not there")
    return _member(row)


def _lock_member(tx: Tx, studio_id: str, member_id: str, *, keeps_owner: bool) -> Row:
    """The member, unless that is the last owner and would be none any more. Raises Conflict, NotFound."""
    games.lock_studio(tx, studio_id)  # two owners who remove each other are decided one after the other
    everyone = games.members_of(tx, studio_id)
    found = next((row for row in everyone if row.id == member_id), None)
    if found is None:
        raise NotFound("There is no such member.")
    if found.role == OWNER and not keeps_owner and sum(row.role == OWNER for row in everyone) == 1:
        raise Conflict("A studio keeps at least one owner.")
    return found


def remove_member(tx: Tx, actor: str, studio_id: str, member_id: str, now: int) -> None:
    """The member and his sessions are gone at once. Raises Conflict for the last owner, NotFound for a stranger."""
    found = _lock_member(tx, studio_id, member_id, keeps_owner=False)
    players.delete_sessions_of(tx, member_id)
    factors.delete_all(tx, member_id)
    tickets.delete_all(tx, member_id)
    players.delete_member(tx, member_id)
    _audit(tx, actor, "member.remove", f"studio:{studio_id}", {"username": found.username, "role": found.role}, now)


def remove_factors(tx: Tx, pen: Pen, actor: str, username: str, reason: str, now: int) -> contract.StudioMember:
    """As `factors.remove_all`, by whoever runs the platform, who answers for it: it is a studio's own affair.

    An owner removes a member and invites him again; of its last owner nobody can say who he is. Raises NotFound,
    WrongState.
    """
    found = players.person_by_name(tx, "member", username.lower())
    if found is None:
        raise NotFound(f"There is no member {username} of a studio.")
    detail = {"username": found.username, **factor_room.remove_all(tx, pen, "member", found.id, now)}
    _audit(tx, actor, "member.remove-factors", f"studio:{found.studio_id}", detail, now, reason)
    return _member(found)


def _member(row: Row) -> contract.StudioMember:
    return contract.StudioMember(
        member_id=row.id,
        username=row.username,
        email=row.email,
        email_verified=row.email_verified_at is not None,
        role=row.role,
        created_at=views.when(row.created_at),
    )


def _insert(
    tx: Tx, studio_id: str, member_id: str, username: str, email: str, role: str, password_hash: str, now: int
) -> None:
    if players.person_by_name(tx, "member", username.lower()) is not None:
        raise taken("username", "is taken")
    with tx.refusing(taken("username", "was taken a moment ago")):
        players.insert_person(
            tx,
            "member",
            id=member_id,
            studio_id=studio_id,
            username=username,
            username_key=username.lower(),
            email=email,
            password_hash=password_hash,
            role=role,
            created_at=now,
        )


def _audit(
    tx: Tx, actor: str, action: str, subject: str, detail: dict[str, Any], now: int, reason: str | None = None
) -> None:
    events.insert_audit(
        tx, at=now, actor=actor, action=action, subject=subject, reason=reason, detail=json.dumps(detail)
    )
