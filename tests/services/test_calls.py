"""The log of a game's traffic: what is noted, kept, read in order and swept."""

from __future__ import annotations

import pytest

from oklp.services import calls, housekeeping
from oklp.services.calls import CallBook, Noted
from oklp.services.live import Position
from tests.services.world import DAY, World


def noted(game_id: str, path: str, now: int, status: int = 200, body: bytes | None = None) -> Noted:
    return Noted(game_id, now, calls.CALL, "POST", path, status, 1_500, "request-1", body=body)


def test_a_book_keeps_so_many_of_a_game_and_counts_the_rest() -> None:
    book = CallBook(2)
    for game_id in ("one", "one", "one", "two"):
        if book.has_room(game_id):
            book.note(noted(game_id, "/", 0))
    taken, left_out = book.take()
    assert [each.game_id for each in taken] == ["one", "one", "two"]
    assert left_out == {"one": 1}
    assert book.take() == ([], {})
    assert not CallBook(0).has_room("one")


def test_a_book_takes_a_token_once_and_a_few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "TOKENS_AT_ONCE", 2)
    monkeypatch.setattr(calls, "TOKENS_KNOWN", 3)
    book = CallBook(0)
    for at, token in enumerate(("a", "b", "a", "c")):
        book.ask(token, at)
    assert book.take_asked() == {"a": 0, "b": 1}
    book.ask("b", 9)
    assert book.take_asked() == {"c": 3}
    assert book.take_asked() == {}
    for at, token in enumerate("defgh"):
        book.ask(token, at)
    assert (book.take_asked(), book.take_asked(), book.take_asked()) == ({"d": 0, "e": 1}, {"f": 2}, {})


def test_lines_are_read_in_order_and_from_where_one_stood(world: World) -> None:
    game_id, other = world.game(), world.game()
    for number in range(3):
        world.run(calls.keep, [noted(game_id, f"/{number}", world.now), noted(other, "/x", world.now)], {}, world.now)
    world.run(calls.keep, [noted("nobody", "/", world.now)], {"nobody": 4, game_id: 5}, world.now)
    world.deposit(world.player(), 5)  # a posting after all of them, to wait for
    world.await_horizon()
    found = world.run(calls.since, game_id, Position(0, 0))
    assert [(each.path, each.kind) for _, each in found] == [
        ("/0", "call"),
        ("/1", "call"),
        ("/2", "call"),
        ("", "left-out"),
    ]
    assert found[-1][1].detail == "5 more calls of this moment were not kept"
    assert found[0][1].duration_ms == 1.5
    assert world.run(calls.since, game_id, found[1][0]) == found[2:]
    assert world.run(calls.start, game_id, 2) == found[1][0]
    assert world.run(calls.start, game_id, 9) == Position(0, 0)
    newest, more = world.run(calls.page, game_id, False, None, 3)
    assert newest == [each for _, each in found[:0:-1]]
    assert world.run(calls.page, game_id, False, more, 3) == ([found[0][1]], None)
    assert world.count("calls", "game_id = 'nobody'") == 0


def test_why_something_was_refused_is_kept_whatever_form_it_has(world: World) -> None:
    game_id = world.game()
    bodies = [
        b'{"type": "urn:oklp:error:wrong-state", "detail": "Not now."}',
        b'{"error": "invalid_client", "error_description": "Who?"}',
        b"\xff\x00 no JSON",
        b"[]",
        b'{"type": 7, "detail": "a\\u0000b"}',
    ]
    world.run(calls.keep, [noted(game_id, "/\x00", world.now, 400, body) for body in bodies], {}, world.now)
    found, _ = world.run(calls.page, game_id, True, None, 10)
    assert [(each.code, each.detail) for each in reversed(found)] == [
        ("wrong-state", "Not now."),
        ("invalid_client", "Who?"),
        (None, None),
        (None, None),
        ("7", "a\ufffdb"),
    ]


def test_the_log_is_swept(world: World) -> None:
    game_id = world.game()
    world.run(calls.keep, [noted(game_id, "/old", world.now)], {}, world.now)
    world.now += DAY + 1
    world.run(calls.keep, [noted(game_id, "/new", world.now)], {}, world.now)
    world.run(housekeeping.sweep, world.settings, world.now)
    found, _ = world.run(calls.page, game_id, False, None, 10)
    assert [each.path for each in found] == ["/new"]
