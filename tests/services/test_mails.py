"""The outbox of mails: tried again, given up, told to nobody twice, and forgotten."""

from __future__ import annotations

import pytest
from alembic import command

from oklp.mailer import NotSent
from oklp.services import accounts, housekeeping, mails
from oklp.services.vault import Vault
from oklp.storage import migrations
from oklp.storage.engine import connectable
from tests.services.house import House, in_production
from tests.services.world import HOUR, MINUTE, SECOND, T0
from tests.test_observability import figure


def test_what_is_undone_sends_nothing(house: House) -> None:
    house.sign_up("ada", "ada@example.org")
    with pytest.raises(Exception, match="taken"):
        house.sign_up("ADA", "other@example.org")
    house.deliver()
    assert [mail.recipient for mail in house.box.taken] == ["ada@example.org"]


def test_a_mail_is_tried_again_with_growing_pauses_until_it_is_taken(house: House) -> None:
    world = house.world
    house.sign_up("ada", "ada@example.org")
    house.box.refusal = NotSent("greylisted", permanent=False)
    for pause in mails.BACK_OFF_SECONDS[:3]:
        house.deliver()
        [mail] = house.mails()
        assert (mail.state, mail.last_error) == ("waiting", "greylisted")
        assert mail.next_attempt_at is not None
        assert mail.next_attempt_at.timestamp() * SECOND == world.now + pause * SECOND
        world.now += pause * SECOND
    house.box.refusal = None
    house.deliver()
    [mail] = house.mails()
    assert (mail.state, mail.attempts, mail.last_error) == ("sent", 4, None)
    assert len(house.box.taken) == 1


def test_a_hopeless_mail_is_given_up_and_so_is_one_whose_link_has_run_out(house: House) -> None:
    world = house.world
    house.sign_up("ada", "ada@example.org")
    house.box.refusal = NotSent("no such mailbox", permanent=True)
    house.deliver()
    assert [(mail.state, mail.attempts) for mail in house.mails()] == [("failed", 1)]
    world.now += SECOND
    house.ask_reset("ada")
    house.box.refusal = NotSent("nobody listens", permanent=False)
    until = world.now + 30 * MINUTE
    while (mail := house.mails()[0]).state == "waiting" or mail.kind != "password-reset":
        house.deliver()
        world.now += MINUTE
        assert world.now < until + HOUR
    assert mail.state == "failed"
    assert world.now <= until + MINUTE


def test_a_mail_whose_time_was_over_when_the_server_came_back_is_not_sent(house: House) -> None:
    house.sign_up("ada", "ada@example.org")
    house.deliver()
    house.ask_reset("ada")
    house.run(accounts.answer_resets, house.settings, house.world.vault, house.world.new_id, house.world.now, 10)
    failed = figure("oklp_mails_total", outcome="failed")
    house.world.now += 31 * MINUTE
    house.deliver()
    [late] = [mail for mail in house.mails() if mail.kind == "password-reset"]
    assert (late.state, late.attempts, late.last_error) == ("failed", 0, "it could not be sent in time")
    assert figure("oklp_mails_total", outcome="failed") == failed + 1
    assert len(house.box.taken) == 1


def test_an_attempt_that_nobody_recorded_is_made_again(house: House) -> None:
    world = house.world
    house.sign_up("ada", "ada@example.org")
    [lost], _ = house.run(mails.claim, world.vault, world.now, 10)
    assert house.run(mails.claim, world.vault, world.now, 10) == ([], [])
    world.now += mails.LEASE_MS
    [again], _ = house.run(mails.claim, world.vault, world.now, 10)
    assert (again.mail_id, again.attempt) == (lost.mail_id, 2)
    # The first comes back after all, and is not the one that counts.
    house.run(mails.not_sent, house.settings, lost, "late", True, False, world.now)
    assert house.mails()[0].state == "waiting"
    house.run(mails.sent, house.settings, again, world.now)
    assert house.mails()[0].state == "sent"


def test_tokens_are_not_kept_readable_and_in_production_not_at_all(house: House) -> None:
    house.sign_up("ada", "ada@example.org")
    [before] = house.world.rows("SELECT content FROM mails")
    with in_production(house):
        house.deliver()
        [token] = house.box.tokens("ada@example.org")
        assert token not in before.content
        assert house.mails()[0].text is None
    assert [row.content for row in house.world.rows("SELECT content FROM mails")] == [None]
    assert house.world.count("tickets", "token_hash = :token", token=token) == 0
    # The sandbox shows what it sent, to whoever looks after it.
    house.ask_reset("ada")
    house.deliver()
    [shown] = [mail for mail in house.mails() if mail.kind == "password-reset"]
    assert shown.text == house.box.last("ada@example.org").text


def test_mails_of_another_key_do_not_hold_up_the_others(house: House) -> None:
    world = house.world
    vault, world.vault = world.vault, Vault("another key")
    house.sign_up("ada", "ada@example.org")
    house.ask_reset("ada")
    world.vault = vault
    house.sign_up("bea", "bea@example.org")
    house.deliver()
    assert [mail.recipient for mail in house.box.taken] == ["bea@example.org"]
    assert {mail.recipient: mail.state for mail in house.mails()} == {
        "ada@example.org": "failed",
        "bea@example.org": "sent",
    }


def test_mails_are_listed_by_the_address_they_went_to_whatever_its_case(house: House) -> None:
    for number, email in enumerate(
        ("MÜLLER@example.org", "müller@Example.org", "ΝΙΚΟΣ.ΠΑΠ@example.org", "b@x.example")
    ):
        house.sign_up(f"player-{number}", email)

    def listed(recipient: str) -> set[str]:
        found, _ = house.run(mails.page, house.settings, house.world.vault, recipient, None, None, 100)
        return {mail.recipient for mail in found}

    asked = {
        "Müller@EXAMPLE.org": {"MÜLLER@example.org", "müller@Example.org"},
        "νικος.παπ@example.org": {"ΝΙΚΟΣ.ΠΑΠ@example.org"},
        "B@X.example": {"b@x.example"},
        "muller@example.org": set(),
    }
    assert {recipient: listed(recipient) for recipient in asked} == asked
    config = migrations.alembic_config()
    with connectable(house.settings.database_url).connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0021")
        command.upgrade(config, "head")
    assert {recipient: listed(recipient) for recipient in asked} == asked, "those from before as well"


def test_what_is_over_is_forgotten_in_time(house: House) -> None:
    world = house.world
    house.sign_up("ada", "ada@example.org")
    house.ask_reset("ada")
    house.deliver()
    world.now = T0 + housekeeping.MAILS_KEPT_MS + SECOND
    house.run(housekeeping.sweep, house.settings, world.now)
    assert (house.world.count("mails"), house.world.count("tickets")) == (0, 0)
