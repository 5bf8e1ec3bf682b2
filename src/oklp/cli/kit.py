"""`demo`, `check` and `new-game`: what they do is loaded when they are asked for; a server has no use for it."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from oklp.cli.house import err, fail, out, say
from oklp.cli.studio import PlatformUrl, run, told

if TYPE_CHECKING:
    from oklp.check.command import Options

DEMO_DIR = Path("data") / "demo"


def demo(
    once: Annotated[
        bool, typer.Option("--once", help="End after the books: status 0 when all money is where it belongs.")
    ] = False,
    data_dir: Annotated[Path, typer.Option(help="Folder of the demo's database, configuration and logs.")] = DEMO_DIR,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of the platform; the next free one if taken.")] = 8000,
    game_port: Annotated[int, typer.Option(min=1, max=65535, help="Of the game servers, likewise.")] = 9000,
    run_seconds: Annotated[int, typer.Option(min=1, help="How long a run of Tile Rush lasts for you.")] = 75,
) -> None:
    """A sandbox with two games, players and bots: bots play a paid match of each, then you do. Ctrl-C ends it."""
    from oklp import demo as demonstration

    options = demonstration.Options(
        data_dir=data_dir.resolve(), port=port, game_port=game_port, once=once, run_seconds=run_seconds
    )
    raise typer.Exit(demonstration.main(options))


def check(
    webhook_url: Annotated[
        str | None, typer.Argument(help="Match info webhook URL of the running game.", show_default=False)
    ] = None,
    builtin: Annotated[bool, typer.Option("--builtin", help="Check the built-in game, as without a URL.")] = False,
    browser_url: Annotated[str, typer.Option(help="Launch URL template for browsers, with {match-token}.")] = "",
    android_url: Annotated[str, typer.Option(help="Launch URL template for Android.")] = "",
    ios_url: Annotated[str, typer.Option(help="Launch URL template for iOS.")] = "",
    steam_url: Annotated[str, typer.Option(help="Launch URL template for Steam.")] = "",
    mode: Annotated[Literal["sync", "async"], typer.Option(help="One result a match, or one a player.")] = "sync",
    score_order: Annotated[Literal["high", "low"], typer.Option(help="Which score wins (async).")] = "high",
    teams: Annotated[int, typer.Option(min=2, max=16, help="Teams of a match.")] = 2,
    team_size: Annotated[int, typer.Option(min=1, max=8, help="Players of a team.")] = 1,
    write_config: Annotated[
        Path | None, typer.Option(help="Where the game server reads its developer-config.json.")
    ] = None,
    start_command: Annotated[
        str, typer.Option(help="Starts the game server; {config} is the path, also in OKLP_DEVELOPER_CONFIG.")
    ] = "",
    restart_command: Annotated[str, typer.Option(help="Run once the configuration is written, to its end.")] = "",
    ready_url: Annotated[str, typer.Option(help="Answers below 500 once the game server is ready.")] = "",
    ready_seconds: Annotated[float, typer.Option(min=1, help="For the game server to be ready.")] = 60,
    bot_command: Annotated[
        str, typer.Option(help="Plays for one player: {launch_url}, {match_id}, {user_id} and {player} are filled in.")
    ] = "",
    wait: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds for a match to end; without --bot-command, by itself when nobody comes."),
    ] = None,
    retry_seconds: Annotated[float, typer.Option(min=1, help="For a result to be sent again after a fault.")] = 30,
    one_at_a_time: Annotated[bool, typer.Option("--one-at-a-time", help="Play the matches one by one.")] = False,
    seed_url: Annotated[
        str, typer.Option(help="Shows the seed of a player: {page}, {match-token}, {match-id}, {user-id}.")
    ] = "",
    seed_key: Annotated[str, typer.Option(help="Where the seed is in that JSON, as a.b.c; else all of it.")] = "",
    data: Annotated[
        Path | None, typer.Option(help="Folder to keep: the same platform and configuration at each run.")
    ] = None,
    platform_host: Annotated[str, typer.Option(help="Address that the platform listens on.")] = "127.0.0.1",
    platform_port: Annotated[int, typer.Option(min=0, max=65535, help="Of the platform; 0 is any free one.")] = 0,
    platform_url: Annotated[str, typer.Option(help="How the game server reaches the platform.")] = "",
    strict: Annotated[bool, typer.Option("--strict", help="Warnings and what was not seen fail as well.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report as JSON.")] = None,
    junit_file: Annotated[Path | None, typer.Option("--junit", help="Write it as JUnit XML.")] = None,
    html_file: Annotated[Path | None, typer.Option("--html", help="Write it as one page of HTML.")] = None,
    submit: Annotated[
        str, typer.Option(help="Id of a game of your studio's: hand the report in for its vetting. Log in first.")
    ] = "",
    build: Annotated[str, typer.Option(help="With --submit: what you call what was checked, such as a version.")] = "",
    url: PlatformUrl = "",
) -> None:
    """Check that a game keeps the wire contract. Status 0: nothing failed, 1: a check failed, 2: it could not run."""
    from oklp import contract
    from oklp.check import command as checker

    if builtin and webhook_url is not None:
        raise typer.BadParameter("--builtin is the game that comes with oklp: leave the webhook URL out.")
    options = checker.Options(
        # An empty one is a variable that nobody set, and must not pass for the built-in game.
        webhook_url=webhook_url,
        launch_urls=contract.LaunchTemplates(
            browser=browser_url or None, android=android_url or None, ios=ios_url or None, steam=steam_url or None
        ),
        mode=mode,
        score_order=score_order,
        teams=teams,
        team_size=team_size,
        server=checker.StudioServer(
            write_config=write_config,
            start_command=start_command or None,
            restart_command=restart_command or None,
            ready_url=ready_url or None,
            ready_seconds=ready_seconds,
        ),
        bot_command=bot_command or None,
        wait_seconds=wait,
        retry_seconds=retry_seconds,
        one_at_a_time=one_at_a_time,
        seed_url=seed_url or None,
        seed_key=seed_key or None,
        data=data,
        platform_host=platform_host,
        platform_port=platform_port,
        platform_url=platform_url or None,
        strict=strict,
        json_file=json_file,
        junit_file=junit_file,
        html_file=html_file,
    )
    if not submit:
        raise typer.Exit(checker.main(options, out, err))
    raise typer.Exit(_check_and_submit(options, submit, build, url))


def _check_and_submit(options: Options, game_id: str, build: str, url: str) -> int:
    """The status of the check, once its report is handed in; a report that the run did not come to is none."""
    from oklp.check import command as checker
    from oklp.check.report import FAILED, PASSED
    from oklp.tools import conformance, login

    with told():
        login.known(url)  # whoever is not logged in should know before the check, not after it
    with tempfile.TemporaryDirectory(prefix="oklp-report-") as folder:
        path = options.json_file or Path(folder) / "report.json"
        status = checker.main(replace(options, json_file=path), out, err)
        if status in (PASSED, FAILED):
            with told():
                report = conformance.read(path, build)
            made = run(conformance.submit(url, game_id, report))
            say(f"Handed in for {game_id}: report {made.report_id}.")
    return status


def new_game(
    name: Annotated[str, typer.Argument(help="Like word-duel: also of its command and, with _, its package.")],
    folder: Annotated[Path | None, typer.Option("--dir", help="Folder to write; else NAME.")] = None,
    mode: Annotated[Literal["sync", "async"], typer.Option(help="One result a match, or one a player.")] = "sync",
) -> None:
    """Write a small game server to start from, with its tests. A bare install has this command too."""
    from oklp import new_game as template

    try:
        written = template.write(name, folder, mode)
    except template.CannotWriteError as refusal:
        fail(str(refusal))
    say(template.next_steps(name, written, mode))
