"""The database of a server or a command: made ready, and opened. It loads nothing of the web, which takes a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from oklp import observability
from oklp.errors import Conflict
from oklp.observability import get_logger
from oklp.services import auth
from oklp.services.vault import open_vault
from oklp.settings import Settings
from oklp.signing import generate_key
from oklp.storage.engine import NEWER, Database, inspect_database, migrate
from oklp.storage.presence import Presence

log = get_logger(__name__)


def wall_clock() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def check_database(settings: Settings) -> None:
    """Make the database ready, or say why it is not. Sandbox databases are migrated here, production's never.

    Raises Conflict.
    """
    if settings.sandbox:
        migrate(settings.database_url, sandbox=True)
        return
    state = inspect_database(settings.database_url)
    if state.sandbox:
        raise Conflict("This is a sandbox database, which production refuses; --sandbox (or OKLP_SANDBOX=1) takes it.")
    if not state.initialised:
        raise Conflict(
            "There is no database yet. For play money give --sandbox (or OKLP_SANDBOX=1), which makes one; for"
            " production run `oklp migrate` first. A database stays what it was made as."
        )
    if state.newer:
        raise Conflict(NEWER)
    if not state.current:
        raise Conflict("The database is not at the current schema; run `oklp migrate` first.")


def open_database(settings: Settings, clock: Callable[[], int]) -> Database:
    return Database(
        settings.database_url,
        clock=clock,
        queue_limit=settings.queue_limit,
        batch_limit=settings.batch_limit,
        observer=observability.LaneMetrics(),
    )


def make_ready(settings: Settings, presence: Presence, clock: Callable[[], int] = wall_clock) -> None:
    """All that may keep a server from starting, before it does. Raises OklpError, OSError, DBAPIError."""
    check_database(settings)
    vault = open_vault(settings)
    db = open_database(settings, clock)
    try:
        tell_replaced(db.run(auth.prepare, settings, vault, generate_key, clock(), presence.alone))
    finally:
        db.close()


def tell_replaced(replaced: Sequence[str]) -> None:
    for each in replaced:
        log.warning("replaced_because_the_key_does_not_fit", what=each)
