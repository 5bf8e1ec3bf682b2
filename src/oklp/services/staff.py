"""Operators themselves: who they are, what they may do, and who decides that (`domain.roles`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from oklp import contract
from oklp.domain import roles
from oklp.errors import Conflict, InvariantBroken, NotFound, RoleMissing, SecondFactorMissing, WrongState
from oklp.services import factors, games, views
from oklp.services.auth import Person
from oklp.services.mails import Pen
from oklp.services.players import taken
from oklp.settings import Settings
from oklp.storage import events, players
from oklp.storage.engine import Tx
from oklp.storage.tx import Row

ACTIVE, SUSPENDED = "active", "suspended"
REMOVE_FACTORS = "remove-factors"


class Operator(NamedTuple):
    """An operator who is logged in, with the role that he has at this request."""

    id: str
    username: str
    role: str

    @classmethod
    def of(cls, settings: Settings, person: Person) -> Operator:
        """Raises SecondFactorMissing: until he has one, an operator looks after his own account and nothing else."""
        if lacks_factor(settings, person):
            raise SecondFactorMissing("Operators need a second factor here: set up an authenticator app or a passkey.")
        if person.kind != "operator" or person.role is None:
            raise InvariantBroken(f"{person.username} is no operator with a role")
        return cls(person.id, person.username, person.role)

    @property
    def actor(self) -> str:
        """Who it was, for the audit log."""
        return f"operator:{self.username}"

    def may(self, action: str) -> bool:
        return roles.may(self.role, action)

    def need(self, action: str) -> None:
        """Raises RoleMissing."""
        if not self.may(action):
            able = " and ".join(roles.roles_for(action))
            raise RoleMissing(f"Your role is {self.role}; {action} is for {able}.")


def lacks_factor(settings: Settings, person: Person) -> bool:
    """Whether an operator has to set up a second factor before he does anything else."""
    return bool(settings.operator_second_factor) and not person.second_factor


def create(
    tx: Tx, operator_id: str, username: str, password_hash: str, now: int, email: str = "", role: str | None = None
) -> contract.OperatorAccount:
    """An operator made by the command line, whose word for the address is good. Raises NameTaken.

    Without a role the first one is an admin, and whoever comes later is support: who may do more, somebody says.
    """
    chosen = role or (roles.SUPPORT if players.operators(tx, lock=True) else roles.ADMIN)
    if players.person_by_name(tx, "operator", username.lower()) is not None:
        raise taken("username", "is taken")
    with tx.refusing(taken("username", "was taken a moment ago")):
        players.insert_person(
            tx,
            "operator",
            id=operator_id,
            username=username,
            username_key=username.lower(),
            email=email,
            email_verified_at=now if email else None,
            password_hash=password_hash,
            created_at=now,
            role=chosen,
            status=ACTIVE,
        )
    detail = {"username": username, "role": chosen}
    _audit(tx, games.COMMAND_LINE, "operator.create", operator_id, None, detail, now)
    return account(tx, operator_id)


def profile(tx: Tx, operator_id: str) -> contract.OperatorProfile:
    """What an operator is told of himself. Raises NotFound."""
    return contract.OperatorProfile.model_validate(account(tx, operator_id).model_dump())


def account(tx: Tx, operator_id: str) -> contract.OperatorAccount:
    """Raises NotFound."""
    return _account(_found(tx, operator_id))


def active(tx: Tx, operator_id: str) -> Operator | None:
    """As he is in this transaction, whatever his session was told; None for whoever is shut out."""
    row = players.person(tx, "operator", operator_id)
    if row is None or row.status != ACTIVE:
        return None
    return Operator(row.id, row.username, row.role)


def accounts(tx: Tx) -> contract.OperatorAccounts:
    """All of them, by name."""
    return contract.OperatorAccounts(operators=[_account(row) for row in players.operators(tx)])


def id_of(tx: Tx, username: str) -> str:
    """Raises NotFound."""
    row = players.person_by_name(tx, "operator", username.lower())
    if row is None:
        raise NotFound(f"There is no operator {username}.")
    return str(row.id)


def act(
    tx: Tx, pen: Pen, who: Operator, operator_id: str, request: contract.OperatorAction, now: int
) -> contract.OperatorAccount:
    """Another role, no access any more, access again, or a way in without the second factors that he has lost.

    Nobody removes his own like this: that takes his password. Raises RoleMissing, NotFound, Conflict, WrongState.
    """
    who.need("operator.change")
    if request.action != REMOVE_FACTORS:
        return decide(tx, who.actor, operator_id, request, now)
    if operator_id == who.id:
        raise Conflict("Your own second factors you remove on the page of your account.")
    return remove_factors(tx, pen, who.actor, operator_id, request.reason, now)


def remove_factors(tx: Tx, pen: Pen, actor: str, operator_id: str, reason: str, now: int) -> contract.OperatorAccount:
    """As `factors.remove_all`. Where operators need a factor, he sets one up at his next log-in, before all else."""
    detail = {"username": _found(tx, operator_id).username, **factors.remove_all(tx, pen, "operator", operator_id, now)}
    _audit(tx, actor, f"operator.{REMOVE_FACTORS}", operator_id, reason, detail, now)
    return account(tx, operator_id)


def decide(
    tx: Tx, actor: str, operator_id: str, request: contract.OperatorAction, now: int
) -> contract.OperatorAccount:
    """Another role or status, for whoever has the database itself, too.

    All operators are locked: of two admins who decide about each other, the second finds what the first decided.
    Raises Conflict for the last admin who is active: somebody has to be there to undo it.
    """
    everyone = players.operators(tx, lock=True)
    found = next((row for row in everyone if row.id == operator_id), None)
    if found is None:
        raise NotFound("There is no such operator.")
    before = {"role": found.role, "status": found.status}
    after = before | _changed(request)
    if after == before:
        raise WrongState("That is so already.")
    others = any(row.id != operator_id and _is_admin(row.role, row.status) for row in everyone)
    if _is_admin(**before) and not _is_admin(**after) and not others:
        raise Conflict("The platform keeps at least one active admin.")
    players.update_person(tx, "operator", operator_id, **after)
    # Whoever has taken hold of a session of little worth does not come into more with it.
    players.delete_sessions_of(tx, operator_id)
    detail = {"username": found.username, "from": before, "to": after}
    _audit(tx, actor, f"operator.{request.action}", operator_id, request.reason, detail, now)
    return account(tx, operator_id)


def _changed(request: contract.OperatorAction) -> dict[str, str]:
    if request.role is not None:
        return {"role": request.role}
    return {"status": {"suspend": SUSPENDED, "reinstate": ACTIVE}[request.action]}


def _is_admin(role: str, status: str) -> bool:
    return role == roles.ADMIN and status == ACTIVE


def _found(tx: Tx, operator_id: str) -> Row:
    row = players.person(tx, "operator", operator_id)
    if row is None:
        raise NotFound("There is no such operator.")
    return row


def _account(row: Row) -> contract.OperatorAccount:
    return contract.OperatorAccount(
        operator_id=row.id,
        username=row.username,
        email=row.email,
        email_verified=row.email_verified_at is not None,
        role=row.role,
        status=row.status,
        second_factor=row.second_factor,
        created_at=views.when(row.created_at),
    )


def _audit(
    tx: Tx, actor: str, action: str, operator_id: str, reason: str | None, detail: Mapping[str, Any], now: int
) -> None:
    subject = f"operator:{operator_id}"
    events.insert_audit(
        tx, at=now, actor=actor, action=action, subject=subject, reason=reason, detail=json.dumps(detail)
    )
