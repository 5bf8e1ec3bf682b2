"""The issuer's keys and what encrypts them: who may replace them, how long old ones verify, where the key is kept."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from oklp.errors import Conflict, InvalidRequest
from oklp.services import auth
from oklp.services.vault import Vault, open_vault
from oklp.settings import Settings
from oklp.storage import games as store
from oklp.storage.engine import Database
from tests.services.world import HOUR, T0, signing_key

OURS, THEIRS = Vault("k" * 32), Vault("w" * 32, "The key in elsewhere/secret.key")


@pytest.fixture
def database(migrated_url: str) -> Iterator[Database]:
    with closing(Database(migrated_url, clock=lambda: T0)) as opened:
        yield opened


def settings_for(database: Database, **more: Any) -> Settings:
    return Settings(database_url=database.url, sandbox=True, **more)


def kids(database: Database) -> set[str]:
    return {row.kid for row in database.run(store.signing_keys)}


# --- replacing -------------------------------------------------------------------------------------------------------


def test_keys_are_replaced_only_by_the_only_server(database: Database) -> None:
    settings = settings_for(database)
    assert database.run(auth.prepare, settings, OURS, signing_key, T0) == []
    before = kids(database)
    moved = settings_for(database, public_url="http://elsewhere.example")
    for more in ((), (lambda: False,)):
        with pytest.raises(Conflict, match=r"elsewhere/secret\.key"):
            database.run(auth.prepare, moved, THEIRS, signing_key, T0, *more)
    assert kids(database) == before
    assert database.run(auth.served) == (settings.public_url, "oklp")
    assert database.run(auth.prepare, moved, THEIRS, signing_key, T0, lambda: True) == ["signing keys"]
    assert database.run(auth.served) == ("http://elsewhere.example", "oklp")
    with pytest.raises(Conflict):
        database.run(auth.check_vault, OURS)


def test_production_replaces_nothing(make_database: Any) -> None:
    with closing(Database(make_database("sqlite", migrated=True, sandbox=False), clock=lambda: T0)) as database:
        settings = Settings(database_url=database.url)
        database.run(auth.prepare, settings, OURS, signing_key, T0)
        with pytest.raises(Conflict):
            database.run(auth.prepare, settings, THEIRS, signing_key, T0, lambda: True)


# --- rotating --------------------------------------------------------------------------------------------------------


def test_a_retired_key_outlives_the_tokens_of_every_server(database: Database) -> None:
    long, short = settings_for(database, access_token_seconds=3_600), settings_for(database, access_token_seconds=60)
    for settings in (short, long, short):  # the last to start is not the only one that runs
        database.run(auth.prepare, settings, OURS, signing_key, T0)
    (old,) = kids(database)
    new = database.run(auth.rotate_keys, short, OURS, _another_key(), T0 + HOUR)
    life = HOUR + 10_000 + 60_000  # of an access token; a webhook's exchange; what clocks may differ by
    assert {row.kid: row.expires_at for row in database.run(store.signing_keys)} == {old: T0 + HOUR + life, new: None}
    ring = database.run(auth.key_ring, OURS, T0 + HOUR + life - 1)
    assert {key["kid"] for key in ring.jwks["keys"]} == {old, new}
    ring = database.run(auth.key_ring, OURS, T0 + HOUR + life)
    assert {key["kid"] for key in ring.jwks["keys"]} == {new}


def _another_key() -> str:
    key: str = signing_key.__wrapped__()
    return key


# --- the key at rest -------------------------------------------------------------------------------------------------


def test_the_sandbox_keeps_its_key_for_its_owner_alone(tmp_path: Path) -> None:
    settings = Settings(sandbox=True, data_dir=tmp_path / "data")
    made = open_vault(settings)
    path = tmp_path / "data" / "secret.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert open_vault(settings).decrypt(made.encrypt("x")) == "x"
    assert str(path) in made.misfit().detail


def test_servers_that_start_together_make_one_key(tmp_path: Path) -> None:
    (tmp_path / "secret.key").touch()  # a server that was killed at the wrong moment
    settings = Settings(sandbox=True, data_dir=tmp_path)
    with ThreadPoolExecutor(8) as pool:
        first, *others = pool.map(lambda _: open_vault(settings), range(8))
    assert [each.decrypt(first.encrypt("x")) for each in others] == ["x"] * 7


@pytest.mark.parametrize("secret", ["", "short", "x" * 31])
def test_production_is_given_a_long_key(secret: str) -> None:
    with pytest.raises(InvalidRequest, match="32"):
        open_vault(Settings(secret_key=SecretStr(secret)))
    open_vault(Settings(secret_key=SecretStr("x" * 32)))
