"""Loading developer-config.json."""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from typing import Any

import pytest

from oklp.sdk import Client, ConfigError, DeveloperConfig, WebhookVerifier, load_config

CONFIG = {
    "okletsplay_url": "http://127.0.0.1:8000",
    "authentication": {
        "client_id": "tile-rush",
        "client_secret": "5up3r-s3cret",
        "webhook_secret": "whsec_" + "c2Vj" * 8,
        "public_key_url": "http://127.0.0.1:8000/auth/realms/oklp",
        "token_url": "http://127.0.0.1:8000/auth/realms/oklp/protocol/openid-connect/token",
    },
}


def changed(**authentication: Any) -> dict[str, Any]:
    fields = {**CONFIG["authentication"], **authentication}  # type: ignore[dict-item]
    return {**CONFIG, "authentication": {name: value for name, value in fields.items() if value is not None}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "developer-config.json"
    path.write_text(json.dumps(CONFIG), encoding="utf-8")
    return path


def test_a_config_is_the_same_from_a_path_a_dict_and_the_environment(path: Path) -> None:
    expected = DeveloperConfig.model_validate(CONFIG)
    assert load_config(path) == load_config(str(path)) == load_config(CONFIG) == load_config(expected) == expected
    assert load_config(environ={"OKLP_DEVELOPER_CONFIG": str(path)}) == expected


def test_the_clients_take_the_environment_by_themselves(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OKLP_DEVELOPER_CONFIG", str(path))
    with Client() as client, WebhookVerifier():
        assert client.config.authentication.client_id == "tile-rush"


def test_the_environment_can_hold_the_secrets_that_the_file_leaves_out(path: Path) -> None:
    path.write_text(json.dumps(changed(client_secret=None, webhook_secret=None)))
    environ = {"OKLP_DEVELOPER_CONFIG": str(path), "OKLP_CLIENT_SECRET": "a", "OKLP_WEBHOOK_SECRET": "b"}
    authentication = load_config(environ=environ).authentication
    assert (authentication.client_secret, authentication.webhook_secret) == ("a", "b")
    assert load_config(path, environ=environ).authentication.client_secret is None


def test_a_byte_order_mark_is_no_fault(path: Path) -> None:
    path.write_text(json.dumps(CONFIG), encoding="utf-8-sig")
    assert load_config(path).okletsplay_url == "http://127.0.0.1:8000"


def test_unknown_fields_are_tolerated() -> None:
    assert load_config({**changed(more=1), "and": "more"}).authentication.client_id == "tile-rush"


def test_without_any_source_the_variable_is_named() -> None:
    with pytest.raises(ConfigError, match="OKLP_DEVELOPER_CONFIG"):
        load_config(environ={})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.json: cannot be read"):
        load_config(tmp_path / "absent.json")


@pytest.mark.parametrize("text", ["", "{", "5up3r-s3cret", '{"a": 5up3r-s3cret}', "[" * 100_000])
def test_a_file_that_is_not_json_is_named_and_not_quoted(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"developer-config\.json: is not JSON") as caught:
        load_config(path)
    assert "5up3r-s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ([], "dictionary"),
        ({"okletsplay_url": "http://x.example"}, "authentication"),
        (changed(client_id=None), "authentication.client_id"),
        (changed(client_id=""), "authentication.client_id"),
        (changed(client_id=["5up3r-s3cret"]), "authentication.client_id"),
        (changed(token_url=None), "authentication.token_url"),
        (changed(token_url="ftp://x.example"), "authentication.token_url"),
        (changed(token_url="http://x.example:99999/token"), "authentication.token_url"),
        (changed(token_url="http://x.example/a b"), "authentication.token_url"),
        (changed(token_url="http://[::1/token"), "authentication.token_url"),
        (changed(public_key_url="/auth/realms/oklp"), "authentication.public_key_url"),
        ({**CONFIG, "okletsplay_url": "http://"}, "okletsplay_url"),
        ({**CONFIG, "okletsplay_url": 5}, "okletsplay_url"),
    ],
)
def test_what_is_wrong_is_named_and_no_secret_is_quoted(path: Path, config: Any, field: str) -> None:
    path.write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=field) as caught:
        load_config(path)
    shown = "".join(traceback.format_exception(caught.value))  # With the whole chain of causes.
    assert "5up3r-s3cret" not in shown


def test_a_config_that_is_loaded_already_is_checked_too() -> None:
    config = DeveloperConfig.model_validate({**CONFIG, "okletsplay_url": "127.0.0.1:8000"})
    with pytest.raises(ConfigError, match="okletsplay_url"):
        load_config(config)


def test_a_client_needs_the_client_secret_and_a_receiver_does_not() -> None:
    config = changed(client_secret=None)
    with pytest.raises(ConfigError, match=r"authentication\.client_secret: is missing"):
        Client(config)
    WebhookVerifier(config).close()


def test_a_malformed_webhook_secret_is_found_at_the_start() -> None:
    with pytest.raises(ConfigError, match=r"authentication\.webhook_secret") as caught:
        WebhookVerifier(changed(webhook_secret="5up3r-s3cret"))
    assert "5up3r-s3cret" not in str(caught.value)


def test_a_client_does_not_show_its_secrets() -> None:
    with Client(CONFIG) as client:
        assert repr(client) == "Client('tile-rush' at 'http://127.0.0.1:8000')"
