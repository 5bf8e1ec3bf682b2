"""`oklp demo` as somebody meets it: a process in an empty folder, its words, its status, and what it leaves behind."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import httpx
import psutil
import pytest

from oklp import contract
from oklp.demo.bots import Strategy, bold, steady
from oklp.demo.story import Money, payout_faults

PATIENCE_SECONDS = 150.0


class Demo:
    """A running `oklp demo`. What it prints is in `text` as far as it was waited for."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.data_dir = folder / "data" / "demo"
        self.text = ""
        # Ports that other tests and other software like are left to them: the demo takes the next free ones.
        port, game_port = _two_free_ports()
        command = ["demo", "--port", str(port), "--game-port", str(game_port), *arguments]
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "oklp.cli", *command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._seen: dict[int, psutil.Process] = {}

    def wait_for(self, words: str) -> str:
        """Read on until it has printed this; returns all of the text."""
        until = time.monotonic() + PATIENCE_SECONDS
        with selectors.DefaultSelector() as selector:
            selector.register(self._output, selectors.EVENT_READ)
            while words not in self.text:
                if not selector.select(until - time.monotonic()):
                    pytest.fail(f"{words!r} did not come:\n{self.text}")
                chunk = os.read(self._output.fileno(), 65536)
                if not chunk:
                    pytest.fail(f"it ended before {words!r}:\n{self.text}")
                self.text += chunk.decode()
                self.children()
        return self.text

    def end(self) -> int:
        """Wait for its end; returns its status, and has seen to it that nothing is left."""
        rest, _ = self.process.communicate(timeout=PATIENCE_SECONDS)
        self.text += rest.decode()
        left = [child for child in self._seen.values() if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
        assert left == []
        return self.process.returncode

    def children(self) -> list[psutil.Process]:
        """Its servers, which are remembered to be looked for at the end."""
        found: list[psutil.Process] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            found = psutil.Process(self.process.pid).children(recursive=True)
        self._seen.update((child.pid, child) for child in found)
        return found

    def child(self, module: str) -> psutil.Process:
        (found,) = [child for child in self.children() if module in child.cmdline()]
        return found

    def kill(self) -> None:
        self.children()
        self.process.kill()
        self.process.wait()
        self._output.close()
        for child in self._seen.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()

    @property
    def _output(self) -> IO[bytes]:
        assert self.process.stdout is not None
        return self.process.stdout


def _two_free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        for probe in (first, second):
            probe.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


class Start:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[Demo] = []

    def __call__(self, *arguments: str) -> Demo:
        demo = Demo(self.folder, *arguments)
        self.started.append(demo)
        return demo


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    starter = Start(folder)
    yield starter
    for demo in starter.started:
        demo.kill()


# --- the whole of it -------------------------------------------------------------------------------------------------


def test_twice_in_a_row_from_an_empty_folder(start: Start) -> None:
    for _ in range(2):
        demo = start("--once")
        assert demo.end() == 0, demo.text
        winner = re.search(r"They play seven rounds: (\S+) wins", demo.text)
        assert winner is not None
        assert f"{winner[1]} is paid the prize: 9.00 XTS" in demo.text
        assert f"{winner[1]} 24.00 XTS" in demo.text
        assert "15.00 XTS" in demo.text.rpartition("The wallets are right")[2]
        assert len(re.findall(r"round \d ", demo.text)) == 7
        assert "PUT answered 200" in demo.text
        assert "oklp books verify: clean" in demo.text
        assert "\x1b" not in demo.text, "without a terminal it prints plain lines"


def test_it_stays_up_for_a_person_until_ctrl_c(start: Start) -> None:
    demo = start()
    text = demo.wait_for("ends all of it")
    platform = re.search(r"Platform +(\S+)", text)
    curl = re.search(r"curl -s (\S+) -H 'Authorization: (Bearer \S+)'", text)
    link = re.search(r"Open +(\S+)", text)
    assert platform
    assert curl
    assert link
    with httpx.Client(trust_env=False, follow_redirects=True) as http:
        (balance,) = http.get(curl[1], headers={"authorization": curl[2]}).json()["balances"]
        assert (balance["available"], balance["in_escrow"]) == (9_500, 500)
        for api in ("player", "studio", "operator"):
            name = "demo" if api == "player" else api
            answer = http.post(f"{platform[1]}/api/{api}/v1/sessions", json=log_in(name))
            assert answer.status_code == 201, answer.text
        table = http.get(link[1])
        assert (table.status_code, table.headers["content-type"]) == (200, "text/html; charset=utf-8")
        demo.text = ""  # before the match: its end may be told before the last answer of the game is here
        play_against_the_bot(http, str(table.url))
        text = demo.wait_for("ends all of it")
        ended = re.search(r"✓ (.+)\. (\S+) is paid 9\.00 XTS; demo now has (\S+) XTS", text)
        assert ended, text
        assert ended[3] == ("104.00" if ended[2] == "demo" else "95.00")
        call_off_live_matches(http, platform[1])
        demo.text = demo.text.rpartition("Ctrl-C")[2]
        demo.wait_for("both have their entry fees back")
        demo.wait_for("ends all of it")
    assert len(demo.children()) == 2
    demo.process.send_signal(signal.SIGINT)
    assert demo.end() == 0


def log_in(name: str) -> dict[str, str]:
    return {"username": name, "password": "demo-password"}


def call_off_live_matches(http: httpx.Client, platform: str) -> None:
    api = f"{platform}/api/operator/v1"
    token = http.post(f"{api}/sessions", json=log_in("operator")).json()["token"]
    headers = {"authorization": f"Bearer {token}"}
    (match,) = http.get(f"{api}/matches?status=live", headers=headers).json()["matches"]
    reason = {"reason": "Seen enough."}
    assert http.post(f"{api}/matches/{match['match_id']}/abort", json=reason, headers=headers).status_code == 200


def play_against_the_bot(http: httpx.Client, table: str) -> None:
    """As the page does: the state comes by events, and each choice is a POST."""
    with http.stream("GET", f"{table}/events", timeout=60) as events:
        for line in events.iter_lines():
            if not line.startswith("data: "):
                continue
            view = json.loads(line.removeprefix("data: "))
            if view["phase"] == "over":
                return
            if view["phase"] == "playing" and view["you"]["choice"] is None:
                bid = {"round": view["round"], "card": max(view["you"]["hand"])}
                assert http.post(f"{table}/bid", json=bid).status_code == 200
    pytest.fail("the game closed the table before the end")


def test_a_game_server_that_does_not_start(start: Start) -> None:
    demo = start("--once")
    demo.data_dir.mkdir(parents=True)
    (demo.data_dir / "high-bid.db").write_text("This is not a database, and long enough to be told from an empty one.")
    assert demo.end() == 1
    assert "The game server ended with status 2" in demo.text
    assert "high-bid.db: file is not a database" in demo.text, "the last lines of its log say why"


@pytest.mark.parametrize(
    ("after", "module", "name"),
    [("Its game server starts", "oklp.cli", "platform"), ("ends all of it", "high_bid", "game server")],
)
def test_a_server_that_dies_takes_the_demo_with_it(start: Start, after: str, module: str, name: str) -> None:
    demo = start()
    demo.wait_for(after)
    demo.child(module).kill()
    assert demo.end() == 1
    assert f"The {name} was ended by SIGKILL" in demo.text


def test_when_it_is_killed_the_servers_go_too_and_the_next_one_tidies_up(start: Start) -> None:
    demo = start()
    demo.wait_for("ends all of it")
    servers = demo.children()
    demo.process.kill()
    _, alive = psutil.wait_procs(servers, timeout=30)
    assert alive == []
    again = start("--once")
    assert again.end() == 0, again.text
    assert "A match left over from an earlier demo: called off, fees back" in again.text


def test_sigterm_in_the_middle_ends_it_and_taken_ports_are_avoided(start: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        demo = start("--port", str(port))
        text = demo.wait_for("Its operator")
        assert f":{port}" not in text
        demo.process.send_signal(signal.SIGTERM)
        assert demo.end() == 128 + signal.SIGTERM


def test_two_demos_do_not_share_a_folder(start: Start) -> None:
    demo = start()
    demo.wait_for("oklp serve --sandbox")
    other = start("--once")
    assert other.end() == 1
    assert "Another demo is running" in other.text
    demo.process.send_signal(signal.SIGTERM)
    demo.end()


# --- is the money right? ---------------------------------------------------------------------------------------------

WINNER, LOSER = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"


def balance(available: int, in_escrow: int = 0) -> contract.Balance:
    return contract.Balance(currency="XTS", available=available, in_escrow=in_escrow)


def figures(entry_fees: int, prizes: int, fees: int, studio_share: int) -> contract.CurrencyFigures:
    return contract.CurrencyFigures(
        currency="XTS", entry_fees=entry_fees, prizes=prizes, fees=fees, studio_share=studio_share
    )


def finished(rankings: tuple[int, int] = (1, 2), winnings: dict[str, int] | None = None) -> contract.Match:
    return contract.Match.model_validate(
        {
            "match_id": "600f369851f450dd3ecb0035",
            "game_id": "high-bid",
            "status": "finished",
            "visibility": "private",
            "entry_fee": {"amount": 500, "currency": "XTS"},
            "prize_pool": {"amount": 900, "currency": "XTS"},
            "fee_bps": 1000,
            "team_size": 1,
            "teams": [
                {
                    "id": f"t{ranking}{user[0]}",
                    "ranking": ranking,
                    "members": [{"user_id": user, "username": f"u{user[0]}x", "state": "confirmed"}],
                }
                for user, ranking in zip((WINNER, LOSER), rankings, strict=True)
            ],
            "created_by": WINNER,
            "created_at": "2026-01-01T00:00:00Z",
            "starts_by": "2026-01-02T00:00:00Z",
            "winnings": [
                {"user_id": user, "amount": amount} for user, amount in (winnings or {WINNER: 900}).items() if amount
            ],
        }
    )


RIGHT = Money(
    {WINNER: balance(2_000), LOSER: balance(2_000)},
    {WINNER: balance(2_400), LOSER: balance(1_500)},
    figures(3_000, 2_700, 150, 150),
    figures(4_000, 3_600, 200, 200),
)


def with_(**changes: object) -> Money:
    fields = {name: getattr(RIGHT, name) for name in Money.__slots__}
    return Money(**{**fields, **changes})


def test_the_right_payout_has_no_faults() -> None:
    assert payout_faults(finished(), RIGHT) == []


def test_a_draw_shares_the_prize() -> None:
    money = with_(after={WINNER: balance(1_950), LOSER: balance(1_950)})
    assert payout_faults(finished((1, 1), {WINNER: 450, LOSER: 450}), money) == []


@pytest.mark.parametrize(
    ("match", "money", "word"),
    [
        (finished(winnings={WINNER: 899}), RIGHT, "winners get"),
        (finished(winnings={LOSER: 900}), RIGHT, "winners get"),
        (finished(rankings=(2, 1)), RIGHT, "winners get"),
        (finished().model_copy(update={"status": "aborted"}), RIGHT, "status"),
        (finished().model_copy(update={"prize_pool": contract.Money(amount=1000, currency="XTS")}), RIGHT, "pool"),
        (finished(), with_(after={WINNER: balance(2_399), LOSER: balance(1_500)}), "wallet"),
        (finished(), with_(after={WINNER: balance(2_400), LOSER: balance(2_000)}), "wallet"),
        (finished(), with_(after={WINNER: balance(2_400), LOSER: balance(1_500, 1)}), "escrow"),
        (finished(), with_(figures_after=figures(4_000, 3_600, 200, 199)), "fees"),
        (finished(), with_(figures_after=figures(4_000, 3_599, 200, 200)), "prizes"),
        (finished(), with_(figures_after=figures(3_500, 3_600, 200, 200)), "entry fees"),
    ],
)
def test_a_wrong_payout_is_told(match: contract.Match, money: Money, word: str) -> None:
    assert [fault for fault in payout_faults(match, money) if word in fault]


# --- the bots --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", [steady, bold])
def test_a_bot_plays_cards_that_it_holds(strategy: Strategy) -> None:
    chance = random.Random(7)
    for held in range(1, 8):
        hand = chance.sample(range(1, 8), held)
        assert strategy({"you": {"hand": hand}, "carried": [1, 2], "prize": chance.randint(3, 7)}, chance) in hand
