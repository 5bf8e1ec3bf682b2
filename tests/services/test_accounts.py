"""Accounts of their owners: addresses that are proved, passwords that are forgotten, mails that carry the links."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from alembic import command

from oklp import contract
from oklp.errors import Conflict, InvalidRequest, NotFound, TooManyRequests
from oklp.mailer import NotSent
from oklp.services import accounts, auth, choices, factors, mails, players
from oklp.services.auth import LogIn
from oklp.services.matches import Caller
from oklp.services.vault import NEVER_MATCHES, hash_password, verify_password
from oklp.signing import hash_token
from oklp.storage import factors as factor_store
from oklp.storage import migrations
from oklp.storage import players as store
from oklp.storage.engine import Tx, connectable
from tests.services.house import HERE, LINK, House, in_production
from tests.services.world import HOUR, MINUTE, SECOND, refused

# --- addresses -------------------------------------------------------------------------------------------------------


def test_the_link_of_the_sign_up_proves_the_address_once(house: House) -> None:
    user_id = house.sign_up("ada", "ada@example.org")
    assert not house.profile(user_id).email_verified
    house.deliver()
    [token] = house.box.tokens("ada@example.org")
    assert f"{house.settings.public_url}/verify-email?token=" in house.box.last("ada@example.org").text
    house.confirm_email(token)
    assert house.profile(user_id).email_verified
    with refused(InvalidRequest, "token"):
        house.confirm_email(token)


def test_a_link_runs_out_and_a_newer_one_replaces_it(house: House) -> None:
    world = house.world
    user_id = house.sign_up("ada", "ada@example.org")
    house.deliver()
    [first] = house.box.tokens("ada@example.org")
    again = (house.settings, world.vault, "player", user_id, HERE)
    house.run(accounts.verify_again, *again, house.draft(), world.now)
    house.deliver()
    [second] = house.box.tokens("ada@example.org")
    with refused(InvalidRequest, "token"):
        house.confirm_email(first)
    world.now += house.settings.email_verification_seconds * SECOND
    with refused(InvalidRequest, "token"):
        house.confirm_email(second)
    house.run(accounts.verify_again, *again, house.draft(), world.now)
    house.deliver()
    house.confirm_email(house.box.tokens("ada@example.org")[0])
    sent = len(house.box.taken)
    house.run(accounts.verify_again, *again, house.draft(), world.now)
    house.deliver()
    assert len(house.box.taken) == sent  # nothing is left to prove


def test_an_address_changes_when_the_new_one_is_proved_and_the_old_one_is_told(house: House) -> None:
    user_id = house.sign_up("ada", "old@example.org")
    house.ask_reset("ada")
    house.change_email(user_id, "new@example.org")
    house.deliver()
    assert house.profile(user_id).email == "old@example.org"
    [reset] = house.box.tokens("old@example.org")
    [token] = house.box.tokens("new@example.org")
    house.confirm_email(token)
    changed = house.profile(user_id)
    assert (changed.email, changed.email_verified) == ("new@example.org", True)
    house.deliver()
    assert house.box.last("old@example.org").subject == "Your e-mail address was changed"
    # Whoever reads the old mailbox cannot take the account back by a link that lies there.
    with refused(InvalidRequest, "token"):
        house.reset(reset)


def test_an_address_that_differs_by_case_alone_is_another_beyond_ascii(house: House) -> None:
    """Mail servers do not agree on whether `MÜLLER` and `müller` are one mailbox. On `A` and `a` they do."""
    user_id = house.sign_up("ada", "MÜLLER@Example.org")
    house.deliver()
    for new, another in (("MÜLLER@example.ORG", False), ("müller@example.org", True)):
        old = house.profile(user_id).email
        house.ask_reset("ada")
        house.change_email(user_id, new)
        house.deliver()
        [reset], [token] = house.box.tokens(old), house.box.tokens(new)
        before = len(house.box.taken)
        house.confirm_email(token)
        house.deliver()
        assert house.profile(user_id).email == new
        told = [(mail.recipient, mail.subject) for mail in house.box.taken[before:]]
        assert told == ([(old, "Your e-mail address was changed")] if another else [])
        if another:
            with refused(InvalidRequest, "token"):
                house.reset(reset)
        else:
            house.reset(reset)
            house.deliver()


def test_a_token_is_for_one_purpose_and_one_kind_of_person(house: House) -> None:
    house.sign_up("ada", "ada@example.org")
    house.deliver()
    [proof] = house.box.tokens("ada@example.org")
    with refused(InvalidRequest, "token"):
        house.reset(proof)
    house.ask_reset("ada")
    house.deliver()
    [reset] = house.box.tokens("ada@example.org")
    with refused(InvalidRequest, "token"):
        house.confirm_email(reset)
    with refused(InvalidRequest, "token"):
        house.reset(reset, kind="operator")
    house.reset(reset)


# --- forgotten passwords ---------------------------------------------------------------------------------------------


def test_a_reset_by_address_is_one_mail_with_a_link_for_each_account(house: House) -> None:
    """Addresses are no identities (decision 0008)."""
    ids = [house.sign_up(name, email) for name, email in (("ada", "a@example.org"), ("ada2", "A@Example.org"))]
    other = house.sign_up("bea", "b@example.org")
    house.deliver()
    house.ask_reset("a@EXAMPLE.org")
    before = len(house.box.taken)
    house.deliver()
    [mail] = house.box.taken[before:]
    named = re.findall(r"^(\w+): http", mail.text, re.MULTILINE)
    assert named == ["ada", "ada2"]
    first, second = LINK.findall(mail.text)
    house.reset(second, "second's")
    assert [house.password(each) for each in (*ids, other)] == ["no hash", "second's", "no hash"]
    house.reset(first, "first's")
    assert house.password(ids[0]) == "first's"


def test_an_address_is_found_whatever_the_case_of_its_letters_and_each_gets_its_own_links(house: House) -> None:
    """Beyond ASCII, two spellings may be two mailboxes: a link into one's account goes to the other's never."""
    shouted, written = "MÜLLER@Straße.example", "müller@straße.example"
    for name, email in (("ada", shouted), ("bea", written), ("cem", "Müller@strasse.example")):
        house.sign_up(name, email)
    house.deliver()
    before = len(house.box.taken)
    house.ask_reset("Müller@STRAßE.example")
    house.deliver()
    sent = {mail.recipient: re.findall(r"^(\w+): http", mail.text, re.MULTILINE) for mail in house.box.taken[before:]}
    assert sent == {shouted: ["ada"], written: ["bea"]}, "ß and ss are two addresses"
    ada = next(row.id for row in house.world.rows("SELECT id FROM players WHERE username = 'ada'"))
    # Of two sigmas the one stands at the end of a word: where that is, a capital does not say.
    for kept, asked in (("ÉMILE@example.org", "émile@example.org"), ("ΝΙΚΟΣ.ΠΑΠ@example.org", "νικος.παπ@example.org")):
        house.change_email(ada, kept)
        house.deliver()
        house.confirm_email(house.box.tokens(kept)[0])
        house.ask_reset(asked)
        house.deliver()
        assert house.box.last(kept).subject == "Choose a new password"


def test_people_from_before_their_addresses_had_keys_are_found_by_them(house: House) -> None:
    """Whatever their addresses are: no two have to differ."""
    people = (
        ("ada", "ÉMILE@example.org"),
        ("bea", "émile@example.org"),
        ("cem", "Cem@example.org"),
        ("dora", "ΝΙΚΟΣ.ΠΑΠ@example.org"),
        ("eve", "νικος.παπ@example.org"),
    )
    for name, email in people:
        house.sign_up(name, email)
    nameless = house.world.player()

    def keys() -> dict[str, str]:
        return {row.username: row.email_key for row in house.world.rows("SELECT username, email_key FROM players")}

    made = keys()
    both, nikos = "émile@example.org", "νικοσ.παπ@example.org"
    assert made == {
        "ada": both,
        "bea": both,
        "cem": "cem@example.org",
        "dora": nikos,
        "eve": nikos,
        nameless.username: "",
    }
    config = migrations.alembic_config()
    with connectable(house.settings.database_url).connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0018")
        command.upgrade(config, "0020")
        of_words = keys()
        command.upgrade(config, "head")
    assert {**of_words, "dora": nikos, "eve": nikos} == made
    assert of_words["dora"] != of_words["eve"], "which is what the last step is for"
    assert keys() == made
    found = {email: house.run(store.by_email, "player", email, 9) for email in ("Émile@example.org", "CEM@example.org")}
    assert [[row.username for row in rows] for rows in found.values()] == [["ada", "bea"], ["cem"]]


def test_a_reset_works_once_and_for_half_an_hour(house: House) -> None:
    user_id = house.sign_up("ada", "ada@example.org")
    for wait, works in ((30 * MINUTE, False), (30 * MINUTE - 1, True)):
        house.ask_reset("ADA")
        house.deliver()
        [token] = house.box.tokens("ada@example.org")
        house.world.now += wait
        if not works:
            with refused(InvalidRequest, "token"):
                house.reset(token)
    house.reset(token)
    assert house.password(user_id) == "new hash"
    with refused(InvalidRequest, "token"):
        house.reset(token, "once more")
    assert house.password(user_id) == "new hash"


def test_a_reset_ends_all_sessions_and_forgets_failures_and_proves_the_address(house: House) -> None:
    user_id = house.sign_up("ada", "ada@example.org")
    for token in ("one", "two"):
        house.log_in("ada", user_id, token)
    for _ in range(house.settings.login_failures):
        house.log_in("ada", None, "never")
    with pytest.raises(TooManyRequests):
        house.log_in("ada", user_id, "locked out")
    house.deliver()
    house.ask_reset("ada")
    house.deliver()
    [token] = house.box.tokens("ada@example.org")
    house.reset(token)
    assert [house.is_in(each) for each in ("one", "two")] == [False, False]
    assert house.profile(user_id).email_verified
    house.log_in("ada", user_id, "three")
    assert house.is_in("three")
    house.deliver()
    assert house.box.last("ada@example.org").subject == "Your password was changed"


@pytest.mark.parametrize("name", ["nobody", "nobody@example.org", "no-address"])
def test_of_strangers_nothing_is_sent_and_the_question_leaves_nothing(house: House, name: str) -> None:
    house.world.player(name="no-address")  # made by the command line
    house.ask_reset(name)
    house.deliver()
    assert house.box.taken == []
    assert house.world.count("mails") == 0
    assert house.world.count("tickets") == 0


def test_in_production_questions_are_limited_by_name_and_by_address(house: House) -> None:
    """And a name that nobody has is limited in the same way, or the limit would tell."""
    with in_production(house):
        for name in ("ada", "nobody"):
            for _ in range(accounts.PER_NAME):
                house.ask_reset(name)
            with pytest.raises(TooManyRequests) as caught:
                house.ask_reset(name, "192.0.2.2")
            assert caught.value.retry_after_seconds == 3_600
        for n in range(accounts.PER_ADDRESS - 2 * accounts.PER_NAME):
            house.ask_reset(f"somebody-{n}")
        with pytest.raises(TooManyRequests):
            house.ask_reset("another")
        house.ask_reset("another", "192.0.2.2")
        house.world.now += HOUR
        house.ask_reset("ada")


# --- sessions --------------------------------------------------------------------------------------------------------


def test_a_change_of_password_ends_the_other_sessions_alone(house: House) -> None:
    world = house.world
    user_id = house.sign_up("ada", "ada@example.org")
    stranger = house.sign_up("bea", "b@example.org")
    house.log_in("bea", stranger, "bea's")
    for token in ("this", "that"):
        house.log_in("ada", user_id, token)
    given = ("player", user_id, "newer hash", hash_token("this"), world.new_uuid(), "en", world.now)
    house.run(accounts.change_password, house.settings, world.vault, *given)
    assert [house.is_in(each) for each in ("this", "that", "bea's")] == [True, False, True]
    assert house.password(user_id) == "newer hash"


def test_sessions_are_listed_and_ended_by_their_owner_alone(house: House) -> None:
    world = house.world
    user_id = house.sign_up("ada", "ada@example.org")
    stranger = house.sign_up("bea", "b@example.org")
    house.log_in("ada", user_id, "first", "192.0.2.7")
    world.now += MINUTE
    house.log_in("ada", user_id, "second")
    found = house.run(auth.open_sessions, user_id, hash_token("second"), world.now).sessions
    assert [(each.address, each.user_agent, each.current) for each in found] == [
        (HERE, "Browser/1", True),
        ("192.0.2.7", "Browser/1", False),
    ]
    with refused(NotFound):
        house.run(auth.end_session, stranger, found[1].session_id, world.now)
    assert house.is_in("first")
    house.run(auth.end_session, user_id, found[1].session_id, world.now)
    assert [house.is_in(each) for each in ("first", "second")] == [False, True]


def test_passwords_that_are_asked_for_again_are_guessed_as_seldom_as_at_the_log_in(house: House) -> None:
    world = house.world
    user_id = house.sign_up("ada", "ada@example.org")
    attempt = LogIn("player", "ada", HERE)
    for _ in range(house.settings.login_failures):
        assert not house.run(auth.check_password, house.settings, attempt, False, world.now)
    with pytest.raises(TooManyRequests):
        house.run(auth.check_password, house.settings, attempt, True, world.now)
    with pytest.raises(TooManyRequests):
        house.log_in("ada", user_id, "the same count")


# --- languages -------------------------------------------------------------------------------------------------------


def test_players_are_written_to_in_the_language_of_their_sign_up_until_they_choose_another(house: House) -> None:
    user_id = house.sign_up("ada", "ada@example.org", "de")
    house.deliver()
    proof = house.box.last("ada@example.org")
    assert proof.subject == "Bitte bestätige deine E-Mail-Adresse"
    assert proof.text.startswith("Hallo ada,\n")
    assert "3 Tage lang" in proof.text
    house.ask_reset("ada", language="en")  # from whichever page
    house.deliver()
    reset = house.box.last("ada@example.org")
    assert reset.subject == "Wähle ein neues Passwort"
    assert "30 Minuten lang" in reset.text
    house.reset(house.box.tokens("ada@example.org")[0])
    house.change_email(user_id, "new@example.org")
    house.deliver()
    assert house.box.last("ada@example.org").subject == "Dein Passwort wurde geändert"
    assert "3 Tage lang" in house.box.last("new@example.org").text
    kept = house.run(choices.read, user_id)
    assert kept.language == "de"
    house.run(choices.choose, user_id, kept.model_copy(update={"language": "en"}))
    house.ask_reset("ada", language="de")
    house.deliver()
    assert "30 minutes" in house.box.last("ada@example.org").text


def test_a_player_is_told_of_his_suspension_and_of_its_end_but_not_why(house: House) -> None:
    world = house.world
    people = [("ada", "en"), ("bea", "de")]
    for name, language in people:
        user_id = house.sign_up(name, f"{name}@example.org", language)
        for act in (world.suspend, world.reinstate):
            house.deliver()
            act(Caller(user_id, name))
    nameless = world.player()  # made by the command line, without an address
    world.suspend(nameless)
    house.deliver()
    told = {name: [mail for mail in house.box.taken if mail.recipient == f"{name}@example.org"] for name, _ in people}
    assert [mail.subject for mail in told["ada"]][1:] == ["Your account is suspended", "Your account is open again"]
    assert [mail.subject for mail in told["bea"]][1:] == ["Dein Konto ist gesperrt", "Dein Konto ist wieder offen"]
    assert len(house.box.taken) == 6
    for mails_of in told.values():
        suspended, reinstated = mails_of[1:]
        assert f"{house.settings.public_url}/wallet" in suspended.text
        assert f"{house.settings.public_url}/games" in reinstated.text
        assert "because" not in suspended.text + reinstated.text, "the reason is for operators"


def test_a_player_is_told_that_an_operator_removed_his_factors(house: House) -> None:
    world, said = house.world, {}
    for name, language in (("ada", "en"), ("bea", "de")):
        user_id = house.sign_up(name, f"{name}@example.org", language)
        house.run(factor_store.put_totp, user_id, "a secret", world.now)
        house.run(factor_store.confirm_totp, user_id, world.now)
        request = contract.PlayerAction(action="remove-factors", reason="because")
        given = ("operator:1", user_id, request, world.new_uuid(), world.now + SECOND)
        house.run(players.act, house.settings, world.vault, *given)
    world.now += SECOND  # mails go in the order in which they were written
    house.deliver()
    for name in ("ada", "bea"):
        mail = house.box.last(f"{name}@example.org")
        said[name] = mail.subject
        assert f"{house.settings.public_url}/forgot-password" in mail.text
        assert "because" not in mail.text
    assert said == {
        "ada": "The second factors of your account were removed",
        "bea": "Die zweiten Faktoren deines Kontos wurden entfernt",
    }


def test_a_suspension_that_is_undone_tells_nobody(house: House) -> None:
    world, user_id = house.world, house.sign_up("ada", "ada@example.org")

    def suspend_and_fail(tx: Tx) -> None:
        request = contract.PlayerAction(action="suspend", reason="because")
        players.act(tx, world.settings, world.vault, "operator:1", user_id, request, world.new_uuid(), world.now)
        raise Conflict("as any error would")

    with refused(Conflict):
        house.run(suspend_and_fail)
    assert [mail.kind for mail in house.mails()] == ["email-verification"]


def test_what_is_taken_back_before_its_mail_has_gone_is_told_to_nobody(house: House) -> None:
    """Whether the mail was not tried yet or waits for its next attempt, which would come after the other mail."""
    world, email = house.world, "ada@example.org"
    ada, bea = (Caller(house.sign_up(name, email), name) for name in ("ada", "bea"))
    house.deliver()
    refusal = NotSent("greylisted", permanent=False)

    def told(*acts: Callable[[Caller], None], tried: bool) -> list[str]:
        """The subjects of what is sent in the end when the server takes nothing until the last of these acts."""
        before = len(house.box.taken)
        for act in acts:
            if tried:
                house.box.refusal = refusal
                house.deliver()
            act(ada)
        house.box.refusal = None
        for _ in range(2):
            house.deliver()
            world.now += HOUR  # longer than any pause
        return [mail.subject for mail in house.box.taken[before:]]

    suspended, reinstated = "Your account is suspended", "Your account is open again"
    for tried in (False, True):
        assert told(world.suspend, world.reinstate, tried=tried) == []
        assert told(world.suspend, world.reinstate, world.suspend, tried=tried) == [suspended]
        assert told(world.reinstate, world.suspend, tried=tried) == [], "he knows that it is"
        assert told(world.reinstate, tried=tried) == [reinstated]
    # Of two who have the same address, one is told of what is his.
    world.suspend(bea)
    assert told(world.suspend, world.reinstate, tried=False) == [suspended]
    assert house.box.last(email).text.startswith("Hello bea,\n")
    assert {mail.state for mail in house.mails()} == {"sent"}


@pytest.mark.parametrize("fails", [False, True], ids=["sent", "fails"])
def test_what_may_be_on_its_way_is_told_before_what_came_of_it(house: House, fails: bool) -> None:
    """And nothing twice. The first mail is with a mail server while the suspension is lifted."""
    world, ada = house.world, Caller(house.sign_up("ada", "ada@example.org"), "ada")
    house.deliver()
    before = len(house.box.taken)
    world.suspend(ada)
    [letter], _ = house.run(mails.claim, world.vault, world.now, 10)
    for act in (world.reinstate, world.suspend, world.reinstate):  # in between, what is not begun is taken back
        act(ada)
        assert house.run(mails.next_at) == world.now + mails.LEASE_MS, "nobody looks for what has to wait"
        assert house.run(mails.claim, world.vault, world.now, 10) == ([], [])
    if fails:
        house.run(mails.not_sent, house.settings, letter, "greylisted", False, False, world.now)
        assert house.run(mails.next_at) == world.now + mails.BACK_OFF_SECONDS[0] * SECOND
        world.now += mails.BACK_OFF_SECONDS[0] * SECOND
    else:
        house.run(mails.sent, house.settings, letter, world.now)
    house.deliver()
    told = [mail.subject for mail in house.box.taken[before:]]
    assert told == [*(["Your account is suspended"] if fails else []), "Your account is open again"]
    assert [mail.attempts for mail in house.mails() if mail.kind.startswith("account-")].count(1) == (1 if fails else 2)


@pytest.mark.parametrize("how", ["no answer", "server ended"])
def test_what_may_have_been_sent_is_not_taken_back(house: House, how: str) -> None:
    """He may have read that he is suspended, and is told in any case that he is not any more."""
    world, ada = house.world, Caller(house.sign_up("ada", "ada@example.org"), "ada")
    house.deliver()
    before = len(house.box.taken)
    world.suspend(ada)
    if how == "server ended":
        house.run(mails.claim, world.vault, world.now, 10)
        world.now += mails.LEASE_MS
    house.box.refusal = NotSent("?", permanent=False, uncertain=how == "no answer")
    house.deliver()
    world.reinstate(ada)
    house.box.refusal = None
    for _ in range(2):
        house.deliver()
        world.now += HOUR
    told = [mail.subject for mail in house.box.taken[before:]]
    assert told == ["Your account is suspended", "Your account is open again"]


def test_members_are_written_to_in_the_language_of_the_request(house: House) -> None:
    world, (studio_id, olga) = house.world, (house.world.new_uuid(), house.world.new_uuid())
    new = {"name": "Würfel", "username": "olga", "email": "o@example.org", "password": "correct horse"}
    given = (studio_id, olga, contract.NewStudio.model_validate(new), "no hash", house.draft("de"), world.now)
    house.run(accounts.sign_up_studio, house.settings, world.vault, *given)
    house.deliver()
    assert house.box.last("o@example.org").subject == "Bitte bestätige deine E-Mail-Adresse"
    person = auth.Person("member", olga, "olga", None, studio_id, "owner")
    for language, added, asked in (
        ("de", "Ein zweiter Faktor wurde zu deinem Konto hinzugefügt", "Wähle ein neues Passwort"),
        ("en", "A second factor was added to your account", "Choose a new password"),
    ):
        change = factors.Change(house.settings, world.vault, person, "x", world.new_uuid(), language, world.now)
        house.run(factors.added, change, ["a code"])
        house.deliver()
        assert house.box.last("o@example.org").subject == added
        house.ask_reset("olga", kind="member", language=language)
        house.deliver()
        assert house.box.last("o@example.org").subject == asked
    invited = {"username": "bob", "email": "b@example.org", "role": "viewer"}
    member = contract.NewStudioMember.model_validate(invited)
    made = ("member:olga", studio_id, world.new_uuid(), member, "no hash", house.draft("de"), world.now)
    house.run(accounts.add_member, house.settings, world.vault, *made)
    house.deliver()
    assert house.box.last("b@example.org").subject == "Würfel lädt dich ein"


def test_what_was_put_into_the_outbox_before_it_had_languages_is_sent_in_english(house: House) -> None:
    world = house.world
    house.sign_up("ada", "ada@example.org")
    values = {"username": "ada", "link": "https://play.example/"}
    posted = (world.new_uuid(), "password-changed", "old@example.org", values, world.now)
    house.run(mails.post, world.vault, *posted)
    asked = (world.new_uuid(), accounts.RESET, {"person": "player", "name_or_email": "ada"}, world.now, HOUR)
    house.run(mails.ask, world.vault, *asked)
    house.deliver()
    assert house.box.last("old@example.org").subject == "Your password was changed"
    assert house.box.last("ada@example.org").subject == "Choose a new password"


def test_a_new_password_is_the_one_that_is_verified(house: House) -> None:
    user_id = house.sign_up("ada", "ada@example.org")
    house.deliver()
    house.ask_reset("ada")
    house.deliver()
    house.reset(house.box.tokens("ada@example.org")[0], hash_password("battery staple"))
    known = house.run(auth.begin_login, house.settings, LogIn("player", "Ada", HERE), house.world.now)
    assert known.subject_id == user_id
    assert verify_password("battery staple", known.password_hash)


def test_passwords_are_hashed_as_owasp_asks_and_strangers_take_as_long() -> None:
    parameters = "$argon2id$v=19$m=19456,t=2,p=1$"
    assert hash_password("correct horse").startswith(parameters)
    assert NEVER_MATCHES.startswith(parameters)
    assert not verify_password("", NEVER_MATCHES)
