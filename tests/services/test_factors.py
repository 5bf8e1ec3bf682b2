"""The second step of log-ins: codes that work once, guesses that are few, passkeys that are not copied."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyotp
import pytest

from oklp import contract
from oklp.errors import InvalidRequest, NotFound, OklpError, TooManyRequests, Unauthenticated, WrongState
from oklp.services import auth, factors, housekeeping, mails, operators, passkeys, players, staff
from oklp.services.auth import LogIn, Person, SessionQuestion
from oklp.services.factors import Change, SecondStep
from oklp.services.passkeys import Site
from oklp.settings import Settings
from oklp.signing import hash_token
from oklp.storage import factors as store
from tests.authenticator import Authenticator, encoded
from tests.services.world import HOUR, MINUTE, SECOND, World, refused

HERE = "192.0.2.1"
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
STEP = 30 * SECOND


class Desk:
    """One player, his factors and his log-ins."""

    def __init__(self, world: World) -> None:
        self.world = world
        player = world.player(name="ada")
        self.person = Person("player", player.user_id, player.username, "active", None, None)
        self.site = Site.of(world.settings)

    def run(self, fn: Callable[..., Any], *args: Any) -> Any:
        return self.world.run(fn, *args)

    @property
    def change(self) -> Change:
        world = self.world
        return Change(world.settings, world.vault, self.person, hash_token("here"), world.new_uuid(), "en", world.now)

    def codes(self) -> list[str]:
        return [self.world.new_id()[:20] for _ in range(factors.RECOVERY_CODES)]

    # --- log-ins ---

    def password(self, token: str, address: str = HERE) -> auth.LoggedIn:
        """The first step, with the right password."""
        attempt = LogIn("player", "ada", address)
        done: auth.LoggedIn = self.run(
            auth.end_login, self.world.settings, attempt, self.person.id, token, self.world.now
        )
        return done

    def step(self, pending: str, address: str = HERE) -> SecondStep:
        return SecondStep("player", hash_token(pending), address, None, "en")

    def finish(self, pending: str, code: str | None = None, recovery: str | None = None, address: str = HERE) -> bool:
        """The second step; the session is `{pending}-session`."""
        world = self.world
        given = (world.settings, world.vault, self.step(pending, address), code, recovery)
        done = self.run(factors.finish_by_code, *given, f"{pending}-session", world.now)
        return done.expires_at is not None

    def is_in(self, token: str) -> bool:
        [outcome] = self.run(auth.sessions, [SessionQuestion(hash_token(token), self.world.now)])
        return isinstance(outcome, Person)

    # --- factors ---

    def code(self, steps: int = 0) -> str:
        return pyotp.HOTP(SECRET).at(self.world.now // STEP + steps)

    def confirm(self, code: str) -> contract.FactorAdded | None:
        attempt = LogIn("player", "ada", HERE)
        found: contract.FactorAdded | None = self.run(factors.confirm_totp, self.change, code, attempt, self.codes())
        return found

    def enrol(self) -> list[str]:
        """An app; returns the recovery codes. Its code of this moment is used up."""
        self.run(factors.start_totp, self.change, SECRET)
        added = self.confirm(self.code())
        assert added is not None
        assert added.recovery_codes is not None
        self.world.now += STEP
        return added.recovery_codes

    def state(self) -> contract.SecondFactors:
        found: contract.SecondFactors = self.run(factors.factors, self.person.id)
        return found

    # --- passkeys ---

    def authenticator(self, **more: Any) -> Authenticator:
        return Authenticator(origin=self.site.origins[0], rp_id=self.site.rp_id, **more)

    def register(self, device: Authenticator) -> contract.NewPasskey:
        challenge = os.urandom(32)
        known = self.run(passkeys.known, self.person.id)
        options = passkeys.registration_options(self.site, self.person, known, challenge)
        now = self.world.now
        self.run(passkeys.remember, passkeys.REGISTRATION, "player", self.person.id, challenge, now)
        credential = contract.Credential.model_validate(device.create(options))
        assert passkeys.challenge_of(credential) == challenge
        if not self.run(passkeys.take, passkeys.REGISTRATION, "player", self.person.id, challenge, now):
            raise passkeys.bad_credential()
        verified = passkeys.verify_registration(self.site, credential, challenge)
        made: contract.NewPasskey = self.run(
            passkeys.add, self.change, self.world.new_uuid(), "a key", verified, self.codes()
        )
        return made

    def answer(self, device: Authenticator, purpose: str = passkeys.LOG_IN) -> contract.Credential:
        """An answer to a new challenge."""
        challenge = os.urandom(32)
        person_id = None if purpose == passkeys.LOG_IN else self.person.id
        credentials = None if person_id is None else self.run(passkeys.known, person_id)
        options = passkeys.log_in_options(self.site, credentials, challenge)
        self.run(passkeys.remember, purpose, "player", person_id, challenge, self.world.now)
        return contract.Credential.model_validate(device.get(options))

    def by_passkey(self, credential: contract.Credential, token: str, pending: str | None = None) -> None:
        """Log in, alone or as the second step, as the API does."""
        world = self.world
        alone = pending is None
        person_id = None if alone else self.person.id
        challenge = passkeys.challenge_of(credential)
        purpose = passkeys.LOG_IN if alone else passkeys.SECOND_STEP
        if not self.run(passkeys.take, purpose, "player", person_id, challenge, world.now):
            raise passkeys.bad_credential()
        known = self.run(passkeys.find, "player", credential, person_id)
        done = passkeys.verify_answer(self.site, credential, challenge, known.public_key, known.sign_count, alone=alone)
        if pending is None:
            given = (world.settings, "player", known, done.sign_count, HERE, None, token, world.now)
            self.run(passkeys.log_in, *given)
        else:
            self.run(
                passkeys.finish_log_in,
                world.settings,
                self.step(pending),
                known,
                done.sign_count,
                token,
                world.now,
            )


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


# --- authenticator apps ----------------------------------------------------------------------------------------------


def test_without_a_second_factor_a_password_is_enough(desk: Desk) -> None:
    assert desk.password("one").methods == ()
    assert desk.is_in("one")


def test_an_app_counts_once_a_code_of_it_was_given(desk: Desk) -> None:
    enrolment = desk.run(factors.start_totp, desk.change, SECRET)
    parsed = pyotp.parse_uri(enrolment.otpauth_uri)
    assert isinstance(parsed, pyotp.TOTP)
    assert (parsed.secret, parsed.name) == (SECRET, "ada")
    assert desk.password("before").methods == ()
    assert desk.confirm("000000" if desk.code() != "000000" else "111111") is None
    assert not desk.state().enabled
    added = desk.confirm(desk.code())
    assert added is not None
    assert added.recovery_codes is not None
    assert len(set(added.recovery_codes)) == 10
    with refused(WrongState):
        desk.confirm(desk.code(1))
    with refused(WrongState):
        desk.run(factors.start_totp, desk.change, SECRET)
    assert desk.password("after").methods == ("totp", "recovery-code")
    # Neither the token of the wait nor the sessions from before are any good.
    assert [desk.is_in(each) for each in ("after", "before")] == [False, False]


def test_a_code_works_once_and_codes_before_it_no_more(desk: Desk) -> None:
    desk.enrol()
    for pending in ("one", "two", "three"):
        desk.password(pending)
    code = desk.code(1)
    assert desk.finish("one", code)
    assert desk.is_in("one-session")
    assert not desk.finish("two", code)
    assert not desk.finish("two", desk.code())  # of the step before the one that was used
    desk.world.now += 2 * STEP
    assert desk.finish("three", desk.code(-1) if desk.code(-1) != code else desk.code())


@pytest.mark.parametrize(("steps", "taken"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_clocks_may_differ_by_a_step(desk: Desk, steps: int, taken: bool) -> None:
    desk.enrol()
    desk.world.now += 10 * STEP
    desk.password("one")
    assert desk.finish("one", desk.code(steps)) is taken


def test_a_wait_is_completed_once_and_not_for_long(desk: Desk) -> None:
    codes = desk.enrol()
    desk.password("one")
    assert desk.finish("one", desk.code())
    for pending in ("one", "unknown"):
        with pytest.raises(Unauthenticated):
            desk.finish(pending, recovery=codes[0])
    desk.password("late")
    desk.world.now += desk.world.settings.second_factor_seconds * SECOND
    with pytest.raises(Unauthenticated):
        desk.finish("late", desk.code())
    assert desk.state().recovery_codes_left == 10


def test_of_two_who_complete_the_same_wait_at_once_one_does(desk: Desk) -> None:
    codes = desk.enrol()
    desk.password("one")
    other = Desk.__new__(Desk)
    other.world, other.person, other.site = desk.world.on(desk.world.another_node()), desk.person, desk.site

    def attempt(job: tuple[Desk, str]) -> object:
        try:
            return job[0].finish("one", recovery=job[1])
        except OklpError as refusal:
            return type(refusal)

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(attempt, [(desk, codes[0]), (other, codes[1])]))
    assert set(outcomes) == {True, Unauthenticated}


def test_codes_are_guessed_no_more_often_than_passwords_even_with_the_password(desk: Desk) -> None:
    desk.enrol()
    wrong = next(code for code in ("000000", "111111", "222222", "333333") if code not in map(desk.code, range(-1, 2)))
    for n in range(desk.world.settings.login_failures):
        desk.password(f"try {n}")  # the right password in between forgives nothing
        assert not desk.finish(f"try {n}", wrong)
    with pytest.raises(TooManyRequests):
        desk.password("once more")
    with pytest.raises(TooManyRequests):
        desk.finish("try 0", desk.code())
    # Another address may still log in, and does so for its own count.
    desk.password("elsewhere", "192.0.2.9")
    assert desk.finish("elsewhere", desk.code(), address="192.0.2.9")


def test_recovery_codes_work_once_however_they_are_typed(desk: Desk) -> None:
    codes = desk.enrol()
    for pending in ("one", "two"):
        desk.password(pending)
    assert desk.finish("one", recovery=f"{codes[0][:4]}-{codes[0][4:]}".upper())
    assert not desk.finish("two", recovery=codes[0])
    assert desk.state().recovery_codes_left == 9
    renewed = desk.run(factors.renew_codes, desk.change, desk.codes()).recovery_codes
    assert not desk.finish("two", recovery=codes[1])
    assert desk.finish("two", recovery=renewed[0])


def test_nothing_of_it_is_kept_readable(desk: Desk) -> None:
    codes = desk.enrol()
    kept = str(
        [tuple(row) for table in ("totp", "recovery_codes") for row in desk.world.rows(f"SELECT * FROM {table}")]
    )
    assert SECRET not in kept
    assert not any(code in kept for code in codes)


def test_the_last_factor_takes_the_recovery_codes_with_it(desk: Desk) -> None:
    desk.enrol()
    device = desk.authenticator()
    added = desk.register(device)
    assert added.recovery_codes is None  # they came with the first
    assert desk.password("both").methods == ("totp", "passkey", "recovery-code")
    desk.run(factors.remove_totp, desk.change)
    with refused(NotFound):
        desk.run(factors.remove_totp, desk.change)
    assert desk.password("one").methods == ("passkey", "recovery-code")
    desk.run(factors.remove_passkey, desk.change, added.passkey_id)
    assert desk.state() == contract.SecondFactors(enabled=False, totp=False, passkeys=[], recovery_codes_left=0)
    assert desk.password("none").methods == ()
    with refused(WrongState):
        desk.run(factors.renew_codes, desk.change, desk.codes())
    sent = [row.kind for row in desk.world.rows("SELECT kind FROM mails")]
    assert sent == []  # whom the command line made has no address


# --- the way back in -------------------------------------------------------------------------------------------------


def test_an_operator_lets_in_whoever_has_lost_all_factors(desk: Desk) -> None:
    codes, device = desk.enrol(), desk.authenticator()
    desk.register(device)
    desk.password("one")
    assert desk.finish("one", desk.code())
    desk.password("waiting")
    answer = desk.answer(device)
    # Whoever looks for his telephone tries what he finds.
    for n in range(factors.MOST_WRONG_CODES):
        desk.password(f"try {n}", f"198.51.100.{n}")
        assert not desk.finish(f"try {n}", desk.code(9), address=f"198.51.100.{n}")
    world = desk.world
    sue = world.run(staff.create, world.new_uuid(), "sue", "no hash", world.now, "", "support")
    who = staff.Operator(sue.operator_id, "sue", "support")
    request = contract.PlayerAction(action="remove-factors", reason="known by his papers")
    work = (world.settings, world.vault, who, desk.person.id, request, world.new_uuid(), world.now)
    assert desk.run(players.operator_player, world.settings, desk.person.id).second_factor
    assert not desk.run(operators.act_on_player, *work).second_factor

    assert desk.state() == contract.SecondFactors(enabled=False, totp=False, passkeys=[], recovery_codes_left=0)
    assert not desk.is_in("one-session")
    with pytest.raises(Unauthenticated, match="begin again"):  # the log-in that waited may be somebody else's
        desk.finish("waiting", recovery=codes[0])
    with refused(InvalidRequest, "credential"):
        desk.by_passkey(answer, "alone")
    assert desk.password("again").methods == ()
    assert desk.is_in("again")
    [entry], _ = desk.run(operators.audit_log, f"player:{desk.person.id}", None, 5)
    assert (entry.action, entry.actor, entry.reason, entry.detail) == (
        "player.remove-factors",
        "operator:sue",
        "known by his papers",
        {"totp": True, "passkeys": 1, "recovery_codes_left": 10},
    )
    with refused(WrongState):
        desk.run(operators.act_on_player, *work)
    # A new app is taken at once: wrong codes of the old one are forgotten.
    world.now += STEP
    desk.enrol()
    desk.password("anew")
    assert desk.finish("anew", desk.code())


def test_after_an_app_went_with_a_lost_key_a_recovery_code_is_the_last_second_step(desk: Desk) -> None:
    """Else codes would be used up one by one, and then an account that says it has a factor would ask for none."""
    codes = desk.enrol()
    desk.run(store.forget_apps)
    assert desk.password("one").methods == ("recovery-code",)
    assert desk.finish("one", recovery=codes[0])
    world = desk.world
    assert not desk.run(players.operator_player, world.settings, desk.person.id).second_factor
    assert desk.state().recovery_codes_left == 0
    assert desk.password("two").methods == ()
    assert len(desk.enrol()) == factors.RECOVERY_CODES


def test_an_app_that_was_never_confirmed_is_none_to_remove(desk: Desk) -> None:
    desk.run(factors.start_totp, desk.change, SECRET)
    desk.password("one")
    pen = mails.Pen(desk.world.settings, desk.world.vault, desk.world.new_uuid(), "en")
    with refused(WrongState):
        desk.run(factors.remove_all, pen, "player", desk.person.id, desk.world.now)
    assert desk.is_in("one")
    with refused(NotFound):
        desk.run(factors.remove_all, pen, "player", desk.world.new_uuid(), desk.world.now)


# --- passkeys --------------------------------------------------------------------------------------------------------


def test_a_passkey_logs_in_alone_and_as_the_second_step(desk: Desk) -> None:
    device = desk.authenticator()
    made = desk.register(device)
    assert made.recovery_codes is not None
    desk.by_passkey(desk.answer(device), "alone")
    assert desk.is_in("alone")
    assert desk.password("pending").methods == ("passkey", "recovery-code")
    desk.by_passkey(desk.answer(device, passkeys.SECOND_STEP), "both", "pending")
    assert desk.is_in("both")
    [shown] = desk.state().passkeys
    assert shown.last_used_at is not None
    with pytest.raises(Unauthenticated):
        desk.by_passkey(desk.answer(device, passkeys.SECOND_STEP), "again", "pending")


def test_an_answer_is_good_once_for_its_purpose_and_for_a_while(desk: Desk) -> None:
    device = desk.authenticator()
    desk.register(device)
    answer = desk.answer(device)
    desk.by_passkey(answer, "one")
    with refused(InvalidRequest, "credential"):
        desk.by_passkey(answer, "replayed")
    desk.password("pending")
    with refused(InvalidRequest, "credential"):
        desk.by_passkey(desk.answer(device), "for another purpose", "pending")
    late = desk.answer(device)
    desk.world.now += passkeys.CHALLENGE_MS
    with refused(InvalidRequest, "credential"):
        desk.by_passkey(late, "late")


def test_a_copy_of_a_key_is_found_by_its_count(desk: Desk) -> None:
    device = desk.authenticator()
    desk.register(device)
    clone = copy.copy(device)
    for n in range(3):
        desk.by_passkey(desk.answer(device), f"own {n}")
    with refused(InvalidRequest, "credential"):
        desk.by_passkey(desk.answer(clone), "copy")
    desk.by_passkey(desk.answer(device), "own again")


def test_of_two_uses_with_the_same_count_one_is_recorded(desk: Desk) -> None:
    device = desk.authenticator()
    desk.register(device)
    clone = copy.copy(device)
    first, second = desk.answer(device), desk.answer(clone)
    known = desk.run(passkeys.find, "player", first, None)
    desk.by_passkey(first, "first")
    done = passkeys.verify_answer(
        desk.site, second, passkeys.challenge_of(second), known.public_key, known.sign_count, alone=True
    )
    given = (desk.world.settings, "player", known, done.sign_count, HERE, None, "second", desk.world.now)
    with pytest.raises(Unauthenticated):
        desk.run(passkeys.log_in, *given)
    assert not desk.is_in("second")


def test_a_device_that_does_not_count_works_again_and_again(desk: Desk) -> None:
    device = desk.authenticator(counts=False)
    desk.register(device)
    for n in range(3):
        desk.by_passkey(desk.answer(device), f"use {n}")
        assert desk.is_in(f"use {n}")


def test_a_key_that_sees_no_owner_is_no_more_than_a_second_step(desk: Desk) -> None:
    device = desk.authenticator(verifies=False)
    desk.register(device)
    with refused(InvalidRequest, "credential"):
        desk.by_passkey(desk.answer(device), "alone")
    desk.password("pending")
    desk.by_passkey(desk.answer(device, passkeys.SECOND_STEP), "both", "pending")
    assert desk.is_in("both")


def test_answers_of_other_sites_and_other_keys_are_refused(desk: Desk) -> None:
    device = desk.authenticator()
    desk.register(device)
    for change in (
        {"origin": "https://evil.example"},
        {"rp_id": "evil.example"},
        {"key": desk.authenticator().key},
        {"credential_id": os.urandom(32)},
        {"user_handle": os.urandom(16)},
    ):
        liar = copy.copy(device)
        challenge = os.urandom(32)
        options = passkeys.log_in_options(desk.site, None, challenge)
        desk.run(passkeys.remember, passkeys.LOG_IN, "player", None, challenge, desk.world.now)
        vars(liar).update(change)
        options["rpId"] = liar.rp_id
        with refused(InvalidRequest, "credential"):
            desk.by_passkey(contract.Credential.model_validate(liar.get(options)), "liar")
    assert not desk.is_in("liar")


def test_a_passkey_is_of_one_kind_of_person_and_one_account(desk: Desk) -> None:
    device = desk.authenticator()
    desk.register(device)
    answer = desk.answer(device)
    with refused(InvalidRequest, "credential"):
        desk.run(passkeys.find, "operator", answer, None)
    with refused(InvalidRequest, "credential"):
        desk.run(passkeys.find, "player", answer, desk.world.player().user_id)
    stranger = Desk.__new__(Desk)
    other = desk.world.player(name="bea")
    stranger.world, stranger.site = desk.world, desk.site
    stranger.person = Person("player", other.user_id, "bea", "active", None, None)
    with pytest.raises(OklpError, match="known already"):
        stranger.register(device)


@pytest.mark.parametrize(
    "client_data",
    [b"", b"{", b"[]", b"{}", b'{"challenge": 5}', b'{"challenge": "?"}', b"[" * 50_000, b"\xff", b'"x"'],
)
def test_what_is_no_answer_is_refused(desk: Desk, client_data: bytes) -> None:
    response = contract.CredentialResponse(client_data_json=encoded(client_data) or "AA")
    credential = contract.Credential(id="AA", raw_id="AA", type="public-key", response=response)
    with refused(InvalidRequest, "credential"):
        desk.by_passkey(credential, "nobody")
    with refused(InvalidRequest, "credential"):
        passkeys.verify_registration(desk.site, credential, b"x")


@pytest.mark.parametrize(
    ("public_url", "rp_id", "origins"),
    [
        ("https://play.example", "play.example", ["https://play.example"]),
        ("https://play.example:8443", "play.example", ["https://play.example:8443"]),
        ("http://127.0.0.1:8000", "localhost", ["http://127.0.0.1:8000", "http://localhost:8000"]),
        ("http://[::1]:8000", "localhost", ["http://[::1]:8000", "http://localhost:8000"]),
        ("https://192.0.2.1", "192.0.2.1", ["https://192.0.2.1"]),
    ],
)
def test_the_site_is_that_of_the_public_url(public_url: str, rp_id: str, origins: list[str]) -> None:
    assert Site.of(Settings(public_url=public_url)) == (rp_id, origins)


def test_challenges_are_forgotten(desk: Desk) -> None:
    desk.run(passkeys.remember, passkeys.LOG_IN, "player", None, os.urandom(32), desk.world.now)
    desk.enrol()
    desk.password("waits")
    desk.world.now += HOUR + MINUTE
    desk.run(housekeeping.sweep, desk.world.settings, desk.world.now)
    assert (desk.world.count("challenges"), desk.world.count("tickets")) == (0, 0)
