"""Loading of `developer-config.json` (contract section A1): from a path, from a dict, or from the environment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from pydantic import ValidationError

from oklp.contract import DeveloperConfig
from oklp.sdk.errors import ConfigError

CONFIG_VARIABLE = "OKLP_DEVELOPER_CONFIG"
CLIENT_SECRET_VARIABLE = "OKLP_CLIENT_SECRET"  # noqa: S105 - the name of a variable
WEBHOOK_SECRET_VARIABLE = "OKLP_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable

ConfigSource: TypeAlias = DeveloperConfig | Mapping[str, Any] | str | os.PathLike[str] | None


def load_config(source: ConfigSource = None, *, environ: Mapping[str, str] = os.environ) -> DeveloperConfig:
    """The developer configuration from `source`: a path, the parsed file as a dict, or one that is loaded already.

    Without a source the environment decides: `OKLP_DEVELOPER_CONFIG` is the path, and `OKLP_CLIENT_SECRET` and
    `OKLP_WEBHOOK_SECRET`, where set, stand in for the secrets in it, which the platform leaves out of all but the
    first download. Raises ConfigError, which names the file and the field and never quotes a value.
    """
    if isinstance(source, DeveloperConfig):
        return _checked(source, "the developer configuration")
    if isinstance(source, Mapping):
        return _parsed(source, "the developer configuration")
    if source is not None:
        return _parsed(_read(Path(source)), str(source))
    path = environ.get(CONFIG_VARIABLE)
    if not path:
        raise ConfigError(f"no developer configuration: give one, or its path in the variable {CONFIG_VARIABLE}")
    return _parsed(_with_secrets(_read(Path(path)), environ), path)


def _read(path: Path) -> object:
    try:
        # Some editors put a byte order mark before the first brace.
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError):
        # The parser's message is left out, since the exception that it comes with holds the whole text.
        raise ConfigError(f"{path}: is not JSON") from None


def _with_secrets(data: object, environ: Mapping[str, str]) -> object:
    given = {
        name: environ[variable]
        for name, variable in (
            ("client_secret", CLIENT_SECRET_VARIABLE),
            ("webhook_secret", WEBHOOK_SECRET_VARIABLE),
        )
        if environ.get(variable)
    }
    if not given or not isinstance(data, dict) or not isinstance(data.get("authentication"), dict):
        return data
    return {**data, "authentication": {**data["authentication"], **given}}


def _parsed(data: object, name: str) -> DeveloperConfig:
    try:
        return _checked(DeveloperConfig.model_validate(data), name)
    except ValidationError as error:
        # Only the places and messages: the full text of a validation error shows its input, and secrets are in there.
        faults = "; ".join(
            ": ".join(filter(None, (".".join(map(str, fault["loc"])), fault["msg"])))
            for fault in error.errors(include_input=False, include_url=False)
        )
        raise ConfigError(f"{name}: {faults}") from None


def _checked(config: DeveloperConfig, name: str) -> DeveloperConfig:
    authentication = config.authentication
    if not authentication.client_id:
        raise ConfigError(f"{name}: authentication.client_id: is empty")
    for field, url in (
        ("okletsplay_url", config.okletsplay_url),
        ("authentication.public_key_url", authentication.public_key_url),
        ("authentication.token_url", authentication.token_url),
    ):
        if not _is_web_address(url):
            raise ConfigError(f"{name}: {field}: is not an http or https address")
    return config


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        return False
    readable = url.isprintable() and " " not in url
    return readable and has_port and parts.scheme in ("http", "https") and bool(parts.hostname)
