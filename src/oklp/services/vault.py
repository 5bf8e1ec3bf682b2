"""Encryption at rest and password hashes: the two places where secrets meet the database."""

from __future__ import annotations

import fcntl
import os
from base64 import urlsafe_b64encode
from pathlib import Path
from secrets import token_urlsafe

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from oklp.errors import Conflict, invalid
from oklp.settings import Settings

KEY_FILE = "secret.key"
SETTING = "OKLP_SECRET_KEY"
MINIMUM_CHARACTERS = 32
CHECK = "oklp"


class Vault:
    """Encrypts what must be read again (signing keys, webhook secrets), with a key derived from `OKLP_SECRET_KEY`.

    `source` names where the secret came from, for whoever has given the wrong one.
    """

    def __init__(self, secret: str, source: str = SETTING) -> None:
        self.source = source
        derived = HKDF(hashes.SHA256(), 32, salt=None, info=b"oklp at rest").derive(secret.encode())
        self._fernet = Fernet(urlsafe_b64encode(derived))

    def encrypt(self, text: str) -> str:
        return self._fernet.encrypt(text.encode()).decode()

    def decrypt(self, token: str) -> str:
        """Raises Conflict when it was encrypted with another key."""
        try:
            return self._fernet.decrypt(token.encode()).decode()
        except InvalidToken as error:
            raise self.misfit() from error

    def misfit(self) -> Conflict:
        return Conflict(f"{self.source} does not fit this database.")

    def fits(self, check: str) -> bool:
        try:
            return self.decrypt(check) == CHECK
        except Conflict:
            return False


def open_vault(settings: Settings) -> Vault:
    """The vault of these settings. The sandbox makes its key in the data folder; production must be given a long one.

    Raises InvalidRequest; OSError when the data folder cannot be used.
    """
    secret = settings.secret_key.get_secret_value()
    if settings.sandbox and not secret:
        path = settings.data_dir / KEY_FILE
        return Vault(_kept_key(path), f"The key in {path}")
    if not settings.sandbox and len(secret) < MINIMUM_CHARACTERS:
        raise invalid(SETTING, f"must be set to {MINIMUM_CHARACTERS} random characters or more, and kept")
    return Vault(secret)


def _kept_key(path: Path) -> str:
    """The key in this file, which is made where there is none. Of processes that start together, one makes it."""
    if path.exists() and (secret := path.read_text().strip()):
        return secret
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        secret = file.read().strip()
        if not secret:
            secret = token_urlsafe(32)
            file.seek(0)
            file.write(secret)
            file.flush()
            os.fsync(file.fileno())
        return secret


# OWASP's Argon2id parameters for servers that must not be exhausted by log-ins: 19 MiB, two passes, one lane.
_TIME_COST, _MEMORY_KIB = 2, 19_456
_passwords = PasswordHash((Argon2Hasher(time_cost=_TIME_COST, memory_cost=_MEMORY_KIB, parallelism=1),))
# Zeros for salt and hash: verifying against it takes as long as against anybody's, and nobody knows what would match.
NEVER_MATCHES = f"$argon2id$v=19$m={_MEMORY_KIB},t={_TIME_COST},p=1${'A' * 22}${'A' * 43}"


def hash_password(password: str) -> str:
    """Argon2id. Takes tens of milliseconds: never on the event loop, never in a lane."""
    return _passwords.hash(password)


def verify_password(password: str, password_hash: str) -> bool:
    return _passwords.verify(password, password_hash)
