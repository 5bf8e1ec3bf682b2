"""What the commands have in common: lines for people, refusals as one line, a database to work on, private files.

Like the other rooms, it loads what only some commands need when they need it.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TextIO

import typer
from rich.console import Console
from rich.text import Text

from oklp.errors import Conflict, OklpError

if TYPE_CHECKING:
    from pydantic import ValidationError

    from oklp.services.vault import Vault
    from oklp.settings import Settings
    from oklp.storage.engine import Database

err = Console(stderr=True)
out = Console()

DatabaseUrl = Annotated[
    str, typer.Option("--database-url", help="`sqlite:///path.db` or `postgresql://…`; else OKLP_DATABASE_URL.")
]
Sandbox = Annotated[bool, typer.Option("--sandbox", help="Play money, loopback webhooks; else OKLP_SANDBOX.")]
PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]


def fail(message: str) -> NoReturn:
    """Say why not, in one line however long it is, and end with status 1."""
    err.print(Text.assemble(("oklp:", "red"), " ", message), soft_wrap=True)
    raise typer.Exit(1)


def say(message: str) -> None:
    """A line as it is: nothing in it is markup, and it is not broken to the width of a terminal that may not be one."""
    out.print(Text(message), soft_wrap=True)


def password_of(given: str, from_stdin: bool, *, new: bool = False) -> str:
    """A password by the option or its variable, from standard input, or else asked for; a new one twice."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if given:
        return given
    if not sys.stdin.isatty():
        fail("There is no password: give it by --password-stdin or the environment.")
    asked: str = typer.prompt("Password", hide_input=True, confirmation_prompt=new)
    return asked


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Refusals as one line and status 1, not as a traceback."""
    try:
        yield
    except OklpError as refusal:
        fail(refusal.detail)
    except OSError as error:
        fail(": ".join(filter(None, [error.filename and str(error.filename), error.strerror or str(error)])))
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        reason = _reason(error)
        if reason is None:
            raise
        fail(reason)


def _reason(error: Exception) -> str | None:
    """What is at fault, where it is not this program."""
    from pydantic import ValidationError
    from sqlalchemy.exc import ArgumentError, DatabaseError, InterfaceError, OperationalError

    match error:
        case ValidationError():
            return _fault(error)
        case OperationalError() | InterfaceError():
            return f"the database does not answer: {_in_a_line(error.orig)}"
        case DatabaseError() if type(error) is DatabaseError:  # of the kinds below it, a statement of ours is wrong
            return f"this is no database of ours: {_in_a_line(error.orig)}"
        case ArgumentError():
            return f"OKLP_DATABASE_URL: {_in_a_line(error)}"
        case _:
            return None


def _in_a_line(error: object) -> str:
    return " ".join(str(error).split())


def _fault(error: ValidationError) -> str:
    """The first thing at fault. A setting goes by the name of its variable, an option of a command by its own."""
    from oklp.settings import Settings

    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    if where and error.title == Settings.__name__:
        where = f"{Settings.model_config['env_prefix']}{where}".upper()
    what = first["msg"].removeprefix("Value error, ")
    return f"{where}: {what}" if where else what


def settings_of(database_url: str = "", sandbox: bool = False, **more: Any) -> Settings:
    """Settings from the environment and the command's options."""
    from oklp.settings import Settings

    given = {name: value for name, value in more.items() if value is not None}
    if database_url:
        given["database_url"] = database_url
    if sandbox:
        given["sandbox"] = True
    return Settings(**given)


