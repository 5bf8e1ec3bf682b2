"""The issuer's keys and what encrypts them: who may replace them, how long old ones verify, where the key is kept."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from oklp.errors import Conflict, InvalidRequest
from oklp.services import auth, operators
from oklp.services.vault import Vault, open_vault
from oklp.settings import Settings
from oklp.storage import factors, schema
from oklp.storage import games as store
from oklp.storage.engine import Database, Tx
from tests.conftest import MakeDatabase
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


def test_production_replaces_a_lost_key_when_it_is_told_to(make_database: MakeDatabase) -> None:
    url = make_database("sqlite", migrated=True, sandbox=False)
    with closing(Database(url, clock=lambda: T0)) as database:
        settings = Settings(database_url=url)

        def replace(vault: Vault, alone: bool) -> list[str]:
            return database.run(auth.replace_lost, vault, _another_key, T0, lambda: alone, "command-line", "it is gone")

        with pytest.raises(Conflict, match="never served"):
            replace(THEIRS, True)
        database.run(auth.prepare, settings, OURS, signing_key, T0)
        with pytest.raises(Conflict, match="fits"):
            replace(OURS, True)
        with pytest.raises(Conflict, match="another server"):
            replace(THEIRS, False)
        before = kids(database)
        assert replace(THEIRS, True) == ["signing keys"]
        assert kids(database).isdisjoint(before)
        assert database.run(auth.prepare, settings, THEIRS, signing_key, T0) == []
        assert database.run(auth.key_ring, THEIRS, T0).current.kid in kids(database)
        [entry], _ = database.run(operators.audit_log, "platform:keys", None, 5)
        assert (entry.action, entry.reason, entry.detail) == (
            "keys.replaced",
            "it is gone",
            {"replaced": ["signing keys"]},
        )


def test_an_app_whose_secret_is_lost_is_forgotten_and_codes_and_passkeys_are_not(database: Database) -> None:
    settings = settings_for(database)
    database.run(auth.prepare, settings, OURS, signing_key, T0)
    people = {}

    def enrol(tx: Tx) -> None:
        for name in ("app-only", "with-codes", "with-passkey", "none"):
            people[name] = person_id = str(uuid.uuid4())
            operator = {"id": person_id, "username": name, "username_key": name, "email": "", "email_key": ""}
            has_factor = name != "none"
            tx.execute(
                schema.operators.insert(),
                {
                    **operator,
                    "password_hash": "x",
                    "created_at": T0,
                    "second_factor": has_factor,
                    "role": "admin",
                    "status": "active",
                },
            )
            if has_factor:
                factors.put_totp(tx, person_id, OURS.encrypt("secret"), T0)
                factors.confirm_totp(tx, person_id, T0)
        factors.replace_codes(tx, people["with-codes"], ["a", "b"])
        factors.insert_passkey(
            tx,
            id=str(uuid.uuid4()),
            kind="operator",
            person_id=people["with-passkey"],
            credential_id="c",
            public_key="k",
            sign_count=0,
            name="key",
            created_at=T0,
        )

    database.run(enrol)
    replaced = database.run(auth.prepare, settings, THEIRS, signing_key, T0, lambda: True)
    assert replaced == ["authenticator apps of 3", "signing keys"]

    def left(tx: Tx) -> dict[str, bool]:
        assert all(factors.totp_of(tx, each) is None for each in people.values())
        found = {row.id: bool(row.second_factor) for row in tx.rows(sa.select(schema.operators))}
        return {name: found[person_id] for name, person_id in people.items()}

    assert database.run(left) == {"app-only": False, "with-codes": True, "with-passkey": True, "none": False}
    assert database.run(factors.codes_left, people["with-codes"]) == 2


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
    assert ({key["kid"] for key in ring.jwks["keys"]}, ring.ends_at) == ({old, new}, T0 + HOUR + life)
    ring = database.run(auth.key_ring, OURS, T0 + HOUR + life)
    assert ({key["kid"] for key in ring.jwks["keys"]}, ring.ends_at) == ({new}, None)


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
