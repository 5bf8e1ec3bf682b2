"""Operators: making them, and what they may do. Whoever has the database itself needs no role."""

from __future__ import annotations

import uuid
from typing import Annotated, Literal

import typer

from oklp.cli.house import DatabaseUrl, PasswordStdin, Sandbox, opened, out, password_of, say

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


def _decide(username: str, decision: dict[str, str], database_url: str, sandbox: bool) -> None:
    from oklp import contract
    from oklp.opening import wall_clock
    from oklp.services import games, staff

    with opened(database_url, sandbox=sandbox) as (_, db):
        action = contract.OperatorAction.model_validate(decision)
        operator_id = db.run(staff.id_of, username)
        now = db.run(staff.decide, games.COMMAND_LINE, operator_id, action, wall_clock())
        say(f"{now.username} is {now.status} ({now.role}).")
