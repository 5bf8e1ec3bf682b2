"""People and games: signing up, finding one another, registering, vetting, suspending (contract A1, A5, B3 and B4)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import pytest

from oklp import contract
from oklp.errors import (
    Conflict,
    InvalidRequest,
    NameTaken,
    NotFound,
    OklpError,
    TooManyRequests,
    WrongState,
)
from oklp.services import auth, figures, games, housekeeping, players
from oklp.services.auth import ClientLogin, LogIn
from oklp.services.matches import Caller
from oklp.settings import Settings
from oklp.signing import hash_token
from tests.services.world import DAY, OK, T0, World, player_result, refused, sync_result

TODAY = datetime.fromtimestamp(T0 / 1000, UTC).date()


# --- signing up ------------------------------------------------------------------------------------------------------


def application(**changes: Any) -> contract.SignUp:
    known = {
        "username": "Ann",
        "email": "Ann@Example.com",
        "password": "long enough",
        "date_of_birth": "1990-02-28",
        "country": "DE",
    }
    return contract.SignUp.model_validate({**known, **changes})


def sign_up(world: World, **changes: Any) -> contract.Player:
    request = application(**changes)
    players.check_sign_up(world.settings, request, world.now)
    return world.run(players.sign_up, world.settings, world.new_uuid(), request, "no hash", "en", world.now)


def test_a_new_player_has_a_profile_and_an_empty_wallet(world: World) -> None:
    made = sign_up(world)
    profile = world.run(players.profile, made.user_id)
    assert (profile.username, profile.email, profile.country) == ("Ann", "Ann@Example.com", "DE")
    assert (profile.status, profile.verified) == ("active", True)
    assert world.wallet(Caller(made.user_id, "Ann")) == (0, 0)
    with refused(NotFound):
        world.run(players.profile, "?")


def test_names_are_taken_once_whatever_their_case_and_addresses_by_anybody(world: World) -> None:
    sign_up(world)
    with refused(NameTaken, "username"):
        sign_up(world, username="aNN", email="other@example.com")
    assert world.count("players") == 1
    # To refuse it would tell a stranger whose address is known here.
    for name, email in (("Other", "Ann@Example.com"), ("Third", "aNN@eXample.com")):
        made = sign_up(world, username=name, email=email)
        assert world.run(players.profile, made.user_id).email == email


def test_players_are_adults_with_a_date_of_birth_and_a_country() -> None:
    settings = Settings(sandbox=True)

    def check(**changes: Any) -> None:
        players.check_sign_up(settings, application(**changes), T0)

    check(date_of_birth=TODAY.replace(year=TODAY.year - 18))
    younger = TODAY.replace(year=TODAY.year - 18, day=TODAY.day + 1)
    for wrong in (younger, TODAY, date(1899, 12, 31), TODAY.replace(year=TODAY.year + 1)):
        with refused(InvalidRequest, "date_of_birth"):
            check(date_of_birth=wrong)
    for country in ("XX", "ZZ", "EU", "UN"):
        with refused(InvalidRequest, "country"):
            check(country=country)


def test_an_age_is_counted_in_birthdays() -> None:
    born = date(2000, 2, 29)
    assert players.age_years(born, date(2018, 2, 28)) == 17
    assert players.age_years(born, date(2018, 3, 1)) == 18


@pytest.mark.parametrize("username", ["ab", "a" * 33, "with space", "umlaüt", "semi;colon", ""])
def test_usernames_are_of_few_characters(username: str) -> None:
    with pytest.raises(ValueError, match="username"):
        application(username=username)


def test_a_player_made_by_the_operator_starts_with_play_money(world: World) -> None:
    ann = world.player(250, name="ann")
    assert world.wallet(ann) == (250, 0)
    assert world.house("clearing:grant") == -250
    assert world.run(players.profile, ann.user_id).verified


def test_finding_players_by_the_start_of_their_names(world: World) -> None:
    for name in ("Ann", "anna_b", "anna-b", "Joanna"):
        world.player(name=name)
    eve = world.player(name="annoying")

    def found(query: str, limit: int = 20) -> list[str]:
        return [each.username for each in world.run(players.search, query, limit).players]

    names = found("ANN")
    assert sorted(names) == ["Ann", "anna-b", "anna_b", "annoying"]
    assert (names[0], names[-1]) == ("Ann", "annoying"), "in the order of the alphabet"
    assert found("anna_") == ["anna_b"], "an underscore stands for itself"
    assert found("ann", 2) == names[:2]
    world.suspend(eve)
    assert found("anno") == []


# --- suspending players ----------------------------------------------------------------------------------------------


def test_suspending_a_player_aborts_what_is_pending_and_lets_the_rest_go_on(world: World) -> None:
    ann, bob = world.players(2, 2_000)
    game = world.game(fee_bps=0)
    pending, invited = world.filled(game, [bob, ann]), world.create(bob, game, invite=[ann])
    world.confirm(bob, pending.match_id)
    starting, live = world.paid(game, [ann, bob]), world.live(game, [ann, bob])
    world.suspend(ann)

    def status(match: contract.Match) -> str:
        return world.read(bob, match.match_id).status

    assert [status(each) for each in (pending, invited, starting, live)] == ["aborted", "pending", "starting", "live"]
    assert world.read(bob, pending.match_id).abort_reason == "player-suspended"
    assert [world.wallet(player) for player in (ann, bob)] == [(1_000, 1_000)] * 2

    world.reply(world.start_of(starting.match_id).id, OK)
    world.report(game, sync_result(starting, [1, 2]))
    world.report(game, sync_result(live, [2, 1]))
    assert world.available(ann, bob) == [1_000, 2_000]
    assert world.house(f"held:{ann.user_id}") == 1_000


def test_a_player_is_suspended_and_reinstated_with_a_reason(world: World) -> None:
    ann = world.player()
    with refused(Conflict):
        world.reinstate(ann)
    world.suspend(ann)
    with refused(Conflict):
        world.suspend(ann)
    shown = world.run(players.operator_player, world.settings, ann.user_id)
    assert (shown.status, shown.status_reason) == ("suspended", "because")
    world.reinstate(ann)
    shown = world.run(players.operator_player, world.settings, ann.user_id)
    assert (shown.status, shown.status_reason) == ("active", None)
    with refused(NotFound):
        world.suspend(Caller("?", "?"))
    log = world.rows("SELECT actor, action, reason FROM audit WHERE subject = :who", who=f"player:{ann.user_id}")
    assert [tuple(row) for row in log] == [
        ("operator:1", "player.suspend", "because"),
        ("operator:1", "player.reinstate", "because"),
    ]


def test_paid_matches_are_for_verified_players_outside_of_the_sandbox(world: World) -> None:
    ann, bob = world.players(2, 1_000)
    game = world.game()
    world.run(lambda tx: tx.driver("UPDATE players SET verified = false"))
    match = world.create(ann, game)
    world.join(bob, match.match_id)
    # The same database, seen by a server in production.
    world.settings = world.settings.model_copy(update={"sandbox": False})
    for attempt in (lambda: world.create(ann, game), lambda: world.join(bob, match.match_id)):
        with pytest.raises(OklpError) as caught:
            attempt()
        assert caught.value.status == 403
    free = world.create(ann, game, 0)
    who = ("operator:1", bob.user_id)
    world.run(players.act, world.settings, world.vault, *who, verification(), world.new_uuid(), world.now)
    world.join(bob, free.match_id)
    assert world.create(bob, game).status == "pending"


def verification() -> contract.PlayerAction:
    return contract.PlayerAction(action="verify", reason="papers seen")


# --- registering games -----------------------------------------------------------------------------------------------


def register(world: World, **fields: Any) -> contract.RegisteredGame:
    known: dict[str, Any] = {"name": "Tile Rush", "webhook_url": "https://game.example/oklp"}
    request = contract.NewGame.model_validate({**known, **fields})
    return world.run(games.register, world.settings, world.vault, world.studio_id, request, world.now)


def test_a_game_gets_its_developer_config_once(world: World) -> None:
    made = register(world)
    assert (made.game_id, made.vetting, made.studio_id) == ("tile-rush", "approved", world.studio_id)
    login = made.developer_config.authentication
    assert made.developer_config.okletsplay_url == world.settings.public_url
    assert login.client_id == "tile-rush"
    assert login.public_key_url == f"{world.settings.public_url}/auth/realms/oklp"
    assert login.token_url == f"{login.public_key_url}/protocol/openid-connect/token"
    assert login.client_secret is not None
    assert (login.webhook_secret or "").startswith("whsec_")
    stored = " ".join(str(tuple(row)) for row in world.rows("SELECT * FROM game_secrets"))
    assert login.client_secret not in stored
    assert str(login.webhook_secret) not in stored
    later = games.developer_config(world.settings, "tile-rush").authentication
    assert (later.client_secret, later.webhook_secret) == (None, None)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"webhook_url": None}, "webhook_url"),
        ({"webhook_url": "http://game.example/"}, "webhook_url"),
        ({"webhook_url": "https://10.0.0.1/"}, "webhook_url"),
        ({"webhook_url": "ftp://game.example/"}, "webhook_url"),
        ({"launch_urls": {"browser": "http://game.example/{match-token}"}}, "launch_urls.browser"),
        ({"launch_urls": {"browser": "javascript:alert(1)"}}, "launch_urls.browser"),
        ({"launch_urls": {"browser": "https://{match-token}.example/"}}, "launch_urls.browser"),
        ({"launch_urls": {"browser": "https://game.example/{match-token}{match-token}"}}, "launch_urls.browser"),
        ({"launch_urls": {"android": "data:text/html,x"}}, "launch_urls.android"),
        ({"launch_urls": {"ios": "file:///etc/passwd"}}, "launch_urls.ios"),
        ({"launch_urls": {"steam": "no scheme"}}, "launch_urls.steam"),
        ({"launch_urls": {"steam": "steam://run/480//-token\u00a0{match-token}"}}, "launch_urls.steam"),
        ({"launch_urls": {"steam": "steam://run/480//-token {match-token} "}}, "launch_urls.steam"),
        ({"launch_urls": {"android": "https://game.example/a b"}}, "launch_urls.android"),
        ({"launch_urls": {"browser": "https://game.example/a b"}}, "launch_urls.browser"),
        ({"launch_urls": {"browser": "https://\u2602\u200b-.example/"}}, "launch_urls.browser"),
        ({"settings": {"entry_fee_min": 5, "entry_fee_max": 4}}, "settings.entry_fee_max"),
        ({"settings": {"teams_min": 5, "teams_max": 4}}, "settings.teams_max"),
        ({"settings": {"team_size_min": 5, "team_size_max": 4}}, "settings.team_size_max"),
    ],
)
def test_what_a_game_may_not_say_of_itself(world: World, fields: dict[str, Any], field: str) -> None:
    with refused(InvalidRequest, field):
        register(world, **fields)
    assert world.count("games") == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"webhook_url": None, "settings": {"discovery": "pull"}},
        {"webhook_url": "http://127.0.0.1:9000/hook"},
        {"launch_urls": {"browser": "http://localhost:9000/?t={match-token}"}},
        {
            "launch_urls": {
                "browser": "https://studio.example/game?token={match-token}",
                "android": "studio://game?token={match-token}",
                "ios": "studio://game?token={match-token}",
                "steam": "steam://run/480//-token {match-token}",
            }
        },
        {"launch_urls": {"browser": "https://studio.example/game"}},
        {"launch_urls": {"steam": "steam://run/480//-token%20{match-token}"}},
    ],
)
def test_what_a_game_may_say_of_itself(world: World, fields: dict[str, Any]) -> None:
    assert register(world, **fields).vetting == "approved"


def test_ids_are_made_from_names_and_taken_once(world: World) -> None:
    assert register(world, name="  Tile -- RUSH! ").game_id == "tile-rush"
    second = register(world, name="Tile Rush").game_id
    assert second != "tile-rush"
    assert second.startswith("tile-rush-")
    assert register(world, name="タイル").game_id == "game"
    assert register(world, game_id="mine").game_id == "mine"
    with refused(NameTaken, "game_id"):
        register(world, game_id="mine")


def test_after_a_rotation_old_and_new_secrets_work_until_the_overlap_ends(world: World) -> None:
    first = register(world).developer_config.authentication
    config = world.run(games.rotate_secrets, world.settings, world.vault, "member:1", "tile-rush", world.now)
    second = config.authentication

    def logs_in(secret: str | None) -> bool:
        job = ClientLogin("tile-rush", hash_token(str(secret)), world.now)
        (outcome,) = world.run(auth.authenticate_clients, [job])
        return outcome == "tile-rush"

    def signs_with() -> list[str]:
        return world.run(auth.webhook_secrets, world.vault, "tile-rush", world.now)

    assert [logs_in(secret) for secret in (first.client_secret, second.client_secret, "guess")] == [True, True, False]
    assert sorted(signs_with()) == sorted([str(first.webhook_secret), str(second.webhook_secret)])
    world.now += DAY - 1
    assert logs_in(first.client_secret)
    world.now += 1
    assert [logs_in(secret) for secret in (first.client_secret, second.client_secret)] == [False, True]
    assert signs_with() == [second.webhook_secret]
    with refused(NotFound):
        world.run(games.rotate_secrets, world.settings, world.vault, "member:1", "no-game", world.now)


# --- changing games --------------------------------------------------------------------------------------------------


def change(world: World, game_id: str, **fields: Any) -> contract.StudioGame:
    request = contract.GamePatch.model_validate(fields)
    return world.run(games.update, world.settings, "member:1", game_id, request, world.now)


def test_only_what_is_given_changes(world: World) -> None:
    before = register(world, settings={"fee_bps": 300, "teams_max": 4})
    after = change(world, before.game_id, name="Tile Rush 2", settings={"teams_max": 3})
    expected = before.model_copy(
        update={"name": "Tile Rush 2", "settings": before.settings.model_copy(update={"teams_max": 3})}
    )
    assert after.model_dump() == expected.model_dump(exclude={"developer_config"})
    with refused(InvalidRequest, "settings.teams_max"):
        change(world, before.game_id, settings={"teams_min": 4})
    with refused(InvalidRequest, "webhook_url"):
        change(world, before.game_id, webhook_url=None)
    with refused(NotFound):
        change(world, "no-such-game", name="x")
    assert world.run(games.get, before.game_id) == after


def test_a_match_keeps_the_rules_it_was_made_with(world: World) -> None:
    who = world.players(2, 1_000)
    game = world.game(fee_bps=1_000, mode="sync", results_due_seconds=100)
    match = world.filled(game, who)
    change(world, game, settings={"fee_bps": 4_000, "mode": "async", "results_due_seconds": 5, "score_order": "low"})
    for player in who:
        world.confirm(player, match.match_id)
    world.reply(world.start_of(match.match_id).id, OK)
    live = world.read(who[0], match.match_id)
    assert live.results_due_at is not None
    assert live.started_at is not None
    assert (live.results_due_at - live.started_at).total_seconds() == 100
    world.report(game, sync_result(match, [1, 2]))
    assert world.available(*who) == [1_400, 500]

    newer = world.live(game, who, 100)
    with refused(InvalidRequest, "teams"):
        world.report(game, sync_result(newer, [1, 2]))
    for player, score in zip(who, (5, 4), strict=True):
        world.report(game, player_result(newer.match_id, player.user_id, score))
    assert world.available(*who) == [1_300, 520], "40 percent, and the lower score wins"


# --- vetting ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def production(world: World) -> Iterator[World]:
    """A sandbox's database, served as if it were in production: there games are vetted."""
    sandbox = world.settings
    world.settings = sandbox.model_copy(update={"sandbox": False})
    yield world
    world.settings = sandbox


