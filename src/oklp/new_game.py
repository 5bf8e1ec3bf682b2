"""`oklp new-game`: a small game server to start from, written out from `oklp/template`.

The template is a real project by the name of Sum Sprint: `common`, and over it the folder of the game's mode. Its own
name, in its three spellings, is what a new game's replaces. This room needs nothing but the standard library, so that a
bare install has the command too (`bare`).
"""

from __future__ import annotations

import argparse
import errno
import keyword
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal, TypeAlias

TEMPLATE: Final = Path(__file__).parent / "template"
LONGEST_NAME: Final = 32
_TITLE, _SLUG, _PACKAGE, _MODE = "Sum Sprint", "sum-sprint", "sum_sprint", "__MODE__"
# What the game, its tests and its tools import, and what that imports: one of that name in its folder would be found in
# its place. And `test`, which Python has and does not list: it would be found in the place of the game.
_GAME: Final = frozenset({"click", "cryptography", "fastapi", "h11", "jinja2", "joserfc", "markupsafe", "oklp"})
_SERVING: Final = frozenset({"anyio", "certifi", "cffi", "httpcore", "httpx", "idna", "pydantic", "starlette"})
_TOOLS: Final = frozenset({"hatchling", "iniconfig", "mypy", "packaging", "pathspec", "pip", "pluggy", "pygments"})
_TESTS: Final = frozenset({"conftest", "py", "pytest", "ruff", "sandbox_match", "setuptools", "test", "tests"})
_TAKEN: Final = _GAME | _SERVING | _TOOLS | _TESTS | {"standardwebhooks", "uvicorn"}

Mode: TypeAlias = Literal["sync", "async"]


class CannotWriteError(Exception):
    """Why there is no new game, in a sentence."""


def write(name: str, folder: Path | None = None, mode: Mode = "sync") -> Path:
    """Write a new game; returns its folder, which is `name` in the current one unless another is given.

    Raises CannotWriteError. The game is there whole or not at all, and a folder that has anything in it is left alone.
    """
    check_name(name)
    target = (folder or Path(name)).resolve()
    is_there = target.exists()
    if is_there and not (target.is_dir() and not any(target.iterdir())):
        raise CannotWriteError(f"{target} is there already, and is not empty.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # An empty folder may be a disk of its own, or lie where nothing may be made: all happens inside of it.
        made = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target if is_there else target.parent))
    except OSError as error:
        raise CannotWriteError(f"{target} cannot be written: {error.strerror}.") from error
    try:
        for path, content in _files(name, mode):
            (made / path).parent.mkdir(parents=True, exist_ok=True)
            (made / path).write_text(content, encoding="utf-8")
        if is_there:
            _move_up(made)
        else:
            made.chmod(0o777 & ~_umask())
            # Replaces a folder that has been made since and is still empty, and nothing else.
            made.rename(target)
    except OSError as error:
        raise CannotWriteError(f"{target} cannot be written: {error.strerror}.") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return target


def check_name(name: str) -> None:
    """Raises CannotWriteError for what cannot be the name of a game, a package and a command."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or len(name) > LONGEST_NAME:
        like = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-0123456789")[:LONGEST_NAME].strip("-")
        hint = f" Perhaps {like}?" if like and like != name else ""
        raise CannotWriteError(
            f"A name is like word-duel: up to {LONGEST_NAME} lower-case letters, digits and hyphens, "
            f"a letter first.{hint}"
        )
    package = name.replace("-", "_")
    if keyword.iskeyword(package) or keyword.issoftkeyword(package) or package in sys.stdlib_module_names | _TAKEN:
        raise CannotWriteError(f"{name} is the name of something in Python already. Perhaps {name}-game?")


def next_steps(name: str, folder: Path, mode: Mode) -> str:
    """What to do with a new game."""
    there = os.path.relpath(folder)
    go_there = "" if there == os.curdir else f"  cd {shlex.quote(there)}\n"
    return (
        f"{name} is written: a game in mode {mode}, with its tests. Next, in a virtual environment that has oklp:\n"
        f"{go_there}"
        "  pip install -e '.[dev]'\n"
        "  pytest\n"
        "README.md says how to run it in the sandbox, and how to check it with oklp check."
    )


def bare(argv: Sequence[str]) -> int:
    """`oklp new-game` without the packages that the other commands need; the same arguments, the same answers."""
    parser = argparse.ArgumentParser(prog="oklp new-game", description="Write a small game server to start from.")
    parser.add_argument("name", metavar="NAME", help="like word-duel: also of its command and, with _, its package")
    parser.add_argument("--dir", type=Path, default=None, help="folder to write; else NAME")
    parser.add_argument("--mode", choices=("sync", "async"), default="sync", help="one result a match, or one a player")
    options = parser.parse_args(argv)
    try:
        folder = write(options.name, options.dir, options.mode)
    except CannotWriteError as error:
        print(f"oklp: {error}", file=sys.stderr)
        return 1
    print(next_steps(options.name, folder, options.mode))
    return 0


def _files(name: str, mode: Mode) -> Iterator[tuple[str, str]]:
    """Paths and contents."""
    words = name.split("-")
    names = {_TITLE: " ".join(word.capitalize() for word in words), _SLUG: name, _PACKAGE: "_".join(words), _MODE: mode}
    for layer in ("common", mode):
        for path in sorted((TEMPLATE / layer).rglob("*")):
            relative = path.relative_to(TEMPLATE / layer)
            # Installers compile what they find, and tools leave their caches: neither is of the template.
            if path.is_dir() or any(part.startswith((".", "__pycache__")) for part in relative.parts):
                continue
            target = f".{relative}" if relative.name == "gitignore" else str(relative)
            yield _renamed(target, names), _renamed(path.read_text(encoding="utf-8"), names)


def _move_up(made: Path) -> None:
    """All that is in `made` into the folder around it, where there is nothing else; or nothing of it. That folder stays
    the one that it is: somebody's shell may be in it, and would be nowhere if another took its place. Raises OSError.
    """
    if any(path != made for path in made.parent.iterdir()):
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
    children = list(made.iterdir())
    try:
        for path in children:
            path.rename(made.parent / path.name)
    except BaseException:
        for path in children:
            if not path.exists():
                (made.parent / path.name).rename(path)
        raise


def _renamed(text: str, names: dict[str, str]) -> str:
    for old, new in names.items():
        text = text.replace(old, new)
    return text


def _umask() -> int:
    """The only way to read it is to set it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
