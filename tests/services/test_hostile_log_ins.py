"""What somebody tries who has the password, or had it: guesses, races, and what is left lying about from before."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from oklp import contract
from oklp.errors import InvalidRequest, TooManyRequests, Unauthenticated
from oklp.mailer import Mail
from oklp.services import accounts, auth, factors, studios
from oklp.signing import hash_token
from oklp.storage import factors as factor_store
from tests.services.house import HERE, House
from tests.services.test_factors import Desk
from tests.services.test_races import Arena, kinds
from tests.services.world import DAY, MINUTE, SECOND, World, refused


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


@pytest.fixture
def arena(world: World) -> Iterator[Arena]:
    made = Arena(world)
    yield made
    made.close()


# --- guessing codes --------------------------------------------------------------------------------------------------


def _guess(desk: Desk, n: int) -> bool:
    """A wrong code from an address that nobody has called from before."""
    right = map(desk.code, range(-1, 2))
    wrong = next(code for code in ("000000", "111111", "222222", "333333") if code not in right)
    address = f"198.51.100.{n}"
    desk.password(f"guess {n}", address)
    return desk.finish(f"guess {n}", wrong, address=address)


def _reset(desk: Desk) -> None:
    """A new password, by a link: somebody else reads the mails of this account."""
    world, token = desk.world, desk.world.new_id()
    given = (accounts.RESET, "player", desk.person.id, "", token, 60, world.now)
    desk.run(accounts._insert_ticket, *given)
    desk.run(
        accounts.confirm_reset, world.settings, world.vault, "player", hash_token(token), "hash", HERE,
        world.new_uuid(), "en", world.now,
    )  # fmt: skip


def test_codes_are_few_for_an_account_wherever_they_come_from_and_a_new_password_forgets_none(desk: Desk) -> None:
    codes = desk.enrol()
    for n in range(factors.MOST_WRONG_CODES):
        assert not _guess(desk, n)
        desk.world.now += MINUTE
        if n % 5 == 0:
            _reset(desk)
    desk.password("one")
    with pytest.raises(TooManyRequests) as caught:
        desk.finish("one", desk.code())
    assert (caught.value.retry_after_seconds or 0) > 3_600
    # What cannot be guessed is taken, and whoever has it has proved that he is no guesser.
    assert desk.finish("one", recovery=codes[0])
    desk.password("two")
    assert desk.finish("two", desk.code())


def test_guesses_of_yesterday_do_not_count(desk: Desk) -> None:
    desk.enrol()
    for n in range(factors.MOST_WRONG_CODES):
        assert not _guess(desk, n)
    desk.world.now += DAY
    desk.password("one")
    assert desk.finish("one", desk.code())


# --- races -----------------------------------------------------------------------------------------------------------


def _desks(arena: Arena) -> tuple[Desk, Desk]:
    """The same player's, at both nodes."""
    desk = Desk(arena.world)
    other = Desk.__new__(Desk)
    other.world, other.person, other.site = arena.there, desk.person, desk.site
    return desk, other


def _at_once(arena: Arena, attempt: Callable[[Desk, int], bool], desks: tuple[Desk, Desk]) -> int:
    """How many of eight attempts, four at each node, were let in."""
    calls = [lambda n=n: attempt(desks[n % 2], n) for n in range(8)]
    return sum(done is True for done in arena.at_once(*calls))


def test_a_recovery_code_is_used_once_however_many_use_it_at_once(arena: Arena) -> None:
    desk, other = _desks(arena)
    codes = desk.enrol()
    for round_ in arena.rounds(4):
        other.world = arena.there
        for n in range(8):
            desk.password(f"{round_}-{n}")
        let_in = _at_once(arena, lambda at, n: at.finish(f"{round_}-{n}", recovery=codes[round_]), (desk, other))
        assert let_in == 1
        assert sum(desk.is_in(f"{round_}-{n}-session") for n in range(8)) == 1
        desk.world.now += 10 * MINUTE  # the failures of this round are of no interest to the next
    assert desk.state().recovery_codes_left == 6


