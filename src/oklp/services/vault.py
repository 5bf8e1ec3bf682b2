"""Encryption at rest and password hashes: the two places where secrets meet the database."""

from __future__ import annotations

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
CHECK = "oklp"


class Vault:
    """Encrypts what must be read again (signing keys, webhook secrets), with a key derived from `OKLP_SECRET_KEY`."""

    def __init__(self, secret: str) -> None:
        derived = HKDF(hashes.SHA256(), 32, salt=None, info=b"oklp at rest").derive(secret.encode())
        self._fernet = Fernet(urlsafe_b64encode(derived))

    def encrypt(self, text: str) -> str:
        return self._fernet.encrypt(text.encode()).decode()

    def decrypt(self, token: str) -> str:
        """Raises Conflict when it was encrypted with another key."""
        try:
            return self._fernet.decrypt(token.encode()).decode()
        except InvalidToken as error:
            raise Conflict("OKLP_SECRET_KEY does not fit this database.") from error

    def fits(self, check: str) -> bool:
        try:
            return self.decrypt(check) == CHECK
        except Conflict:
            return False


def open_vault(settings: Settings) -> Vault:
    """The vault of these settings. The sandbox makes its key in the data folder; production must be given one."""
    secret = settings.secret_key.get_secret_value()
    if secret:
        return Vault(secret)
    if not settings.sandbox:
        raise invalid("OKLP_SECRET_KEY", "must be set (32 random characters or more), and kept")
    path = settings.data_dir / KEY_FILE
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x") as file:
            path.chmod(0o600)
            file.write(token_urlsafe(32))
    except FileExistsError:
        pass
    return Vault(_read_key(path))


def _read_key(path: Path) -> str:
    secret = path.read_text().strip()
    if not secret:
        raise Conflict(f"{path} is empty; delete it to let the sandbox make a new key.")
    return secret


# OWASP's Argon2id parameters for servers that must not be exhausted by log-ins: 19 MiB, two passes, one lane.
_passwords = PasswordHash((Argon2Hasher(time_cost=2, memory_cost=19_456, parallelism=1),))


def hash_password(password: str) -> str:
    """Argon2id. Takes tens of milliseconds: never on the event loop, never in a lane."""
    return _passwords.hash(password)


def verify_password(password: str, password_hash: str) -> bool:
    return _passwords.verify(password, password_hash)
