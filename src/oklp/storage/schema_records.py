"""Tables of what is kept about players, which is made from the event log (services.records)."""

from __future__ import annotations

import sqlalchemy as sa

from oklp.storage.schema_base import Int, Serial, Text, metadata, one_of

followers = sa.Table(
    "followers",
    metadata,
    sa.Column("name", Text, primary_key=True),
    # Of the event log: all up to this row was seen.
    sa.Column("tx_number", Int, nullable=False),
    sa.Column("seq", Int, nullable=False),
)

player_results = sa.Table(
    "player_results",
    metadata,
    sa.Column("match_id", Text, primary_key=True),
    sa.Column("user_id", Text, primary_key=True),
    sa.Column("game_id", Text, nullable=False),
    sa.Column("at", Int, nullable=False),
    sa.Column("place", Int, nullable=False),
    sa.Column("verdict", Text, nullable=False),
    sa.Column("currency", Text, nullable=False),
    sa.Column("paid", Int, nullable=False),
    sa.Column("won", Int, nullable=False),
    one_of("verdict", "won", "drawn", "lost"),
    sa.Index("ix_player_results_user", "user_id", "at", "match_id"),
)

standings = sa.Table(
    "standings",
    metadata,
    sa.Column("user_id", Text, primary_key=True),
    sa.Column("game_id", Text, primary_key=True),
    sa.Column("matches", Int, nullable=False),
    sa.Column("wins", Int, nullable=False),
    sa.Column("draws", Int, nullable=False),
    sa.CheckConstraint("wins >= 0 AND draws >= 0 AND wins + draws <= matches", name="add_up"),
)
sa.Index("ix_standings_best", standings.c.game_id, standings.c.wins.desc(), standings.c.matches, standings.c.user_id)

player_money = sa.Table(
    "player_money",
    metadata,
    sa.Column("user_id", Text, primary_key=True),
    sa.Column("currency", Text, primary_key=True),
    sa.Column("paid", Int, nullable=False),
    sa.Column("won", Int, nullable=False),
)

NOTICES = ("invited", "began", "won", "drawn", "lost", "held", "released", "confiscated", "refunded", "called-off")

notices = sa.Table(
    "notices",
    metadata,
    sa.Column("id", Serial, primary_key=True),
    sa.Column("user_id", Text, nullable=False),
    sa.Column("occasion", Text, nullable=False),  # of what it tells: once, however often the log says so
    sa.Column("kind", Text, nullable=False),
    sa.Column("match_id", Text, nullable=False),
    sa.Column("amount", Int),
    sa.Column("currency", Text),
    sa.Column("reason", Text),  # why a match was called off
    sa.Column("at", Int, nullable=False, index=True),
    sa.Column("read_at", Int),
    # Told, and not shown: its player wants none of this topic on the site.
    sa.Column("hidden", sa.Boolean, nullable=False, server_default=sa.text("false")),
    one_of("kind", *NOTICES),
    sa.UniqueConstraint("user_id", "occasion"),
    sa.Index("ix_notices_user", "user_id", "id"),
    sqlite_autoincrement=True,
)
notice_choices = sa.Table(
    "notice_choices",
    metadata,
    sa.Column("user_id", Text, primary_key=True),
    sa.Column("topic", Text, primary_key=True),
    sa.Column("on_site", sa.Boolean, nullable=False),
    sa.Column("by_mail", sa.Boolean, nullable=False),
    one_of("topic", "invited", "began", "winnings", "lost", "refunded", "held"),
)

sa.Index(
    "ix_notices_unread",
    notices.c.user_id,
    postgresql_where=notices.c.read_at.is_(None),
    sqlite_where=notices.c.read_at.is_(None),
)
