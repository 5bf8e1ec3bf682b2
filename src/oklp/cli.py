"""The command line (contract section B6). Commands work while servers run on the same database."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TextIO

try:
    import typer
    from pydantic import ValidationError
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text
    from sqlalchemy.exc import ArgumentError, DatabaseError, InterfaceError, OperationalError

    from oklp import contract, observability, serving
    from oklp.app import check_database, make_ready, open_database, wall_clock
    from oklp.errors import Conflict, OklpError
    from oklp.services import auth, books, games, operators, players
    from oklp.services.vault import Vault, hash_password, open_vault
    from oklp.settings import Settings
    from oklp.signing import generate_key
    from oklp.storage.engine import Database, Tx, inspect_database, migrate
    from oklp.storage.presence import Presence, announce
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
WIDEST = 1_000  # columns

DatabaseUrl = Annotated[
    str, typer.Option("--database-url", help="`sqlite:///path.db` or `postgresql://…`; else OKLP_DATABASE_URL.")
]
Sandbox = Annotated[bool, typer.Option("--sandbox", help="Play money, loopback webhooks; else OKLP_SANDBOX.")]


def fail(message: str) -> NoReturn:
    """Say why not, in one line however long it is, and end with status 1."""
    err.print(Text.assemble(("oklp:", "red"), " ", message), soft_wrap=True)
    raise typer.Exit(1)


def say(message: str) -> None:
    """A line as it is: nothing in it is markup, and it is not broken to the width of a terminal that may not be one."""
    out.print(Text(message), soft_wrap=True)


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Refusals as one line and status 1, not as a traceback."""
    try:
        yield
    except OklpError as refusal:
        fail(refusal.detail)
    except ValidationError as error:
        fail(_fault(error))
    except (OperationalError, InterfaceError) as error:
        fail(f"the database does not answer: {_in_a_line(error.orig)}")
    except DatabaseError as error:
        if type(error) is not DatabaseError:
            raise  # a statement of ours is wrong
        fail(f"this is no database of ours: {_in_a_line(error.orig)}")
    except ArgumentError as error:
        fail(f"OKLP_DATABASE_URL: {_in_a_line(error)}")
    except OSError as error:
        fail(": ".join(filter(None, [error.filename and str(error.filename), error.strerror or str(error)])))


def _in_a_line(error: object) -> str:
    return " ".join(str(error).split())


def _fault(error: ValidationError) -> str:
    """The first thing at fault. A setting goes by the name of its variable, an option of a command by its own."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    if where and error.title == Settings.__name__:
        where = f"{Settings.model_config['env_prefix']}{where}".upper()
    what = first["msg"].removeprefix("Value error, ")
    return f"{where}: {what}" if where else what


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
        if not settings.sandbox and not _mode_is_asked_for(settings):
            settings = _settings(database_url, bool(inspect_database(settings.database_url).sandbox))
        check_database(settings)
        db = open_database(settings, wall_clock)
        try:
            served = db.run(auth.served)
            if served is not None:  # what the servers say counts, unless this shell says otherwise
                given = {name for name in served._fields if f"OKLP_{name}".upper() in os.environ}
                told = {name: value for name, value in served._asdict().items() if name not in given}
                settings = _settings(database_url, settings.sandbox, **told)
            yield settings, db
        finally:
            db.close()


def _mode_is_asked_for(settings: Settings) -> bool:
    """True when OKLP_SANDBOX or --sandbox says which: otherwise a database's own mark does."""
    return "sandbox" in settings.model_fields_set


def _vault(settings: Settings, db: Database) -> Vault:
    """The vault of a command: a database that has never been served gets its keys here."""
    vault = open_vault(settings)
    if not db.run(auth.has_keys):
        db.run(auth.prepare, settings, vault, generate_key, wall_clock())
    return vault


# --- serving ---------------------------------------------------------------------------------------------------------


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
        if settings.embedded and workers > 1:
            fail("SQLite has one server process; use PostgreSQL for --workers above 1.")
        if settings.sandbox and not expose and host not in ("127.0.0.1", "::1", "localhost"):
            fail("A sandbox listens on loopback only; --expose says otherwise.")
        if not settings.sandbox:
            check_database(settings)
        sockets = _bind(host, port)
        listens_at = serving.url_of(host, serving.port_of(sockets))
        if "OKLP_PUBLIC_URL" not in os.environ:
            settings = _settings(database_url, sandbox, public_url=listens_at)
        observability.configure_logging(level=settings.log_level)
        # From here on another server must not run on an SQLite file; before it, nothing has been changed.
        presence = announce(settings.database_url)
        make_ready(settings, presence)
    os.environ.update(
        OKLP_DATABASE_URL=settings.database_url,
        OKLP_SANDBOX="1" if settings.sandbox else "0",
        OKLP_PUBLIC_URL=settings.public_url,
    )
    if settings.sandbox:
        err.print("[black on yellow] SANDBOX [/] play money, loopback webhooks, instant approval and payments")
    raise typer.Exit(_run(settings, presence, sockets, workers, listens_at))


