"""A match until it starts, its lists and reads, launching it (contract sections A4 to A6 and B3)."""

from __future__ import annotations

import itertools
from datetime import datetime

import pytest
import sqlalchemy as sa

from oklp import contract
from oklp.errors import (
    AccountSuspended,
    Conflict,
    Forbidden,
    GameSuspended,
    InsufficientFunds,
    InvalidRequest,
    LimitReached,
    MatchFull,
    NotFound,
    NotVerified,
    PaymentsSuspended,
    WrongState,
)
from oklp.services import calls, housekeeping, launch, ledger, matches, operators, players, statement
from oklp.services.launch import LaunchJob, TokenQuestion
from oklp.services.matches import Caller
from oklp.signing import hash_token
from oklp.storage import players as player_store
from tests.services.world import DAY, HOUR, OK, SECOND, XTS, World, refused, sync_result


def states(match: contract.Match) -> dict[str, str]:
    return {member.username: member.state for team in match.teams for member in team.members}


def teams_of(match: contract.Match) -> list[list[str]]:
    """Usernames of those who hold a seat, by team, in alphabetical order."""
    return [
        sorted(member.username for member in team.members if member.state in ("joined", "confirmed"))
        for team in match.teams
    ]


# --- creating --------------------------------------------------------------------------------------------------------


def test_a_new_match_waits_with_its_creator_in_the_first_team(world: World) -> None:
    ann, bob = world.players(2)
    match = world.create(ann, world.game(fee_bps=1_000), 333, teams=3, team_size=2, invite=[bob])

    assert match.status == "pending"
    assert teams_of(match) == [[ann.username], [], []]
    assert states(match) == {ann.username: "joined", bob.username: "invited"}
    assert match.created_by == ann.user_id
    assert (match.starts_by - match.created_at).total_seconds() == 24 * 3600
    assert match.entry_fee == contract.Money(amount=333, currency=XTS)
    assert match.prize_pool.amount == 333 * 6 - 333 * 6 // 10
    assert world.wallet(ann) == (0, 0), "creating costs nothing"


def test_only_a_private_match_has_a_join_code(world: World) -> None:
    ann, game = world.player(), world.game()
    assert world.create(ann, game, visibility="public").join_code is None
    assert world.create(ann, game, visibility="private").join_code


@pytest.mark.parametrize(
    ("asked", "fields"),
    [
        ({"fee": 99}, ["entry_fee.amount"]),
        ({"fee": 1_001}, ["entry_fee.amount"]),
        ({"teams": 4}, ["teams"]),
        ({"team_size": 3}, ["team_size"]),
        ({"shares": [4_000, 3_000, 3_000]}, ["prize_shares_bps"]),
        ({"shares": [6_000, 3_000]}, ["prize_shares_bps"]),
        ({"shares": [4_000, 6_000]}, ["prize_shares_bps"]),
        ({"fee": 0, "teams": 16, "team_size": 8}, ["entry_fee.amount", "teams", "team_size"]),
    ],
)
def test_what_the_game_does_not_offer_is_refused_by_field(
    world: World, asked: dict[str, object], fields: list[str]
) -> None:
    game = world.game(entry_fee_min=100, entry_fee_max=1_000, teams_max=3, team_size_max=2)
    with refused(InvalidRequest, *fields):
        world.create(world.player(), game, **{"fee": 500, **asked})  # type: ignore[arg-type]
    assert world.count("matches") == 0


def test_a_match_is_in_the_platforms_currency(world: World) -> None:
    request = contract.NewMatch(game_id=world.game(), entry_fee=contract.Money(amount=500, currency="USD"))
    with refused(InvalidRequest, "entry_fee.currency"):
        world.run(matches.create, world.settings, world.player(), request, world.new_id(), world.new_id, world.now)


def test_only_games_that_are_approved_can_be_played(world: World) -> None:
    ann, game = world.player(), world.game()
    with refused(InvalidRequest, "game_id"):
        world.create(ann, "no-such-game")
    world.suspend_game(game)
    with refused(GameSuspended):
        world.create(ann, game)
    for vetting in ("draft", "in-review"):
        world.run(lambda tx, to=vetting: tx.driver(f"UPDATE games SET vetting = '{to}'"))
        with refused(InvalidRequest, "game_id"):
            world.create(ann, game)