def vet(world: World, game_id: str, decision: Any) -> str:
    request = contract.VettingDecision(decision=decision, reason="because")
    return world.run(games.vet, world.settings, "operator:1", game_id, request, world.now).vetting


def test_a_game_goes_from_draft_to_review_to_approved(production: World) -> None:
    world = production
    game = register(world).game_id

    def playable() -> list[str]:
        return [each.game_id for each in world.run(games.playable, world.settings, "", 10).games]

    def submit() -> str:
        return world.run(games.submit, "member:1", game, world.now).vetting

    assert world.run(games.get, game).vetting == "draft"
    for decision in ("refuse", "suspend"):
        with refused(WrongState):
            vet(world, game, decision)
    assert submit() == "in-review"
    with refused(WrongState):
        submit()
    assert vet(world, game, "refuse") == "draft"
    assert (submit(), playable()) == ("in-review", [])
    for look in (games.playable_one, games.known_one):
        with refused(NotFound):
            world.run(look, world.settings, game)
    assert vet(world, game, "approve") == "approved"
    assert playable() == [game]
    assert world.run(games.playable_one, world.settings, game).game_id == game
    assert vet(world, game, "suspend") == "suspended"
    assert playable() == []
    with refused(NotFound):
        world.run(games.playable_one, world.settings, game)
    known = world.run(games.known_one, world.settings, game)
    assert (known.game.game_id, known.offered) == (game, False)
    shown = world.run(games.get, game)
    assert (shown.vetting_by, shown.vetting_reason) == ("operator:1", "because")
    assert vet(world, game, "approve") == "approved"
    with refused(NotFound):
        vet(world, "no-such-game", "approve")


