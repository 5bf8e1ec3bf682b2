"""`docs/sdk.md` is so: its programs run against a real `oklp serve`, the small ones in a bare install."""

from __future__ import annotations

import contextlib
import http.client
import importlib
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import oklp.sdk
from oklp import new_game
from oklp.sdk.randomness import JAVASCRIPT
from scripts import bare
from tests.harness import PlayerClient, Server, free_port, paid_match, serving
from tests.sdk.browser import open_page
from tests.sdk.stand_in import MATCH_ID

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "sdk.md").read_text(encoding="utf-8")
PROGRAMS = {
    name: text
    for text in re.findall(r"^```(?:python|js)\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    for name in re.findall(r"\A(?:#|//) (\S+)\n", text)
}


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a bare install."""
    return bare.install(tmp_path_factory.mktemp("bare"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("platform")
    with serving(f"sqlite:///{folder / 'oklp.db'}", folder) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a studio works: the programs of the page."""
    for name, text in PROGRAMS.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def register(server: Server, folder: Path, webhook_url: str = "", **settings: object) -> str:
    """The client id of a new game, whose developer configuration is in the folder."""
    game = server.register(webhook_url, **settings)
    (folder / "developer-config.json").write_text(json.dumps(game.config), encoding="utf-8")
    return game.client_id


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("OKLP_", "PYTHON"))}


