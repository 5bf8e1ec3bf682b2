"""`oklp login` and what it keeps; members made by `oklp studio create`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest

from tests.harness import PASSWORD, Server, run_cli

BACKENDS = ("sqlite",)

_numbers = count(1)


def unique() -> str:
    return f"login-{next(_numbers)}-{os.getpid()}"


def developer(server: Server, home: Path, **more: str) -> dict[str, str]:
    """The shell of a studio's developer, who has nothing of the server but its address."""
    kept = {name: value for name, value in server.env.items() if not name.startswith("OKLP_")}
    return {**kept, "XDG_CONFIG_HOME": str(home), **more}


def refusal(env: dict[str, str], *words: str) -> str:
    done = run_cli(env, *words, check=False)
    assert done.returncode == 1, (words, done.stdout, done.stderr)
    assert done.stderr.startswith("oklp: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_a_member_made_by_a_command_logs_in_and_out(served: Server, tmp_path: Path) -> None:
    name, at = unique(), ("--url", served.url)
    made = subprocess.run(
        [sys.executable, "-m", "oklp.cli", "studio", "create", "--username", name, "--password-stdin"],
        env=served.env,
        input=f"{PASSWORD}\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert made.stdout == f"{name} is an owner of Default studio.\n"
    served.cli("game", "register", "--name", name, "--discovery", "pull", "--out", str(tmp_path / "config.json"))
    env = developer(served, tmp_path / "home", OKLP_STUDIO_PASSWORD=PASSWORD)
    assert "oklp login --url" in refusal(env, "whoami")
    done = run_cli(env, "login", *at, "--username", name)
    assert done.stdout == f"Logged in at {served.url} as {name}, owner of Default studio.\n"
    file = tmp_path / "home" / "oklp" / "sessions.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert PASSWORD not in file.read_text()
    who = f"{name}, owner of Default studio, at {served.url}.\n"
    assert run_cli(env, "whoami").stdout == who
    # A session's token is enough where nobody can log in.
    token = json.loads(file.read_text())["sessions"][served.url]["token"]
    elsewhere = developer(served, tmp_path / "nobody", OKLP_STUDIO_TOKEN=token)
    assert "OKLP_URL" in refusal(elsewhere, "whoami")
    assert run_cli({**elsewhere, "OKLP_URL": f"{served.url}/"}, "whoami").stdout == who
    assert run_cli(env, "logout").stdout == f"Logged out at {served.url}.\n"
    assert "not logged in" in refusal(env, "logout")
    assert "not logged in" in refusal(env, "whoami", *at)
    assert "not valid any more" in refusal(elsewhere, "whoami", *at)
    # A studio of its own has its own games.
    served.cli("studio", "create", "--username", f"{name}-x", "--password", PASSWORD, "--studio", "Moon [red]Shot")
    assert "owner of Moon [red]Shot." in run_cli(env, "login", *at, "--username", f"{name}-x").stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--url", "http://127.0.0.1:1", "--username", "abc", "--password", "x"), "http://127.0.0.1:1 does not answer"),
        (("--url", "ftp://x", "--username", "abc", "--password", "x"), "'ftp://x' is not the address of a platform"),
        (("--url", "http://[x", "--username", "abc", "--password", "x"), "is not the address of a platform"),
        (("--url", "{url}", "--username", "abc", "--password", "wrong"), "username or password"),
        (("--url", "{url}", "--username", "abc"), "--password-stdin"),
        (("--url", "{url}/docs", "--username", "abc", "--password", "x"), ""),
    ],
)
def test_why_nobody_can_log_in_is_told_in_a_line(
    served: Server, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    env = developer(served, tmp_path)
    assert said in refusal(env, "login", *(word.format(url=served.url) for word in words))
    assert list(tmp_path.rglob("*.json")) == []


def test_a_file_that_is_none_of_ours_is_named(served: Server, tmp_path: Path) -> None:
    env = developer(served, tmp_path)
    file = tmp_path / "oklp" / "sessions.json"
    file.parent.mkdir()
    file.write_text("[]")
    assert str(file) in refusal(env, "whoami")
    assert file.read_text() == "[]"
