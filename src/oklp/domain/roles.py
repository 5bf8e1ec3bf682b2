"""What each role of an operator may do.

Everybody who runs the platform may read everything; what changes something, or takes data out of it, is in the table.
Support looks after people and games that are out of step, and moves no money. Finance moves money, and decides nothing
about people. So neither alone can pay whoever was kept from being paid.
"""

from __future__ import annotations

from collections.abc import Mapping

SUPPORT = "support"
FINANCE = "finance"
ADMIN = "admin"
ROLES = (SUPPORT, FINANCE, ADMIN)

# Action → who may do it. Admins may do all of it.
_OTHERS: Mapping[str, tuple[str, ...]] = {
    "delivery.resend": (SUPPORT,),
    "player.suspend": (SUPPORT,),
    "player.reinstate": (SUPPORT,),
    "player.verify": (SUPPORT,),
    "player.remove-factors": (SUPPORT,),
    "match.settle": (FINANCE,),
    "match.abort": (FINANCE,),
    "held-winnings.release": (FINANCE,),
    "held-winnings.confiscate": (FINANCE,),
    "ledger.export": (FINANCE,),
    "books.verify": (FINANCE,),
    "game.vet": (),
    "operator.change": (),
}
ACTIONS = tuple(_OTHERS)


def roles_for(action: str) -> tuple[str, ...]:
    """The roles that may do it, the least of them first. Raises KeyError for what is no action."""
    return (*_OTHERS[action], ADMIN)


def may(role: str, action: str) -> bool:
    """Raises KeyError for what is no action: a question with a slip in it has no answer."""
    return role in roles_for(action)