def test_a_suspended_player_makes_and_joins_no_matches(world: World) -> None:
    ann, bob = world.players(2)
    match = world.create(ann, world.game())
    world.suspend(bob)
    with refused(AccountSuspended):
        world.create(bob, match.game_id)
    with refused(AccountSuspended):
        world.join(bob, match.match_id)


def test_matches_for_money_are_for_verified_players(world: World) -> None:
    """The sandbox asks for that nowhere; what is free is for all."""
    ann, bob = world.players(2, 500)
    game = world.game()
    match = world.create(ann, game).match_id
    world.run(player_store.update_player, bob.user_id, verified=False)
    production = world.on(world.db)
    production.settings = world.settings.model_copy(update={"sandbox": False})
    with refused(NotVerified):
        production.create(bob, game)
    with refused(NotVerified):
        production.join(bob, match)
    assert production.create(bob, game, 0).status == "pending"
    assert states(world.join(bob, match))[bob.username] == "joined"


# --- inviting --------------------------------------------------------------------------------------------------------


def test_everybody_who_cannot_be_invited_is_named(world: World) -> None:
    ann, bob, eve = world.players(3)
    world.suspend(eve)
    stranger = Caller("?", "nobody-of-this-name")
    with refused(InvalidRequest, "invite.1", "invite.2"):
        world.create(ann, world.game(), invite=[bob, stranger, eve])
    match = world.create(ann, world.game())
    with refused(InvalidRequest, "usernames.0"):
        world.invite(ann, match.match_id, stranger, bob)
    assert states(world.read(ann, match.match_id)) == {ann.username: "joined"}, "nobody was invited in part"


def test_names_are_matched_without_regard_to_case(world: World) -> None:
    ann, bob = world.player(), world.player(name="Bob-The-Builder")
    match = world.create(ann, world.game())
    world.run(matches.invite, ann, match.match_id, ["bOB-the-bUILDER"], world.new_id, world.now)
    assert states(world.read(bob, match.match_id))["Bob-The-Builder"] == "invited"


def test_whoever_makes_a_match_cannot_invite_himself(world: World) -> None:
    ann, bob = world.players(2)
    shouted = Caller("", ann.username.upper())
    for invited, fields in (([ann], ["invite.0"]), ([bob, shouted, Caller("", "nobody")], ["invite.1", "invite.2"])):
        with refused(InvalidRequest, *fields):
            world.create(ann, world.game(), invite=invited)
    assert world.count("matches") == 0


def test_inviting_someone_who_is_in_or_invited_changes_nothing(world: World) -> None:
    ann, bob, cem = world.players(3)
    match = world.create(ann, world.game(), teams=3, invite=[bob, bob])
    world.join(cem, match.match_id)
    after = world.invite(ann, match.match_id, ann, bob, cem, cem)
    assert states(after) == {ann.username: "joined", bob.username: "invited", cem.username: "joined"}
    assert world.count("seats") == 3


def test_those_who_hold_a_seat_invite_and_nobody_else(world: World) -> None:
    ann, bob, cem, dan = world.players(4)
    match = world.create(ann, world.game(), teams=3, invite=[bob])
    with refused(Forbidden):
        world.invite(bob, match.match_id, cem)
    with refused(Forbidden):
        world.invite(dan, match.match_id, cem)
    world.join(bob, match.match_id)
    assert states(world.invite(bob, match.match_id, cem))[cem.username] == "invited"
    world.leave(bob, match.match_id)
    with refused(Forbidden):
        world.invite(bob, match.match_id, dan)


# --- who may know of a match -----------------------------------------------------------------------------------------


def test_a_private_match_does_not_exist_for_strangers(world: World) -> None:
    ann, eve = world.player(), world.player(1_000)
    match_id = world.create(ann, world.game(), visibility="private").match_id
    for attempt in (world.read, world.join, world.decline, world.leave, world.cancel, world.confirm):
        with refused(NotFound):
            attempt(eve, match_id)
    with refused(NotFound):
        world.invite(eve, match_id, eve)
    with refused(NotFound):
        world.join(eve, match_id, code="guess")
    with refused(NotFound):
        world.read(eve, match_id, "guess")
    with refused(NotFound):
        world.read(eve, "f" * 24)


