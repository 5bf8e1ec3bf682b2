"""Rules of the house that import-linter has no words for."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from oklp.storage import migrations

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "oklp"

# The standard library's clocks, randomness and doors to the outside: arguments, in the domain.
IMPURE = {
    "asyncio",
    "http",
    "io",
    "logging",
    "multiprocessing",
    "os",
    "pathlib",
    "queue",
    "random",
    "secrets",
    "shutil",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
    "urllib",
    "uuid",
}


def imports(path: Path) -> Iterator[str]:
    """Dotted names that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", of(SOURCE / "domain"), ids=name_of)
def test_the_domain_is_pure(path: Path) -> None:
    allowed = sys.stdlib_module_names - IMPURE | {"oklp"}
    assert {name for name in imports(path) if name.partition(".")[0] not in allowed} == set()


def test_the_domain_reads_no_clock() -> None:
    clocks = {"now", "utcnow", "today"}
    found = [
        f"{name_of(path)}:{node.lineno}"
        for path in of(SOURCE / "domain")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in clocks
    ]
    assert found == []


def test_games_stand_on_the_sdk_alone() -> None:
    """As a studio's would: of ours, `oklp.sdk` and nothing else."""
    found = {
        f"{name_of(path)}: {name}"
        for path in of(ROOT / "games")
        for name in imports(path)
        if name.partition(".")[0] == "oklp" and not (name == "oklp.sdk" or name.startswith("oklp.sdk."))
    }
    assert {text for text in found if not text.endswith(": oklp")} == set()


@pytest.mark.parametrize("room", ["contract", "signing.py", "errors.py", "sdk"])
def test_a_bare_install_is_enough_for_the_sdk(room: str) -> None:
    """What these import from others is in the dependencies of the package, not of its extra."""
    installed = {
        "cryptography",
        "httpx",
        "joserfc",
        "pydantic",
        "pydantic_core",
        "standardwebhooks",
        "typing_extensions",
    }
    allowed = sys.stdlib_module_names | installed | {"oklp"}
    # A studio that uses one of these has its framework.
    frameworks = {SOURCE / "sdk" / "flask.py": {"flask"}, SOURCE / "sdk" / "django.py": {"django"}}
    place = SOURCE / room
    paths = of(place) if place.is_dir() else [place]
    assert paths
    found = {
        f"{name_of(path)}: {name}"
        for path in paths
        for name in imports(path)
        if name.partition(".")[0] not in allowed | frameworks.get(path, set())
    }
    assert found == set()


def test_only_a_receiver_for_a_framework_imports_one() -> None:
    """And nothing else of the SDK imports that receiver, so that a bare install can import all the rest."""
    found = {
        f"{name_of(path)}: {name}"
        for path in of(SOURCE)
        for name in imports(path)
        if name in ("oklp.sdk.flask", "oklp.sdk.django")
    }
    assert found == set()


def test_files_stay_readable() -> None:
    """One room, one noun: a file that outgrows this wants to be two."""
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in of(ROOT / "src")}
    assert {name: lines for name, lines in lengths.items() if lines > 600} == {}


def test_every_dependency_has_a_written_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["server"]]
    names = [re.split(r"[^A-Za-z0-9_-]", requirement)[0].lower() for requirement in wanted]
    reasons = (ROOT / "docs" / "decisions" / "0005-dependencies.md").read_text(encoding="utf-8").lower()
    assert [name for name in names if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", reasons)] == []


@pytest.mark.parametrize(
    ("start", "late"),
    [
        ("import oklp.cli", {"aiohttp", "alembic", "fastapi", "httpx", "pydantic", "sqlalchemy", "structlog"}),
        ("import oklp.cli, oklp.serving", {"aiohttp", "aiosmtplib", "httpx"}),
    ],
)
def test_what_is_not_needed_at_the_start_is_loaded_when_it_is(start: str, late: set[str]) -> None:
    """Decision 0012."""
    told = subprocess.run(
        [sys.executable, "-c", f"import sys; {start}; print(*sys.modules)"], check=True, capture_output=True, text=True
    )
    assert "typer" in told.stdout.split()
    assert late.intersection(told.stdout.split()) == set()


def test_the_migrations_are_one_row_whose_last_is_known() -> None:
    """Two that were written side by side have the same number, and no server starts any more."""
    assert ScriptDirectory.from_config(migrations.alembic_config()).get_heads() == [migrations.HEAD]
