"""`simulate`: what it does is loaded when it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def simulate(
    seed: Annotated[int, typer.Option(help="The same seed plays the same matches.")] = 1,
    matches: Annotated[int, typer.Option(min=1, help="How many to play.")] = 1_000,
    players: Annotated[int, typer.Option(min=24, max=10_000, help="How many there are to play them.")] = 200,
    games: Annotated[int, typer.Option(min=2, max=200, help="From 14 on, of every kind at least one.")] = 14,
    concurrency: Annotated[int, typer.Option(min=1, max=1_000, help="Matches at the same time.")] = 48,
    database_url: Annotated[
        str, typer.Option("--database-url", help="Of an empty database; else a throw-away SQLite file.")
    ] = "",
    url: Annotated[str, typer.Option(help="A sandbox that is running already, in place of a server of its own.")] = "",
    workers: Annotated[int, typer.Option(min=1, max=64, help="Server processes (PostgreSQL only).")] = 1,
    restarts: Annotated[int, typer.Option(min=0, help="How often the server is killed and stopped, in turn.")] = 0,
    webhook_timeout: Annotated[int, typer.Option(min=1, max=120, help="Seconds that a game may take to answer.")] = 10,
    faults: Annotated[bool, typer.Option(help="Have the sandbox make faults as well.")] = True,
    match: Annotated[int | None, typer.Option(min=0, help="Play this match alone.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report as JSON.")] = None,
    keep: Annotated[Path | None, typer.Option(help="Folder to keep the database and the server's log in.")] = None,
) -> None:
    """Play seeded matches against a server, and account for all money. Status 0: nothing differs, 1: something does."""
    from oklp.simulate import command as simulation
    from oklp.simulate.run import Plan

    plan = Plan(
        seed=seed,
        matches=matches,
        players=players,
        games=games,
        concurrency=concurrency,
        database_url=database_url,
        url=url,
        workers=workers,
        restarts=restarts,
        webhook_timeout_seconds=webhook_timeout,
        faults=faults,
        only=match,
    )
    raise typer.Exit(simulation.main(plan, json_file=json_file, keep=keep))
