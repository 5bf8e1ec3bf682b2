"""The command line (contract section B6). Commands work while servers run on the same database."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

try:
    import typer
    import uvicorn
    from pydantic import ValidationError
    from rich.console import Console
    from rich.table import Table
    from sqlalchemy.exc import OperationalError

    from oklp import contract, observability
    from oklp import demo as demonstration
    from oklp.app import check_database, create_server, open_database, wall_clock
    from oklp.check import command as checker
    from oklp.errors import OklpError
    from oklp.services import auth, books, games, operators, players
    from oklp.services.vault import Vault, hash_password, open_vault
    from oklp.settings import Settings
    from oklp.signing import generate_key
    from oklp.storage.engine import Database, inspect_database, migrate
except ModuleNotFoundError as missing:
    sys.exit(f"This command needs the server: pip install 'oklp[server]' ({missing.name} is not installed).")

app = typer.Typer(
    name="oklp",
    help="An open, self-hostable skill-match platform.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
game_app = typer.Typer(help="Games.", no_args_is_help=True)
player_app = typer.Typer(help="Players.", no_args_is_help=True)
operator_app = typer.Typer(help="Operators.", no_args_is_help=True)
keys_app = typer.Typer(help="Signing keys.", no_args_is_help=True)
books_app = typer.Typer(help="The ledger.", no_args_is_help=True)
app.add_typer(game_app, name="game")
app.add_typer(player_app, name="player")
app.add_typer(operator_app, name="operator")
app.add_typer(keys_app, name="keys")
app.add_typer(books_app, name="books")

err = Console(stderr=True)
out = Console()

DEMO_DIR = Path("data") / "demo"

DatabaseUrl = Annotated[
    str, typer.Option("--database-url", help="`sqlite:///path.db` or `postgresql://…`; else OKLP_DATABASE_URL.")
]
Sandbox = Annotated[bool, typer.Option("--sandbox", help="Play money, loopback webhooks; else OKLP_SANDBOX.")]


def fail(message: str) -> NoReturn:
    err.print(f"[red]oklp:[/] {message}", highlight=False)
    raise typer.Exit(1)


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Refusals as one line and status 1, not as a traceback."""
    try:
        yield
    except OklpError as refusal:
        fail(refusal.detail)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        fail(f"{where}: {first['msg']}" if where else str(first["msg"]))
    except OperationalError as error:
        reason = " ".join(str(error.orig).split())
        fail(f"the database does not answer: {reason}")


def _settings(database_url: str = "", sandbox: bool = False, **more: Any) -> Settings:
    """Settings from the environment and the command's options."""
    given = {name: value for name, value in more.items() if value is not None}
    if database_url:
        given["database_url"] = database_url
    if sandbox:
        given["sandbox"] = True
    return Settings(**given)


@contextlib.contextmanager
def _opened(database_url: str, *, sandbox: bool = False) -> Iterator[tuple[Settings, Database]]:
    """The database for a command. Its own mark says whether it is a sandbox; a new sandbox is made when asked for."""
    with _refusals():
        settings = _settings(database_url, sandbox)
        state = inspect_database(settings.database_url)
        if state.sandbox and not settings.sandbox:
            settings = _settings(database_url, True)
        check_database(settings)
        db = open_database(settings, wall_clock)
        try:
            served_at = db.run(auth.served_at)
            if served_at is not None and "OKLP_PUBLIC_URL" not in os.environ:
                settings = _settings(database_url, settings.sandbox, public_url=served_at)
            yield settings, db
        finally:
            db.close()


def _vault(settings: Settings, db: Database) -> Vault:
    """The vault of a command: a database that has never been served gets its keys here."""
    vault = open_vault(settings)
    if not db.run(auth.has_keys):
        db.run(auth.prepare, settings, vault, generate_key, wall_clock())
    return vault


# --- serving ---------------------------------------------------------------------------------------------------------


def served_app() -> Any:
    """What uvicorn calls in each process: the settings are in the environment."""
    settings = Settings()
    observability.configure_logging(level=settings.log_level)
    _end_with_parent()
    server = create_server(settings)
    # What has been loaded by now stays: the collector need not look at it again and again, which took a tenth of the
    # time under load. Requests leave few cycles behind, so it may look less often as well.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    # While the event loop works through a burst of requests, a lane waits this long for the interpreter each time a
    # statement of its comes back. Five milliseconds, the default, are longer than a whole batch.
    sys.setswitchinterval(0.0005)
    return server


