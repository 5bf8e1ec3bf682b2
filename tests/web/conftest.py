"""One running platform a database, shared by the tests of this folder: each brings its own players and games."""

from __future__ import annotations

import os
from collections.abc import Iterator

import psycopg
import pytest

from scripts.postgres import database_url
from tests.harness import Server, serving
from tests.webhooks.receivers import Receivers

SECONDS = 2


def fresh_database(backend: str, folder: object, server: str) -> str:
    """The URL of an empty database that outlives a single test."""
    if backend == "sqlite":
        return f"sqlite:///{folder}/oklp.db"
    name = f"oklp_served_{os.urandom(6).hex()}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return database_url(server, name)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A module whose requests are told apart before they come to a database says so by `BACKENDS`, and has one server.

    What the services do with either is in tests/services; what is sent here by the thousand would only come twice.
    """
    if "served" in metafunc.fixturenames:
        backends = getattr(metafunc.module, "BACKENDS", ("sqlite", "postgresql"))
        metafunc.parametrize("served", backends, indirect=True, scope="session")


@pytest.fixture(scope="session")
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`oklp serve --sandbox`, with webhooks that time out in two seconds."""
    folder = tmp_path_factory.mktemp(f"served-{request.param}")
    server = request.getfixturevalue("postgres_server") if request.param == "postgresql" else ""
    url = fresh_database(request.param, folder, server)
    settings = {
        "OKLP_WEBHOOK_TIMEOUT_SECONDS": str(SECONDS),
        "OKLP_MINIMUM_AGE_YEARS": "18",
        "OKLP_APPROVAL_ABOVE": "100000",
    }
    with serving(url, folder, **settings) as running:
        yield running


@pytest.fixture(scope="session")
def receivers() -> Iterator[Receivers]:
    with Receivers() as running:
        yield running
