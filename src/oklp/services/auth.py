"""Who may call: the issuer's keys and clients (contract section A2), log-ins, sessions."""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from oklp import contract, signing
from oklp.errors import Conflict, NotFound, OklpError, TooManyRequests, Unauthenticated
from oklp.services import views
from oklp.services.vault import CHECK, Vault
from oklp.settings import Settings
from oklp.storage import events, factors, games, players, tickets
from oklp.storage.engine import Tx
from oklp.storage.tx import Row

SECOND_FACTOR = "second-factor"  # the purpose of a ticket: a log-in that waits for its second step
LOGIN_REFUSED = "The username or password is wrong."
PER_NAME_FACTOR = 10


# --- the issuer's keys -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The newest key signs; all that are listed verify, until the first that was retired ends, at `ends_at`."""

    current: signing.SigningKey
    verifying: signing.VerifyingKeys
    jwks: dict[str, Any]
    public_key: str
    ends_at: int | None


class Served(NamedTuple):
    """What the server that started last says of itself."""

    public_url: str
    realm: str


def _perhaps_not() -> bool:
    return False


def prepare(
    tx: Tx,
    settings: Settings,
    vault: Vault,
    new_key: Callable[[], str],
    now: int,
    alone: Callable[[], bool] = _perhaps_not,
) -> list[str]:
    """Make sure that the vault fits the database and that there is a signing key. Returns what was replaced, as words.

    Raises Conflict in production when `OKLP_SECRET_KEY` does not fit. The sandbox replaces what it cannot read, but
    only when this is the only server (`alone`): another would go on with keys and secrets that are no longer there.
    """
    games.lock_platform(tx)
    platform = games.platform(tx)
    if platform is None:
        raise Conflict("The database is not initialised; run `oklp migrate`.")
    replaced = []
    if platform.secret_check is None:
        games.update_platform(tx, secret_check=vault.encrypt(CHECK))
    elif not vault.fits(platform.secret_check):
        if not settings.sandbox:
            raise vault.misfit()
        replaced = _replace_unreadable(tx, vault, now, alone)
    told = {
        "public_url": settings.public_url,
        "realm": settings.realm,
        "token_seconds": max(platform.token_seconds or 0, _token_seconds(settings)),
    }
    if told != {name: getattr(platform, name) for name in told}:
        games.update_platform(tx, **told)
    if not any(row.retired_at is None for row in games.signing_keys(tx)):
        _add_key(tx, vault, new_key(), now)
        tx.notify("keys")
    return replaced


def replace_lost(
    tx: Tx,
    vault: Vault,
    new_key: Callable[[], str],
    now: int,
    alone: Callable[[], bool],
    actor: str,
    reason: str,
) -> list[str]:
    """For production whose `OKLP_SECRET_KEY` is lost: as the sandbox does by itself. Returns the same as `prepare`.

    Raises Conflict when nothing is lost, or another server runs.
    """
    games.lock_platform(tx)
    platform = games.platform(tx)
    if platform is None or platform.secret_check is None:
        raise Conflict("This database was never served: nothing is encrypted in it.")
    if vault.fits(platform.secret_check):
        raise Conflict(f"{vault.source} fits this database, and nothing is lost. `oklp keys rotate` replaces keys.")
    replaced = _replace_unreadable(tx, vault, now, alone)
    _add_key(tx, vault, new_key(), now)
    detail = json.dumps({"replaced": replaced})
    events.insert_audit(
        tx, at=now, actor=actor, action="keys.replaced", subject="platform:keys", reason=reason, detail=detail
    )
    return replaced


def _replace_unreadable(tx: Tx, vault: Vault, now: int, alone: Callable[[], bool]) -> list[str]:
    """What only a key could read that is gone. Mails that wait fail by themselves."""
    if not alone():
        raise Conflict(f"{vault.source} does not fit this database, on which another server runs with one that does.")
    games.update_platform(tx, secret_check=vault.encrypt(CHECK))
    games.delete_signing_keys(tx)
    replaced = []
    for game_id in games.delete_webhook_secrets(tx):
        add_webhook_secret(tx, vault, game_id, signing.new_webhook_secret(secrets.token_bytes(32)), now)
        replaced.append(f"webhook secret of {game_id}")
    apps = factors.forget_apps(tx)
    if apps:
        replaced.append(f"authenticator apps of {apps}")
    return [*replaced, "signing keys"]


