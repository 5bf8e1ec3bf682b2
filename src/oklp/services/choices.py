"""What a player wants to be told, and where: on the site, by mail, in which language.

Kinds of notifications that belong together are one topic, which is chosen. What is about money is told by mail as well,
until somebody says that it should not. Mail goes only to addresses that were proved: the others may be strangers'.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from oklp import contract
from oklp.errors import Conflict, NotFound
from oklp.services.vault import Vault
from oklp.storage import notices as store
from oklp.storage import players as player_store
from oklp.storage.engine import Tx

TOPICS: Mapping[str, tuple[str, ...]] = {
    "winnings": ("won", "drawn"),
    "refunded": ("refunded", "called-off"),
    "held": ("held", "released", "confiscated"),
    "invited": ("invited",),
    "began": ("began",),
    "lost": ("lost",),
}
TOPIC_OF = {kind: topic for topic, kinds in TOPICS.items() for kind in kinds}
MAILED = frozenset({"winnings", "refunded", "held"})  # unless it was chosen otherwise


class Choice(NamedTuple):
    on_site: bool
    by_mail: bool


class Choices:
    """Of some players, by (user_id, topic); what nobody has chosen is as it is for everybody."""

    def __init__(self, chosen: Mapping[tuple[str, str], Choice]) -> None:
        self._chosen = chosen

    def of(self, user_id: str, topic: str) -> Choice:
        return self._chosen.get((user_id, topic)) or Choice(True, topic in MAILED)


def of(tx: Tx, user_ids: Iterable[str]) -> Choices:
    """What these players have chosen."""
    rows = store.choices(tx, user_ids)
    return Choices({(row.user_id, row.topic): Choice(bool(row.on_site), bool(row.by_mail)) for row in rows})


def read(tx: Tx, user_id: str) -> contract.NotificationChoices:
    """Of every topic. Raises NotFound."""
    player = player_store.person(tx, "player", user_id)
    if player is None:
        raise NotFound("There is no such player.")
    chosen = of(tx, [user_id])
    found = {topic: chosen.of(user_id, topic) for topic in TOPICS}
    return contract.NotificationChoices.model_validate(
        {
            "language": player.language,
            "topics": {topic: {"site": each.on_site, "mail": each.by_mail} for topic, each in found.items()},
        }
    )


def choose(tx: Tx, user_id: str, wanted: contract.NotificationChoices) -> contract.NotificationChoices:
    """Topics that are left out stay as they are."""
    player_store.update_player(tx, user_id, language=wanted.language)
    store.choose(tx, user_id, {topic: (each.site, each.mail) for topic, each in wanted.topics.items()})
    return read(tx, user_id)


# --- out of mails by a link ------------------------------------------------------------------------------------------


class Leave(NamedTuple):
    """What a link at the end of a mail stands for: no more mails to this player about this topic."""

    user_id: str
    topic: str


def leave_token(vault: Vault, user_id: str, topic: str) -> str:
    """Encrypted and signed: nobody turns off another's mails.

    It never expires. A mail program's own button (RFC 8058) has to work in mails that are years old, or it is reported
    as one that does nothing; and whoever has the link can do no more with it than end mails of one topic, which their
    player chooses again.
    """
    return vault.encrypt(json.dumps(["leave", user_id, topic]))


def leave_of(vault: Vault, token: str) -> Leave:
    """Raises NotFound for a token that was not made here."""
    try:
        what, user_id, topic = json.loads(vault.decrypt(token))
    except (Conflict, ValueError, TypeError):
        what = None
    if what != "leave":
        raise NotFound("This link is not one of ours.")
    return Leave(user_id, topic)


def leave(tx: Tx, wanted: Leave) -> None:
    """No more mails about it; on the site it is told as before."""
    now = of(tx, [wanted.user_id]).of(wanted.user_id, wanted.topic)
    store.choose(tx, wanted.user_id, {wanted.topic: (now.on_site, False)})