def test_the_join_code_opens_a_private_match(world: World) -> None:
    ann, bob = world.players(2)
    match = world.create(ann, world.game(), visibility="private")
    assert world.read(bob, match.match_id, match.join_code).join_code is None, "knowing it is no seat"
    joined = world.join(bob, match.match_id, code=match.join_code)
    assert states(joined)[bob.username] == "joined"
    assert joined.join_code == match.join_code


def test_an_invitation_needs_no_code_and_shows_it(world: World) -> None:
    ann, bob = world.players(2)
    match = world.create(ann, world.game(), visibility="private", invite=[bob])
    assert world.read(bob, match.match_id).join_code == match.join_code
    assert states(world.join(bob, match.match_id))[bob.username] == "joined"


def test_who_left_a_private_match_needs_the_code_to_come_back(world: World) -> None:
    ann, bob = world.players(2)
    match = world.create(ann, world.game(), visibility="private", invite=[bob])
    assert world.decline(bob, match.match_id).join_code is None
    assert world.read(bob, match.match_id).join_code is None
    with refused(InvalidRequest, "join_code"):
        world.join(bob, match.match_id)
    with refused(InvalidRequest, "join_code"):
        world.join(bob, match.match_id, code="guess")
    assert states(world.join(bob, match.match_id, code=match.join_code))[bob.username] == "joined"


# --- joining, declining, leaving -------------------------------------------------------------------------------------


def test_players_fill_the_emptiest_team_unless_they_choose(world: World) -> None:
    who = world.players(5)
    match = world.create(who[0], world.game(), teams=3, team_size=2)
    third = match.teams[2].id
    world.join(who[1], match.match_id, third)
    world.join(who[2], match.match_id, third)
    with refused(MatchFull):
        world.join(who[3], match.match_id, third)
    with refused(InvalidRequest, "team_id"):
        world.join(who[3], match.match_id, "no-such-team")
    world.join(who[3], match.match_id)
    after = world.join(who[4], match.match_id)
    names = [player.username for player in who]
    assert teams_of(after) == [sorted([names[0], names[4]]), [names[3]], [names[1], names[2]]]


def test_one_who_comes_and_goes_leaves_room_for_others_and_money_is_never_confused(world: World) -> None:
    ann, eve, bob = world.players(3, 1_000)
    match = world.create(ann, world.game()).match_id
    for _ in range(5):
        world.join(eve, match)
        world.leave(eve, match)
    assert world.count("seats", "user_id = :eve", eve=eve.user_id) == 1
    for _ in range(3):
        world.join(eve, match)
        world.confirm(eve, match)
        assert world.wallet(eve) == (500, 500)
        world.leave(eve, match)
        assert world.wallet(eve) == (1_000, 0)
    assert world.count("seats", "user_id = :eve", eve=eve.user_id) == 3, "one for each payment, and none besides"
    for _ in range(3):
        world.invite(ann, match, eve)
        world.decline(eve, match)
    world.invite(ann, match, eve)
    world.join(eve, match)
    world.leave(eve, match)
    assert states(world.join(bob, match)) == {ann.username: "joined", eve.username: "left", bob.username: "joined"}
    world.confirm(bob, match)
    assert world.confirm(ann, match).status == "starting"


def test_a_full_match_takes_nobody_invited_or_not(world: World) -> None:
    ann, bob, cem, dan = world.players(4)
    match = world.create(ann, world.game(), invite=[cem])
    world.join(bob, match.match_id)
    with refused(Conflict):
        world.join(bob, match.match_id)
    for late in (cem, dan):
        with refused(MatchFull):
            world.join(late, match.match_id)
    world.leave(bob, match.match_id)
    assert teams_of(world.join(cem, match.match_id)) == [[ann.username], [cem.username]]


def test_an_invitation_is_for_the_team_that_had_room(world: World) -> None:
    ann, bob, cem = world.players(3)
    match = world.create(ann, world.game(), teams=2, team_size=2, invite=[bob, cem])
    world.join(cem, match.match_id, match.teams[1].id)
    assert teams_of(world.join(bob, match.match_id)) == [[ann.username], [bob.username, cem.username]]


def test_declining_is_for_open_invitations(world: World) -> None:
    ann, bob, cem = world.players(3)
    match = world.create(ann, world.game(), invite=[bob])
    assert states(world.decline(bob, match.match_id))[bob.username] == "declined"
    for caller in (bob, ann, cem):
        with refused(WrongState):
            world.decline(caller, match.match_id)
    world.invite(ann, match.match_id, bob)
    assert states(world.join(bob, match.match_id))[bob.username] == "joined"


