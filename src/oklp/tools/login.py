"""The log-in of a studio's member, kept between commands: a file that its user alone can read, or the environment.

OKLP_URL                address of the platform
OKLP_STUDIO_TOKEN       a session's token, in place of a log-in (CI)
"""

from __future__ import annotations

import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from oklp.person import ApiFault

URL_VARIABLE: Final = "OKLP_URL"
TOKEN_VARIABLE: Final = "OKLP_STUDIO_TOKEN"  # noqa: S105 - the name of it
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class ToolError(ApiFault):
    """What was asked cannot be done; the message is one line for people."""


class KeptSession(BaseModel):
    model_config = ConfigDict(frozen=True)

    token: str = Field(repr=False)
    username: str
    studio: str
    expires_at: datetime


class Kept(BaseModel):
    """Sessions by the address of their platform, and the one that was logged in to last."""

    current: str | None = None
    sessions: dict[str, KeptSession] = {}


class Access(NamedTuple):
    """Where, and as whom."""

    url: str
    token: str

    def __repr__(self) -> str:
        return f"Access(url={self.url!r})"


def path() -> Path:
    """`oklp/sessions.json` in the user's configuration (XDG Base Directory: `$XDG_CONFIG_HOME`, else `~/.config`)."""
    home = os.environ.get("XDG_CONFIG_HOME", "")
    # The specification has relative paths ignored.
    base = Path(home) if os.path.isabs(home) else Path.home() / ".config"
    return base / "oklp" / "sessions.json"


def read() -> Kept:
    """Raises ToolError when the file is there and cannot be used."""
    file = path()
    try:
        return Kept.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return Kept()
    except (OSError, ValidationError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not what `oklp login` writes"
        raise ToolError(f"{file} cannot be read: {why}. Remove it and log in again.") from error


def write(kept: Kept) -> None:
    """Whole or not at all, and for nobody else's eyes. Raises ToolError."""
    file = path()
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # made with mode 0600
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as draft:
                draft.write(kept.model_dump_json(indent=2) + "\n")
                draft.flush()
                os.fsync(draft.fileno())
            Path(name).replace(file)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ToolError(f"{file} cannot be written: {error.strerror}") from error


def address(url: str) -> str:
    """A platform's address as it is kept. Raises ToolError for what is no address."""
    text = url.strip().rstrip("/")
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or parts.username is not None or parts.query or parts.fragment:
        raise ToolError(f"{url!r} is not the address of a platform, such as http://127.0.0.1:8000.")
    return text


def in_the_clear(url: str) -> bool:
    """True when a password sent there could be read on its way."""
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname not in LOOPBACK


def known(url: str = "", now: datetime | None = None) -> Access:
    """Where to go and as whom: by the option, else the environment, else the last log-in.

    Raises ToolError when nobody is logged in there. A token of the environment goes to a named address alone.
    """
    url = url or os.environ.get(URL_VARIABLE, "")
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if token:
        if not url:
            raise ToolError(f"{TOKEN_VARIABLE} is set: say by {URL_VARIABLE} or --url where it belongs.")
        return Access(address(url), token)
    kept = read()
    if not url and kept.current is None:
        raise ToolError("You are not logged in: oklp login --url ADDRESS")
    where = address(url) if url else str(kept.current)
    session = kept.sessions.get(where)
    if session is None:
        raise ToolError(f"You are not logged in at {where}: oklp login --url {where}")
    if session.expires_at <= (now or datetime.now(UTC)):
        raise ToolError(f"Your log-in at {where} has expired: oklp login --url {where}")
    return Access(where, session.token)


def keep(url: str, session: KeptSession) -> None:
    kept = read()
    write(Kept(current=url, sessions={**kept.sessions, url: session}))


def forget(url: str) -> None:
    kept = read()
    left = {where: session for where, session in kept.sessions.items() if where != url}
    current = kept.current if kept.current in left else next(reversed(left), None)
    write(Kept(current=current, sessions=left))
