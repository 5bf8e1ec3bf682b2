"""What the operator console reads, on both databases: the overview, the search, postings of a match, the books' job."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command

from oklp import contract
from oklp.services import books, console, ledger, matches, operators
from oklp.services.staff import Operator
from oklp.storage import games as game_store
from oklp.storage import ledger as ledger_store
from oklp.storage import migrations, schema
from oklp.storage import players as player_store
from oklp.storage.engine import Tx, connectable
from tests.services.world import HOUR, MINUTE, XTS, World, sync_result

OLGA = Operator("olga-id", "olga", "admin")


def test_the_overview_counts_what_is_open_and_the_last_day(world: World) -> None:
    game, (one, two) = world.game(discovery="pull"), world.players(2, 5_000)
    gone = world.filled(game, [one, two], 300)
    world.abort(gone.match_id)
    world.now += 30 * HOUR
    aborted = world.filled(game, [one, two], 200)
    world.abort(aborted.match_id)
    live = world.live(game, [one, two], 500)
    found = world.run(console.overview, XTS, world.now)
    assert found.escrow == [(XTS, 1_000)]
    assert found.open_matches == {"pending": 0, "starting": 0, "live": 1}
    assert [match.match_id for match in found.oldest_live] == [live.match_id]
    assert (len(found.hours), sum(hour.made for hour in found.hours)) == (24, 2)
    assert (found.hours[-1].made, found.hours[-1].aborted) == (2, 1)


def test_search_finds_by_id_and_by_the_beginning_of_a_name(world: World) -> None:
    game, ada = world.game(discovery="pull"), world.player(1_000, "Ada")
    adam = world.player(1_000, "adam")
    match = world.filled(game, [ada, adam], 500)

    def found(text: str) -> list[tuple[str, str]]:
        return [(each.kind, each.id) for each in world.run(console.find, text).found]

    assert found(f" {match.match_id} ") == [("match", match.match_id)]
    assert found(f"match:{match.match_id}:settle") == [("match", match.match_id)]
    assert found(ada.user_id) == [("player", ada.user_id)]
    assert found("ada") == [("player", ada.user_id), ("player", adam.user_id)]
    assert ("game", game) in found(game)
    assert found("house:fees") == [("account", "house:fees")]
    assert found("") == found("%") == found("' OR 1=1 --") == []


def _addressed(world: World, kind: str, name: str, email: str, **values: object) -> str:
    person_id = world.new_uuid()
    known = {
        "username": name,
        "username_key": name,
        "email": email,
        "password_hash": "no hash",
        "created_at": world.now,
    }
    world.run(player_store.insert_person, kind, id=person_id, **known, **values)
    return person_id


def test_search_finds_payments_people_by_their_address_and_studios_by_name(world: World) -> None:
    ada = world.player(0, "ada")
    payment_ids = [world.deposit(ada, 900).payment_id, world.withdraw(ada, 400).payment_id]
    world.run(player_store.update_player, ada.user_id, email="Ada@example.org")
    studio, other = world.new_uuid(), world.new_uuid()
    for studio_id, name in ((studio, "Tiny Übergames"), (other, "Tiny")):
        world.run(game_store.insert_studio, id=studio_id, name=name, created_at=world.now)
    member = _addressed(world, "member", "mia", "mia@tiny.example", studio_id=studio, role="owner")
    olga = _addressed(world, "operator", "olga", "olga@platform.example", role="admin", status="active")

    def found(text: str) -> list[tuple[str, str, str]]:
        return [tuple(each) for each in world.run(console.find, text).found]

    for payment_id in payment_ids:
        assert found(payment_id) == [("payment", payment_id, f"player:{ada.user_id}")]
        assert found(f" Number {payment_id.upper()}") == found(payment_id)
        sums = {each.account: each.amount for each in world.run(ledger.payment_postings, payment_id)}
        assert sums[f"player:{ada.user_id}"] == (900 if payment_id == payment_ids[0] else -400)
        assert (len(sums), sum(sums.values())) == (2, 0)
    assert world.run(ledger.payment_postings, world.new_uuid()) == []
    assert found("ADA@example.ORG") == [("player", ada.user_id, "ada")]
    assert found("da@example.org") == found("@") == []
    of_studio = [("studio", studio, "Tiny Übergames")]
    for text in ("TINY ÜBERGAMES", "tiny übergames", studio, "mia", "mia@tiny.example", member):
        assert found(text) == of_studio, text
    for text in ("olga", "Olga@platform.example", olga):
        assert found(text) == [("operator", olga, "olga")], text


def test_studios_and_games_from_before_their_names_had_keys_are_found_by_them(world: World) -> None:
    studio, game = world.new_uuid(), world.game(discovery="pull")
    world.run(game_store.insert_studio, id=studio, name="Älteste Straße", created_at=world.now)
    world.run(game_store.update_game, game, name="Älteste Übung")
    config = migrations.alembic_config()
    with connectable(world.settings.database_url).connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0017")
        command.upgrade(config, "head")
    assert world.run(console.find, "ÄLTESTE STRASSE").found == [("studio", studio, "Älteste Straße")]
    assert world.run(console.find, "STE ÜBU").found == [("game", game, "Älteste Übung")]


def test_a_part_of_a_name_finds_a_game_behind_a_thousand_others(world: World) -> None:
    def fill(tx: Tx) -> None:
        game_store.insert_studio(tx, id="s", name="Studio", created_at=1)
        kept = {"studio_id": "s", "launch_urls": "{}", "settings": "{}", "vetting": "approved", "created_at": 1}
        names = {f"g{number:04}": f"Tile {number}" for number in range(1_001)} | {"z": "Die größte 100%_Jagd\\"}
        many = [{**kept, "id": each, "name": name, "name_key": name.casefold()} for each, name in names.items()]
        tx.execute(schema.games.insert(), many)

    world.run(fill)

    def found(text: str) -> list[str]:
        return [each.id for each in world.run(console.find, text).found]

    for text in ("jagd", "JAGD", "GRÖSSTE 1", "größte", "100%_j", "0%", "%", "_", "\\", "die größte 100%_jagd\\"):
        assert found(text) == ["z"], text
    assert found("100_%") == found("e%1") == found("d\\\\") == []
    tiles = world.run(console.find, "TILE")
    assert (len(tiles.found), tiles.more) == (console.FOUND, True)
    assert found("tile 1000") == found("G1000") == ["g1000"]
    world.run(game_store.update_game, "z", name="Another")
    assert (found("jagd"), found("NOTHER")) == ([], ["z"])


def test_a_game_is_not_hidden_by_players_who_are_named_after_it(world: World) -> None:
    game = world.game(discovery="pull")
    for number in range(console.FOUND + 1):
        world.player(0, f"{game}{number:02}")
    found, more = world.run(console.find, game)
    assert (found[0], len(found), more) == (("game", game, game), console.FOUND, True)
    games = {game, *(world.game(discovery="pull") for _ in range(3))}
    found, more = world.run(console.find, "game-")
    assert {each.id for each in found if each.kind == "game"} == games
    assert (len(found), more) == (console.FOUND, True)
    assert not world.run(console.find, f"{game}0").more


@contextmanager
def plans(world: World) -> Iterator[list[str]]:
    """How the database answers each statement that is asked inside: its plan, among rows that it has counted."""
    found: list[str] = []
    word = "EXPLAIN" if world.db.postgres else "EXPLAIN QUERY PLAN"

    def explain(connection: Any, _cursor: Any, sql: str, parameters: Any, _context: Any, _many: bool) -> None:
        if sql.startswith("SELECT"):
            with contextlib.closing(connection.connection.cursor()) as own:
                own.execute(f"{word} {sql}", parameters)
                found.append("\n".join(str(row[-1]) for row in own.fetchall()))

    with world.db.engine.connect() as connection:
        connection.exec_driver_sql("ANALYZE")
        connection.commit()
    sa.event.listen(sa.Engine, "before_cursor_execute", explain)
    try:
        yield found
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", explain)


def test_what_somebody_looks_for_is_looked_up_by_an_index(world: World) -> None:
    def fill(tx: Tx) -> None:
        made = {"name": "Studio", "created_at": 1}
        tx.execute(schema.studios.insert(), [{**made, "id": f"s{n}", "name_key": f"studio {n}"} for n in range(5_000)])
        game = {"studio_id": "s1", "launch_urls": "{}", "settings": "{}", "created_at": 1, "vetting_at": 1}
        kinds = ["approved"] * 1_000 + ["in-review"]
        games = [
            {**game, "id": f"g{n}", "name": f"Game {n}", "name_key": f"game {n}", "vetting": kind}
            for n, kind in enumerate(kinds)
        ]
        tx.execute(schema.games.insert(), games)

    world.run(fill)
    with plans(world) as found:
        world.run(game_store.studios_named, "STUDIO 7", 20)
        world.run(game_store.games_named, "GAME 7", 20)
        world.run(game_store.in_review, None, 26)
        world.run(game_store.in_review, (1, "g"), 26)
    indexes = ("ix_studios_name", "ix_games_name", "ix_games_in_review", "ix_games_in_review")
    for index, plan in zip(indexes, found, strict=True):
        assert index in plan, plan


def test_a_match_is_looked_for_by_its_id_or_by_whom_it_was_of(world: World) -> None:
    game, other = world.game(discovery="pull"), world.game(discovery="pull")
    ada, bea, cy = world.players(3, 5_000)
    first, second = world.filled(game, [ada, bea], 100), world.filled(game, [ada, cy], 100)
    world.filled(other, [bea, cy], 100)

    def found(query: str) -> list[str]:
        return [each.match_id for each in world.run(matches.list_newest, game, None, None, 10, query)[0]]

    assert found(first.match_id.upper()) == [first.match_id]
    assert set(found(ada.username)) == set(found(ada.user_id.upper())) == {first.match_id, second.match_id}
    assert found(bea.username.upper()) == [first.match_id]
    assert found("nobody") == found("%") == []


def test_the_games_in_review_are_in_the_order_in_which_they_were_submitted(world: World) -> None:
    submitted = [world.game(discovery="pull") for _ in range(3)]
    for game_id in (submitted[1], submitted[2], submitted[0]):
        world.now += MINUTE
        world.run(game_store.update_game, game_id, vetting="in-review", vetting_at=world.now)
    queue, more = world.run(operators.review_queue, None, 2)
    assert [each.game_id for each in queue] == [submitted[1], submitted[2]]
    rest, end = world.run(operators.review_queue, more, 2)
    assert ([each.game_id for each in rest], end) == ([submitted[0]], None)
    in_review = world.run(console.overview, XTS, world.now).in_review
    assert [each.game_id for each in in_review] == [submitted[1], submitted[2], submitted[0]]


def test_a_match_shows_all_its_postings_and_those_of_what_was_held(world: World) -> None:
    game, (one, two) = world.game(discovery="pull"), world.players(2, 1_000)
    match = world.live(game, [one, two], 500)
    world.suspend(one)
    teams = [
        {"id": team.id, "score": 0, "ranking": 1 if team.members[0].user_id == one.user_id else 2}
        for team in match.teams
    ]
    request = contract.SettleRequest.model_validate({"reason": "told so", "teams": teams})
    world.run(operators.settle, world.settings, OLGA, match.match_id, request, "a proposal", world.now)
    decision = contract.HeldDecision(decision="release", reason="proved")
    arguments = (one.user_id, match.match_id, decision, "a proposal", world.now)
    world.run(operators.decide_held, world.settings, OLGA, *arguments)
    postings = world.run(operators.match, match.match_id).postings
    assert sum(each.amount for each in postings) == 0
    assert [each.amount for each in postings if each.account == f"player:{one.user_id}"] == [-500, 900]
    newest, more = world.run(ledger.account_page, f"player:{one.user_id}", None, 1)
    assert ([each.amount for each in newest], more is not None) == ([900], True)


def test_an_account_of_the_ledger_comes_with_its_balance(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    game, (one, two) = world.game(discovery="pull"), world.players(2, 1_000)

    def balance(name: str) -> tuple[dict[str, int], bool]:
        found = world.db.run_report(ledger.account, name, None, 1)
        assert len(found.postings) <= 1
        return found.balance, found.whole

    def finished(fee: int) -> None:
        match = world.live(game, [one, two], fee)
        world.report(game, sync_result(match, [1, 2]))

    match = world.live(game, [one, two], 500)
    assert balance(f"player:{one.user_id}") == balance(f"player:{two.user_id}") == ({XTS: 500}, True)
    assert balance(f"escrow:{match.match_id}") == ({XTS: 1_000}, True)
    assert balance("clearing:grant") == ({XTS: -2_000}, True)
    world.report(game, sync_result(match, [1, 2]))
    assert balance(f"player:{one.user_id}") == ({XTS: 1_400}, True)
    assert balance(f"escrow:{match.match_id}") == ({XTS: 0}, True)
    assert balance("house:fees") == ({XTS: 50}, True)
    world.await_horizon()
    world.run(ledger_store.roll_up, "house:fees")
    finished(100)
    assert balance("house:fees") == ({XTS: 60}, True), "the roll-up, and what came since"
    assert balance("house:nobody") == balance(f"player:{world.new_uuid()}") == ({}, True)

    monkeypatch.setattr(ledger, "MOST_SUMMED", 1)
    assert balance("house:fees") == ({XTS: 60}, True)
    finished(100)
    assert balance("house:fees") == ({XTS: 50}, False), "that of the roll-up, where more came since than are read"
    assert balance("clearing:grant") == ({}, False)
    assert balance(f"player:{one.user_id}")[1]


def test_the_newest_verification_of_the_books_is_found(world: World) -> None:
    assert world.run(console.last_books) is None
    world.run(console.begin_books, OLGA, "first", world.now)
    proved = world.db.run_report(books.verify)
    world.run(console.end_books, OLGA, "first", proved, world.now)
    run = world.run(console.last_books)
    assert run is not None
    assert run.books == proved
    world.run(console.begin_books, OLGA, "second", world.now)
    run = world.run(console.last_books)
    assert run is not None
    assert (run.begun.detail["run_id"], run.ended, run.books) == ("second", None, None)