def _token_seconds(settings: Settings) -> int:
    """No token of a server with these settings, be it for access or with a webhook, is good for longer than this."""
    return settings.access_token_seconds + math.ceil(settings.webhook_timeout_seconds) + 60


def served(tx: Tx) -> Served | None:
    """None for a database that was never served."""
    platform = games.platform(tx)
    if platform is None or platform.public_url is None or platform.realm is None:
        return None
    return Served(platform.public_url, platform.realm)


def has_keys(tx: Tx) -> bool:
    """False for a database that was never served."""
    return bool(games.signing_keys(tx))


def rotate_keys(tx: Tx, settings: Settings, vault: Vault, pem: str, now: int) -> str:
    """A new signing key; the old ones stay in JWKS until the last token they signed has expired. Returns its kid.

    How long that is the servers have said (`prepare`): who rotates may have other settings than they.
    """
    games.lock_platform(tx)
    platform = check_vault(tx, vault)
    games.retire_signing_keys(tx, now, now + 1000 * max(platform.token_seconds or 0, _token_seconds(settings)))
    tx.notify("keys")
    return _add_key(tx, vault, pem, now)


def check_vault(tx: Tx, vault: Vault) -> Row:
    """The platform's row. Raises Conflict when the vault's key is not the database's."""
    platform = games.platform(tx)
    if platform is None or platform.secret_check is None or not vault.fits(platform.secret_check):
        raise vault.misfit()
    return platform


def _add_key(tx: Tx, vault: Vault, pem: str, now: int) -> str:
    key = signing.SigningKey(pem)
    games.insert_signing_key(
        tx, kid=key.kid, private_key=vault.encrypt(pem), public_key=key.public_key_base64(), created_at=now
    )
    return key.kid


def key_ring(tx: Tx, vault: Vault, now: int) -> KeyRing:
    """The keys as they are now. Raises Conflict when there is none, or the vault cannot open the newest."""
    rows = [row for row in games.signing_keys(tx) if row.expires_at is None or row.expires_at > now]
    current = next((row for row in rows if row.retired_at is None), None)
    if current is None:
        raise Conflict("The database has no signing key.")
    newest = signing.SigningKey(vault.decrypt(current.private_key))
    jwks = {"keys": [newest.public_jwk()]}
    for row in rows:
        if row.kid != current.kid:
            jwks["keys"].append(signing.SigningKey(vault.decrypt(row.private_key)).public_jwk())
    ends_at = min((row.expires_at for row in rows if row.expires_at is not None), default=None)
    return KeyRing(newest, signing.VerifyingKeys.from_jwks(jwks), jwks, current.public_key, ends_at)


# --- the issuer's clients --------------------------------------------------------------------------------------------


class ClientLogin(NamedTuple):
    """A game's credentials; the secret only as its hash."""

    client_id: str
    secret_hash: str
    now: int


def authenticate_clients(tx: Tx, jobs: Sequence[ClientLogin]) -> list[str | OklpError]:
    """The client ids whose secrets are right. Set-based. Unknown clients and wrong secrets are the same refusal."""
    known = games.secrets_of(tx, [job.client_id for job in jobs], "client", min(job.now for job in jobs))
    outcomes: list[str | OklpError] = []
    for job in jobs:
        matches = [secrets.compare_digest(value, job.secret_hash) for value in known.get(job.client_id, ())]
        outcomes.append(job.client_id if any(matches) else Unauthenticated("Invalid client or client credentials."))
    return outcomes


def add_client_secret(tx: Tx, game_id: str, secret: str, now: int) -> None:
    _add_secret(tx, game_id, "client", signing.hash_token(secret), now)


def add_webhook_secret(tx: Tx, vault: Vault, game_id: str, secret: str, now: int) -> None:
    _add_secret(tx, game_id, "webhook", vault.encrypt(secret), now)


def _add_secret(tx: Tx, game_id: str, kind: str, value: str, now: int) -> None:
    games.insert_secret(tx, id=secrets.token_hex(16), game_id=game_id, kind=kind, value=value, created_at=now)


def webhook_secrets(tx: Tx, vault: Vault, game_id: str, now: int) -> list[str]:
    """Signing secrets of a game that work now, newest first."""
    return [vault.decrypt(value) for value in games.secrets_of(tx, [game_id], "webhook", now).get(game_id, [])]