def test_leaving_gives_the_fee_back_and_coming_back_pays_again(world: World) -> None:
    ann, bob = world.players(2, 1_000)
    match = world.filled(world.game(), [ann, bob], 400)
    world.confirm(bob, match.match_id)
    assert world.wallet(bob) == (600, 400)
    assert states(world.leave(bob, match.match_id))[bob.username] == "left"
    assert world.wallet(bob) == (1_000, 0)
    with refused(WrongState):
        world.leave(bob, match.match_id)

    world.join(bob, match.match_id)
    world.confirm(bob, match.match_id)
    assert world.wallet(bob) == (600, 400)
    page, _ = world.run(statement.entries, bob.user_id, statement.ALL, None, 50)
    assert [(entry.kind, entry.amount) for entry in page.entries] == [
        ("hold", -400),
        ("refund", 400),
        ("hold", -400),
        ("grant", 1_000),
    ]


def test_when_the_last_player_leaves_the_match_is_over(world: World) -> None:
    ann, bob, cem = world.players(3, 500)
    match = world.filled(world.game(), [ann, bob], invite=[cem])
    world.confirm(bob, match.match_id)
    world.leave(ann, match.match_id)
    after = world.leave(bob, match.match_id)
    assert (after.status, after.abort_reason) == ("aborted", "abandoned")
    assert after.finished_at is not None
    assert world.available(ann, bob) == [500, 500]
    with refused(WrongState):
        world.join(cem, match.match_id)


def test_a_free_match_posts_nothing(world: World) -> None:
    who = world.players(4)
    game = world.game(discovery="pull")
    left = world.filled(game, who[:2], 0)
    world.confirm(who[1], left.match_id)
    world.leave(who[1], left.match_id)
    world.cancel(who[0], left.match_id)
    assert world.live(game, who, 0, teams=2, team_size=2).status == "live"
    assert world.count("postings") == 0


# --- the end of what has not started ---------------------------------------------------------------------------------


def test_the_creator_calls_a_match_off_and_all_fees_go_back(world: World) -> None:
    ann, bob, cem = world.players(3, 500)
    match = world.filled(world.game(), [ann, bob, cem], teams=3)
    world.confirm(ann, match.match_id)
    world.confirm(cem, match.match_id)
    with refused(Forbidden):
        world.cancel(bob, match.match_id)
    after = world.cancel(ann, match.match_id)
    assert (after.status, after.abort_reason) == ("aborted", "cancelled")
    assert [world.wallet(player) for player in (ann, bob, cem)] == [(500, 0)] * 3
    with refused(WrongState):
        world.cancel(ann, match.match_id)


def test_a_creator_who_has_left_has_no_say_over_those_who_stay(world: World) -> None:
    ann, bob, cem = world.players(3, 500)
    match = world.filled(world.game(), [ann, bob, cem], 200, teams=3)
    world.confirm(bob, match.match_id)
    world.leave(ann, match.match_id)
    with refused(Forbidden):
        world.cancel(ann, match.match_id)
    world.invite(bob, match.match_id, ann)
    with refused(Forbidden):  # an invitation is no seat
        world.cancel(ann, match.match_id)
    assert (world.read(bob, match.match_id).status, world.wallet(bob)) == ("pending", (300, 200))
    world.join(ann, match.match_id)
    assert world.cancel(ann, match.match_id).abort_reason == "cancelled"
    assert world.wallet(bob) == (500, 0)


@pytest.mark.parametrize("status", ["starting", "live", "finished", "aborted"])
def test_nothing_about_the_roster_changes_once_a_match_has_started(world: World, status: str) -> None:
    ann, bob, cem = world.players(3, 500)
    match = world.paid(world.game(), [ann, bob], invite=[cem])
    if status == "aborted":
        world.abort(match.match_id)
    elif status != "starting":
        world.reply(world.start_of(match.match_id).id, OK)
    if status == "finished":
        world.report(match.game_id, sync_result(match, [1, 2]))
    world.now += DAY
    before = world.read(ann, match.match_id)
    assert before.status == status
    for attempt in (world.leave, world.cancel):
        with refused(WrongState):
            attempt(ann, match.match_id)
    for attempt in (world.join, world.decline):
        with refused(WrongState):
            attempt(cem, match.match_id)
    with refused(WrongState):
        world.invite(ann, match.match_id, cem)
    assert world.expire() == 0
    assert world.read(ann, match.match_id) == before