def run(python: Path, folder: Path, program: str, *arguments: str) -> str:
    """What the program prints, in the bare install."""
    done = subprocess.run(
        [str(python), program, *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def live_match(server: Server, game_id: str) -> tuple[PlayerClient, PlayerClient, str]:
    one, two = PlayerClient(server.url), PlayerClient(server.url)
    match_id = paid_match(one, two, game_id)
    one.await_status(match_id, "live")
    return one, two, match_id


def check_prize(winner: PlayerClient, loser: PlayerClient, match_id: str) -> None:
    """The match is over, and its whole prize pool went to the winner."""
    match = winner.await_status(match_id, "finished")
    prize = match["prize_pool"]["amount"]
    assert prize > 500
    assert match["winnings"] == [{"user_id": winner.user_id, "amount": prize}]
    assert (winner.available(), loser.available()) == (10_000 - 500 + prize, 10_000 - 500)


# --- programs for a bare install -------------------------------------------------------------------------------------


def test_ten_lines_report_a_match(server: Server, folder: Path, python: Path) -> None:
    lines = [line for line in PROGRAMS["report.py"].splitlines() if line and not line.startswith("#")]
    assert len(lines) <= 10
    winner, loser, match_id = live_match(server, register(server, folder, discovery="pull"))
    assert run(python, folder, "report.py", match_id, winner.user_id) == "finished\n"
    check_prize(winner, loser, match_id)


def test_live_matches_are_listed(server: Server, folder: Path, python: Path) -> None:
    game_id = register(server, folder, discovery="pull")
    expected = []
    for _ in range(2):
        one, two, match_id = live_match(server, game_id)
        expected.append(" ".join([match_id, *sorted([one.username, two.username])]))
    assert sorted(run(python, folder, "pulled.py").splitlines()) == sorted(expected)


def duel(winner: PlayerClient, loser: PlayerClient, match_id: str) -> list[str]:
    """The arguments of duel.py."""
    teams = {member["user_id"]: team["id"] for team in winner.match(match_id)["teams"] for member in team["members"]}
    return [match_id, winner.user_id, teams[winner.user_id], loser.user_id, teams[loser.user_id]]


def test_an_outbox_reports(server: Server, folder: Path, python: Path) -> None:
    winner, loser, match_id = live_match(server, register(server, folder, discovery="pull"))
    assert run(python, folder, "duel.py", *duel(winner, loser, match_id)) == "accepted\n"
    check_prize(winner, loser, match_id)


def test_a_server_killed_between_match_end_and_report_delivers_after_its_restart(
    folder: Path, python: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The platform is away when the match ends, then the game server is killed, then both come back."""
    data = tmp_path_factory.mktemp("outage")
    with serving(f"sqlite:///{data / 'oklp.db'}", data) as platform:
        winner, loser, match_id = live_match(platform, register(platform, folder, discovery="pull"))
        arguments = duel(winner, loser, match_id)
        platform.stop()
        # It says so when a first attempt has failed, which is after the result was put.
        (folder / "noted.py").write_text(
            PROGRAMS["duel.py"].replace(
                "print(outbox.wait(entry, timeout_seconds=30).state)",
                "while outbox.wait(entry, timeout_seconds=0.05).problem is None:\n    pass\n"
                'print("noted", flush=True)\noutbox.wait(entry, timeout_seconds=600)',
            ),
            encoding="utf-8",
        )
        game = subprocess.Popen(
            [str(python), "noted.py", *arguments], cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True
        )
        assert game.stdout is not None
        assert game.stdout.readline() == "noted\n"
        game.kill()
        assert game.wait(30) == -signal.SIGKILL
        game.stdout.close()
        platform.start()
        # A restarted server knows nothing of the match but what is in the outbox.
        (folder / "restarted.py").write_text(
            "from oklp.sdk import Client, ResultOutbox\n"
            'outbox = ResultOutbox("results.db", Client("developer-config.json"))\n'
            "print(outbox.flush(60), [entry.state for entry in outbox.entries()])\n",
            encoding="utf-8",
        )
        assert run(python, folder, "restarted.py") == "True ['accepted']\n"
        check_prize(winner, loser, match_id)


def test_server_and_browser_set_the_same_board(folder: Path, python: Path) -> None:
    printed = run(python, folder, "board.py", MATCH_ID).strip()
    files = {"board.js": folder / "board.js", "oklp-random.js": JAVASCRIPT}
    with open_page(files) as page:
        code = "async (matchId) => (await import('/board.js')).board(matchId)"
        assert page.evaluate(code, MATCH_ID) == printed
    assert sorted(printed.split()[:8]) == list("ABCDEFGH")


def test_a_bare_install_has_nothing_of_the_server(python: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {
        re.split(r"[^A-Za-z0-9_-]", requirement)[0].lower().replace("_", "-")
        for requirement in project["optional-dependencies"]["server"]
    }
    code = "from importlib.metadata import distributions as d; print(*[each.metadata['Name'] for each in d()])"
    printed = subprocess.run([str(python), "-I", "-c", code], capture_output=True, text=True, check=True).stdout
    installed = {name.lower().replace("_", "-") for name in printed.split()}
    assert {"oklp", "httpx", "pydantic", "joserfc", "standardwebhooks"} <= installed
    # joserfc needs cryptography too, and httpx idna.
    assert names & installed <= {"cryptography", "idna"}


def test_a_command_says_which_extra_it_misses(python: Path) -> None:
    for arguments in ([], ["serve"], ["check"]):
        done = subprocess.run([str(python.parent / "oklp"), *arguments], capture_output=True, text=True)
        assert done.returncode == 1
        assert "oklp[server]" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_game_is_tested_on_a_stand_in(folder: Path, python: Path) -> None:
    run(python, folder, "-c", "from test_report import test_a_score_is_reported as test; test()")


def test_a_bare_install_writes_a_new_game(python: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [str(python.parent / "oklp"), "new-game", "word-duel"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    written = new_game.write("word-duel", tmp_path / "from-the-sources")

    def files(folder: Path) -> dict[Path, bytes]:
        return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    assert files(tmp_path / "word-duel") == files(written)


def imported(python: Path, statement: str) -> set[str]:
    code = f"{statement}\nimport sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([str(python), "-I", "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_nothing_heavy_is_imported_before_it_is_used(python: Path) -> None:
    assert not imported(python, "import oklp.sdk") & {"httpx", "pydantic", "cryptography", "joserfc", "sqlite3"}
    assert not imported(python, "from oklp.sdk import Client") & {"cryptography", "joserfc", "sqlite3"}
    assert not imported(python, "from oklp.sdk import MatchRandom") & {"httpx", "pydantic", "cryptography"}


def test_every_name_can_be_imported_without_the_server(python: Path) -> None:
    assert "oklp" in imported(python, f"from oklp.sdk import {', '.join(oklp.sdk.__all__)}\nimport oklp.sdk.asgi")


# --- whole game servers ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def game_server(folder: Path, port: int, *command: str) -> Iterator[Path]:
    """A game server as a process of its own, ready for requests; the path of what it prints."""
    printed = folder / "printed.txt"
    with printed.open("wb") as output:
        process = subprocess.Popen([sys.executable, *command], cwd=folder, stdout=output, stderr=output)
    try:
        until = time.monotonic() + 60
        while True:
            probe = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            with contextlib.suppress(OSError), contextlib.closing(probe):
                probe.connect()
                break
            assert process.poll() is None, printed.read_text()
            assert time.monotonic() < until, printed.read_text()
            time.sleep(0.03)
        yield printed
    finally:
        process.terminate()
        process.wait(30)


def play(address: str, player: PlayerClient, match_id: str, miss_by: int) -> int:
    """Launches, adds up, and answers; the score."""
    launch = player.must(200, "POST", f"/matches/{match_id}/launch", {"platform": "browser"})
    token = httpx.URL(launch["launch_url"]).params["token"]
    numbers = httpx.get(f"{address}/play", params={"token": token}).json()["add"]
    answer = httpx.post(f"{address}/answer", params={"token": token, "total": sum(numbers) + miss_by})
    assert answer.status_code == 200, answer.text
    score: int = answer.json()["score"]
    return score


def test_the_game_server_of_the_page_plays_a_whole_match(server: Server, folder: Path) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    game_id = register(server, folder, f"{address}/oklp/match", mode="async")
    with game_server(folder, port, "-m", "uvicorn", "game:app", "--port", str(port)):
        winner, loser, match_id = live_match(server, game_id)
        assert play(address, winner, match_id, miss_by=0) == 100
        assert play(address, loser, match_id, miss_by=-3) == 97
        check_prize(winner, loser, match_id)
        assert httpx.get(f"{address}/play", params={"token": "nonsense"}).status_code == 404


DJANGO_SITE = """
import sys
from wsgiref.simple_server import make_server
from django.conf import settings
settings.configure(ROOT_URLCONF="django_game", ALLOWED_HOSTS=["127.0.0.1"], SECRET_KEY="a test's")
from django.core.wsgi import get_wsgi_application
make_server("127.0.0.1", int(sys.argv[1]), get_wsgi_application()).serve_forever()
"""


@pytest.mark.parametrize("framework", ["flask", "django"])
def test_the_receivers_of_the_page_start_a_match(server: Server, folder: Path, framework: str) -> None:
    port = free_port()
    game_id = register(server, folder, f"http://127.0.0.1:{port}/oklp/match")
    (folder / "site_of_a_test.py").write_text(DJANGO_SITE, encoding="utf-8")
    command = {
        "flask": ["-m", "flask", "--app", "flask_game", "run", "--port", str(port)],
        "django": ["site_of_a_test.py", str(port)],
    }
    with game_server(folder, port, *command[framework]) as printed:
        _, _, match_id = live_match(server, game_id)
        assert f"started {match_id}" in printed.read_text(encoding="utf-8")


# --- the page says it all --------------------------------------------------------------------------------------------


def test_every_program_of_the_page_is_run_here() -> None:
    tested = Path(__file__).read_text(encoding="utf-8")
    assert len(PROGRAMS) >= 8
    assert [name for name in PROGRAMS if name not in tested and name.removesuffix(".py") not in tested] == []


def test_every_public_name_is_on_the_page() -> None:
    assert [name for name in oklp.sdk.__all__ if not re.search(rf"`{name}\b", GUIDE)] == []


def test_every_public_method_is_on_the_page() -> None:
    missing = [
        f"{name}.{method}"
        for name in oklp.sdk.__all__
        if inspect.isclass(each := getattr(oklp.sdk, name)) and not issubclass(each, Exception)
        for method, value in vars(each).items()
        if each.__module__.startswith("oklp.sdk.") and inspect.isfunction(value) and not method.startswith("_")
        if not re.search(rf"`(?:\w+\.)?{method}\(", GUIDE)
    ]
    assert missing == []


@pytest.mark.parametrize(
    "module", ["oklp.sdk", "oklp.sdk.testing", "oklp.sdk.asgi", "oklp.sdk.flask", "oklp.sdk.django"]
)
def test_every_public_class_and_function_says_what_it_is(module: str) -> None:
    room = importlib.import_module(module)

    def undocumented(each: Any) -> bool:
        ours = getattr(each, "__module__", "").startswith("oklp.sdk")
        return ours and (inspect.isclass(each) or inspect.isfunction(each)) and not each.__doc__

    assert [name for name in room.__all__ if undocumented(getattr(room, name))] == []
