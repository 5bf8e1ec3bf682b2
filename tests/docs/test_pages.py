"""The documentation says all there is to say, and what it says is so."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import oklp
from oklp.errors import OklpError
from oklp.errors import __doc__ as errors_tree
from oklp.storage.book_checks import CHECKS
from oklp.storage.books import MALFORMED
from scripts import gen_docs

ROOT = Path(__file__).resolve().parents[2]
# Not the project's own text: environments, caches, results of runs.
ELSEWHERE = {"build", "data", "dist", "node_modules", "results", "__pycache__"}
TEXT = {
    "",
    ".cfg",
    ".html",
    ".css",
    ".js",
    ".ini",
    ".md",
    ".mako",
    ".py",
    ".sh",
    ".sql",
    ".toml",
    ".txt",
    ".yaml",
    ".yml",
}


def files(folder: Path = ROOT) -> Iterator[Path]:
    """Every file of the project that holds text."""
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            if path.name == ".ci" or not (path.name.startswith(".") or path.name in ELSEWHERE):
                yield from files(path)
        elif path.suffix in TEXT and path.name != ".git":  # which is a file where the checkout is a worktree
            yield path


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


PAGES = [path for path in files() if path.suffix == ".md"]


# --- generated pages -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", gen_docs.PAGES)
def test_a_generated_page_is_up_to_date(name: str) -> None:
    """Making a page fails when a setting, command, metric or error code is undocumented."""
    written = (gen_docs.DOCS / name).read_text(encoding="utf-8")
    assert written == gen_docs.PAGES[name](), f"docs/{name} is out of date: run `make docs`"


def test_the_tree_of_errors_is_drawn_as_it_is() -> None:
    drawn = []
    for line in (errors_tree or "").splitlines():
        words = line.lstrip(" │├└─").split()
        if len(words) >= 3 and words[1].isdigit():
            # Each level of the drawing is four columns wide, after the docstring's own four.
            depth = (len(line) - len(line.lstrip(" │├└─"))) // 4 - 2
            drawn.append((depth, words[0], int(words[1]), words[2]))
    assert drawn == [(depth, e.__name__, e.status, e.code) for depth, e in gen_docs.error_classes()]


def test_every_refusal_of_any_room_has_a_documented_code() -> None:
    for module in pkgutil.walk_packages(oklp.__path__, "oklp."):
        if not module.name.endswith("__main__") and ".migrations." not in module.name:
            importlib.import_module(module.name)

    def below(parent: type[OklpError]) -> Iterator[type[OklpError]]:
        for child in parent.__subclasses__():
            yield child
            yield from below(child)

    page = (gen_docs.DOCS / "errors.md").read_text(encoding="utf-8")
    ours = [error for error in below(OklpError) if error.__module__.startswith("oklp.")]
    assert {error.__name__ for error in ours if f"`{error.code}`" not in page} == set()


def test_every_check_of_the_books_is_explained() -> None:
    """Whoever is woken by one reads there what it proves."""
    page = (gen_docs.DOCS / "when-things-go-wrong.md").read_text(encoding="utf-8")
    assert [name for name in [MALFORMED, *(each.name for each in CHECKS)] if f"`{name}`" not in page] == []


def test_codes_of_errors_are_unique() -> None:
    codes = [error.code for _, error in gen_docs.error_classes()]
    assert len(codes) == len(set(codes))


# --- links -----------------------------------------------------------------------------------------------------------

LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)|!\[[^\]\n]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)


def prose(path: Path) -> str:
    """The page without its code blocks and spans, where brackets mean other things."""
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", path.read_text(encoding="utf-8")))


def anchors(path: Path) -> set[str]:
    """The fragments that headings make, spelt as forges do."""
    headings = re.findall(r"^#{1,6}\s+(.*)$", FENCE.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_resolve(page: Path) -> None:
    broken = []
    for match in LINK.finditer(prose(page)):
        target = match.group(1) or match.group(2)
        if re.match(r"[a-z][a-z+.-]*:", target):
            continue
        place, _, fragment = target.partition("#")
        file = (page.parent / place).resolve() if place else page
        if not file.exists() or (fragment and fragment not in anchors(file)):
            broken.append(target)
    assert broken == []


def test_every_page_of_docs_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md" or not page.exists():
            continue
        reached.add(page)
        for match in LINK.finditer(prose(page)):
            waiting.append((page.parent / (match.group(1) or match.group(2)).partition("#")[0]).resolve())
    assert [name_of(page) for page in PAGES if page not in reached] == []


# --- what every page must and must not have --------------------------------------------------------------------------

# Put together here, so that this file does not break its own rule. A path of one machine means nothing on another,
# and where packages come from is each user's own matter.
BANNED = ["/" + word for word in ("work/", "root/", "home/", "tmp/bash_jobs", "opt/wheels", "opt/pypi")] + [
    ".".join(host) for host in (("pypi", "org"), ("pythonhosted", "org"), ("registry", "npmjs"), ("deb", "debian"))
]


def test_no_file_names_a_machine_or_a_registry() -> None:
    found = [
        f"{name_of(path)}: {word}"
        for path in files()
        for word in BANNED
        if word in path.read_text(encoding="utf-8", errors="replace")
    ]
    assert found == []


def test_the_changelog_has_a_place_for_what_is_unreleased() -> None:
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings
    assert headings[0] == "[Unreleased]"


def test_the_readme_begins_with_the_two_commands() -> None:
    first = "\n".join((ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:20])
    assert "make demo" in first
    assert "make test" in first


def test_commands_that_pages_name_are_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {
        (name_of(page), target)
        for page in PAGES
        for target in re.findall(r"(?:`|^ {4}|^)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert {(page, target) for page, target in named if target not in targets} == set()


BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for kind, text in BLOCK.findall(page.read_text(encoding="utf-8")):
            if kind == language:
                yield name_of(page), text


def test_examples_in_python_parse_and_import_what_there_is() -> None:
    examples = list(blocks("python"))
    assert examples
    for page, text in examples:
        for node in ast.walk(ast.parse(text, filename=page)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("oklp"):
                module = importlib.import_module(node.module or "")
                assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == [], page


def test_examples_of_our_commands_use_commands_and_options_there_are() -> None:
    from typer.main import get_command

    from oklp.cli import app

    examples = [
        (page, line)
        for page, text in blocks("sh")
        for line in re.findall(r"^(?:\w+=\S+ )*(?:[\w./-]*/)?(oklp .*)$", text.replace("\\\n", " "), re.MULTILINE)
    ]
    assert examples
    for page, line in examples:
        command: Any = get_command(app)
        words = shlex.split(line, comments=True)[1:]
        while hasattr(command, "commands"):
            assert words, f"{page}: {line}"
            assert words[0] in command.commands, f"{page}: {line}"
            command = command.commands[words.pop(0)]
        known = {option for parameter in command.params for option in [*parameter.opts, *parameter.secondary_opts]}
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known, f"{page}: {line}"


def test_help_lists_every_target_for_people() -> None:
    shown = subprocess.run(["make", "help"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    listed = set(re.findall(r"^ +make ([a-z-]+) ", shown, re.MULTILINE))
    assert {"demo", "test", "check", "bench", "soak", "docs", "clean", "help"} <= listed


def test_decisions_are_numbered_once_each() -> None:
    numbers = [path.name[:4] for path in (ROOT / "docs" / "decisions").glob("*.md") if path.name != "README.md"]
    assert numbers
    assert sorted(set(numbers)) == sorted(numbers)
    assert all(number.isdigit() for number in numbers)