def test_a_match_that_does_not_start_in_time_is_refunded(world: World) -> None:
    ann, bob = world.players(2, 500)
    late = world.filled(world.game(), [ann, bob])
    world.confirm(ann, late.match_id)
    world.now += HOUR
    young = world.create(bob, late.game_id)
    world.now += 23 * HOUR - 1
    assert world.expire() == 0
    world.now += 1
    assert world.expire() == 1
    after = world.read(ann, late.match_id)
    assert (after.status, after.abort_reason) == ("aborted", "expired")
    assert world.wallet(ann) == (500, 0)
    assert world.read(bob, young.match_id).status == "pending"
    assert world.expire() == 0


# --- lists -----------------------------------------------------------------------------------------------------------


def test_lists_show_ones_own_matches_and_public_ones_that_can_be_joined(world: World) -> None:
    ann, bob = world.players(2)
    game = world.game(discovery="pull")
    public = world.create(bob, game, 0).match_id
    world.create(bob, game, 0, visibility="private")
    invited = world.create(bob, game, 0, visibility="private", invite=[ann]).match_id
    mine = world.create(ann, game, 0, visibility="private").match_id
    world.live(game, [bob, world.player()], 0)
    full = world.create(bob, game, 0).match_id
    cat = world.player()
    world.join(cat, full)

    def listed(scope: str, status: str | None = None) -> set[str]:
        found, more = world.run(matches.list_for_player, ann.user_id, status, scope, None, 50)
        assert more is None
        return {match.match_id for match in found}

    assert listed("mine") == {invited, mine}
    assert listed("open") == {public}
    assert listed("all") == {public, invited, mine}
    assert listed("all", "live") == set()
    world.leave(cat, full)
    assert listed("open") == {public, full}
    world.join(ann, full)
    assert (listed("open"), listed("mine")) == ({public}, {invited, mine, full})
    world.leave(ann, full)
    world.cancel(bob, full)
    world.cancel(ann, mine)
    assert listed("all", "aborted") == {mine, full}
    assert listed("all", "pending") == {public, invited}


def test_pages_follow_each_other_newest_first(world: World) -> None:
    ann, game = world.player(), world.game()
    made = []
    for number in range(7):
        world.now += number % 2  # some are of the same millisecond
        made.append((world.now, world.create(ann, game, 0).match_id))
    seen: list[str] = []
    cursor = None
    while True:
        page, cursor = world.run(matches.list_for_player, ann.user_id, None, "all", cursor, 3)
        seen += [match.match_id for match in page]
        if cursor is None:
            break
        assert len(page) == 3
    assert seen == [match_id for _, match_id in sorted(made, reverse=True)]


# --- what games read (A4) --------------------------------------------------------------------------------------------


def test_a_game_reads_its_own_matches_oldest_first(world: World) -> None:
    who = world.players(4, 500)
    game, other = world.game(), world.game()
    starting = world.paid(game, who[:2])
    world.now += SECOND
    live = world.live(game, who[2:], 0)
    world.now += SECOND
    pending = world.create(who[0], game, 0)
    foreign = world.create(who[0], other, 0)

    def listed(status: str | None = None, user: str | None = None) -> list[tuple[str, str]]:
        found, _ = world.run(matches.list_for_game, game, status, user, None, 50)
        return [(match.match_id, match.match_status) for match in found]

    assert listed() == [(starting.match_id, "pending"), (live.match_id, "live"), (pending.match_id, "pending")]
    assert listed("pending") == [(starting.match_id, "pending"), (pending.match_id, "pending")]
    assert listed("live") == [(live.match_id, "live")]
    assert listed(user=who[3].user_id) == [(live.match_id, "live")]
    page, cursor = world.run(matches.list_for_game, game, None, None, None, 2)
    rest, end = world.run(matches.list_for_game, game, None, None, cursor, 2)
    assert [match.match_id for match in page + rest] == [each for each, _ in listed()]
    assert end is None

    read = world.run(matches.read_for_game, game, live.match_id)
    assert [(each.id, each.team_id) for each in read.participants] == [
        (who[2].user_id, live.teams[0].id),
        (who[3].user_id, live.teams[1].id),
    ]
    assert [team.id for team in read.teams] == [team.id for team in live.teams]
    for match_id in (foreign.match_id, "0" * 24):
        with refused(NotFound):
            world.run(matches.read_for_game, game, match_id)