def test_a_code_of_the_app_is_used_once_however_many_use_it_at_once(arena: Arena) -> None:
    desk, other = _desks(arena)
    desk.enrol()
    for round_ in arena.rounds(2):
        other.world = arena.there
        for n in range(8):
            desk.password(f"{round_}-{n}")
        code = desk.code()
        assert _at_once(arena, lambda at, n: at.finish(f"{round_}-{n}", code), (desk, other)) == 1
        desk.world.now += 10 * MINUTE
        other.world.now = desk.world.now


def test_guesses_that_come_at_once_to_two_nodes_are_counted_in_turn(arena: Arena) -> None:
    desk, other = _desks(arena)
    desk.enrol()
    for n in range(factors.MOST_WRONG_CODES - 1):
        assert not _guess(desk, n)
    for _ in arena.rounds(1):
        other.world = arena.there
        wrong = next(
            code for code in ("000000", "111111", "222222", "333333") if code not in map(desk.code, (-1, 0, 1))
        )
        for n in range(8):
            desk.password(f"late {n}", f"203.0.113.{n}")
        outcomes = arena.at_once(
            *(lambda n=n: (desk, other)[n % 2].finish(f"late {n}", wrong, address=f"203.0.113.{n}") for n in range(8))
        )
        assert kinds(outcomes) == {"done": 1, TooManyRequests: 7}


def test_two_recovery_codes_in_the_same_moment_are_two_log_ins(house: House) -> None:
    """And two mails: the second was once refused for having the name of the first."""
    world = house.world
    user_id = house.sign_up("ada", "ada@example.org")
    person = auth.Person("player", user_id, "ada", "active", None, None)
    change = factors.Change(house.settings, world.vault, person, hash_token("here"), world.new_uuid(), "en", world.now)
    codes = [world.new_id()[:20] for _ in range(3)]
    house.run(factors.added, change, codes)
    for n in range(2):
        house.run(factor_store.put_totp, user_id, world.vault.encrypt("A" * 32), world.now)
        house.run(factor_store.confirm_totp, user_id, world.now)
        house.log_in("ada", user_id, f"pending {n}")
        step = factors.SecondStep("player", hash_token(f"pending {n}"), HERE, None, "en")
        given = (house.settings, world.vault, step, None, codes[n], f"session {n}", world.now)
        assert house.run(factors.finish_by_code, *given).expires_at is not None
        house.run(factor_store.delete_totp, user_id)
    house.deliver()
    assert [mail.subject for mail in house.box.taken].count("A recovery code of your account was used") == 2


# --- what is left from before ----------------------------------------------------------------------------------------


def test_a_new_password_ends_log_ins_that_wait_for_their_second_step(desk: Desk) -> None:
    codes = desk.enrol()
    desk.password("thief")
    _reset(desk)
    with pytest.raises(Unauthenticated):
        desk.finish("thief", recovery=codes[0])
    assert desk.state().recovery_codes_left == 10


@pytest.mark.parametrize("by_link", [True, False])
def test_a_new_password_ends_changes_of_the_address_that_somebody_else_began(house: House, by_link: bool) -> None:
    """Or he would follow his link later, and have a new password sent to himself."""
    world = house.world
    user_id = house.sign_up("ada", "ada@example.org")
    house.deliver()
    house.confirm_email(house.box.tokens("ada@example.org")[0])
    house.change_email(user_id, "thief@evil.example")
    house.deliver()
    [theirs] = house.box.tokens("thief@evil.example")
    if by_link:
        house.ask_reset("ada")
        house.deliver()
        house.reset(house.box.tokens("ada@example.org")[-1])
    else:
        given = ("player", user_id, "newer hash", hash_token("this"), world.new_uuid(), "en", world.now)
        house.run(accounts.change_password, house.settings, world.vault, *given)
    with refused(InvalidRequest, "token"):
        house.confirm_email(theirs)
    assert house.profile(user_id).email == "ada@example.org"


def test_the_link_that_proves_ones_own_address_outlives_a_new_password(house: House) -> None:
    world = house.world
    user_id = house.sign_up("ada", "ada@example.org")
    house.deliver()
    given = ("player", user_id, "newer hash", hash_token("this"), world.new_uuid(), "en", world.now)
    house.run(accounts.change_password, house.settings, world.vault, *given)
    house.confirm_email(house.box.tokens("ada@example.org")[0])
    assert house.profile(user_id).email_verified


# --- members ---------------------------------------------------------------------------------------------------------


