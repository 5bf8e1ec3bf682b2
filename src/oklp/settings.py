"""Every setting of the server: name, default and help. `docs/settings.md` is generated from here.

Each is also an environment variable with the prefix `OKLP_` (contract section B6). Units are last in a name.
"""

from __future__ import annotations

from email.utils import parseaddr
from pathlib import Path
from typing import Annotated, Literal, NamedTuple
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

MAX_ENTRY_FEE = 1_000_000
MAX_FEE_BPS = 4_000
BPS = 10_000

Seconds = Annotated[int, Field(ge=1, le=366 * 24 * 3600)]


# Scheme → how the connection is secured, and the usual port (RFC 8314, RFC 6409, RFC 5321).
_SMTP: dict[str, tuple[Literal["tls", "starttls", "plain"], int]] = {
    "smtps": ("tls", 465),
    "smtp": ("starttls", 587),
    "smtp+plain": ("plain", 25),
}


class SmtpServer(NamedTuple):
    """Where mails go. `security` is never negotiated down: `starttls` without TLS is a failure."""

    host: str
    port: int
    security: Literal["tls", "starttls", "plain"]
    username: str | None
    password: str | None


class Settings(BaseSettings):
    """Read from the environment; keyword arguments win."""

    # An error does not quote what it refuses: there may be a password in it.
    model_config = SettingsConfigDict(
        env_prefix="OKLP_", extra="ignore", populate_by_name=True, hide_input_in_errors=True
    )

    data_dir: Path = Field(default=Path("data"), description="Folder of the embedded database and the sandbox's key.")
    database_url: str = Field(
        default="",
        description="`sqlite:///path.db` or `postgresql://…`; empty is `oklp.db` in the data folder.",
    )
    public_url: str = Field(
        default="http://127.0.0.1:8000",
        description="The address the outside sees. It goes into developer configs, the issuer and links. Unset, `oklp "
        "serve` takes the address that it listens on: production needs it set.",
    )
    realm: str = Field(default="oklp", pattern=r"^[A-Za-z0-9_-]{1,64}$", description="Name of the issuer's realm.")
    sandbox: bool = Field(
        default=False,
        description="Play money (`XTS`), loopback webhooks, instant approval and payments.",
    )
    secret_key: SecretStr = Field(
        default=SecretStr(""),
        description="Encrypts at rest what must be read again: signing keys, webhook secrets, secrets of authenticator "
        "apps, mails that wait. 32 characters or more in production, which is not served without it. The sandbox makes "
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
    login_failures: int = Field(
        default=10,
        ge=1,
        description="Failed log-ins for one name from one address within the window; for the name from anywhere, ten "
        "times as many.",
    )
    login_window_seconds: Seconds = Field(default=300, description="The window in which failed log-ins are counted.")
    password_reset_seconds: Seconds = Field(default=1_800, description="How long the link of a password reset works.")
    email_verification_seconds: Seconds = Field(
        default=3 * 24 * 3600, description="How long a link that proves an e-mail address works."
    )
    second_factor_seconds: Seconds = Field(
        default=300, description="From the password of a log-in: how long its second step may take."
    )
    operator_second_factor: bool | None = Field(
        default=None,
        description="Operators do nothing before they have a second factor: always in production, and in the sandbox "
        "when it is on.",
    )
    approval_above: int = Field(
        default=100_000,
        ge=0,
        description="Minor units, of whichever currency: to settle or call off a match with more than this in escrow, "
        "or to decide on more held winnings, takes two operators. 0: one is always enough, as it is in the sandbox "
        "unless this is set.",
    )
    approval_seconds: Seconds = Field(
        default=24 * 3600, description="How long what one operator proposed waits for a second one."
    )
    smtp_url: SecretStr = Field(
        default=SecretStr(""),
        description="Mail server: `smtps://user:password@host` (TLS), `smtp://…` (STARTTLS, required), "
        "`smtp+plain://…` (neither; a relay on the same machine). Empty: the sandbox prints mails to its terminal, "
        "production sends none.",
    )
    mail_from: str = Field(
        default="",
        description="Sender of mails, `OKLP <play@example.org>`; empty is `noreply` at the host of the public URL.",
    )
    minimum_age_years: int = Field(default=18, ge=0, le=120, description="Youngest age at which a player may sign up.")
    requests_per_minute: int = Field(
        default=1_200,
        ge=1,
        description="Requests of one caller to the player, studio and operator APIs and to web pages; each process "
        "counts for itself. A caller is a session, or without one an address. The sandbox does not limit them.",
    )
    queue_limit: int = Field(default=2_000, ge=1, description="Jobs waiting for a lane before the answer is 503.")
    batch_limit: int = Field(default=256, ge=1, le=5_000, description="Jobs that share one commit at the most.")
    body_limit_bytes: int = Field(default=262_144, ge=1_024, description="Largest request body.")
    arrival_seconds: Seconds = Field(
        default=60, description="How long a request may take to arrive, and a connection may stand without one."
    )
    trusted_proxies: str = Field(
        default="",
        description="Comma-separated addresses of reverse proxies whose `X-Forwarded-For` is believed. Behind a proxy "
        "that is not named here, everybody has its address, and shares its limits.",
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

    @field_validator("smtp_url")
    @classmethod
    def _known_mail_server(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value():
            _smtp_server(value.get_secret_value())
        return value

    @field_validator("mail_from")
    @classmethod
    def _a_sender(cls, value: str) -> str:
        if value and not ("@" in parseaddr(value)[1] and value.isprintable()):
            raise ValueError("must be an address such as OKLP <play@example.org>")
        return value

    @model_validator(mode="after")
    def _defaults_that_follow(self) -> Settings:
        if not self.database_url:
            self.database_url = f"sqlite:///{self.data_dir / 'oklp.db'}"
        if not self.mail_from:
            self.mail_from = f"OKLP <noreply@{urlsplit(self.public_url).hostname or 'localhost'}>"
        if self.sandbox:
            self.currency = "XTS"
            self.payment_provider = "sandbox"
            self.operator_second_factor = bool(self.operator_second_factor)
            if "approval_above" not in self.model_fields_set:
                self.approval_above = 0
        elif self.payment_provider == "sandbox":
            raise ValueError("OKLP_PAYMENT_PROVIDER: `sandbox` makes money from nothing, and OKLP_SANDBOX is off")
        elif self.operator_second_factor is False:
            raise ValueError("OKLP_OPERATOR_SECOND_FACTOR: only the sandbox does without, and OKLP_SANDBOX is off")
        else:
            self.operator_second_factor = True
        return self

    @property
    def embedded(self) -> bool:
        """True for SQLite: one file, one server process."""
        return self.database_url.startswith("sqlite:")

    @property
    def issuer(self) -> str:
        """The token issuer, which is the public key's address (contract section A2)."""
        return f"{self.public_url}/auth/realms/{self.realm}"

    @property
    def smtp_server(self) -> SmtpServer | None:
        """None where `OKLP_SMTP_URL` names none."""
        url = self.smtp_url.get_secret_value()
        return _smtp_server(url) if url else None


def _smtp_server(url: str) -> SmtpServer:
    """Raises ValueError, without the URL in it: there is a password in that."""
    parts = urlsplit(url)
    if parts.scheme not in _SMTP or not parts.hostname or parts.path not in ("", "/"):
        raise ValueError("must be smtps://…, smtp://… or smtp+plain://… with the host of a mail server")
    security, usual_port = _SMTP[parts.scheme]
    if security == "plain" and parts.password is not None:
        raise ValueError("smtp+plain:// would send the password for all to read; use smtps:// or smtp://")
    try:
        port = parts.port or usual_port
    except ValueError:
        raise ValueError("must have a port between 1 and 65535") from None
    name, password = (unquote(part) if part is not None else None for part in (parts.username, parts.password))
    return SmtpServer(parts.hostname, port, security, name, password)
