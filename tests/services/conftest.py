"""A world of its own for each test, on one database and then the other. It is left with clean books.

Making a PostgreSQL database takes longer than most of these tests, so they share one and find it empty.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Protocol

import psycopg
import pytest
from psycopg import sql

from oklp.storage import schema
from oklp.storage.engine import migrate
from scripts.postgres import database_url
from tests.services.house import House
from tests.services.world import World, check_books

# What a migrated database holds before anything has happened in it; keys are slow to make.
_KEPT = frozenset({"platform", "operations", "signing_keys"})
_EMPTY = ";".join(
    f"DELETE FROM {table.name}" for table in reversed(schema.metadata.sorted_tables) if table.name not in _KEPT
)


class MakeDatabase(Protocol):
    def __call__(self, backend: str, *, migrated: bool = False, sandbox: bool = True) -> str: ...


@pytest.fixture(scope="session")
def shared_postgres(postgres_server: str) -> str:
    """URL of a migrated database that the tests of this process take turns with."""
    name = f"{os.environ['OKLP_TEST_RUN']}_services_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    url = database_url(postgres_server, name)
    migrate(url, sandbox=True)
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def services_url(request: pytest.FixtureRequest, make_database: MakeDatabase) -> str:
    if request.param == "sqlite":
        return make_database("sqlite", migrated=True)
    url: str = request.getfixturevalue("shared_postgres")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_EMPTY.encode())
    return url


@pytest.fixture
def world(services_url: str) -> Iterator[World]:
    made = World(services_url)
    yield made
    check_books(made)
    made.close()


@pytest.fixture
def house(world: World) -> House:
    return House(world)