def test_suspending_a_game_refunds_what_is_pending_and_lets_the_rest_go_on(world: World) -> None:
    ann, bob = world.players(2, 2_000)
    game, other = world.game(fee_bps=0), world.game()
    pending, elsewhere = world.filled(game, [ann, bob]), world.filled(other, [ann, bob])
    for match in (pending, elsewhere):
        world.confirm(ann, match.match_id)
    starting, live = world.paid(game, [ann, bob]), world.live(game, [ann, bob])
    world.suspend_game(game)

    def status(match: contract.Match) -> str:
        return world.read(ann, match.match_id).status

    every = (pending, elsewhere, starting, live)
    assert [status(match) for match in every] == ["aborted", "pending", "starting", "live"]
    assert world.wallet(ann) == (500, 1_500)
    world.reply(world.start_of(starting.match_id).id, OK)
    for match in (starting, live):
        assert world.report(game, sync_result(match, [1, 2])).accepted
    assert world.wallet(ann) == (2_500, 500)


# --- lists and figures -----------------------------------------------------------------------------------------------


def test_games_are_listed_page_by_page(world: World) -> None:
    made = sorted(world.game() for _ in range(5))
    first = world.run(games.playable, world.settings, "", 3)
    rest = world.run(games.playable, world.settings, first.next_cursor or "", 3)
    assert [each.game_id for each in first.games + rest.games] == made
    assert rest.next_cursor is None


