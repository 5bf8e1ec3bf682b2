"""Locks that say that a server is there, and go when it does."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from oklp.errors import Conflict
from oklp.storage.engine import Database, connectable, inspect_database, migrate
from oklp.storage.presence import Presence, announce
from tests.conftest import MakeDatabase
from tests.crash.database import await_servers
from tests.storage.rig import LONG_SECONDS, NOW

STAY = """
import sys
from oklp.storage.presence import announce
here = announce(sys.argv[1])
print("here", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def present(url: str) -> Iterator[Presence]:
    with contextlib.closing(announce(url)) as here:
        yield here


@contextlib.contextmanager
def another_process(url: str) -> Iterator[subprocess.Popen[str]]:
    """Present there, until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", STAY, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        yield process
    finally:
        process.kill()
        process.communicate(timeout=LONG_SECONDS)


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait(LONG_SECONDS)


# --- SQLite ----------------------------------------------------------------------------------------------------------


def file_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def test_a_file_has_one_server(sqlite_url: str) -> None:
    with another_process(sqlite_url) as other:
        with pytest.raises(Conflict, match="Another server"):
            announce(sqlite_url)
        kill(other)
        with present(sqlite_url) as here:
            assert here.alone()


def test_it_does_not_keep_commands_out(sqlite_url: str) -> None:
    with another_process(sqlite_url):
        migrate(sqlite_url, sandbox=True)
        database = Database(sqlite_url, clock=lambda: NOW)
        assert database.run(lambda tx: tx.number) > 0
        database.close()
        assert inspect_database(sqlite_url).current


def test_it_leaves_nothing_that_is_stale(sqlite_url: str) -> None:
    with another_process(sqlite_url) as other:
        kill(other)
    leftovers = list(file_of(sqlite_url).parent.glob("*.lock"))
    assert leftovers
    with present(sqlite_url):
        pass


def test_a_name_for_the_same_file_is_no_way_around(sqlite_url: str) -> None:
    link = file_of(sqlite_url).with_name("link.db")
    link.symlink_to(file_of(sqlite_url))
    with another_process(sqlite_url), pytest.raises(Conflict):
        announce(f"sqlite:///{link}")


def test_it_follows_a_file_that_is_moved(sqlite_url: str) -> None:
    path = file_of(sqlite_url)
    moved = path.with_name("moved.db")
    with another_process(sqlite_url) as other:
        path.rename(moved)
        with pytest.raises(Conflict):
            announce(f"sqlite:///{moved}")
        # Nor is a new file at the old place free: its server would find the log of the one that was moved.
        with pytest.raises(Conflict):
            announce(sqlite_url)
        kill(other)
    with present(f"sqlite:///{moved}"), present(sqlite_url):
        pass


def test_a_new_file_is_its_owners_alone(make_database: MakeDatabase) -> None:
    announced, migrated = make_database("sqlite"), make_database("sqlite")
    with present(announced):
        assert file_of(announced).stat().st_mode & 0o777 == 0o600
    migrate(migrated, sandbox=True)
    with connectable(migrated).connect() as connection:
        connection.exec_driver_sql("UPDATE platform SET created_at = 1")
        beside = {path.name: path.stat().st_mode & 0o777 for path in file_of(migrated).parent.glob("*.db*")}
    assert f"{file_of(migrated).name}-wal" in beside
    assert {name: mode for name, mode in beside.items() if mode != 0o600} == {}


# --- PostgreSQL ------------------------------------------------------------------------------------------------------

_END_LISTENERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE query LIKE 'LISTEN%%' AND datname = current_database()"
)


def test_servers_of_a_cluster_know_whether_they_are_alone(postgres_url: str) -> None:
    with present(postgres_url) as here:
        assert here.alone()
        with another_process(postgres_url) as other:
            assert not here.alone()
            kill(other)
            await_servers(postgres_url, 1)
            assert here.alone()


def test_another_database_of_the_cluster_is_not_asked(make_database: MakeDatabase) -> None:
    with present(make_database("postgresql")) as here, present(make_database("postgresql")) as there:
        assert here.alone()
        assert there.alone()


def test_asking_does_not_end_ones_own_presence(postgres_url: str) -> None:
    with present(postgres_url) as here, present(postgres_url) as there:
        assert not here.alone()
        assert not there.alone()
        here.close()
        await_servers(postgres_url, 1)
        assert there.alone()
        assert there.alone()
        with present(postgres_url) as third:
            assert not third.alone()


def test_the_connection_that_listens_takes_part_again_when_it_was_lost(postgres_url: str) -> None:
    migrate(postgres_url, sandbox=True)
    database = Database(postgres_url, clock=lambda: NOW)

    async def main() -> None:
        listening: asyncio.Queue[None] = asyncio.Queue()
        server = announce(postgres_url)

        def begins() -> None:
            server.relieved()
            listening.put_nowait(None)

        watching = asyncio.create_task(database.watch(begins))
        await asyncio.wait_for(listening.get(), LONG_SECONDS)
        with present(postgres_url) as other:
            assert not other.alone()
            await database.write(lambda tx: tx.driver(_END_LISTENERS))
            await asyncio.wait_for(listening.get(), LONG_SECONDS)
            assert not other.alone()
            watching.cancel()
            with pytest.raises(asyncio.CancelledError):
                await watching
            await asyncio.to_thread(await_servers, postgres_url, 1)
            assert other.alone()

    asyncio.run(main())
    database.close()
