"""Commands on databases of their own: modes, files, and what they say when something is wrong."""

from __future__ import annotations

import fcntl
import io
import json
import os
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from oklp import contract
from oklp.cli import house
from oklp.cli.server import print_books
from oklp.errors import Conflict
from tests.conftest import MakeDatabase
from tests.crash.database import rows
from tests.harness import Server, run_cli, serving
from tests.web.test_serve import refusal

REGISTER = ("game", "register", "--name", "Tile Rush", "--discovery", "pull", "--out")


def shell(server: Server) -> dict[str, str]:
    """Of somebody who knows where the database is, and no more of the server's settings."""
    kept = ("OKLP_DATABASE_URL", "OKLP_DATA_DIR")
    return {name: value for name, value in server.env.items() if not name.startswith("OKLP_") or name in kept}


# --- what the servers say counts -------------------------------------------------------------------------------------


def test_commands_follow_the_server_and_not_their_own_defaults(database_url: str, tmp_path: Path) -> None:
    with serving(database_url, tmp_path, OKLP_REALM="myrealm", OKLP_ACCESS_TOKEN_SECONDS="3600") as server:
        out = tmp_path / "config.json"
        run_cli(shell(server), *REGISTER, str(out))
        auth = json.loads(out.read_text())["authentication"]
        assert auth["public_key_url"] == f"{server.url}/auth/realms/myrealm"
        form = {"client_id": auth["client_id"], "client_secret": auth["client_secret"]}
        answer = httpx.post(auth["token_url"], data={**form, "grant_type": "client_credentials"})
        assert answer.json()["expires_in"] == 3_600
        run_cli(shell(server), "keys", "rotate")
        [(kept_ms,)] = rows(
            database_url, "SELECT expires_at - retired_at FROM signing_keys WHERE retired_at IS NOT NULL"
        )
        assert kept_ms >= 3_600_000
        # Unless the shell says otherwise itself.
        own = {**shell(server), "OKLP_REALM": "other", "OKLP_PUBLIC_URL": "http://own.example"}
        run_cli(own, *REGISTER, str(out), "--force")
        auth = json.loads(out.read_text())["authentication"]
        assert auth["public_key_url"] == "http://own.example/auth/realms/other"


# --- modes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_a_database_keeps_its_mode(backend: str, make_database: MakeDatabase, tmp_path: Path) -> None:
    plain = shell(Server(make_database(backend), tmp_path))
    assert "was made. It is a production" in run_cli(plain, "migrate").stdout
    assert "already. It is a production" in run_cli(plain, "migrate").stdout
    assert "production" in refusal(plain, "migrate", "--sandbox")
    assert "production" in refusal({**plain, "OKLP_SANDBOX": "1"}, "migrate")
    plain = shell(Server(make_database(backend), tmp_path))
    assert "sandbox" in run_cli(plain, "migrate", "--sandbox").stdout
    assert "sandbox" in run_cli(plain, "migrate").stdout
    assert "sandbox" in refusal({**plain, "OKLP_SANDBOX": "0"}, "migrate")
    assert "sandbox" in refusal({**plain, "OKLP_SANDBOX": "0"}, "books", "verify")
    run_cli(plain, "books", "verify")


def test_whoever_has_no_database_is_told_of_both_ways(sqlite_url: str, tmp_path: Path) -> None:
    """Following the advice for production by mistake would mark the sandbox-to-be for good."""
    plain = shell(Server(sqlite_url, tmp_path))
    out = str(tmp_path / "config.json")
    for words in ((*REGISTER, out), ("serve", "--port", "0"), ("books", "verify")):
        said = refusal(plain, *words)
        assert "--sandbox" in said
        assert "oklp migrate" in said
    run_cli(plain, *REGISTER, out, "--sandbox")
    assert rows(sqlite_url, "SELECT vetting FROM games") == [("approved",)]


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_game_whose_secrets_cannot_be_kept_is_not_registered(migrated_url: str, tmp_path: Path) -> None:
    env = shell(Server(migrated_url, tmp_path))
    for out in (tmp_path / "nowhere" / "config.json", tmp_path, Path("/dev/full")):
        assert str(out) in refusal(env, *REGISTER, str(out))
        assert rows(migrated_url, "SELECT id FROM games") == []
    assert sorted(path.name for path in tmp_path.iterdir() if "config" in path.name) == []


def test_what_was_in_the_file_stays_when_the_command_is_refused(sqlite_url: str, tmp_path: Path) -> None:
    env = shell(Server(sqlite_url, tmp_path))
    run_cli(env, "migrate", "--sandbox")
    out = tmp_path / "config.json"
    out.write_text("kept")
    assert "webhook_url" in refusal(env, "game", "register", "--name", "x", "--force", "--out", str(out))
    assert out.read_text() == "kept"
    assert [path.name for path in tmp_path.iterdir() if "config" in path.name] == ["config.json"]


def test_the_secrets_of_a_game_are_not_written_over_unless_that_is_asked_for(sqlite_url: str, tmp_path: Path) -> None:
    env = shell(Server(sqlite_url, tmp_path))
    out, link = tmp_path / "config.json", tmp_path / "link.json"
    out.touch()
    link.symlink_to(out)
    run_cli(env, *REGISTER, str(out), "--sandbox")
    first = out.read_text()
    for path in (out, link):
        said = refusal(env, *REGISTER, str(path))
        assert str(path) in said
        assert "--force" in said
    assert (out.read_text(), rows(sqlite_url, "SELECT count(*) FROM games")) == (first, [(1,)])
    run_cli(env, *REGISTER, str(link), "--force")
    assert json.loads(out.read_text())["authentication"]["client_secret"] not in first