def _studio(world: World) -> tuple[str, str, str]:
    """A studio with an owner, ada, and a viewer, bob: their ids."""
    studio_id, ada, bob = world.new_uuid(), world.new_uuid(), world.new_uuid()
    new = contract.NewStudio(name="Acme", username="ada", email="ada@example.org", password="correct horse")
    world.run(studios.sign_up, studio_id, ada, new, "hash", world.now)
    member = contract.NewStudioMember(username="bob", email="bob@example.org", role="viewer")
    world.run(studios.add_member, "member:ada", studio_id, bob, member, "hash", world.now)
    return studio_id, ada, bob


def _session(world: World, username: str, member_id: str, token: str) -> None:
    attempt = auth.LogIn("member", username, HERE)
    world.run(auth.end_login, world.settings, attempt, member_id, token, world.now)


def _in(world: World, token: str) -> bool:
    [outcome] = world.run(auth.sessions, [auth.SessionQuestion(hash_token(token), world.now)])
    return isinstance(outcome, auth.Person)


@pytest.mark.parametrize("role", ["developer", "owner"])
def test_another_role_is_another_log_in(world: World, role: contract.Role) -> None:
    """What opened as a viewer, a forgotten session or a stream of events, is not an owner's later."""
    studio_id, ada, bob = _studio(world)
    for name, member_id in (("ada", ada), ("bob", bob)):
        _session(world, name, member_id, f"{name}'s")
    world.run(studios.change_member, "member:ada", studio_id, bob, role, world.now)
    assert [_in(world, each) for each in ("ada's", "bob's")] == [True, False]
    _session(world, "bob", bob, "new")
    world.run(studios.change_member, "member:ada", studio_id, bob, role, world.now)
    assert _in(world, "new"), "nothing has changed"


def test_whoever_takes_his_own_ownership_away_stays_logged_in(world: World) -> None:
    studio_id, ada, bob = _studio(world)
    world.run(studios.change_member, "member:ada", studio_id, bob, "owner", world.now)
    _session(world, "ada", ada, "ada's")
    world.run(studios.change_member, "member:ada", studio_id, ada, "viewer", world.now)
    assert _in(world, "ada's")


def test_a_member_who_is_removed_leaves_no_key_and_no_link(world: World) -> None:
    """His passkey was once taken for somebody's for good, and could not be registered again."""
    studio_id, _, bob = _studio(world)
    _session(world, "bob", bob, "bob's")

    def add_key(person_id: str) -> None:
        values = {"kind": "member", "credential_id": "AAAA", "public_key": "AA", "sign_count": 0, "name": "key"}
        world.run(lambda tx: factor_store.insert_passkey(tx, id=world.new_uuid(), person_id=person_id,
                                                         created_at=world.now, **values))  # fmt: skip

    add_key(bob)
    world.run(accounts._insert_ticket, accounts.RESET, "member", bob, "bob@example.org", "link", 60, world.now)
    world.run(studios.remove_member, "member:ada", studio_id, bob, world.now)
    assert (world.count("passkeys"), world.count("tickets"), world.count("sessions")) == (0, 0, 0)
    add_key(world.new_uuid())


# --- sessions --------------------------------------------------------------------------------------------------------


def test_a_session_that_is_renewed_has_its_new_token_alone(desk: Desk) -> None:
    desk.password("old")
    desk.run(auth.renew_session, hash_token("old"), hash_token("new"))
    assert [desk.is_in(each) for each in ("old", "new")] == [False, True]
    with pytest.raises(Unauthenticated):
        desk.run(auth.renew_session, hash_token("old"), hash_token("newer"))


# --- mails -----------------------------------------------------------------------------------------------------------


def test_a_mail_that_cannot_even_be_written_is_given_up_in_time(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was once tried every two minutes for ever, and nobody was told."""

    async def send(_mail: Mail) -> None:
        raise ValueError("Header values may not contain linefeed")

    monkeypatch.setattr(house.box, "send", send)
    house.sign_up("ada", "ada@example.org")
    house.deliver()
    [mail] = house.mails()
    assert (mail.state, mail.attempts, mail.last_error) == ("waiting", 1, "unforeseen: ValueError")
    house.world.now += house.settings.email_verification_seconds * SECOND
    house.deliver()
    [mail] = house.mails()
    assert mail.state == "failed"