def test_figures_count_matches_players_and_money(world: World) -> None:
    who = world.players(3, 5_000)
    game = world.game(fee_bps=1_000, studio_share_bps=5_000)
    for winner in ([1, 2], [2, 1]):
        match = world.live(game, who[:2], 500)
        world.report(game, sync_result(match, winner))
    world.cancel(who[2], world.create(who[2], game).match_id)
    world.live(world.game(), who[1:], 700)
    seen = world.run(figures.of_game, game)
    assert seen.matches == {"pending": 0, "starting": 0, "live": 0, "finished": 2, "aborted": 1}
    assert seen.players == 3, "whoever took a seat in it"
    (money,) = seen.money
    assert (money.entry_fees, money.prizes, money.fees, money.studio_share) == (2_000, 1_800, 100, 100)


def test_origins_are_those_of_browser_templates(world: World) -> None:
    one = register(world, launch_urls={"browser": "https://Game.Example:8443/play?t={match-token}"}).game_id
    two = register(world, launch_urls={"browser": "https://game.example:8443/other"}).game_id
    register(world, launch_urls={"steam": "steam://run/1"})
    assert world.run(games.origins_of_browsers) == {"https://game.example:8443": frozenset({one, two})}


@pytest.mark.parametrize(
    ("template", "origin"),
    [
        ("https://studio.example:443/game", "https://studio.example"),
        ("https://studio.example:80/game", "https://studio.example:80"),
        ("http://localhost:80/game", "http://localhost"),
        ("http://[::1]:9000/game", "http://[::1]:9000"),
        ("https://Bücher.example/{match-token}", "https://xn--bcher-kva.example"),
        ("https://faß.example/", "https://xn--fa-hia.example"),
    ],
)
def test_origins_are_spelt_as_browsers_spell_them(world: World, template: str, origin: str) -> None:
    made = register(world, launch_urls={"browser": template}).game_id
    assert world.run(games.origins_of_browsers) == {origin: frozenset({made})}