def test_of_two_commands_that_would_write_the_same_file_one_registers_its_game(sqlite_url: str, tmp_path: Path) -> None:
    """The other is refused before there is a game whose secrets would be lost."""
    env = shell(Server(sqlite_url, tmp_path))
    run_cli(env, "migrate", "--sandbox")
    out = tmp_path / "config.json"

    def have_it_while_another_asks() -> None:
        with house.reserved(out):
            said = refusal(env, *REGISTER, str(out))
            assert str(out) in said
            assert "another command" in said
            raise KeyError

    for there_before in (False, True):
        if there_before:
            out.touch()  # as mktemp does
        with pytest.raises(KeyError):
            have_it_while_another_asks()
        assert out.exists() == there_before, "what was made is taken away, and what was there stays"
    assert rows(sqlite_url, "SELECT id FROM games") == []
    out.unlink()
    assert "webhook_url" in refusal(env, "game", "register", "--name", "x", "--out", str(out))
    assert not out.exists()
    run_cli(env, *REGISTER, str(out))
    assert json.loads(out.read_text())["authentication"]["client_secret"]


@pytest.mark.parametrize("gone", [False, True], ids=["replaced", "gone"])
def test_a_file_that_another_command_is_done_with_is_not_taken_for_the_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    """The other one ends just after this one has opened the file."""
    out, written = tmp_path / "config.json", tmp_path / "written"
    out.touch()
    written.write_text("secrets")
    lock = fcntl.flock

    def late(descriptor: int, how: int) -> None:
        if gone:
            out.unlink()
        else:
            written.replace(out)
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(Conflict), house.reserved(out):
        raise AssertionError("it is not to be had")
    assert [path.read_text() for path in tmp_path.iterdir() if path == out] == ([] if gone else ["secrets"])


def test_secrets_go_to_a_file_that_others_cannot_read(sqlite_url: str, tmp_path: Path) -> None:
    env = shell(Server(sqlite_url, tmp_path))
    run_cli(env, "migrate", "--sandbox")
    out, link = tmp_path / "config.json", tmp_path / "link.json"
    out.write_text("x" * 10_000)
    out.chmod(0o644)
    link.symlink_to(out)
    run_cli(env, *REGISTER, str(link), "--force")
    assert out.stat().st_mode & 0o777 == 0o600
    assert link.is_symlink()
    assert json.loads(out.read_text())["authentication"]["client_secret"]
    piped = run_cli(env, *REGISTER, "/dev/stdout").stdout
    assert json.loads(piped[: piped.rindex("}") + 1])["authentication"]["client_secret"]


@pytest.mark.parametrize(
    ("url", "words", "said"),
    [
        ("sqlite:////proc/nope/x.db", ("migrate",), "/proc/nope"),
        ("sqlite:////proc/nope/x.db", ("serve", "--sandbox", "--port", "0"), "/proc/nope"),
        ("sqlite:////etc/passwd", ("books", "verify"), "not a database"),
        ("sqlite:////etc/passwd", ("migrate",), "not a database"),
        ("postgresql://nobody@127.0.0.1:1/none", ("books", "verify"), "does not answer"),
        ("postgresql://nobody@127.0.0.1:1/none", ("serve", "--sandbox", "--port", "0"), "does not answer"),
        ("postgresql://nobody@127.0.0.1:port/none", ("books", "verify"), "OKLP_DATABASE_URL"),
        ("mysql://x/y", ("books", "verify"), "OKLP_DATABASE_URL: must be sqlite:///"),
    ],
)
def test_a_database_that_cannot_be_used_is_told_in_a_line(
    url: str, words: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    env = {**shell(Server(url, tmp_path)), "OKLP_DATA_DIR": str(tmp_path)}
    assert said in refusal(env, *words)


@pytest.mark.parametrize(
    ("name", "value"),
    [("OKLP_WEBHOOK_TIMEOUT_SECONDS", "0"), ("OKLP_PUBLIC_URL", "play.example"), ("OKLP_BATCH_LIMIT", "many")],
)
def test_a_setting_at_fault_goes_by_the_name_that_it_was_given_by(name: str, value: str, tmp_path: Path) -> None:
    env = {**shell(Server("sqlite:///x.db", tmp_path)), name: value}
    said = refusal(env, "books", "verify")
    assert said.startswith(f"oklp: {name}: ")
    assert "Value error" not in said


def test_the_version_is_that_of_the_package() -> None:
    assert run_cli({}, "--version").stdout == f"oklp {version('oklp')}\n"


# --- lines and tables ------------------------------------------------------------------------------------------------


def test_amounts_are_shown_whole_however_narrow_the_window_is() -> None:
    amount = 123_456_789_012_345
    totals = {
        "currency": "XTS",
        **dict.fromkeys(("players", "escrow", "held", "platform_fees", "studios", "clearing"), amount),
    }
    fault = contract.BookFault(check="a-check", row="row:" + "x" * 60, detail="It is [off] by " + "9" * 60)
    books = contract.Books.model_validate(
        {"clean": False, "postings": 1, "posting_sets": 1, "matches": 1, "totals": [totals], "faults": [fault]}
    )
    shown = io.StringIO()
    print_books(books, Console(file=shown, width=20))
    assert shown.getvalue().count(f"{amount:,}") == 6
    assert f"a-check {fault.row}: {fault.detail}\n" in shown.getvalue()


def test_a_path_is_not_broken_over_lines(sqlite_url: str, tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30) / "[red]"
    folder.mkdir(parents=True)
    env = {**shell(Server(sqlite_url, tmp_path)), "COLUMNS": "40"}
    done = run_cli(env, *REGISTER, str(folder / "config.json"), "--sandbox")
    assert f"{folder / 'config.json'}.{os.linesep}" in done.stdout