# --- people ----------------------------------------------------------------------------------------------------------


class Credentials(NamedTuple):
    """What a log-in must be checked against, outside of the transaction. Unknown names have none."""

    subject_id: str | None
    password_hash: str | None


@dataclass(frozen=True, slots=True)
class LogIn:
    """Somebody who says who he is: `kind` of person, name, the address he calls from."""

    kind: str
    username: str
    address: str
    user_agent: str | None = None

    @property
    def keys(self) -> tuple[str, str]:
        """What failures are counted by: the name from one address, and (more of them) the name from anywhere."""
        name = signing.hash_token(self.username.lower())
        return f"{self.kind}:{name}:{signing.hash_token(self.address)}", f"{self.kind}:{name}"


def begin_login(tx: Tx, settings: Settings, attempt: LogIn, now: int) -> Credentials:
    """What the password must match. Raises TooManyRequests after too many failures, which costs the guesser no hash."""
    check_failures(tx, settings, attempt, now)
    person = players.person_by_name(tx, attempt.kind, attempt.username.lower())
    if person is None or _is_shut_out(attempt.kind, person):
        return Credentials(None, None)
    return Credentials(person.id, person.password_hash)


def _is_shut_out(kind: str, row: Row) -> bool:
    """Operators who are suspended do not get in; players who are get at their money."""
    return kind == "operator" and row.status == "suspended"


def check_failures(tx: Tx, settings: Settings, attempt: LogIn, now: int) -> None:
    """Raises TooManyRequests."""
    window_ms = settings.login_window_seconds * 1000
    limits = (settings.login_failures, settings.login_failures * PER_NAME_FACTOR)
    for key, limit in zip(attempt.keys, limits, strict=True):
        check_count(tx, key, limit, window_ms, now)