def test_a_game_reads_only_players_of_its_own_matches(world: World) -> None:
    ann, bob = world.players(2)
    game, other = world.game(), world.game()
    world.create(ann, game, 0, invite=[bob])
    seen = world.run(players.game_user, game, ann.user_id)
    assert (seen.user_id, seen.username, seen.avatar_url) == (ann.user_id, ann.username, None)
    for game_id, user_id in ((other, ann.user_id), (game, bob.user_id), (game, "?")):
        with refused(NotFound):
            world.run(players.game_user, game_id, user_id)


def test_a_game_still_knows_players_who_left_and_never_knew_those_who_declined(world: World) -> None:
    ann, bob, cem = world.players(3)
    game = world.game()
    match = world.create(ann, game, 0, invite=[bob, cem]).match_id
    world.join(bob, match)
    world.leave(bob, match)
    world.decline(cem, match)
    assert world.run(players.game_user, game, bob.user_id).username == bob.username
    with refused(NotFound):
        world.run(players.game_user, game, cem.user_id)


# --- launching (A5, A6) ----------------------------------------------------------------------------------------------


def launched(
    world: World, player: Caller, match_id: str, platform: str = "browser"
) -> tuple[contract.LaunchAnswer, str]:
    token = f"token-{world.new_id()}"
    answer = world.db.run_set(launch.launch, LaunchJob(player, match_id, platform, token, world.now))
    return answer, token


def asked(world: World, game_id: str, token: str) -> contract.TokenInfo:
    return world.db.run_set(launch.token_info, TokenQuestion(game_id, hash_token(token), world.now))


def test_a_launch_fills_the_template_with_a_token_of_the_players_own(world: World) -> None:
    ann, bob = world.players(2, 500)
    match = world.live(world.game(), [ann, bob])
    answer, token = launched(world, ann, match.match_id)
    assert answer.launch_url == f"https://game.example/play?t={token}"
    assert answer.expires_in == 3_600
    assert world.count("match_tokens", "token_hash LIKE :like", like=f"%{token}%") == 0, "only its hash is kept"

    _, second = launched(world, ann, match.match_id)
    _, of_bob = launched(world, bob, match.match_id)
    for each, owner in ((token, ann), (second, ann), (of_bob, bob), (token, ann)):
        assert asked(world, match.game_id, each) == contract.TokenInfo(
            match_id=match.match_id,
            user_id=owner.user_id,
            match_status="live",
            submissions_total=1,
            submissions_left=1,
        )


def test_a_token_is_worth_nothing_to_others_and_not_for_ever(world: World) -> None:
    ann, bob = world.players(2)
    match = world.live(world.game(), [ann, bob], 0)
    _, token = launched(world, ann, match.match_id)
    details = set()
    for game_id, guess in ((world.game(), token), (match.game_id, "guess"), (match.game_id, token)):
        if guess == token and game_id == match.game_id:
            world.now += HOUR
        with pytest.raises(NotFound) as caught:
            asked(world, game_id, guess)
        details.add(caught.value.detail)
    assert len(details) == 1, "the refusals must not tell which it was"


