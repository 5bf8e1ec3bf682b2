"""`oklp demo`: its words, its status, and what it leaves behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import zipfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from oklp import contract
from oklp.demo.lounge import outcome
from oklp.demo.payouts import Money, payout_faults
from scripts import bare
from tests.demo.house import Demo


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


class Start:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[Demo] = []

    def __call__(self, *arguments: str, package: Path | None = None) -> Demo:
        demo = Demo(self.folder, *arguments, package=package)
        self.started.append(demo)
        return demo


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    starter = Start(folder)
    yield starter
    for demo in starter.started:
        demo.kill()


# --- the whole of it -------------------------------------------------------------------------------------------------


def whole(text: str) -> None:
    """Both games were played for money by two bots, and the winners were paid."""
    for game in ("Tile Rush", "Reversi"):
        told = text.partition(f"A match of {game}\n")[2].partition("\n\n")[0]
        assert "PUT answered 200" in told
        ended = re.search(r"The winner is known: (\S+) wins [\d,]+ : [\d,]+ ", told)
        if ended is None:
            assert re.search(r"The winner is known: a draw", told), text
            assert told.count("is paid the prize: 4.50 XTS") == 2
        else:
            assert f"{ended[1]} is paid the prize: 9.00 XTS" in told
    assert "oklp books verify: clean" in text
    assert "\x1b" not in text, "without a terminal it prints plain lines"


def test_again_and_again(start: Start, tmp_path: Path) -> None:
    """In an empty folder, as installed from a wheel, which brings the games. Then from the checkout, killed in the
    middle of a match; and again, with its port taken, until it is told to end.
    """
    package = tmp_path / "package"
    with zipfile.ZipFile(bare.wheel(tmp_path)) as wheel:
        wheel.extractall(package)
    demo = start("--once", package=package)
    demo.wait_for("It registers Reversi")
    places = demo.child("tile_rush").environ()["PYTHONPATH"].split(os.pathsep)
    assert places == [str(package / "oklp" / "demo" / "reference_games"), str(package)]
    assert demo.end() == 0, demo.text
    whole(demo.text)
    killed = start()
    killed.wait_for("Both launch with a match-token each")
    servers = killed.children()
    assert len(servers) >= 3
    killed.process.kill()
    _, alive = psutil.wait_procs(servers, timeout=30)
    assert alive == []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        again = start("--port", str(port))
        text = again.wait_for("A match left over from an earlier demo: called off, fees back")
        assert f":{port}" not in text
    again.process.send_signal(signal.SIGTERM)
    assert again.end() == 128 + signal.SIGTERM, again.text


def test_a_game_server_that_does_not_start(start: Start) -> None:
    demo = start("--once")
    folder = demo.data_dir / "tile-rush"
    folder.mkdir(parents=True)
    (folder / "matches.db").write_text("This is not a database, and long enough to be told from an empty one.")
    assert demo.end() == 1
    assert "The game server of Tile Rush ended with status 2" in demo.text
    assert "matches.db: file is not a database" in demo.text, "the last lines of its log say why"


def test_a_platform_that_dies_takes_the_demo_with_it(start: Start) -> None:
    demo = start()
    demo.wait_for("Its operator")
    demo.child("serve").kill()
    assert demo.end() == 1
    assert "The platform was ended by SIGKILL" in demo.text


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
            "game_id": "reversi",
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


def test_how_a_match_ended_is_told_from_the_winner_s_side() -> None:
    match = finished((2, 1))
    scored = [team.model_copy(update={"score": score}) for team, score in zip(match.teams, (17, 1047), strict=True)]
    assert outcome(match.model_copy(update={"teams": scored})) == "u2x wins 1,047 : 17"
    scored[0] = scored[0].model_copy(update={"forfeit": True})
    assert outcome(match.model_copy(update={"teams": scored})) == "u2x wins 1,047 : 17, u1x forfeits"
    level = [team.model_copy(update={"score": 32, "ranking": 1}) for team in match.teams]
    assert outcome(match.model_copy(update={"teams": level})) == "a draw, 32 : 32"
