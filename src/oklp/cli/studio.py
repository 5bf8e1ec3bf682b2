"""For the developers of games: log-in, webhooks, deliveries. What the commands do is in `oklp/tools`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator
from typing import Annotated, Any, Literal, TypeVar

import typer

from oklp.cli.house import PasswordStdin, err, fail, out, password_of, say

T = TypeVar("T")

PlatformUrl = Annotated[
    str, typer.Option("--url", envvar="OKLP_URL", help="Address of the platform; else OKLP_URL, else the last log-in.")
]
Game = Annotated[str, typer.Option(help="Id of the game; not needed when the studio has one alone.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
Wait = Annotated[bool, typer.Option(help="Wait for the outcome.")]
DeliveryId = Annotated[str, typer.Argument(help="Id of the delivery.")]
MatchEvent = Literal["match.started", "match.aborted"]
DeliveryEvent = Literal["match.started", "match.aborted", "test"]
DeliveryState = Literal["waiting", "sending", "delivered", "failed"]


@contextlib.contextmanager
def told() -> Iterator[None]:
    """What cannot be done is one line and status 1, an interruption is 130."""
    from oklp.person import ApiFault

    try:
        yield
    except ApiFault as fault:
        fail(str(fault))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def run(work: Coroutine[Any, Any, T]) -> T:
    """Do what a tool does, and return what came of it."""
    with told():
        return asyncio.run(work)


def login(
    url: Annotated[str, typer.Option("--url", envvar="OKLP_URL", help="Address of the platform.")],
    username: Annotated[str, typer.Option(help="Of a member of the studio.", prompt=True)],
    password: Annotated[
        str, typer.Option(envvar="OKLP_STUDIO_PASSWORD", help="Better not here, where others may see it.")
    ] = "",
    password_stdin: PasswordStdin = False,
) -> None:
    """Log in as a member of a studio. The session is kept in your configuration folder, readable by you alone."""
    from oklp.tools import login as kept
    from oklp.tools import studio

    with told():
        where = kept.address(url)
    if kept.in_the_clear(where):
        err.print("[yellow]Without https your password can be read on its way.[/]")
    profile = run(studio.log_in(where, username, password_of(password, password_stdin)))
    say(f"Logged in at {where} as {profile.username}, {profile.role} of {profile.name}.")


def logout(url: PlatformUrl = "") -> None:
    """Log out: end the session at the platform and forget it here."""
    from oklp.tools import studio

    say(f"Logged out at {run(studio.log_out(url))}.")


def whoami(url: PlatformUrl = "") -> None:
    """Who is logged in, and where."""
    from oklp.tools import studio

    where, profile = run(studio.who_am_i(url))
    say(f"{profile.username}, {profile.role} of {profile.name}, at {where}.")


# --- webhooks --------------------------------------------------------------------------------------------------------


def listen(
    forward_to: Annotated[
        str, typer.Option(help="Where deliveries go on this machine; without a path that of the webhook URL is used.")
    ],
    game: Game = "",
    event: Annotated[DeliveryEvent | None, typer.Option(help="Show these alone; all are forwarded.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Take any certificate of an https address.")] = False,
    as_json: AsJson = False,
    url: PlatformUrl = "",
) -> None:
    """Have a sandbox send a game's webhooks to this machine, and answer with what came of them. Ctrl-C ends it."""
    from oklp.tools import command

    run(command.listen(url, game, forward_to, event, not insecure, as_json, out, err))


def trigger(
    event: Annotated[MatchEvent, typer.Argument(help="What the game is told.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="`participants=4`, `teams=2`, `match_id=…`. Can be repeated."),
    ] = None,
    game: Game = "",
    wait: Wait = True,
    as_json: AsJson = False,
    url: PlatformUrl = "",
) -> None:
    """Send a test event: the webhook of a match that does not exist. Status 1 if it was not answered with a 200."""
    from oklp.tools import command

    raise typer.Exit(run(command.trigger(url, game, event, overrides or [], wait, as_json, out)))


def deliveries_list(
    game: Game = "",
    state: Annotated[DeliveryState | None, typer.Option(help="In this state alone.")] = None,
    event: Annotated[DeliveryEvent | None, typer.Option(help="Of this event alone.")] = None,
    match: Annotated[str, typer.Option(help="Of this match alone.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="So many at the most.")] = 20,
    as_json: AsJson = False,
    url: PlatformUrl = "",
) -> None:
    """What a game was told, newest first."""
    from oklp.tools import command
    from oklp.tools.deliveries import Filter

    run(command.listed(url, game, Filter(state, event, match or None), limit, as_json, out))


def deliveries_show(delivery_id: DeliveryId, as_json: AsJson = False, url: PlatformUrl = "") -> None:
    """A delivery with each of its attempts: what was sent, what came back."""
    from oklp.tools import command

    run(command.shown(url, delivery_id, as_json, out))


def deliveries_resend(
    delivery_id: DeliveryId, wait: Wait = True, as_json: AsJson = False, url: PlatformUrl = ""
) -> None:
    """Send a delivery once more, which never changes a match. Status 1 if it was not delivered."""
    from oklp.tools import command

    raise typer.Exit(run(command.resend(url, delivery_id, wait, as_json, out)))


# --- the log ---------------------------------------------------------------------------------------------------------


def logs_tail(
    game: Game = "",
    lines: Annotated[int, typer.Option(min=0, max=200, help="Of what is there already, so many first.")] = 10,
    follow: Annotated[bool, typer.Option(help="Go on with what comes; Ctrl-C ends it.")] = True,
    failed: Annotated[bool, typer.Option("--failed", help="What was refused or not delivered, alone.")] = False,
    as_json: AsJson = False,
    url: PlatformUrl = "",
) -> None:
    """A game's calls of the API and the deliveries to it: status, duration, and why something was refused."""
    from oklp.tools import command

    run(command.tail(url, game, lines, follow, failed, as_json, out, err))
