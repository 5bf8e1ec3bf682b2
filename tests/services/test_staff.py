"""Operators themselves, on both databases: roles that are enforced where the work is done, and the last admin."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from oklp import contract
from oklp.errors import (
    Conflict,
    NameTaken,
    NotFound,
    OklpError,
    RoleMissing,
    SecondFactorMissing,
    Unauthenticated,
    WrongState,
)
from oklp.services import auth, console, factors, mails, operators, staff, studios
from oklp.services.auth import LogIn, SessionQuestion
from oklp.services.staff import Operator
from oklp.storage import factors as factor_store
from oklp.storage import players
from oklp.storage.engine import Database, Tx
from tests.services.world import World, refused


def operator(world: World, name: str, role: str | None = None) -> Operator:
    made = world.run(staff.create, str(uuid.uuid4()), name, "no hash", world.now, "", role)
    return Operator(made.operator_id, made.username, made.role)


def action(name: str, role: str | None = None) -> contract.OperatorAction:
    return contract.OperatorAction.model_validate({"action": name, "role": role, "reason": "so it is"})


def act(world: World, who: Operator, whom: Operator, name: str, role: str | None = None) -> contract.OperatorAccount:
    done: contract.OperatorAccount = world.run(staff.act, pen(world), who, whom.id, action(name, role), world.now)
    return done


def pen(world: World) -> mails.Pen:
    return mails.Pen(world.settings, world.vault, world.new_uuid(), "de")


def equip(world: World, person_id: str) -> None:
    """An app and recovery codes."""
    world.run(factor_store.put_totp, person_id, "a secret", world.now)
    world.run(factor_store.confirm_totp, person_id, world.now)
    world.run(factor_store.replace_codes, person_id, ["a code", "another"])


def log_in(world: World, who: Operator, token_hash: str) -> auth.LoggedIn:
    attempt = LogIn("operator", who.username, "127.0.0.1")
    known = world.run(auth.begin_login, world.settings, attempt, world.now)
    done: auth.LoggedIn = world.run(auth.end_login, world.settings, attempt, known.subject_id, token_hash, world.now)
    return done


def person(world: World, token: str) -> Any:
    from oklp.signing import hash_token

    return world.run(auth.sessions, [SessionQuestion(hash_token(token), world.now)])[0]


def test_the_first_is_an_admin_and_whoever_follows_is_support(world: World) -> None:
    assert [operator(world, name).role for name in ("olga", "otto")] == ["admin", "support"]
    assert operator(world, "fred", "finance").role == "finance"
    with refused(NameTaken, "username"):
        operator(world, "OLGA", "admin")
    known = [(each.username, each.role, each.status) for each in world.run(staff.accounts).operators]
    assert known == [("fred", "finance", "active"), ("olga", "admin", "active"), ("otto", "support", "active")]


def test_a_role_that_may_not_is_refused_where_the_work_is_done(world: World) -> None:
    game, (one, two) = world.game(discovery="pull"), world.players(2, 1_000)
    match = world.live(game, [one, two], 500)
    support, finance = operator(world, "sue", "support"), operator(world, "fred", "finance")
    reason = contract.OperatorReason(reason="why not")
    settlement = contract.SettleRequest.model_validate(
        {"reason": "x", "teams": [{"id": t.id, "score": 0, "ranking": n} for n, t in enumerate(match.teams, 1)]}
    )
    held = contract.HeldDecision(decision="release", reason="x")
    vetting = contract.VettingDecision(decision="suspend", reason="x")
    player = contract.PlayerAction(action="suspend", reason="x")
    of_support: list[tuple[Any, ...]] = [
        (operators.settle, world.settings, support, match.match_id, settlement, "p", world.now),
        (operators.abort, world.settings, support, match.match_id, reason, "p", world.now),
        (operators.decide_held, world.settings, support, one.user_id, match.match_id, held, "p", world.now),
        (operators.export_postings, support, "house:fees", None, 10),
        (console.begin_books, support, "run", world.now),
    ]
    of_both: list[tuple[Any, ...]] = [
        (operators.vet, world.settings, who, game, vetting, world.now) for who in (support, finance)
    ]
    of_finance: list[tuple[Any, ...]] = [
        (operators.act_on_player, world.settings, world.vault, finance, one.user_id, player, "m", world.now),
        (operators.resend, finance, str(uuid.uuid4()), reason, world.now),
    ]
    for work, *arguments in (*of_support, *of_both, *of_finance):
        with refused(RoleMissing):
            world.run(work, *arguments)
    assert world.run(operators.match, match.match_id).status == "live"
    assert world.run(operators.audit_log, f"match:{match.match_id}", None, 5) == ([], None)
    with pytest.raises(RoleMissing, match=r"Your role is support; match\.settle is for finance and admin\."):
        support.need("match.settle")
    refusal, proved = world.run(operators.verify_books, [support, finance])
    assert isinstance(refusal, RoleMissing)
    assert isinstance(proved, contract.Books)
    # What the role may do is done.
    world.run(operators.settle, world.settings, finance, match.match_id, settlement, "p", world.now)


def test_roles_are_given_by_admins_and_end_the_sessions_of_the_old(world: World) -> None:
    olga, sue = operator(world, "olga"), operator(world, "sue")
    log_in(world, sue, "a session")
    assert person(world, "a session").role == "support"
    with refused(RoleMissing):
        act(world, sue, sue, "change-role", "admin")
    assert act(world, olga, sue, "change-role", "finance").role == "finance"
    assert isinstance(person(world, "a session"), Unauthenticated)
    log_in(world, sue, "a second")
    assert person(world, "a second").role == "finance"
    with refused(WrongState):
        act(world, olga, sue, "change-role", "finance")
    with refused(NotFound):
        world.run(staff.act, pen(world), olga, str(uuid.uuid4()), action("suspend"), world.now)
    entries, _ = world.run(operators.audit_log, f"operator:{sue.id}", None, 5)
    assert [(each.action, each.actor, each.reason) for each in entries] == [
        ("operator.change-role", "operator:olga", "so it is"),
        ("operator.create", "command-line", None),
    ]
    assert entries[0].detail["from"]["role"] == "support"


def test_whoever_is_suspended_is_out_at_once_and_does_not_get_in(world: World) -> None:
    olga, sue = operator(world, "olga"), operator(world, "sue", "admin")
    log_in(world, sue, "a session")
    known = world.run(auth.begin_login, world.settings, LogIn("operator", "sue", "127.0.0.1"), world.now)
    assert act(world, olga, sue, "suspend").status == "suspended"
    assert isinstance(person(world, "a session"), Unauthenticated)
    with refused(Unauthenticated):  # the password was looked at just before
        attempt = LogIn("operator", "sue", "127.0.0.1")
        world.run(auth.end_login, world.settings, attempt, known.subject_id, "another", world.now)
    assert log_in(world, sue, "a third").expires_at is None
    act(world, olga, sue, "reinstate")
    assert log_in(world, sue, "a fourth").expires_at is not None


def test_a_session_tells_whether_its_operator_has_a_second_factor(world: World) -> None:
    olga = operator(world, "olga")
    log_in(world, olga, "a session")
    strict = world.settings.model_copy(update={"operator_second_factor": True})
    with refused(SecondFactorMissing):
        Operator.of(strict, person(world, "a session"))
    assert Operator.of(world.settings, person(world, "a session")) == olga  # the sandbox does without
    me = person(world, "a session")
    change = factors.Change(world.settings, world.vault, me, "x", str(uuid.uuid4()), "en", world.now)
    world.run(factors.added, change, ["a code", "another"])
    log_in(world, olga, "another")  # the password alone: it waits for its second step
    assert isinstance(person(world, "another"), Unauthenticated)
    assert world.run(staff.account, olga.id).second_factor


def test_an_admin_lets_in_another_who_has_lost_his_factors_but_not_himself(world: World) -> None:
    olga = operator(world, "olga")
    sue = operator(world, "sue", "admin")
    world.run(players.update_person, "operator", sue.id, email="sue@example.org")
    log_in(world, sue, "before")
    for who in (olga, sue):
        equip(world, who.id)
        world.run(players.update_person, "operator", who.id, second_factor=True)
    assert log_in(world, sue, "waiting").methods == ("totp", "recovery-code")
    with refused(RoleMissing):
        act(world, operator(world, "tom", "support"), sue, "remove-factors")
    with refused(Conflict):
        act(world, olga, olga, "remove-factors")
    assert world.run(staff.account, olga.id).second_factor
    done = act(world, olga, sue, "remove-factors")
    assert (done.second_factor, done.role, done.status) == (False, "admin", "active")
    assert isinstance(person(world, "before"), Unauthenticated)
    assert log_in(world, sue, "after").methods == ()
    strict = world.settings.model_copy(update={"operator_second_factor": True})
    with refused(SecondFactorMissing):  # as on the first day
        Operator.of(strict, person(world, "after"))
    for again in (lambda: act(world, olga, sue, "remove-factors"), lambda: world.run(by_command, world, "SUE")):
        with refused(WrongState):
            again()
    entry = world.run(operators.audit_log, f"operator:{sue.id}", None, 1)[0][0]
    assert (entry.action, entry.actor, entry.reason) == ("operator.remove-factors", "operator:olga", "so it is")
    assert entry.detail == {"username": "sue", "totp": True, "passkeys": 0, "recovery_codes_left": 2}
    [mail] = world.rows("SELECT kind, recipient FROM mails")
    assert tuple(mail) == ("factors-removed", "sue@example.org")


def by_command(tx: Tx, world: World, username: str) -> contract.OperatorAccount:
    return staff.remove_factors(tx, pen(world), "command-line", staff.id_of(tx, username), "x", world.now)


def test_the_last_owner_of_a_studio_is_let_in_by_whoever_runs_the_platform(world: World) -> None:
    studio_id, member_id = world.new_uuid(), world.new_uuid()
    new = {"name": "Dice", "username": "Ida", "email": "ida@example.org", "password": "correct horse"}
    request = contract.NewStudio.model_validate(new)
    world.run(studios.sign_up, studio_id, member_id, request, "no hash", world.now)
    with refused(WrongState):
        world.run(studios.remove_factors, pen(world), "command-line", "ida", "papers seen", world.now)
    equip(world, member_id)
    world.run(players.update_person, "member", member_id, second_factor=True)
    done = world.run(studios.remove_factors, pen(world), "command-line", "ida", "papers seen", world.now)
    assert (done.member_id, done.role) == (member_id, "owner")
    assert not world.run(factors.factors, member_id).enabled
    attempt = LogIn("member", "ida", "127.0.0.1")
    assert world.run(auth.end_login, world.settings, attempt, member_id, "a session", world.now).methods == ()
    entry = world.run(operators.audit_log, f"studio:{studio_id}", None, 1)[0][0]
    assert (entry.action, entry.actor, entry.reason) == ("member.remove-factors", "command-line", "papers seen")
    [mail] = world.rows("SELECT kind, recipient FROM mails")
    assert tuple(mail) == ("factors-removed", "ida@example.org")
    with refused(NotFound):
        world.run(studios.remove_factors, pen(world), "command-line", "nobody", "x", world.now)


def test_the_last_active_admin_stays(world: World) -> None:
    olga, sue = operator(world, "olga"), operator(world, "sue")
    for name, role in (("suspend", None), ("change-role", "support")):
        with refused(Conflict):
            act(world, olga, olga, name, role)
    act(world, olga, sue, "change-role", "admin")
    act(world, olga, sue, "suspend")
    with refused(Conflict):
        act(world, olga, olga, "change-role", "finance")
    act(world, olga, sue, "reinstate")
    assert act(world, olga, olga, "change-role", "finance").role == "finance"


def test_of_two_admins_who_suspend_each_other_one_stays(world: World) -> None:
    olga, sue = operator(world, "olga"), operator(world, "sue", "admin")
    there = world.another_node()

    def suspend(node: Database, who: Operator, whom: Operator) -> bool:
        try:
            node.run(staff.act, pen(world), who, whom.id, action("suspend"), world.now)
        except OklpError as refusal:
            assert isinstance(refusal, Conflict), refusal
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(suspend, (world.db, there), (olga, sue), (sue, olga)))
    assert sorted(done) == [False, True]
    active = [each for each in world.run(staff.accounts).operators if each.status == "active"]
    assert len(active) == 1
