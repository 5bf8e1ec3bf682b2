"""The command line (contract section B6). Commands work while servers run on the same database.

Each room has the commands of one noun; here they get their names. What only one command needs is imported in it.
"""

from __future__ import annotations

import sys
from typing import Annotated, NoReturn


def _without(missing: ModuleNotFoundError) -> NoReturn:
    """In a bare install."""
    if (missing.name or "").partition(".")[0] == "oklp":
        raise missing
    if sys.argv[1:2] == ["new-game"]:  # what a game server with a bare install can do with
        from oklp.new_game import bare

        sys.exit(bare(sys.argv[2:]))
    sys.exit(
        f"This command needs the extra `server` ({missing.name} is not installed): pip install 'PATH/TO/oklp[server]',"
        " with the path of the checkout or wheel that OKLP was installed from."
        " A bare install has the SDK, and the command `oklp new-game NAME`."
    )


try:
    import typer

    from oklp.cli import faults, kit, operators, registering, server, simulation, studio
except ModuleNotFoundError as missing:
    _without(missing)

app = typer.Typer(
    name="oklp",
    help="An open, self-hostable skill-match platform.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _version(asked: bool) -> None:
    if asked:
        from oklp import __version__

        typer.echo(f"oklp {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool, typer.Option("--version", help="Which version this is.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


def _group(name: str, about: str) -> typer.Typer:
    group = typer.Typer(help=about, no_args_is_help=True)
    app.add_typer(group, name=name)
    return group


app.command()(server.serve)
app.command()(kit.demo)
app.command()(kit.check)
app.command()(simulation.simulate)
app.command("new-game")(kit.new_game)
app.command()(studio.login)
app.command()(studio.logout)
app.command()(studio.whoami)
app.command()(studio.listen)
app.command()(studio.trigger)
app.command("migrate")(server.migrate_command)

_game = _group("game", "Games.")
_game.command("register")(registering.game_register)
_player = _group("player", "Players.")
_player.command("create")(registering.player_create)
_studio = _group("studio", "Studios.")
_studio.command("create")(registering.studio_create)
_studio.command("remove-factors")(operators.remove_factors_of_member)
_operator = _group("operator", "Operators.")
_operator.command("create")(operators.create)
_operator.command("list")(operators.list_operators)
_operator.command("role")(operators.change_role)
_operator.command("suspend")(operators.suspend)
_operator.command("reinstate")(operators.reinstate)
_operator.command("remove-factors")(operators.remove_factors)
_deliveries = _group("deliveries", "What games were told.")
_deliveries.command("list")(studio.deliveries_list)
_deliveries.command("show")(studio.deliveries_show)
_deliveries.command("resend")(studio.deliveries_resend)
_logs = _group("logs", "What games asked, and were told.")
_logs.command("tail")(studio.logs_tail)
_keys = _group("keys", "Signing keys.")
_keys.command("rotate")(server.keys_rotate)
_keys.command("replace")(server.keys_replace)
_faults = _group("faults", "Faults that the sandbox makes for a game, to test its retries.")
_faults.command("kinds")(faults.kinds)
_faults.command("set")(faults.set_fault)
_faults.command("list")(faults.list_faults)
_faults.command("clear")(faults.clear_faults)
_books = _group("books", "The ledger.")
_books.command("verify")(server.books_verify)


def main() -> None:
    try:
        app()
    except ModuleNotFoundError as missing:
        _without(missing)
