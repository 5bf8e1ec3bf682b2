"""What players are told by mail and on the site: as they have chosen, in their language, once."""

from __future__ import annotations

import json

import pytest

from oklp import contract
from oklp.errors import NotFound
from oklp.services import choices, mails, notices
from oklp.services.matches import Caller
from oklp.services.vault import Vault
from oklp.storage import players as player_store
from tests.services.test_records import finish, keep_all, told
from tests.services.world import World, refused


def mailed(world: World, player: Caller) -> list[str]:
    """The subjects of what was put into the outbox for a player."""
    return sorted(each.subject or "" for each in letters(world, player))


def letters(world: World, player: Caller) -> list[contract.Mail]:
    found, _ = world.run(mails.page, world.settings, world.vault, f"{player.username}@example.org", None, None, 50)
    return found


def prove(world: World, *who: Caller) -> None:
    """Their addresses are known to be theirs."""
    for player in who:
        values = {"email": f"{player.username}@example.org", "email_verified_at": world.now}
        world.run(lambda tx, player=player, values=values: player_store.update_player(tx, player.user_id, **values))


def choose(world: World, player: Caller, language: str = "en", **topics: tuple[bool, bool]) -> None:
    chosen = {topic: {"site": site, "mail": mail} for topic, (site, mail) in topics.items()}
    wanted = contract.NotificationChoices.model_validate({"language": language, "topics": chosen})
    world.run(choices.choose, player.user_id, wanted)


def test_money_is_told_by_mail_to_addresses_that_were_proved(world: World) -> None:
    game = world.game()
    ada, bea, cy = world.players(3, 10_000)
    prove(world, ada, bea)
    world.run(player_store.update_player, cy.user_id, email=f"{cy.username}@example.org")
    world.create(ada, game, fee=500, invite=[bea])
    match_id = finish(world, game, [ada, bea], [1, 2])
    off = world.paid(game, [ada, cy], 300).match_id
    world.abort(off)
    keep_all(world)
    assert mailed(world, ada) == ["You won 9.00\xa0XTS", "Your 3.00\xa0XTS are back"]
    assert (mailed(world, bea), mailed(world, cy)) == ([], [])
    text = next(each.text or "" for each in letters(world, ada) if each.subject == "You won 9.00\xa0XTS")
    assert f"Hello {ada.username},\n" in text
    for page in (f"/matches/{match_id}\n", "/settings/notifications\n", "/unsubscribe?token="):
        assert world.settings.public_url + page in text


def test_choices_are_kept_and_each_is_told_where_it_is_wanted(world: World) -> None:
    game = world.game()
    ada, bea = world.players(2, 10_000)
    prove(world, ada, bea)
    choose(world, ada, winnings=(True, False), began=(False, False))
    choose(world, bea, "de", lost=(False, True), invited=(True, True))
    kept = world.run(choices.read, bea.user_id)
    assert kept.language == "de"
    assert {topic: (each.site, each.mail) for topic, each in kept.topics.items()} == {
        "winnings": (True, True),
        "refunded": (True, True),
        "held": (True, True),
        "invited": (True, True),
        "began": (True, False),
        "lost": (False, True),
    }
    world.create(ada, game, fee=500, invite=[bea])
    keep_all(world)
    finish(world, game, [ada, bea], [1, 2])
    keep_all(world)
    assert ([kind for kind, _ in told(world, ada)], mailed(world, ada)) == (["won"], [])
    assert [kind for kind, _ in told(world, bea)] == ["invited"]
    assert world.run(notices.unread, bea.user_id) == 1, "what is not shown is not counted"
    subjects = ["Dein Match ist vorbei", "Du bist zu einem Match eingeladen"]
    assert mailed(world, bea) == subjects
    assert f"Hallo {bea.username},\n\ndu bist zu einem Match um 5,00" in "".join(
        each.text or "" for each in letters(world, bea)
    )
    world.run(lambda tx: tx.driver("UPDATE followers SET tx_number = -1, seq = 0"))
    keep_all(world)
    assert mailed(world, bea) == subjects, "the log read again tells nothing twice"


def test_a_link_ends_the_mails_of_one_topic_for_its_player_alone(world: World) -> None:
    ada, bea = world.players(2)
    choose(world, ada, lost=(False, True))
    token = choices.leave_token(world.vault, ada.user_id, "lost")
    world.run(choices.leave, choices.leave_of(world.vault, token))
    assert world.run(choices.read, ada.user_id).topics["lost"] == contract.NotificationChoice(site=False, mail=False)
    assert world.run(choices.read, ada.user_id).topics["held"].mail
    assert world.run(choices.read, bea.user_id).topics["held"].mail
    others = Vault("x" * 32)
    for bad in ("", "x", token[:-2], others.encrypt(json.dumps(["leave", ada.user_id, "held"]))):
        with refused(NotFound):
            choices.leave_of(world.vault, bad)
    with pytest.raises(NotFound):
        choices.leave_of(world.vault, world.vault.encrypt(json.dumps({"link": "of another mail"})))
