"""Operators: making them, and what they may do; and the way back in for whoever nobody else can help.

Whoever has the database itself needs no role.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from oklp.cli.house import DatabaseUrl, PasswordStdin, Sandbox, opened, out, password_of, say, vault_of

if TYPE_CHECKING:
    from oklp.services.mails import Pen
    from oklp.storage.engine import Tx

Username = Annotated[str, typer.Argument(help="Whom.")]
Role = Literal["support", "finance", "admin"]
Reason = Annotated[str, typer.Option(help="Kept in the audit log.")]


def create(
    username: Annotated[str, typer.Option(help="3 to 32 of A-Z a-z 0-9 _ -")],
    password: Annotated[str, typer.Option(help="8 to 256 characters; asked for if not given.")] = "",
    password_stdin: PasswordStdin = False,
    email: Annotated[str, typer.Option(help="Where a forgotten password is asked for.")] = "",
    role: Annotated[
        Role | None,
        typer.Option(
            help="What he may do; else the first operator, and everyone in the sandbox, is an admin, and those who"
            " follow are support."
        ),
    ] = None,
    database_url: DatabaseUrl = "",
    sandbox: Sandbox = False,
) -> None:
    """Make an operator, who can log in to the operator console and API."""
    from oklp import contract
    from oklp.opening import wall_clock
    from oklp.services import staff
    from oklp.services.vault import hash_password

    with opened(database_url, sandbox=sandbox) as (settings, db):
        if settings.sandbox and role is None:  # there everybody tries everything
            role = "admin"
        secret = password_of(password, password_stdin, new=True)
        made = contract.NewOperator(username=username, password=secret, email=email or None)
        hashed = hash_password(made.password)
        new = (str(uuid.uuid4()), made.username, hashed, wall_clock(), made.email or "", role)
        say(f"{username} is an operator ({db.run(staff.create, *new).role}).")


def list_operators(database_url: DatabaseUrl = "", sandbox: Sandbox = False) -> None:
    """Who runs the platform: name, role, whether active, whether with a second factor."""
    from rich.table import Table

    from oklp.services import staff

    with opened(database_url, sandbox=sandbox) as (_, db):
        table = Table("username", "role", "status", "second factor", box=None, pad_edge=False)
        for each in db.run(staff.accounts).operators:
            table.add_row(each.username, each.role, each.status, "yes" if each.second_factor else "no")
        out.print(table)


def change_role(
    username: Username,
    role: Annotated[Role, typer.Argument(help="What he may do from now on.")],
    reason: Reason,
    database_url: DatabaseUrl = "",
    sandbox: Sandbox = False,
) -> None:
    """Give an operator another role. One admin always stays."""
    _decide(username, {"action": "change-role", "role": role, "reason": reason}, database_url, sandbox)


def suspend(username: Username, reason: Reason, database_url: DatabaseUrl = "", sandbox: Sandbox = False) -> None:
    """Shut an operator out: sessions end, and no log-in works."""
    _decide(username, {"action": "suspend", "reason": reason}, database_url, sandbox)


def reinstate(username: Username, reason: Reason, database_url: DatabaseUrl = "", sandbox: Sandbox = False) -> None:
    """Let an operator in again."""
    _decide(username, {"action": "reinstate", "reason": reason}, database_url, sandbox)


def remove_factors(
    username: Username, reason: Reason, database_url: DatabaseUrl = "", sandbox: Sandbox = False
) -> None:
    """Remove the second factors and recovery codes of an operator who has lost them. Make sure who is asking.

    His sessions end, his password alone lets him in, and a mail tells him.
    """
    from oklp.services import games, staff

    def remove(tx: Tx, pen: Pen, why: str, now: int) -> str:
        operator_id = staff.id_of(tx, username)
        return staff.remove_factors(tx, pen, games.COMMAND_LINE, operator_id, why, now).username

    _remove_factors(remove, reason, database_url, sandbox)


def remove_factors_of_member(
    username: Username, reason: Reason, database_url: DatabaseUrl = "", sandbox: Sandbox = False
) -> None:
    """Remove the second factors and recovery codes of a studio's member who has lost them. Make sure who is asking.

    It is for a studio's last owner: other members an owner removes and invites again. The member's sessions end, the
    password alone lets in, and a mail tells the member.
    """
    from oklp.services import games, studios

    def remove(tx: Tx, pen: Pen, why: str, now: int) -> str:
        return studios.remove_factors(tx, pen, games.COMMAND_LINE, username, why, now).username

    _remove_factors(remove, reason, database_url, sandbox)


def _remove_factors(work: Callable[[Tx, Pen, str, int], str], reason: str, database_url: str, sandbox: bool) -> None:
    from oklp import contract
    from oklp.opening import wall_clock
    from oklp.services import auth, mail_texts
    from oklp.services.mails import Pen

    with opened(database_url, sandbox=sandbox) as (settings, db):
        why = contract.OperatorReason(reason=reason).reason
        vault = vault_of(settings, db)
        pen = Pen(settings, vault, str(uuid.uuid4()), mail_texts.SOURCE)

        def remove(tx: Tx) -> str:
            auth.check_vault(tx, vault)  # or nobody could read the mail
            return work(tx, pen, why, wall_clock())

        say(f"{db.run(remove)} has no second factor any more: the password alone lets in.")


def _decide(username: str, decision: dict[str, str], database_url: str, sandbox: bool) -> None:
    from oklp import contract
    from oklp.opening import wall_clock
    from oklp.services import games, staff

    with opened(database_url, sandbox=sandbox) as (_, db):
        action = contract.OperatorAction.model_validate(decision)
        operator_id = db.run(staff.id_of, username)
        now = db.run(staff.decide, games.COMMAND_LINE, operator_id, action, wall_clock())
        say(f"{now.username} is {now.status} ({now.role}).")
