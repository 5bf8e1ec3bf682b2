"""`faults`: what a studio has the sandbox do wrong, to test its retries. What the commands do is in `oklp/tools`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from oklp.cli.house import out, refusals, say
from oklp.cli.studio import PlatformUrl, run

Game = Annotated[str, typer.Option("--game", help="Id of the game; not needed when the studio has one.")]


def kinds() -> None:
    """What there is to order, with the options that each kind takes and their defaults."""
    from oklp.domain.faults import KINDS

    for name, kind in KINDS.items():
        options = ", ".join(f"--{option.replace('_', '-')} {value}" for option, value in kind.options.items())
        say(f"{name}  {options}".rstrip())
        say(f"    {kind.help}")


def set_fault(
    kind: Annotated[
        str, typer.Argument(help="What is to go wrong; `oklp faults kinds` lists them.", show_default=False)
    ],
    times: Annotated[int, typer.Option(help="How often, from 1 to 1,000.")] = 1,
    delay_seconds: Annotated[float | None, typer.Option(help="How much later, up to 60.")] = None,
    offset_seconds: Annotated[
        int | None, typer.Option(help="How far a clock is ahead, or behind below zero; up to a day.")
    ] = None,
    retry_after_seconds: Annotated[int | None, typer.Option(help="What Retry-After says, up to 60.")] = None,
    call: Annotated[
        Literal["any", "token-info", "finish"] | None, typer.Option(help="Which of the game's calls it strikes.")
    ] = None,
    game: Game = "",
    url: PlatformUrl = "",
) -> None:
    """Have the sandbox misbehave towards a game, the next times that it can."""
    from oklp import contract
    from oklp.domain.faults import choose
    from oklp.tools import faults

    with refusals():
        wanted = contract.NewFault(
            kind=kind,
            times=times,
            delay_seconds=delay_seconds,
            offset_seconds=offset_seconds,
            retry_after_seconds=retry_after_seconds,
            call=call,
        )
        choose(kind, wanted.model_dump(exclude_none=True, exclude={"kind", "times"}))
    made = run(faults.inject(url, game, wanted))
    say(f"{made.kind} strikes {made.game_id} the next {_times(made.left)}; its id is {made.fault_id}.")


def list_faults(
    game: Game = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
    url: PlatformUrl = "",
) -> None:
    """What is ordered, in the order in which it strikes: how often it has, and how often it still will."""
    from oklp import contract
    from oklp.tools import faults

    found = run(faults.listed(url, game))
    if as_json:
        out.print_json(found.model_dump_json())
        return
    if not found.faults:
        say("Nothing is ordered.")
        return
    for each in found.faults:
        options = each.model_dump(exclude_none=True, include=set(contract.FaultOptions.model_fields))
        last = f", last at {each.last_fired_at.isoformat(' ', 'seconds')}" if each.last_fired_at is not None else ""
        told = "".join(f"  --{name.replace('_', '-')} {value}" for name, value in options.items())
        say(f"{each.fault_id:>6}  {each.kind}{told}  fired {each.fired}, left {each.left}{last}")


def clear_faults(
    fault_id: Annotated[str, typer.Argument(help="The one to clear; without it, all.", show_default=False)] = "",
    game: Game = "",
    url: PlatformUrl = "",
) -> None:
    """Clear one fault, or all of a game's. What it has done is not undone."""
    from oklp.tools import faults

    run(faults.clear(url, game, fault_id or None))
    say(f"Fault {fault_id} is cleared." if fault_id else "All faults are cleared.")


def _times(count: int) -> str:
    return "time" if count == 1 else f"{count} times"
