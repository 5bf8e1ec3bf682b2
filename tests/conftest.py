"""Databases for tests.

Every run has one PostgreSQL server, which all its processes share: the one that OKLP_TEST_POSTGRES names, or else a
throw-away cluster (`scripts/postgres.py`). Every test has a database of its own. Where no server can be had, the tests
that need one fail; none is ever skipped.

    sqlite_url         an empty SQLite file
    postgres_url       an empty PostgreSQL database
    database_url       one and then the other
    migrated_url       one and then the other, at the current schema, marked as a sandbox
    make_database      `make_database("postgresql", migrated=True, sandbox=False)`: as many as a test needs
    durable_postgres_url    an empty database on a cluster with full durability, for crash tests
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sqlite3
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Protocol

import hypothesis
import psycopg
import pytest
from psycopg import sql

from scripts.postgres import Cluster, ClusterError
from scripts.postgres import database_url as url_of

SERVER = "OKLP_TEST_POSTGRES"
SERVER_FAULT = "OKLP_TEST_POSTGRES_FAULT"
RUN = "OKLP_TEST_RUN"
BACKENDS = ("sqlite", "postgresql")

hypothesis.settings.register_profile("oklp", deadline=None, print_blob=True)
hypothesis.settings.load_profile("oklp")


class MakeDatabase(Protocol):
    def __call__(self, backend: str, *, migrated: bool = False, sandbox: bool = True) -> str:
        """URL of a database of the test's own; `backend` is `sqlite` or `postgresql`."""
        ...


# --- one server for the run ------------------------------------------------------------------------------------------


class ServerOfTheRun:
    """Owned by the process that pytest was started as; its workers find the URL in their environment.

    With workers the server is started before them. Without, it is started by the first test that wants it, so that a
    run of pure tests pays nothing.
    """

    def __init__(self) -> None:
        self._cluster: Cluster | None = None

    def start(self) -> None:
        if os.environ.get(SERVER) or os.environ.get(SERVER_FAULT):
            return
        cluster = Cluster(durable=False)
        try:
            os.environ[SERVER] = cluster.start()
        except ClusterError as fault:
            os.environ[SERVER_FAULT] = str(fault)
        else:
            self._cluster = cluster

    def stop(self, run: str) -> None:
        if self._cluster is not None:
            self._cluster.stop()
            del os.environ[SERVER]
        elif os.environ.get(SERVER):
            _drop_all_of(run)
        self._cluster = None


def _drop_all_of(run: str) -> None:
    """Leave somebody's own server as it was found."""
    with _administrator() as connection:
        rows = connection.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [f"{run}_"])
        for (name,) in rows.fetchall():
            _drop(connection, name)


_server = pytest.StashKey[ServerOfTheRun]()


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    if _is_worker(config):
        return
    # Settings of the developer's shell are no part of a test.
    for name in list(os.environ):
        if name.startswith("OKLP_") and not name.startswith("OKLP_TEST_"):
            del os.environ[name]
    os.environ[RUN] = f"oklp_test_{os.urandom(4).hex()}"
    server = config.stash[_server] = ServerOfTheRun()
    if config.getoption("dist", "no") != "no" and not config.getoption("collectonly"):
        server.start()


def pytest_unconfigure(config: pytest.Config) -> None:
    server = config.stash.get(_server, None)
    if server is not None:
        server.stop(os.environ[RUN])


@pytest.fixture(scope="session")
def postgres_server(pytestconfig: pytest.Config) -> str:
    """URL of the run's server, where databases can be made."""
    server = pytestconfig.stash.get(_server, None)
    if server is not None:
        server.start()
    if fault := os.environ.get(SERVER_FAULT):
        pytest.fail(f"PostgreSQL cannot be had: {fault}", pytrace=False)
    return os.environ[SERVER]


def _administrator() -> psycopg.Connection[tuple[str]]:
    return psycopg.connect(os.environ[SERVER], autocommit=True)