def _bind(host: str, port: int) -> list[socket.socket]:
    try:
        return serving.bind(host, port)
    except OSError as error:
        fail(f"cannot listen on {host}:{port}: {error.strerror}")


def _run(settings: Settings, presence: Presence, sockets: list[socket.socket], workers: int, listens_at: str) -> int:
    serving.allow_many_connections()
    # uvicorn drains, shuts down, and then raises the signal again for whoever was there before it: a clean end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if workers > 1:  # each process counts for itself; /metrics must tell of all
        os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", tempfile.mkdtemp(prefix="oklp-metrics-"))
    observability.get_logger(__name__).info("listening", url=listens_at, public_url=settings.public_url)
    try:
        serving.listen(sockets)
    except OSError as error:  # somebody else had the same port, and was the first to listen
        fail(f"cannot listen on {listens_at}: {error.strerror}")
    app = serving.app_of(settings, presence) if workers == 1 else serving.WORKER
    return serving.run(app, settings, sockets, workers)


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
    from oklp import demo as demonstration  # a server has no use for it, and should not load it

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
    from oklp.check import command as checker  # likewise

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
        marked = inspect_database(settings.database_url).sandbox
        for_play = settings.sandbox if marked is None or _mode_is_asked_for(settings) else marked
        migrate(settings.database_url, sandbox=for_play)
        say(f"The database is at the current schema. It is a {'sandbox' if for_play else 'production'} database.")


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
    with _opened(database_url, sandbox=sandbox) as (settings, db), _private_file(out_file) as write:
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

        def register(tx: Tx) -> contract.RegisteredGame:
            game = games.register(tx, settings, vault, games.default_studio(tx, now), request, now)
            # Its secrets are shown this once: if they cannot be written down, there is to be no game.
            write(game.developer_config.model_dump_json(indent=2, exclude_none=True) + "\n")
            return game

        game = db.run(register)
    say(f"{game.game_id} is registered ({game.vetting}); its configuration is in {out_file}.")


@contextlib.contextmanager
def _private_file(path: Path) -> Iterator[Callable[[str], None]]:
    """A function that writes a file for its owner's eyes alone. The file is in place when the block ends well.

    What can be found out before is: OSError when there can be no such file, or when it is a folder. Pipes and terminals
    are written to as they are. The function raises Conflict.
    """
    if path.exists() and not path.is_file():
        with path.open("w") as file:
            yield lambda text: _write(file, text, path)
        return
    target = path.resolve()
    try:
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    try:
        with os.fdopen(descriptor, "r+") as file:
            yield lambda text: _write(file, text, path)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _write(file: TextIO, text: str, path: Path) -> None:
    """All of the file, on disk when this returns; a second call counts in place of the first."""
    try:
        if file.seekable():
            file.seek(0)
            file.truncate()
        file.write(text)
        file.flush()
        if file.seekable():
            os.fsync(file.fileno())
    except OSError as error:
        raise Conflict(f"{path} cannot be written: {error.strerror}") from error


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
        say(f"{username} is {user_id}.")


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
        say(f"{username} is an operator.")


# --- running ---------------------------------------------------------------------------------------------------------


@keys_app.command("rotate")
def keys_rotate(database_url: DatabaseUrl = "") -> None:
    """Sign with a new key from now on; the old one verifies until its last token has expired."""
    with _opened(database_url) as (settings, db):
        vault = _vault(settings, db)
        kid = db.run(auth.rotate_keys, settings, vault, generate_key(), wall_clock())
        say(f"The signing key is now {kid}.")


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
    # As wide as it is: an amount that is cut, in a pipe or a narrow window, is no amount.
    needed = Measurement.get(console, console.options.update(max_width=WIDEST), table).maximum
    console.width = max(console.width, needed)
    console.print(table)
    for fault in report.faults:
        console.print(Text.assemble((fault.check, "red"), f" {fault.row}: {fault.detail}"), soft_wrap=True)
    console.print("[green]The books are clean.[/]" if report.clean else "[red]The books are NOT clean.[/]")


def main() -> None:
    app()


if __name__ == "__main__":
    main()
