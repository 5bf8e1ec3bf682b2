"""What each role may do, in full: whoever adds an action says here whose it is."""

from __future__ import annotations

import pytest

from oklp.domain.roles import ACTIONS, ADMIN, FINANCE, ROLES, SUPPORT, may, roles_for

SUPPORTS = {"delivery.resend", "player.suspend", "player.reinstate", "player.verify", "player.remove-factors"}
FINANCES = {
    "match.settle",
    "match.abort",
    "held-winnings.release",
    "held-winnings.confiscate",
    "ledger.export",
    "books.verify",
}


def test_support_moves_no_money_and_finance_decides_nothing_about_people() -> None:
    allowed = {role: {action for action in ACTIONS if may(role, action)} for role in ROLES}
    admins = SUPPORTS | FINANCES | {"game.vet", "operator.change"}
    assert allowed == {SUPPORT: SUPPORTS, FINANCE: FINANCES, ADMIN: admins}


def test_a_question_with_a_slip_in_it_has_no_answer() -> None:
    with pytest.raises(KeyError):
        may(ADMIN, "match.setle")
    assert roles_for("match.settle") == (FINANCE, ADMIN)