def _create(connection: psycopg.Connection[tuple[str]], name: str, template: str = "template1") -> None:
    connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)))


def _drop(connection: psycopg.Connection[tuple[str]], name: str) -> None:
    connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


# --- templates, made once a run --------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Path:
    """A folder that all processes of the run share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if _is_worker(pytestconfig) else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@contextlib.contextmanager
def _once(folder: Path, name: str) -> Iterator[bool]:
    """True for the first process to come here, while the others wait; False once its work is done."""
    done = folder / f"{name}.done"
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.exists():
            yield False
            return
        yield True
        done.touch()


def _migrate(url: str, sandbox: bool) -> None:
    from oklp.storage.engine import migrate

    migrate(url, sandbox=sandbox)


def _sqlite_template(folder: Path, sandbox: bool) -> Path:
    name = f"sqlite_{'sandbox' if sandbox else 'production'}"
    path = folder / f"{name}.db"
    with _once(folder, name) as first:
        if first:
            _migrate(f"sqlite:///{path}", sandbox)
            with contextlib.closing(sqlite3.connect(path)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def _postgres_template(folder: Path, sandbox: bool) -> str:
    name = f"{os.environ[RUN]}_{'sandbox' if sandbox else 'production'}"
    with _once(folder, name) as first:
        if first:
            with _administrator() as connection:
                _drop(connection, name)  # half of one, where an earlier process failed
                _create(connection, name)
            _migrate(url_of(os.environ[SERVER], name), sandbox)
    return name


# --- one database for a test -----------------------------------------------------------------------------------------

_numbers = count()


@pytest.fixture
def make_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeDatabase]:
    """A function that makes databases, which are dropped when the test is over."""
    made: list[str] = []

    def sqlite(migrated: bool, sandbox: bool) -> str:
        path = tmp_path / f"oklp-{next(_numbers)}.db"
        if migrated:
            shutil.copyfile(_sqlite_template(request.getfixturevalue("shared_folder"), sandbox), path)
        return f"sqlite:///{path}"

    def postgresql(migrated: bool, sandbox: bool) -> str:
        server = request.getfixturevalue("postgres_server")
        name = f"{os.environ[RUN]}_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{next(_numbers)}"
        template = "template1"
        if migrated:
            template = _postgres_template(request.getfixturevalue("shared_folder"), sandbox)
        with _administrator() as connection:
            _create(connection, name, template)
        made.append(name)
        return url_of(server, name)

    def make(backend: str, *, migrated: bool = False, sandbox: bool = True) -> str:
        return {"sqlite": sqlite, "postgresql": postgresql}[backend](migrated, sandbox)

    yield make
    if made:
        with _administrator() as connection:
            for name in made:
                _drop(connection, name)


@pytest.fixture
def sqlite_url(make_database: MakeDatabase) -> str:
    return make_database("sqlite")


@pytest.fixture
def postgres_url(make_database: MakeDatabase) -> str:
    return make_database("postgresql")


@pytest.fixture(params=BACKENDS)
def database_url(request: pytest.FixtureRequest, make_database: MakeDatabase) -> str:
    return make_database(request.param)


@pytest.fixture(params=BACKENDS)
def migrated_url(request: pytest.FixtureRequest, make_database: MakeDatabase) -> str:
    return make_database(request.param, migrated=True)


# --- full durability, for crash tests --------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def durable_postgres_server() -> Iterator[str]:
    """A cluster as production has it, for the tests of one process."""
    try:
        cluster = Cluster(durable=True)
        url = cluster.start()
    except ClusterError as fault:
        pytest.fail(f"PostgreSQL cannot be had: {fault}", pytrace=False)
    yield url
    cluster.stop()


@pytest.fixture
def durable_postgres_url(durable_postgres_server: str) -> str:
    """An empty database there; it goes when the cluster does."""
    name = f"durable_{next(_numbers)}"
    with psycopg.connect(durable_postgres_server, autocommit=True) as connection:
        _create(connection, name)
    return url_of(durable_postgres_server, name)
