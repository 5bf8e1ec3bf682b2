"""Games and people, made on the database itself: `game`, `player`, `studio`."""

from __future__ import annotations

import contextlib
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from oklp.cli.house import (
    DatabaseUrl,
    PasswordStdin,
    Sandbox,
    fail,
    opened,
    password_of,
    private_file,
    refusals,
    reserved,
    say,
    vault_of,
)

if TYPE_CHECKING:
    from oklp import contract
    from oklp.storage.engine import Tx


def game_register(
    name: Annotated[str, typer.Option(help="Name of the game; its id is made from it.")],
    out_file: Annotated[Path, typer.Option("--out", help="Where developer-config.json goes.")],
    webhook_url: Annotated[str, typer.Option(help="Match info webhook URL (A3).")] = "",
    browser_url: Annotated[str, typer.Option(help="Launch URL template for browsers, with {match-token}.")] = "",
    mode: Annotated[Literal["sync", "async"], typer.Option(help="One result a match, or one a player.")] = "sync",
    score_order: Annotated[Literal["high", "low"], typer.Option(help="Which score wins (async).")] = "high",
    discovery: Annotated[Literal["push", "pull"], typer.Option(help="Is the game told, or does it ask?")] = "push",
    fee_bps: Annotated[int, typer.Option(help="Platform fee in basis points of the pot.")] = 1_000,
    start_retries: Annotated[int, typer.Option(help="Further attempts inside the start window.")] = 0,
    results_due_seconds: Annotated[int, typer.Option(help="From the start until results are due.")] = 3_600,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if there is one already.")] = False,
    database_url: DatabaseUrl = "",
    sandbox: Sandbox = False,
) -> None:
    """Register a game. In the sandbox it is approved at once.

    Its secrets are in the file and are shown this once. A file that is there already may hold those of another game:
    unless it is empty, it is replaced by --force alone, and nothing is registered without.
    """
    from oklp import contract
    from oklp.opening import wall_clock
    from oklp.services import games

    with (
        refusals(),
        contextlib.nullcontext() if force else reserved(out_file),
        opened(database_url, sandbox=sandbox) as (settings, db),
        private_file(out_file) as write,
    ):
        request = contract.NewGame(
            name=name,
            webhook_url=webhook_url or None,
            launch_urls=contract.LaunchTemplates(browser=browser_url or None),
            settings=contract.NewGameSettings(
                mode=mode,
                score_order=score_order,
                discovery=discovery,
                fee_bps=fee_bps,
                start_retries=start_retries,
                results_due_seconds=results_due_seconds,
            ),
        )
        vault = vault_of(settings, db)
        now = wall_clock()

        def register(tx: Tx) -> contract.RegisteredGame:
            game = games.register(tx, settings, vault, games.default_studio(tx, now), request, now)
            # Its secrets are shown this once: if they cannot be written down, there is to be no game.
            write(game.developer_config.model_dump_json(indent=2, exclude_none=True) + "\n")
            return game

        game = db.run(register)
    say(f"{game.game_id} is registered ({game.vetting}); its configuration is in {out_file}.")


def player_create(
    username: Annotated[str, typer.Option(help="3 to 32 of A-Z a-z 0-9 _ -")],
    password: Annotated[str, typer.Option(help="8 to 256 characters.")],
    balance: Annotated[int, typer.Option(min=0, help="Play money, minor units (sandbox).")] = 0,
    currency: Annotated[str, typer.Option(help="Of the balance; the sandbox has XTS.")] = "",
    database_url: DatabaseUrl = "",
    sandbox: Sandbox = False,
) -> None:
    """Make a player, adult and verified; in the sandbox with play money."""
    from oklp import contract
    from oklp.opening import wall_clock
    from oklp.services import players
    from oklp.services.vault import hash_password

    with opened(database_url, sandbox=sandbox) as (settings, db):
        checked = contract.NamedPerson(username=username, password=password)
        if balance and not settings.sandbox:
            fail("--balance is play money, which only the sandbox has.")
        if currency and currency != settings.currency:
            fail(f"--currency must be {settings.currency}.")
        user_id = str(uuid.uuid4())
        grant = (str(uuid.uuid4()), balance) if balance else None
        hashed = hash_password(checked.password)
        db.run(players.create, settings, user_id, checked.username, hashed, grant, wall_clock())
        say(f"{username} is {user_id}.")


def studio_create(
    username: Annotated[str, typer.Option(help="3 to 32 of A-Z a-z 0-9 _ -")],
    password: Annotated[
        str, typer.Option(envvar="OKLP_STUDIO_PASSWORD", help="8 to 256 characters; asked for if not given.")
    ] = "",
    password_stdin: PasswordStdin = False,
    studio: Annotated[
        str, typer.Option(help="Name of a new studio; else the one that `oklp game register` registers games for.")
    ] = "",
    email: Annotated[str, typer.Option(help="Where the member is reached.")] = "",
    database_url: DatabaseUrl = "",
    sandbox: Sandbox = False,
) -> None:
    """Make an owner of a studio, who can log in to the studio API and by `oklp login`."""
    from oklp import contract
    from oklp.opening import wall_clock
    from oklp.services import games, studios
    from oklp.services.vault import hash_password

    with opened(database_url, sandbox=sandbox) as (_, db):
        secret = password_of(password, password_stdin, new=True)
        member = contract.NewStudioMember(
            username=username,
            password=secret,
            email=email or f"{username}@localhost",
            role="owner",
        )
        hashed = hash_password(secret)
        now = wall_clock()

        def create(tx: Tx) -> str:
            member_id = str(uuid.uuid4())
            if studio:
                new = contract.NewStudio(name=studio, **member.model_dump(exclude={"role"}))
                return studios.sign_up(tx, str(uuid.uuid4()), member_id, new, hashed, now).name
            studio_id = games.default_studio(tx, now)
            studios.add_member(tx, games.COMMAND_LINE, studio_id, member_id, member, hashed, now)
            return studios.profile(tx, member_id).name

        say(f"{username} is an owner of {db.run(create)}.")