@contextlib.contextmanager
def opened(database_url: str, *, sandbox: bool = False) -> Iterator[tuple[Settings, Database]]:
    """The database for a command. Its own mark says whether it is a sandbox; a new sandbox is made when asked for."""
    with uncollected():
        from oklp.opening import check_database, open_database, wall_clock
        from oklp.services import auth
        from oklp.storage.engine import inspect_database

    with refusals():
        settings = settings_of(database_url, sandbox)
        if not settings.sandbox and not mode_is_asked_for(settings):
            settings = settings_of(database_url, bool(inspect_database(settings.database_url).sandbox))
        check_database(settings)
        db = open_database(settings, wall_clock)
        try:
            served = db.run(auth.served)
            if served is not None:  # what the servers say counts, unless this shell says otherwise
                given = {name for name in served._fields if f"OKLP_{name}".upper() in os.environ}
                told = {name: value for name, value in served._asdict().items() if name not in given}
                settings = settings_of(database_url, settings.sandbox, **told)
            yield settings, db
        finally:
            db.close()


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """For loading modules: a collector that looks through what stays anyway takes a fifth of the time.

    Nor does it look through it afterwards: the first time would take a tenth of a second more.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def mode_is_asked_for(settings: Settings) -> bool:
    """True when OKLP_SANDBOX or --sandbox says which: otherwise a database's own mark does."""
    return "sandbox" in settings.model_fields_set


def vault_of(settings: Settings, db: Database) -> Vault:
    """The vault of a command: a database that has never been served gets its keys here."""
    from oklp.opening import wall_clock
    from oklp.services import auth
    from oklp.services.vault import open_vault
    from oklp.signing import generate_key

    vault = open_vault(settings)
    if not db.run(auth.has_keys):
        db.run(auth.prepare, settings, vault, generate_key, wall_clock())
    return vault


# --- files -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def reserved(path: Path) -> Iterator[None]:
    """While the block lasts, no other command that reserves this file has it; one that is missing is made.

    Raises Conflict for one with something in it, and for one that another command has. An empty one, such as mktemp
    makes, can be written. One that was made here goes again when the block fails. Pipes and terminals are shared.
    """
    if path.exists() and not path.is_file():
        yield
        return
    target = path.resolve()
    descriptor, made = _opened_empty(path, target)
    own = True
    try:
        # Two that find the same empty file would each put their own in its place: the lock lets one of them do so.
        # Whoever opened it before that and locks it afterwards has a file that is not there any more.
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            own = _is_at(descriptor, target) and os.fstat(descriptor).st_size == 0
        except BlockingIOError:
            own = False
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error
        if not own:
            raise Conflict(f"{path} is being written by another command.")
        yield
    except BaseException:
        if made and own and _is_at(descriptor, target):
            target.unlink()
        raise
    finally:
        os.close(descriptor)


def _opened_empty(path: Path, target: Path) -> tuple[int, bool]:
    """A descriptor of the file, and whether it was made for it. Raises Conflict for one with something in it."""
    try:
        try:
            return os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), True
        except FileExistsError:
            if target.stat().st_size:
                raise Conflict(
                    f"{path} is there already, with what may be known nowhere else. --force replaces it."
                ) from None
            return os.open(target, os.O_RDWR), False  # NFS locks for one alone what is open for writing
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether this is still the file that is found there."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def private_file(path: Path) -> Iterator[Callable[[str], None]]:
    """A function that writes a file for its owner's eyes alone. The file is in place when the block ends well.

    What can be found out before is: OSError when there can be no such file, or when it is a folder. Pipes and terminals
    are written to as they are. The function raises Conflict.
    """
    if path.exists() and not path.is_file():
        with path.open("w") as file:
            yield lambda text: _write(file, text, path)
        return
    target = path.resolve()
    try:
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    try:
        with os.fdopen(descriptor, "r+") as file:
            yield lambda text: _write(file, text, path)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _write(file: TextIO, text: str, path: Path) -> None:
    """All of the file, on disk when this returns; a second call counts in place of the first."""
    try:
        if file.seekable():
            file.seek(0)
            file.truncate()
        file.write(text)
        file.flush()
        if file.seekable():
            os.fsync(file.fileno())
    except OSError as error:
        raise Conflict(f"{path} cannot be written: {error.strerror}") from error
