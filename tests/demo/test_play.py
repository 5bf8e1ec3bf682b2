"""A person plays both games in a browser, from the links that the demo prints."""

from __future__ import annotations

import random
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from games.reversi.reversi.rules import BLACK, SQUARES, WHITE, Position, Seat
from games.reversi.reversi.search import choose
from tests.browser.test_reversi import PHONE, await_turn, moves_made
from tests.browser.tile_rush import chromium, person
from tests.demo.house import Demo

RUN_SECONDS = 6
FEE, PRIZE, DEPOSIT = 500, 900, 10_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    running = Demo(tmp_path, "--run-seconds", str(RUN_SECONDS))
    yield running
    running.kill()


class Guest:
    """What the demo has printed for the person: where to play, and how to log in."""

    def __init__(self, demo: Demo) -> None:
        text = demo.wait_for("Ctrl-C ends all of it")
        self.links = dict(re.findall(r"^   (Tile Rush|Reversi) +(http://\S+/[a-z-]+)$", text, re.MULTILINE))
        assert set(self.links) == {"Tile Rush", "Reversi"}, text
        asked = re.search(r"curl -s (\S+) -H 'Authorization: (Bearer \S+)'", text)
        assert asked
        self.wallet_url, self.token = asked[1], asked[2]
        self.platform = self.wallet_url.partition("/api/")[0]

    def wallet(self) -> tuple[int, int]:
        """Available, and in escrow."""
        answer = httpx.get(self.wallet_url, headers={"authorization": self.token}, trust_env=False)
        (balance,) = answer.json()["balances"]
        return balance["available"], balance["in_escrow"]


def test_a_person_plays_both_games_and_is_paid(demo: Demo, browser: Browser) -> None:
    guest = Guest(demo)
    everybody_can_log_in(guest)
    other = Demo(demo.data_dir.parent.parent, "--once")
    assert other.end() == 1
    assert "Another demo is running" in other.text
    assert guest.wallet() == (DEPOSIT, 0)

    with person(browser) as rusher, person(browser, **PHONE) as mover:
        # Both at a time, as somebody may: the run goes on in its window while the other game is played.
        rusher.page.goto(guest.links["Tile Rush"])
        assert "token" not in rusher.page.url
        back = rusher.page.get_by_role("link", name="Back to the match").first.get_attribute("href") or ""
        assert back.startswith(f"{guest.platform}/matches/")
        rusher.start()
        rusher.tap_best(10)
        mover.page.goto(guest.links["Reversi"])
        assert guest.wallet()[1] in (FEE, 2 * FEE)
        one_match = mover.page.url
        mover.page.goto(guest.links["Reversi"])
        assert mover.page.url == one_match, "the link leads to the match that is on"
        play_reversi(mover.page)
        rusher.await_outcome(RUN_SECONDS + 10)
        told = demo.wait_for_all(r"✓ Tile Rush: .*\n +(.*)\n", r"✓ Reversi: .*\n +(.*)\n")
        # What a page asks for while it is left.
        mover.faults = [fault for fault in mover.faults if "ERR_ABORTED" not in fault]
        mover.page.goto(guest.links["Reversi"])
        assert mover.page.url != one_match, "once it is over, the link leads to another one"
        demo.wait_for_all(r"(?s)• Reversi: demo against.*• Reversi: demo against (rex-\S+),")

    assert "demo is paid 9.00 XTS" in told[0], "somebody who takes the largest groups at once beats this bot"
    paid = {"demo is paid 9.00": PRIZE, "4.50": PRIZE // 2, "rex": 0}
    gained = PRIZE + next(amount for words, amount in paid.items() if words in told[1])
    available = DEPOSIT - 2 * FEE + gained
    assert guest.wallet() == (available - FEE, FEE), "both matches are paid out, and the fee of the third is held"
    the_door_is_for_games(guest)
    demo.process.send_signal(signal.SIGINT)
    assert demo.end() == 0
    in_the_next_demo(demo, available)


def the_door_is_for_games(guest: Guest) -> None:
    front = guest.links["Reversi"].rpartition("/")[0]
    with httpx.Client(trust_env=False) as http:
        assert guest.links["Tile Rush"] in http.get(f"{front}/").text
        assert http.get(f"{front}/chess").status_code == 404
        assert http.get(guest.links["Reversi"], headers={"host": "elsewhere.example"}).status_code == 404
        answers = [http.get(guest.links["Reversi"]) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [303, 303]
        assert len({answer.headers["location"] for answer in answers}) == 2, "a match-token each time"


def in_the_next_demo(last: Demo, available: int) -> None:
    """What was open is called off, and the fee is back. And a game server that dies takes the demo with it."""
    demo = Demo(last.data_dir.parent.parent)
    try:
        text = demo.wait_for(" demo2: logs in")
        platform = re.search(r"oklp serve --sandbox: (\S+)", text)
        assert platform
        assert "left over" not in text
        token = httpx.post(f"{platform[1]}/api/player/v1/sessions", json=log_in("demo"), trust_env=False).json()[
            "token"
        ]
        headers = {"authorization": f"Bearer {token}"}
        answer = httpx.get(f"{platform[1]}/api/player/v1/wallet", headers=headers, trust_env=False)
        (balance,) = answer.json()["balances"]
        assert (balance["available"], balance["in_escrow"]) == (max(available, DEPOSIT), 0)
        demo.child("tile_rush").kill()
        assert demo.end() == 1
        assert "The game server of Tile Rush was ended by SIGKILL" in demo.text
    finally:
        demo.kill()


def log_in(name: str) -> dict[str, str]:
    return {"username": name, "password": "demo-password"}


def everybody_can_log_in(guest: Guest) -> None:
    for api, name in (("player", "demo"), ("player", "demo2"), ("studio", "studio"), ("operator", "operator")):
        answer = httpx.post(f"{guest.platform}/api/{api}/v1/sessions", json=log_in(name), trust_env=False)
        assert answer.status_code == 201, answer.text


def play_reversi(page: Page) -> None:
    """A whole match, by taps, as somebody who plays well."""
    chance = random.Random(7)
    while await_turn(page):
        before = moves_made(page)
        page.locator(".cell").nth(choose(seen(page), "medium", chance)).tap()
        expect(page.locator("[data-id=moves] li").nth(before)).to_be_attached(timeout=10_000)
    expect(page.locator("[data-id=outcome-paid]")).to_contain_text("The platform has the result")


def seen(page: Page) -> Position:
    """The position on the board, with the person to move."""
    cells: list[list[str]] = page.locator(".cell").evaluate_all(
        "cells => cells.map((cell) => [cell.dataset.square, ...cell.classList])"
    )
    assert [cell[0] for cell in cells] == list(SQUARES)
    discs = [sum(1 << at for at, cell in enumerate(cells) if colour in cell[1:]) for colour in ("black", "white")]
    turn: Seat = BLACK if page.locator("[data-id=you-token]").get_attribute("aria-label") == "Plays black" else WHITE
    return Position((discs[0], discs[1]), turn)
