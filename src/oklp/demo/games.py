"""The games of the demo: two packages that know nothing of it, each run as a studio would run it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import oklp
from oklp.demo.stage import DemoError

State: TypeAlias = Mapping[str, Any]
# The length of a run of Tile Rush when bots play it for somebody who watches, and when nobody does.
BOTS_RUN_SECONDS = 10
ONCE_RUN_SECONDS = 3


@dataclass(frozen=True, slots=True)
class DemoGame:
    """`module` is the game's server and `module.bot` its bot. `so_far` tells, from what two bots have said last, how it
    stands between two players of these names.
    """

    name: str
    module: str
    mode: Literal["sync", "async"]
    so_far: Callable[[State, State, str, str], str]
    server_options: tuple[str, ...]
    bot_launch: tuple[str, ...]
    quick_bots: tuple[tuple[str, ...], tuple[str, ...]]
    shown_bots: tuple[tuple[str, ...], tuple[str, ...]]
    host_options: tuple[str, ...]

    @property
    def game_id(self) -> str:
        return self.module.replace("_", "-")

    @property
    def bot_module(self) -> str:
        return f"{self.module}.bot"


def _scores(one: State, two: State, first: str, second: str) -> str:
    return f"{first} {one.get('score') or 0:,}, {second} {two.get('score') or 0:,}"


def _discs(one: State, _two: State, first: str, second: str) -> str:
    if not one:
        return ""
    return f"move {len(one['moves'])}, {first} {one['you']['discs']} : {one['them']['discs']} {second}"


def games(run_seconds: int) -> tuple[DemoGame, DemoGame]:
    """Both games. `run_seconds` is how long a run of Tile Rush lasts for people."""
    tile_rush = DemoGame(
        name="Tile Rush",
        module="tile_rush",
        mode="async",
        so_far=_scores,
        server_options=("--run-seconds", str(run_seconds)),
        bot_launch=("-",),
        quick_bots=(("--skill", "0.9", "--think-ms", "200", "300"), ("--skill", "0.1", "--think-ms", "300", "500")),
        shown_bots=(("--skill", "0.9", "--think-ms", "250", "500"), ("--skill", "0.3", "--think-ms", "350", "600")),
        host_options=("--skill", "0.2"),
    )
    reversi = DemoGame(
        name="Reversi",
        module="reversi",
        mode="sync",
        so_far=_discs,
        server_options=(),
        bot_launch=("--launch-url", "-"),
        quick_bots=(("--level", "easy", "--think-seconds", "0", "0"),) * 2,
        shown_bots=(
            ("--level", "medium", "--think-seconds", "0.04", "0.12"),
            ("--level", "easy", "--think-seconds", "0.04", "0.12"),
        ),
        host_options=("--level", "easy", "--think-seconds", "0.4", "1.0"),
    )
    return tile_rush, reversi


def places_of(modules: list[str]) -> list[Path]:
    """What has to be on the path of a process that runs the games: in a checkout a folder for each, and in an installed
    package the one that they came with. Raises DemoError when there is something to install first.
    """
    if importlib.util.find_spec("websockets") is None:
        raise DemoError(
            "The demo needs the extra `demo` (websockets is not installed): pip install 'PATH/TO/oklp[demo]',"
            " with the path of the checkout or wheel that OKLP was installed from."
        )
    packed = Path(__file__).resolve().parent / "reference_games"
    checkout = Path(oklp.__file__).resolve().parents[2] / "games"
    for places in ([packed], [checkout / module for module in modules]):
        if all(any((place / module / "__main__.py").exists() for place in places) for module in modules):
            return places
    raise DemoError("The demo's games are not here: run this in a checkout, or install the package again.")
