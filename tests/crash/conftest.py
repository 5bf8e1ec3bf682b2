"""Rigs for the tests that kill things. OKLP_TEST_SEED repeats a run's random choices, OKLP_TEST_KILLS its length."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import MakeDatabase
from tests.crash.load import ENV
from tests.crash.receiver import Receiver
from tests.harness import Server


@pytest.fixture
def seed() -> int:
    chosen = int(os.environ.get("OKLP_TEST_SEED") or random.SystemRandom().randrange(2**31))
    print(f"OKLP_TEST_SEED={chosen}")
    return chosen


@pytest.fixture
def receiver(seed: int) -> Iterator[Receiver]:
    with Receiver(seed) as running:
        yield running


class Rig:
    """Server processes on one database, which speak of themselves by one address. All are stopped in the end."""

    def __init__(self, database_url: str, folder: Path) -> None:
        self.servers: list[Server] = []
        self._database_url = database_url
        self._folder = folder

    def add(self, *options: str, wait: bool = True, **env: str) -> Server:
        server = Server(self._database_url, self._folder, more_env={**ENV, **env})
        server.more_env.setdefault("OKLP_PUBLIC_URL", self.servers[0].url if self.servers else server.url)
        self.servers.append(server)
        return server.start(*options, wait=wait)

    @property
    def nodes(self) -> list[str]:
        return [each.url for each in self.servers]

    def check_logs(self) -> None:
        """No traceback, whatever happened: what can be foreseen is told in a line."""
        for each in self.servers:
            text = each.log.read_text(errors="replace")
            at = text.find("Traceback (most recent call last)")
            assert at < 0, f"a traceback in the log of {each.url}:\n{text[max(0, at - 1_000) : at + 5_000]}"
            at = text.find("never retrieved")
            assert at < 0, f"a lost exception in the log of {each.url}:\n{text[max(0, at - 1_000) : at + 1_000]}"


@pytest.fixture
def database(request: pytest.FixtureRequest, make_database: MakeDatabase) -> str:
    """By the test's parameter: an empty SQLite file, or an empty database on a durable PostgreSQL cluster."""
    if request.param == "sqlite":
        return make_database("sqlite")
    return str(request.getfixturevalue("durable_postgres_url"))


@pytest.fixture
def rig(database: str, tmp_path: Path) -> Iterator[Rig]:
    made = Rig(database, tmp_path / "data")
    try:
        yield made
    finally:
        for server in made.servers:
            if server.process is not None and server.process.poll() is None:
                server.kill()
