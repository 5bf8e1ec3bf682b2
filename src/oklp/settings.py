"""Every setting of the server: name, default and help. `docs/settings.md` is generated from here.

Each is also an environment variable with the prefix `OKLP_` (contract section B6). Units are last in a name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

MAX_ENTRY_FEE = 1_000_000
MAX_FEE_BPS = 4_000
BPS = 10_000

Seconds = Annotated[int, Field(ge=1, le=366 * 24 * 3600)]


class Settings(BaseSettings):
    """Read from the environment; keyword arguments win."""

    model_config = SettingsConfigDict(env_prefix="OKLP_", extra="ignore", populate_by_name=True)

    data_dir: Path = Field(default=Path("data"), description="Folder of the embedded database and the sandbox's key.")
    database_url: str = Field(
        default="",
        description="`sqlite:///path.db` or `postgresql://…`; empty is `oklp.db` in the data folder.",
    )
    public_url: str = Field(
        default="http://127.0.0.1:8000",
        description="The address the outside sees. It goes into developer configs, the issuer and links.",
    )
    realm: str = Field(default="oklp", pattern=r"^[A-Za-z0-9_-]{1,64}$", description="Name of the issuer's realm.")
    sandbox: bool = Field(
        default=False,
        description="Play money (`XTS`), loopback webhooks, instant approval and payments.",
    )
    secret_key: SecretStr = Field(
        default=SecretStr(""),
        description="Encrypts keys and webhook secrets at rest: 32 characters or more in production. The sandbox makes "
        "one in the data folder.",
    )
    currency: str = Field(default="USD", pattern=r"^[A-Z]{3}$", description="ISO 4217 currency of a new game.")
    webhook_timeout_seconds: float = Field(default=10, gt=0, le=120, description="Time for one whole webhook exchange.")
    webhook_concurrency: int = Field(default=4_000, ge=1, description="Webhook requests in flight in one process.")
    abort_retry_seconds: Seconds = Field(
        default=24 * 3600,
        description="How long the DELETE of an aborted match is retried.",
    )
    start_window_seconds: Seconds = Field(
        default=60,
        description="From the last confirmation: no attempt to tell the game starts later than this.",
    )
    starts_by_seconds: Seconds = Field(
        default=24 * 3600,
        description="From its creation: a match that has not started is refunded.",
    )
    access_token_seconds: Seconds = Field(default=300, description="Life of an access token.")
    session_seconds: Seconds = Field(default=30 * 24 * 3600, description="Life of a log-in.")
    secret_overlap_seconds: Seconds = Field(
        default=24 * 3600,
        description="After a rotation the old client and webhook secrets work for this long.",
    )
    idempotency_seconds: Seconds = Field(default=24 * 3600, description="How long an answer is replayed for its key.")
    event_retention_seconds: Seconds = Field(
        default=7 * 24 * 3600,
        description="How far back `Last-Event-ID` can resume.",
    )
    call_log_per_second: int = Field(
        default=50,
        ge=0,
        le=1_000,
        description="Calls of one game that a process notes for `oklp logs tail`; of more the number alone. 0: none.",
    )
    call_log_seconds: Seconds = Field(default=24 * 3600, description="How long the log of a game's calls is kept.")
    login_failures: int = Field(default=10, ge=1, description="Failed log-ins for one name within the window.")
    login_window_seconds: Seconds = Field(default=300, description="The window in which failed log-ins are counted.")
    minimum_age_years: int = Field(default=18, ge=0, le=120, description="Youngest age at which a player may sign up.")
    requests_per_minute: int = Field(
        default=1_200,
        ge=1,
        description="Requests of one caller to the player, studio and operator APIs; the sandbox does not limit them.",
    )
    queue_limit: int = Field(default=2_000, ge=1, description="Jobs waiting for a lane before the answer is 503.")
    batch_limit: int = Field(default=256, ge=1, le=5_000, description="Jobs that share one commit at the most.")
    body_limit_bytes: int = Field(default=262_144, ge=1_024, description="Largest request body.")
    trusted_proxies: str = Field(
        default="",
        description="Comma-separated addresses of reverse proxies whose `X-Forwarded-For` is believed.",
    )
    payment_provider: Literal["", "sandbox"] = Field(
        default="",
        description="Provider of deposits and withdrawals. The sandbox has its own, which is for it alone.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level logged.")
    drain_seconds: Seconds = Field(default=15, description="On SIGTERM: how long requests and webhooks may finish.")

    @field_validator("public_url")
    @classmethod
    def _no_trailing_slash(cls, value: str) -> str:
        value = value.rstrip("/")
        if not value.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return value

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str) -> str:
        if value and not value.startswith(("sqlite:///", "postgresql://", "postgres://")):
            raise ValueError("must be sqlite:///path.db or postgresql://…")
        return value

    @model_validator(mode="after")
    def _defaults_that_follow(self) -> Settings:
        if not self.database_url:
            self.database_url = f"sqlite:///{self.data_dir / 'oklp.db'}"
        if self.sandbox:
            self.currency = "XTS"
            self.payment_provider = "sandbox"
        elif self.payment_provider == "sandbox":
            raise ValueError("OKLP_PAYMENT_PROVIDER: `sandbox` makes money from nothing, and OKLP_SANDBOX is off")
        return self

    @property
    def embedded(self) -> bool:
        """True for SQLite: one file, one server process."""
        return self.database_url.startswith("sqlite:")

    @property
    def issuer(self) -> str:
        """The token issuer, which is the public key's address (contract section A2)."""
        return f"{self.public_url}/auth/realms/{self.realm}"
