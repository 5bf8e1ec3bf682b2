"""While the database is away: what is known here alone is written down later, and whoever follows goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from oklp import app, retries
from oklp.errors import InvariantBroken, NotFound, Overloaded, Unavailable
from oklp.exchange import Exchange, Outgoing
from oklp.mailer import Mail
from oklp.postman import Postman
from oklp.retries import while_away
from oklp.services import auth, calls, live, mails, starting, webhooks
from oklp.services.mails import Letter
from oklp.services.webhooks import Recorded, Sending
from oklp.settings import Settings
from oklp.web.live import Hub
from oklp.worker import Worker

NOW = 1_800_000_000_000
LEASE_MS = 15_000
SETTINGS = Settings(sandbox=True)
AWAY = Unavailable("The database is away.", retry_after_seconds=1)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "PAUSES_SECONDS", (0.0, 0.001))


class Away:
    """A database that refuses the first calls of some work, and then answers from `answers`."""

    def __init__(self, answers: dict[Any, Any], refusals: dict[Any, list[Exception]] | None = None) -> None:
        self._answers = answers
        self._refusals = refusals or {}
        self.asked: list[Any] = []

    async def write(self, work: Any, *args: Any) -> Any:
        self.asked.append(work)
        if waiting := self._refusals.get(work):
            raise waiting.pop(0)
        return self._answers[work]

    read = write


# --- trying again ----------------------------------------------------------------------------------------------------


def refusing(*refusals: Exception) -> tuple[Callable[[], Awaitable[str]], list[Exception]]:
    left = list(refusals)

    async def work() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return work, left


def test_what_is_refused_for_a_while_is_tried_again() -> None:
    work, left = refusing(AWAY, Overloaded("Too much is queued.", retry_after_seconds=1), AWAY)
    assert asyncio.run(while_away(work, 10)) == "done"
    assert left == []


def test_what_is_refused_for_good_and_what_takes_too_long_is_not() -> None:
    for refusal in (NotFound("There is none."), InvariantBroken("It does not add up.")):
        work, left = refusing(refusal, AWAY)
        with pytest.raises(type(refusal)):
            asyncio.run(while_away(work, 10))
        assert left == [AWAY]
    work, left = refusing(AWAY, AWAY)
    with pytest.raises(Unavailable):
        asyncio.run(while_away(work, -1))
    assert left == [AWAY], "it was tried once"


# --- webhooks --------------------------------------------------------------------------------------------------------


class Game:
    """In place of the network: it answers 200 to whatever is sent."""

    def __init__(self) -> None:
        self.asked: list[Outgoing] = []

    async def send(self, outgoing: Outgoing) -> Exchange:
        self.asked.append(outgoing)
        return Exchange(200, {}, "", None, 4, complete=True, sent=True)


def delivered(db: Away, lease_until: int) -> Game:
    """What a game has seen of one attempt."""
    ring: Any = SimpleNamespace(current=SimpleNamespace(sign=lambda claims: "token"))
    known: Any = db
    worker = Worker(SETTINGS, known, None, lambda: NOW, lambda: ring, dict, calls.CallBook(0))  # type: ignore[arg-type]
    game = Game()
    worker._sender = game  # type: ignore[assignment]
    known.node = "here"
    sending = Sending("d", "game", "match.started", "PUT", "https://game.example/", "{}", 1, NOW, lease_until)
    asyncio.run(worker._deliver(sending))
    return game


def test_a_webhook_is_made_and_its_answer_kept_when_the_database_is_back() -> None:
    answers = {auth.webhook_secrets: [], starting.record: Recorded(None)}
    db = Away(answers, {auth.webhook_secrets: [AWAY] * 2, starting.record: [AWAY] * 9})
    assert len(delivered(db, NOW + LEASE_MS).asked) == 1
    assert db.asked == [auth.webhook_secrets] * 3 + [starting.record] * 10


@pytest.mark.parametrize("held", [True, False], ids=["still ours", "given up by another process"])
def test_an_attempt_that_is_late_is_made_only_with_time_for_its_answer(held: bool) -> None:
    """Else its match could be called off, and the game be told so, while it says yes."""
    renewed = Sending("d", "game", "match.started", "PUT", "https://game.example/", "{}", 1, NOW, NOW + LEASE_MS)
    db = Away(
        {auth.webhook_secrets: [], webhooks.renew: renewed if held else None, starting.record: Recorded(None)},
        {starting.record: [AWAY]},
    )
    assert len(delivered(db, NOW + 10_000).asked) == held
    assert db.asked == [auth.webhook_secrets, webhooks.renew] + [starting.record] * 2 * held


# --- mails -----------------------------------------------------------------------------------------------------------


class Server:
    def __init__(self, seconds: float = 0) -> None:
        self._seconds = seconds
        self.taken: list[str] = []

    async def send(self, mail: Mail) -> None:
        await asyncio.sleep(self._seconds)
        self.taken.append(mail.mail_id)


def posted(db: Away, server: Server) -> None:
    known: Any = db
    postman = Postman(SETTINGS, known, None, lambda: NOW, str, server)  # type: ignore[arg-type]
    letter = Letter("m", 1, NOW, "ada@example.org", "Subject", "Text", "")
    asyncio.run(postman._send(letter))


def test_a_mail_that_was_taken_is_known_to_be_when_the_database_is_back() -> None:
    db, server = Away({mails.sent: None}, {mails.sent: [AWAY] * 3}), Server()
    posted(db, server)
    assert (server.taken, db.asked) == (["m"], [mails.sent] * 4)


def test_a_mail_server_that_takes_for_ever_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oklp.postman.SEND_SECONDS", 0.01)
    db = Away({mails.not_sent: False})
    posted(db, Server(seconds=60))
    assert db.asked == [mails.not_sent]


# --- those who follow ------------------------------------------------------------------------------------------------


def test_pages_are_kept_up_to_date_after_whatever_error() -> None:
    heard = live.Heard(live.Position(1, 1), [(live.Position(1, 1), frozenset({"ada"}))])
    db: Any = Away({live.here: live.Position(0, 0), live.heard: heard}, {live.heard: [RuntimeError("57014")]})

    async def follow() -> None:
        hub = Hub(db, SETTINGS)
        following = asyncio.create_task(hub.run())
        with hub.subscribe("ada") as stream:
            for _ in range(2):
                stream.woken.clear()
                hub.wake()
                await asyncio.wait_for(stream.woken.wait(), 10)
        assert not following.done()
        following.cancel()

    asyncio.run(follow())
    assert db.asked.count(live.heard) >= 2


def test_what_others_have_changed_is_loaded_after_whatever_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async def reload_keys() -> None:
        asked.append("reload")
        if len(asked) < 3:
            raise RuntimeError("57014") if len(asked) == 1 else AWAY
        loaded.set()

    async def follow() -> None:
        stale = asyncio.Event()
        following = asyncio.create_task(app._keep_fresh(stale, reload_keys))
        stale.set()
        await asyncio.wait_for(loaded.wait(), 10)
        following.cancel()

    asked: list[str] = []
    loaded = asyncio.Event()
    monkeypatch.setattr(app, "RELOAD_PAUSE_SECONDS", 0.001)
    asyncio.run(follow())
    assert asked == ["reload"] * 3
