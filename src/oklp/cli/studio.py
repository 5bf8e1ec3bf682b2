"""For the developers of games: `login`, `logout`, `whoami`. What they do is in `oklp/tools`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator
from typing import Annotated, Any, TypeVar

import typer

from oklp.cli.house import PasswordStdin, err, fail, password_of, say

T = TypeVar("T")

PlatformUrl = Annotated[
    str, typer.Option("--url", envvar="OKLP_URL", help="Address of the platform; else OKLP_URL, else the last log-in.")
]


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
    username: Annotated[str, typer.Option(help="Of a member of the studio; asked for if not given.", prompt=True)],
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