def check_count(tx: Tx, key: str, most: int, window_ms: int, now: int) -> None:
    """Raises TooManyRequests when there were as many failures under `key` in the window."""
    count, oldest = players.failures_since(tx, key, now - window_ms)
    if count >= most:
        wait = (oldest if oldest is not None else now) + window_ms - now
        raise TooManyRequests("Too many failed log-ins; wait a little.", retry_after_seconds=max(1, wait // 1000))


class LoggedIn(NamedTuple):
    """When the session expires; None for a wrong name, password or code.

    Where there are `methods`, the log-in has a second step: the token is no session yet, but stands for the wait.
    """

    expires_at: int | None
    methods: tuple[str, ...] = ()


def end_login(tx: Tx, settings: Settings, attempt: LogIn, subject_id: str | None, token: str, now: int) -> LoggedIn:
    """A session for `subject_id`, or, when it is None, one failure more. Raises TooManyRequests.

    Failures are looked at once more: of guesses that were sent at once, all of which found none before them, only as
    many as the limit allows are told whether they were right. A log-in that is right counts for nothing, however many
    come at once. A failure is no exception here, since it is to be written down.

    Whoever has a second factor gets no session yet, and failures stay: a code may be guessed no more often than a
    password, whatever is known already.
    """
    check_failures(tx, settings, attempt, now)
    if subject_id is None:
        fail(tx, attempt, now)
        return LoggedIn(None)
    methods = _methods(tx, attempt.kind, subject_id)
    if not methods:
        return open_session(tx, settings, attempt, subject_id, token, now)
    expires_at = now + settings.second_factor_seconds * 1000
    tickets.insert(
        tx,
        token_hash=signing.hash_token(token),
        purpose=SECOND_FACTOR,
        kind=attempt.kind,
        subject_id=subject_id,
        created_at=now,
        expires_at=expires_at,
    )
    return LoggedIn(expires_at, methods)


def _methods(tx: Tx, kind: str, subject_id: str) -> tuple[str, ...]:
    """How the second step can be done; empty when there is none."""
    row = players.person(tx, kind, subject_id)
    if row is None or not row.second_factor:
        return ()
    totp = factors.totp_of(tx, subject_id)
    found = ["totp"] if totp is not None and totp.confirmed_at is not None else []
    found += ["passkey"] if factors.passkeys_of(tx, subject_id) else []
    found += ["recovery-code"] if factors.codes_left(tx, subject_id) else []
    return tuple(found)


def fail(tx: Tx, attempt: LogIn, now: int) -> None:
    """One failure more."""
    for key in attempt.keys:
        players.insert_failure(tx, key, now)


def open_session(tx: Tx, settings: Settings, attempt: LogIn, subject_id: str, token: str, now: int) -> LoggedIn:
    """All steps of a log-in are done. Raises Unauthenticated for whoever was shut out meanwhile."""
    person = players.person(tx, attempt.kind, subject_id)
    if person is None or _is_shut_out(attempt.kind, person):
        raise Unauthenticated(LOGIN_REFUSED)
    for key in attempt.keys:
        players.clear_failures(tx, key)
    expires_at = now + settings.session_seconds * 1000
    players.insert_session(
        tx,
        token_hash=signing.hash_token(token),
        kind=attempt.kind,
        subject_id=subject_id,
        created_at=now,
        expires_at=expires_at,
        address=attempt.address,
        user_agent=attempt.user_agent,
    )
    return LoggedIn(expires_at)


def check_password(tx: Tx, settings: Settings, attempt: LogIn, right: bool, now: int) -> bool:
    """Whether somebody who is logged in knows his password; not knowing it counts like a failed log-in."""
    check_failures(tx, settings, attempt, now)
    if not right:
        fail(tx, attempt, now)
    return right


def limit(tx: Tx, key: str, times: int, window_seconds: int, now: int) -> None:
    """Count something under `key` that may be done so often in the window. Raises TooManyRequests."""
    window_ms = window_seconds * 1000
    count, oldest = players.failures_since(tx, key, now - window_ms)
    if count >= times:
        wait = (oldest if oldest is not None else now) + window_ms - now
        raise TooManyRequests("Too many requests for this; wait a little.", retry_after_seconds=max(1, wait // 1000))
    players.insert_failure(tx, key, now)


class SessionQuestion(NamedTuple):
    token_hash: str
    now: int


class Person(NamedTuple):
    """Who is logged in. `studio_id` for members, `role` for members and operators, `status` for players and these."""

    kind: str
    id: str
    username: str
    status: str | None
    studio_id: str | None
    role: str | None
    second_factor: bool = False


def sessions(tx: Tx, jobs: Sequence[SessionQuestion]) -> list[Person | OklpError]:
    """Whose sessions these are. Set-based."""
    rows = players.sessions(tx, [job.token_hash for job in jobs])
    outcomes: list[Person | OklpError] = []
    for job in jobs:
        row = rows.get(job.token_hash)
        if row is None or row.expires_at <= job.now or row.username is None or _is_shut_out(row.kind, row):
            outcomes.append(Unauthenticated("The session is unknown or has expired.", token_refused=True))
        else:
            proved = (row.status, row.studio_id, row.role, bool(row.second_factor))
            outcomes.append(Person(row.kind, row.subject_id, row.username, *proved))
    return outcomes


def log_out(tx: Tx, token_hash: str) -> None:
    players.delete_session(tx, token_hash)


def renew_session(tx: Tx, token_hash: str, new_hash: str) -> None:
    """Another token for the same session: whoever has the old one has nothing any more. Raises Unauthenticated."""
    if not players.renew_session(tx, token_hash, new_hash):
        raise Unauthenticated("The session is unknown or has expired.", token_refused=True)


def _session_id(token_hash: str) -> str:
    """A name for a session that is worth nothing: half of the hash of a random token."""
    return token_hash[:32]


def open_sessions(tx: Tx, subject_id: str, current_hash: str, now: int) -> contract.OpenSessions:
    """Everywhere that a person is logged in, newest first."""
    return contract.OpenSessions(
        sessions=[
            contract.OpenSession(
                session_id=_session_id(row.token_hash),
                created_at=views.when(row.created_at),
                expires_at=views.when(row.expires_at),
                address=row.address,
                user_agent=row.user_agent,
                current=row.token_hash == current_hash,
            )
            for row in players.sessions_of(tx, subject_id, now)
        ]
    )


def end_session(tx: Tx, subject_id: str, session_id: str, now: int) -> None:
    """Raises NotFound for what is none of the person's sessions."""
    found = [row for row in players.sessions_of(tx, subject_id, now) if _session_id(row.token_hash) == session_id]
    if not found:
        raise NotFound("There is no such session.")
    for row in found:
        players.delete_session(tx, row.token_hash)


def end_other_sessions(tx: Tx, subject_id: str, current_hash: str) -> None:
    players.delete_sessions_of(tx, subject_id, but=current_hash)