def _end_with_parent() -> None:
    """One of several workers: without its parent it would keep the port, and nobody could tell it to stop."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def follow() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=follow, name="oklp-parent", daemon=True).start()


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8000,
    database_url: DatabaseUrl = "",
    workers: Annotated[int, typer.Option(min=1, max=64, help="Server processes (PostgreSQL only).")] = 1,
    sandbox: Sandbox = False,
    expose: Annotated[bool, typer.Option(help="Let a sandbox listen on other addresses than loopback.")] = False,
) -> None:
    """The server. On SIGTERM it drains and stops."""
    with _refusals():
        settings = _settings(database_url, sandbox)
        if "OKLP_PUBLIC_URL" not in os.environ:
            name = f"[{host}]" if ":" in host else ("127.0.0.1" if host == "0.0.0.0" else host)  # noqa: S104
            settings = _settings(database_url, sandbox, public_url=f"http://{name}:{port}")
        if settings.embedded and workers > 1:
            fail("SQLite has one server process; use PostgreSQL for --workers above 1.")
        if settings.sandbox and not expose and host not in ("127.0.0.1", "::1", "localhost"):
            fail("A sandbox listens on loopback only; --expose says otherwise.")
        check_database(settings)
        open_vault(settings)
    os.environ.update(
        OKLP_DATABASE_URL=settings.database_url,
        OKLP_SANDBOX="1" if settings.sandbox else "0",
        OKLP_PUBLIC_URL=settings.public_url,
    )
    if settings.sandbox:
        err.print("[black on yellow] SANDBOX [/] play money, loopback webhooks, instant approval and payments")
    _allow_many_connections()
    # uvicorn drains, shuts down, and then raises the signal again for whoever was there before it: a clean end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if workers > 1:  # each process counts for itself; /metrics must tell of all
        os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", tempfile.mkdtemp(prefix="oklp-metrics-"))
        observability.configure_logging(level=settings.log_level)  # the parent tells of workers that die
    uvicorn.run(
        "oklp.cli:served_app",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=True,
        timeout_graceful_shutdown=max(settings.drain_seconds - 1, 1),  # the last second is for what is cut off then
        timeout_keep_alive=75,
        # A worker cannot answer before it has started, and one that is killed for it will never have.
        timeout_worker_healthcheck=30,
        backlog=2048,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies or None,
    )


def _allow_many_connections() -> None:
    """Slow webhook receivers each hold a connection: lift the soft limit of open files as far as we may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@app.command()
def demo(
    once: Annotated[
        bool, typer.Option("--once", help="End after the books: status 0 when all money is where it belongs.")
    ] = False,
    data_dir: Annotated[Path, typer.Option(help="Folder of the demo's database, configuration and logs.")] = DEMO_DIR,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of the platform; the next free one if taken.")] = 8000,
    game_port: Annotated[int, typer.Option(min=1, max=65535, help="Of the game server, likewise.")] = 9000,
) -> None:
    """A sandbox with a game, players and bots: two bots play a paid match, then it stays up for you. Ctrl-C ends it."""
    options = demonstration.Options(data_dir=data_dir.resolve(), port=port, game_port=game_port, once=once)
    raise typer.Exit(demonstration.main(options))


@app.command()
def check(
    webhook_url: Annotated[
        str, typer.Argument(help="Match info webhook URL of the running game.", show_default=False)
    ] = "",
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
) -> None:
    """Check that a game keeps the wire contract. Status 0: nothing failed, 1: a check failed, 2: it could not run."""
    options = checker.Options(
        webhook_url=None if builtin else webhook_url or None,
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
    raise typer.Exit(checker.main(options, out, err))


@app.command(name="migrate")
def migrate_command(database_url: DatabaseUrl = "", sandbox: Sandbox = False) -> None:
    """Bring a database to the current schema."""
    with _refusals():
        settings = _settings(database_url, sandbox)
        state = inspect_database(settings.database_url)
        migrate(settings.database_url, sandbox=settings.sandbox if state.sandbox is None else state.sandbox)
        out.print("The database is at the current schema.")


# --- registering -----------------------------------------------------------------------------------------------------


@game_app.command("register")
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
    database_url: DatabaseUrl = "",
    sandbox: Sandbox = False,
) -> None:
    """Register a game. In the sandbox it is approved at once."""
    with _opened(database_url, sandbox=sandbox) as (settings, db):
        request = contract.NewGame(
            name=name,
            webhook_url=webhook_url or None,
            launch_urls=contract.LaunchTemplates(browser=browser_url or None),
            settings=contract.GameSettings(
                mode=mode,
                score_order=score_order,
                discovery=discovery,
                fee_bps=fee_bps,
                start_retries=start_retries,
                results_due_seconds=results_due_seconds,
            ),
        )
        vault = _vault(settings, db)
        now = wall_clock()
        studio_id = db.run(games.default_studio, now)
        game = db.run(games.register, settings, vault, studio_id, request, now)
        out_file.touch(mode=0o600)
        out_file.write_text(game.developer_config.model_dump_json(indent=2, exclude_none=True) + "\n")
        out.print(
            f"{game.game_id} is registered ({game.vetting}); its configuration is in {out_file}.", highlight=False
        )