def test_who_went_to_play_is_known_for_a_month_after_the_time_for_results(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dispute begins when the token has expired; and it goes in pieces, for every write waits for each."""
    monkeypatch.setattr(housekeeping, "AT_ONCE", 2)
    ann, bob = world.players(2)
    match = world.live(world.game(), [ann, bob], 0)
    tokens = [launched(world, ann, match.match_id)[1] for _ in range(3)]

    def sweep() -> list[int]:
        left = [world.count("match_tokens")]
        while world.run(housekeeping.sweep, world.settings, world.now):
            left.append(world.count("match_tokens"))
        return [*left, world.count("match_tokens")]

    world.now += HOUR + housekeeping.TOKENS_KEPT_MS
    assert set(sweep()) == {3}
    with refused(NotFound):
        asked(world, match.game_id, tokens[0])
    assert [each.user_id for each in world.run(operators.match, match.match_id).launches] == [ann.user_id] * 3
    world.now += 1
    left = sweep()
    assert all(before - after <= 2 for before, after in itertools.pairwise(left))
    assert left[-1] == 0
    assert world.run(operators.match, match.match_id).launches == []


def test_when_a_game_first_asked_about_a_token_is_kept_with_it(world: World) -> None:
    ann, bob = world.players(2)
    match = world.live(world.game(), [ann, bob], 0)
    of_ann, of_bob = (hash_token(launched(world, each, match.match_id)[1]) for each in (ann, bob))

    def known() -> dict[str, int | None]:
        found = world.run(operators.match, match.match_id).launches
        return {each.user_id: None if each.asked_at is None else ms(each.asked_at) for each in found}

    def ms(at: datetime) -> int:
        return round(at.timestamp() * 1000)

    assert known() == {ann.user_id: None, bob.user_id: None}
    world.run(calls.keep_asked, {of_ann: world.now + 5, hash_token("nobody's"): world.now})
    world.run(calls.keep_asked, {of_bob: world.now + 9, of_ann: world.now + 7})
    assert known() == {ann.user_id: world.now + 5, bob.user_id: world.now + 9}


def test_what_cannot_be_launched(world: World) -> None:
    ann, bob, eve = world.players(3, 500)
    game = world.game()
    match = world.paid(game, [ann, bob])
    with refused(WrongState):
        launched(world, ann, match.match_id)
    world.reply(world.start_of(match.match_id).id, OK)
    with refused(InvalidRequest, "platform"):
        launched(world, ann, match.match_id, "steam")
    with refused(NotFound):
        launched(world, eve, match.match_id)
    with refused(NotFound):
        launched(world, ann, "0" * 24)
    world.now += HOUR
    with refused(WrongState):
        launched(world, ann, match.match_id)


def test_a_template_without_a_token_gets_none(world: World) -> None:
    ann, bob = world.players(2)
    match = world.live(world.game(), [ann, bob], 0)
    world.run(lambda tx: tx.driver("""UPDATE games SET launch_urls = '{"steam": "steam://run/7"}'"""))
    assert launched(world, ann, match.match_id, "steam")[0].launch_url == "steam://run/7"
    assert world.count("match_tokens") == 0


# --- wallet ----------------------------------------------------------------------------------------------------------


def test_deposits_and_withdrawals(world: World) -> None:
    ann = world.player()
    paid = world.deposit(ann, 700)
    assert (paid.kind, paid.amount, paid.status, paid.balance) == ("deposit", 700, "completed", 700)
    world.deposit(ann, 50)
    with refused(InsufficientFunds):
        world.withdraw(ann, 751)
    assert world.withdraw(ann, 750).balance == 0
    assert world.house("clearing:sandbox") == 0
    with refused(InsufficientFunds):
        world.withdraw(ann, 1)
    page, more = world.run(statement.entries, ann.user_id, statement.ALL, None, 2)
    rest, end = world.run(statement.entries, ann.user_id, statement.ALL, more, 2)
    assert [entry.amount for entry in page.entries + rest.entries] == [-750, 50, 700]
    assert end is None


def test_payments_are_in_the_platforms_currency_and_bounded(world: World) -> None:
    ann = world.player(ledger.MAX_BALANCE - 10)
    with refused(InvalidRequest, "currency"):
        request = contract.Payment(amount=5, currency="USD")
        world.run(ledger.deposit, world.settings, ann.user_id, world.new_uuid(), request, world.now)
    with refused(LimitReached):
        world.deposit(ann, 11)
    assert world.deposit(ann, 10).balance == ledger.MAX_BALANCE


def test_a_suspended_players_payments_wait(world: World) -> None:
    ann = world.player(100)
    world.suspend(ann)
    for attempt in (world.deposit, world.withdraw):
        with refused(PaymentsSuspended):
            attempt(ann, 5)
    world.reinstate(ann)
    assert world.withdraw(ann, 100).balance == 0


def test_the_database_takes_no_entry_fee_below_zero(world: World) -> None:
    match = world.create(world.player(), world.game(), 0)
    with pytest.raises(sa.exc.IntegrityError, match="entry_fee"):
        world.run(lambda tx: tx.driver("UPDATE matches SET entry_fee = -1"))
    assert world.rows("SELECT entry_fee FROM matches WHERE id = :id", id=match.match_id) == [(0,)]