def test_a_session_belongs_to_who_logged_in_and_ends(world: World) -> None:
    ann = world.player(name="Ann")
    settings = world.settings.model_copy(update={"session_seconds": DAY // 1000})
    attempt = LogIn("player", "ann", "127.0.0.1")
    assert world.run(auth.end_login, settings, attempt, ann.user_id, "token", world.now).expires_at == world.now + DAY

    def who() -> object:
        (outcome,) = world.run(auth.sessions, [auth.SessionQuestion(hash_token("token"), world.now)])
        return outcome if isinstance(outcome, OklpError) else (outcome.kind, outcome.id, outcome.username)

    assert who() == ("player", ann.user_id, "Ann")
    world.now += DAY - 1
    assert who() == ("player", ann.user_id, "Ann")
    world.now += 1
    assert isinstance(who(), OklpError)


# --- log-ins ---------------------------------------------------------------------------------------------------------


def _end(world: World, subject_id: str | None, address: str = "192.0.2.1") -> str:
    """What becomes of an attempt whose password was looked at."""
    attempt = LogIn("player", "ann", address)
    try:
        done = world.run(auth.end_login, world.settings, attempt, subject_id, world.new_id(), world.now)
    except TooManyRequests:
        return "not told"
    return "wrong" if done.expires_at is None else "in"


def _begin(world: World, address: str = "192.0.2.1") -> auth.Credentials:
    return world.run(auth.begin_login, world.settings, LogIn("player", "ANN", address), world.now)


def test_right_log_ins_are_never_limited_however_many_come_at_once(world: World) -> None:
    ann = world.player(name="ann")
    for _ in range(30):
        assert _begin(world).subject_id == ann.user_id
    assert [_end(world, ann.user_id) for _ in range(30)] == ["in"] * 30
    assert world.count("sessions") == 30


def test_of_guesses_sent_at_once_only_so_many_are_told_whether_they_were_right(world: World) -> None:
    ann = world.player(name="ann")
    for _ in range(30):
        assert _begin(world).subject_id == ann.user_id
    assert [_end(world, None) for _ in range(12)] == ["wrong"] * 10 + ["not told"] * 2
    # One of the others was right: it learns no more than they did.
    assert _end(world, ann.user_id) == "not told"
    assert world.count("sessions") == 0
    with refused(TooManyRequests):
        _begin(world)
    assert _end(world, ann.user_id, "192.0.2.2") == "in", "from elsewhere she gets in"
    world.now += world.settings.login_window_seconds * 1000
    assert _end(world, ann.user_id) == "in"


def test_failed_log_ins_are_remembered_for_as_long_as_the_platform_is_told_to(world: World) -> None:
    world.settings = world.settings.model_copy(update={"login_window_seconds": 7 * 24 * 3600})
    ann = world.player(name="ann")
    assert [_end(world, None) for _ in range(10)] == ["wrong"] * 10
    world.now += 6 * DAY
    world.run(housekeeping.sweep, world.settings, world.now)
    assert _end(world, ann.user_id) == "not told"
    world.now += DAY
    world.run(housekeeping.sweep, world.settings, world.now)
    assert _end(world, ann.user_id) == "in"


def test_a_right_log_in_forgives_what_was_mistyped(world: World) -> None:
    ann = world.player(name="ann")
    for _ in range(3):
        assert [_end(world, None) for _ in range(9)] == ["wrong"] * 9
        assert _end(world, ann.user_id) == "in"


def test_a_name_that_is_guessed_from_everywhere_is_limited_too(world: World) -> None:
    ann = world.player(name="ann")
    told = [_end(world, None, f"192.0.2.{n}") for n in range(101)]
    assert told == ["wrong"] * 100 + ["not told"]
    assert _end(world, ann.user_id, "198.51.100.1") == "not told"


def test_secrets_of_a_game_do_not_show_when_it_is_printed(world: World) -> None:
    request = contract.NewGame(name="Tile Rush", settings=contract.NewGameSettings(discovery="pull"))
    game = world.run(games.register, world.settings, world.vault, world.studio_id, request, world.now)
    found = game.developer_config.authentication
    assert found.client_secret
    assert found.webhook_secret
    for shown in (repr(game), str(game), f"{game.developer_config}", repr(found)):
        assert found.client_secret not in shown
        assert found.webhook_secret not in shown
    assert found.client_secret in game.developer_config.model_dump_json()
