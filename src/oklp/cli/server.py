"""The server and its database: `serve`, `migrate`, `keys`, `books`."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import tempfile
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from oklp.cli.house import (
    DatabaseUrl,
    Sandbox,
    err,
    fail,
    mode_is_asked_for,
    opened,
    out,
    refusals,
    say,
    settings_of,
    uncollected,
    vault_of,
)

if TYPE_CHECKING:
    from oklp import contract
    from oklp.settings import Settings
    from oklp.storage.presence import Presence

WIDEST = 1_000  # columns
METRICS = "PROMETHEUS_MULTIPROC_DIR"


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8000,
    database_url: DatabaseUrl = "",
    workers: Annotated[int, typer.Option(min=1, max=64, help="Server processes (PostgreSQL only).")] = 1,
    sandbox: Sandbox = False,
    expose: Annotated[bool, typer.Option(help="Let a sandbox listen on other addresses than loopback.")] = False,
) -> None:
    """The server. On SIGTERM it drains and stops."""
    with uncollected():
        from oklp import observability, serving
        from oklp.opening import check_database, make_ready
        from oklp.storage.presence import announce

    with refusals():
        settings = settings_of(database_url, sandbox)
        if settings.embedded and workers > 1:
            fail("SQLite has one server process; use PostgreSQL for --workers above 1.")
        if settings.sandbox and not expose and host not in ("127.0.0.1", "::1", "localhost"):
            fail("A sandbox listens on loopback only; --expose says otherwise.")
        if not settings.sandbox:
            check_database(settings)
        sockets = _bind(host, port)
        listens_at = serving.url_of(host, serving.port_of(sockets))
        if "OKLP_PUBLIC_URL" not in os.environ:
            settings = settings_of(database_url, sandbox, public_url=listens_at)
        observability.configure_logging(level=settings.log_level)
        # From here on another server must not run on an SQLite file; before it, nothing has been changed.
        presence = announce(settings.database_url)
        make_ready(settings, presence)
        if "OKLP_PUBLIC_URL" not in os.environ and not settings.sandbox:
            observability.get_logger(__name__).warning("public_url_is_the_address_listened_on", url=listens_at)
    os.environ.update(
        OKLP_DATABASE_URL=settings.database_url,
        OKLP_SANDBOX="1" if settings.sandbox else "0",
        OKLP_PUBLIC_URL=settings.public_url,
    )
    if settings.sandbox:
        err.print("[black on yellow] SANDBOX [/] play money, loopback webhooks, instant approval and payments")
    raise typer.Exit(_run(settings, presence, sockets, workers, listens_at))


def _bind(host: str, port: int) -> list[socket.socket]:
    from oklp import serving

    try:
        return serving.bind(host, port)
    except OSError as error:
        fail(f"cannot listen on {host}:{port}: {error.strerror}")


def _run(settings: Settings, presence: Presence, sockets: list[socket.socket], workers: int, listens_at: str) -> int:
    from oklp import observability, serving

    serving.allow_many_connections()
    # uvicorn drains, shuts down, and then raises the signal again for whoever was there before it: a clean end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        serving.listen(sockets)
    except OSError as error:  # somebody else had the same port, and was the first to listen
        fail(f"cannot listen on {listens_at}: {error.strerror}")
    observability.get_logger(__name__).info("listening", url=listens_at, public_url=settings.public_url)
    with contextlib.ExitStack() as until_the_end:
        if workers > 1 and not os.environ.get(METRICS):  # each process counts for itself; /metrics must tell of all
            folder = tempfile.TemporaryDirectory(prefix="oklp-metrics-", ignore_cleanup_errors=True)
            os.environ[METRICS] = until_the_end.enter_context(folder)
        app = serving.app_of(settings, presence) if workers == 1 else serving.WORKER
        return serving.run(app, settings, sockets, workers)


def migrate_command(database_url: DatabaseUrl = "", sandbox: Sandbox = False) -> None:
    """Bring a database to the current schema."""
    from oklp.storage.engine import inspect_database, migrate

    with refusals():
        settings = settings_of(database_url, sandbox)
        before = inspect_database(settings.database_url)
        asked = before.sandbox is None or mode_is_asked_for(settings)
        for_play = settings.sandbox if asked else bool(before.sandbox)
        migrate(settings.database_url, sandbox=for_play)
        done = "is at the current schema already" if before.current else "was brought to the current schema"
        whose = "sandbox" if for_play else "production"
        say(f"The database {done if before.initialised else 'was made'}. It is a {whose} database.")


def keys_rotate(database_url: DatabaseUrl = "") -> None:
    """Sign with a new key from now on; the old one verifies until its last token has expired."""
    from oklp.opening import wall_clock
    from oklp.services import auth
    from oklp.signing import generate_key

    with opened(database_url) as (settings, db):
        vault = vault_of(settings, db)
        kid = db.run(auth.rotate_keys, settings, vault, generate_key(), wall_clock())
        say(f"The signing key is now {kid}.")


def keys_replace(
    reason: Annotated[str, typer.Option(help="Kept in the audit log.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    database_url: DatabaseUrl = "",
) -> None:
    """When OKLP_SECRET_KEY is lost: put what it had encrypted out of use, so that servers start with a new one.

    There are new signing keys and webhook secrets, which studios have to fetch by rotating them. Authenticator apps
    have to be set up anew. Mails that wait are lost. No server may run.
    """
    from oklp import contract
    from oklp.opening import wall_clock
    from oklp.services import auth, games
    from oklp.services.vault import open_vault
    from oklp.signing import generate_key
    from oklp.storage.presence import announce

    with refusals():
        why = contract.OperatorReason(reason=reason).reason
        here = announce(settings_of(database_url).database_url)
    with contextlib.closing(here), opened(database_url) as (settings, db):
        if not yes:
            typer.confirm("Replace all keys, webhook secrets and authenticator apps?", abort=True, err=True)
        given = (open_vault(settings), generate_key, wall_clock(), here.alone, games.COMMAND_LINE, why)
        for each in db.run(auth.replace_lost, *given):
            say(f"Replaced: {each}.")


def books_verify(
    database_url: DatabaseUrl = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Prove the ledger: print the totals, name every row that is off, and exit with 1 if any is."""
    from rich.progress import Progress

    from oklp.services import books

    watched = Progress(console=err, transient=True, disable=not err.is_terminal)
    with opened(database_url) as (_, db), watched as bar:
        task = bar.add_task("checks", total=None)
        report = db.run_report(books.verify, lambda made, of: bar.update(task, completed=made, total=of))
    if as_json:
        out.print_json(report.model_dump_json())
    else:
        print_books(report)
    if not report.clean:
        raise typer.Exit(1)


def print_books(report: contract.Books, console: Console = out) -> None:
    """Totals as a table, faults one a line."""
    from rich.measure import Measurement
    from rich.table import Table

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
