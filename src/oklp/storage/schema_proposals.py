"""What an operator has proposed, and a second one decides on (services.proposals)."""

from __future__ import annotations

import sqlalchemy as sa

from oklp.storage.schema_base import Int, Text, metadata, one_of

proposals = sa.Table(
    "proposals",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("action", Text, nullable=False),
    sa.Column("match_id", Text, sa.ForeignKey("matches.id"), nullable=False),
    sa.Column("user_id", Text, nullable=False),  # whose winnings; empty for what is about the match
    sa.Column("request", Text, nullable=False),
    sa.Column("amount", Int, nullable=False),
    sa.Column("currency", Text, nullable=False),
    sa.Column("reason", Text, nullable=False),
    # Operators by id, and by the name that they had: the log has to be read when they are gone.
    sa.Column("proposer_id", Text, nullable=False),
    sa.Column("proposer", Text, nullable=False),
    sa.Column("proposed_at", Int, nullable=False),
    sa.Column("expires_at", Int, nullable=False),
    sa.Column("state", Text, nullable=False),
    sa.Column("decider_id", Text),
    sa.Column("decider", Text),
    sa.Column("decided_at", Int),  # or withdrawn at, by the proposer, who is no decider
    sa.Column("decision_reason", Text),
    one_of("action", "match.settle", "match.abort", "held-winnings.release", "held-winnings.confiscate"),
    one_of("state", "waiting", "approved", "declined", "expired", "withdrawn"),
    sa.CheckConstraint("(state IN ('approved', 'declined')) = (decider_id IS NOT NULL)", name="decided_by_somebody"),
    sa.CheckConstraint("decider_id <> proposer_id", name="two_persons"),
    sa.CheckConstraint("amount > 0", name="amount_positive"),
    sa.Index("ix_proposals_order", "proposed_at", "id"),
)
sa.Index(
    "ix_proposals_waiting",
    proposals.c.proposed_at,
    proposals.c.id,
    postgresql_where=proposals.c.state == "waiting",
    sqlite_where=proposals.c.state == "waiting",
)
# Of one thing, one proposal waits: of two that contradict each other, the second is refused when it is made.
sa.Index(
    "uq_proposals_waiting",
    proposals.c.match_id,
    proposals.c.user_id,
    unique=True,
    postgresql_where=proposals.c.state == "waiting",
    sqlite_where=proposals.c.state == "waiting",
)
