"""Deliveries for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from oklp import contract
from oklp.tools.screen import duration, show, status_text

STATE_STYLES = {"delivered": "green", "failed": "red", "sending": "yellow", "waiting": "yellow"}


def table(deliveries: Sequence[contract.Delivery]) -> Table:
    made = Table(box=None, pad_edge=False)
    for title in ("created", "event", "method", "match", "state", "status", "attempts", "delivery"):
        made.add_column(title, justify="right" if title in ("status", "attempts") else "left", no_wrap=True)
    for each in deliveries:
        made.add_row(
            _when(each.created_at),
            each.event,
            each.method,
            each.match_id or "-",
            _state(each.state),
            status_text(each.last_status),
            str(each.attempts),
            each.delivery_id,
        )
    return made


def whole(console: Console, made: Table) -> None:
    """However narrow the window is: an id that is cut is no id."""
    needed = Measurement.get(console, console.options.update(max_width=1_000), made).maximum
    console.width = max(console.width, needed)
    console.print(made)


def detail(console: Console, delivery: contract.DeliveryDetail) -> None:
    show(console, (delivery.delivery_id, "bold"), f"  {delivery.event} {delivery.method}  ", _state(delivery.state))
    show(console, f"match {delivery.match_id or '-'}, game {delivery.game_id}, created {_when(delivery.created_at)}")
    if delivery.next_attempt_at is not None:
        show(console, f"next attempt {_when(delivery.next_attempt_at)}")
    show(console, json.dumps(delivery.request_body, indent=2))
    for attempt in delivery.log:
        show(console, "")
        show(console, (f"attempt {attempt.attempt}", "bold"), f"  {_when(attempt.started_at)}  {attempt.url}")
        _lines(console, ">", attempt.request_headers)
        show(console, "  ", status_text(attempt.status), f"  {duration(attempt.duration_ms)}")
        if attempt.error is not None:
            show(console, "  ", (attempt.error, "red"))
        _lines(console, "<", attempt.response_headers or {})
        for line in (attempt.response_body or "").splitlines():
            show(console, f"  {line}")


def outcome(console: Console, delivery: contract.DeliveryDetail) -> bool:
    """One line on how it ended; False if it was not delivered."""
    last = delivery.log[-1] if delivery.log else None
    told: list[str | Text | tuple[str, str]] = [f"{delivery.event} {delivery.method}  ", _state(delivery.state)]
    if last is not None:
        told += ["  ", status_text(last.status), f"  {duration(last.duration_ms)}  {last.url}"]
    if delivery.last_error is not None:
        told.append((f"  {delivery.last_error}", "red"))
    show(console, *told, (f"  {delivery.delivery_id}", "dim"))
    return delivery.state == "delivered"


def _lines(console: Console, mark: str, headers: dict[str, str]) -> None:
    for name, value in headers.items():
        show(console, (f"  {mark} {name}: ", "dim"), value)


def _state(state: str) -> Text:
    return Text(state, STATE_STYLES[state])


def _when(at: datetime) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