@player_app.command("create")
def player_create(
    username: Annotated[str, typer.Option(help="3 to 32 of A-Z a-z 0-9 _ -")],
    password: Annotated[str, typer.Option(help="8 to 256 characters.")],
    balance: Annotated[int, typer.Option(min=0, help="Play money, minor units (sandbox).")] = 0,
    currency: Annotated[str, typer.Option(help="Of the balance; the sandbox has XTS.")] = "",
    database_url: DatabaseUrl = "",
    sandbox: Sandbox = False,
) -> None:
    """Make a player, adult and verified; in the sandbox with play money."""
    with _opened(database_url, sandbox=sandbox) as (settings, db):
        checked = contract.NamedPerson(username=username, password=password)
        if balance and not settings.sandbox:
            fail("--balance is play money, which only the sandbox has.")
        if currency and currency != settings.currency:
            fail(f"--currency must be {settings.currency}.")
        user_id = str(uuid.uuid4())
        grant = (str(uuid.uuid4()), balance) if balance else None
        hashed = hash_password(checked.password)
        db.run(players.create, settings, user_id, checked.username, hashed, grant, wall_clock())
        out.print(f"{username} is {user_id}.", highlight=False)


@operator_app.command("create")
def operator_create(
    username: Annotated[str, typer.Option(help="3 to 32 of A-Z a-z 0-9 _ -")],
    password: Annotated[str, typer.Option(help="8 to 256 characters.", prompt=True, hide_input=True)],
    database_url: DatabaseUrl = "",
    sandbox: Sandbox = False,
) -> None:
    """Make an operator, who can log in to the operator API."""
    with _opened(database_url, sandbox=sandbox) as (_, db):
        checked = contract.NamedPerson(username=username, password=password)
        db.run(operators.create, str(uuid.uuid4()), checked.username, hash_password(checked.password), wall_clock())
        out.print(f"{username} is an operator.", highlight=False)


# --- running ---------------------------------------------------------------------------------------------------------


@keys_app.command("rotate")
def keys_rotate(database_url: DatabaseUrl = "") -> None:
    """Sign with a new key from now on; the old one verifies until its last token has expired."""
    with _opened(database_url) as (settings, db):
        vault = _vault(settings, db)
        kid = db.run(auth.rotate_keys, settings, vault, generate_key(), wall_clock())
        out.print(f"The signing key is now {kid}.", highlight=False)


@books_app.command("verify")
def books_verify(
    database_url: DatabaseUrl = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Prove the ledger: print the totals, name every row that is off, and exit with 1 if any is."""
    with _opened(database_url) as (_, db):
        report = db.run_report(books.verify)
    if as_json:
        out.print_json(report.model_dump_json())
    else:
        print_books(report)
    if not report.clean:
        raise typer.Exit(1)


def print_books(report: contract.Books, console: Console = out) -> None:
    """Totals as a table, faults one a line."""
    table = Table(title="Books", caption=f"{report.postings} postings in {report.posting_sets} sets")
    columns = ("players", "escrow", "held", "platform_fees", "studios", "clearing")
    table.add_column("currency")
    for column in columns:
        table.add_column(column.replace("_", " "), justify="right")
    for totals in report.totals:
        table.add_row(totals.currency, *(f"{getattr(totals, column):,}" for column in columns))
    console.print(table)
    for fault in report.faults:
        console.print(f"[red]{fault.check}[/] {fault.row}: {fault.detail}", highlight=False)
    console.print("[green]The books are clean.[/]" if report.clean else "[red]The books are NOT clean.[/]")


def main() -> None:
    app()


if __name__ == "__main__":
    main()
