"""Behind the server's back: PostgreSQL stopped and started, and a look at the rows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import sqlalchemy as sa

from oklp.storage.engine import connectable
from oklp.storage.presence import PRESENT_KEY
from scripts import postgres


def cluster_of(database_url: str) -> postgres.Server:
    """The throw-away cluster that this database is on, to be stopped (`pg_ctl stop -m immediate`) and started."""
    folder = Path(parse_qs(urlsplit(database_url).query)["host"][0])
    owner = folder.stat()
    identity: dict[str, Any] = {}
    if os.geteuid() == 0:
        identity = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    return postgres.Server(postgres.find_programs(), folder, identity)


def rows(database_url: str, statement: str) -> list[tuple[Any, ...]]:
    engine = connectable(database_url)
    try:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(statement))]
    finally:
        engine.dispose()


def left_in_the_air(database_url: str) -> list[tuple[Any, ...]]:
    """Starts that nobody is at work on: matches that are `starting`, but for those that wait for a further attempt."""
    return rows(
        database_url,
        "SELECT matches.id, matches.status, deliveries.id, deliveries.state FROM deliveries"
        " LEFT JOIN matches ON matches.id = deliveries.match_id AND matches.start_delivery_id = deliveries.id"
        " WHERE deliveries.state = 'sending' OR (matches.status = 'starting' AND deliveries.state <> 'waiting')",
    )


_SERVERS = (
    f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = {PRESENT_KEY}"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def await_servers(url: str, count: int) -> None:
    """The end of a killed process's session is PostgreSQL's to notice; pytest's own time-out is the limit."""
    with connectable(url).connect() as connection:
        while connection.exec_driver_sql(_SERVERS).scalar_one() != count:
            pass
