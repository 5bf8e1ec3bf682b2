"""What a run leaves: a table for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from oklp.simulate.play import Difference
from oklp.simulate.run import Plan, Result
from oklp.simulate.wire import Latencies

SHARES: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
MOST_SHOWN: Final = 5


def replay(plan: Plan, number: int) -> str:
    """The command that plays one match of a plan again, by itself. The database of the run is not empty any more, so
    that another has to be named, where it matters which kind it is.
    """
    parts = ["oklp simulate", f"--seed {plan.seed}", f"--players {plan.players}", f"--games {plan.games}"]
    if plan.restarts:
        parts.append(f"--restarts {plan.restarts}")
    if not plan.faults:
        parts.append("--no-faults")
    if plan.url:
        parts.append(f"--url {plan.url}")
    return " ".join([*parts, f"--match {number}"])


def as_json(result: Result) -> dict[str, Any]:
    """Latencies in milliseconds, money in minor units."""
    plan, accounts = result.plan, result.accounts
    return {
        "good": result.good,
        "interrupted": result.interrupted,
        "seed": plan.seed,
        "matches": result.ended,
        "plan_digest": digest(accounts.plan_digest),
        "outcome_digest": digest(accounts.digest),
        "seconds": round(result.seconds, 3),
        "matches_per_second": round(rate(result), 2),
        "audit_seconds": round(result.audit_seconds, 3),
        "client_cpu_seconds": round(result.cpu_seconds, 3),
        "client_memory_mb": round(result.memory_mb, 1),
        "restarts": result.restarts,
        "disturbed": accounts.disturbed,
        "ends": dict(sorted(accounts.ends.items())),
        "books": result.books,
        "money": money(result),
        "calls": {kind: _latencies(each) for kind, each in sorted(result.wire.calls.items())},
        "confirm_to_put": _latencies(result.to_put),
        "confirm_to_live": _latencies(result.to_live),
        "webhooks": dict(result.board.counts),
        "events": result.events,
        "faults_struck": result.struck,
        "refusals": dict(sorted(result.wire.refusals.items())),
        "trouble": dict(sorted(result.wire.trouble.items())),
        "differences": [_difference(plan, each) for each in result.differences],
        "faults": result.faults,
    }


def digest(value: int) -> str:
    return f"{value:064x}"


def rate(result: Result) -> float:
    return result.ended / result.seconds if result.seconds else 0.0


def money(result: Result) -> dict[str, int]:
    games = result.accounts.games
    return {
        "pots": sum(each.pot for each in games),
        "prizes": sum(each.prizes for each in games),
        "platform_fees": sum(each.platform for each in games),
        "studio_share": sum(each.studio for each in games),
    }


def _latencies(each: Latencies) -> dict[str, float]:
    return {
        "count": each.count,
        **{name: round(each.at(share), 2) for name, share in SHARES.items()},
        "max": round(each.longest_ms, 2),
    }


def _difference(plan: Plan, each: Difference) -> dict[str, Any]:
    return {
        "match": each.script.number,
        "match_id": each.match_id,
        "line": each.line,
        "step": each.where,
        "expected": each.expected,
        "found": each.found,
        "script": each.script.lines(),
        "replay": replay(plan, each.script.number),
    }


def write(path: Path, result: Result) -> None:
    """Raises OSError."""
    path.write_text(json.dumps(as_json(result), indent=2) + "\n", encoding="utf-8")


def show(result: Result, out: Console) -> None:
    out.print(_calls(result))
    data = as_json(result)
    lines = {
        "ends": _counts(data["ends"]),
        "refusals, all expected": _counts(data["refusals"]),
        "trouble": _counts(data["trouble"]) or "none",
        "webhooks": _counts(data["webhooks"]),
        "faults that struck": _counts(data["faults_struck"]) or "none",
        "restarts": f"{result.restarts}, {result.accounts.disturbed} matches were starting",
        "money": _counts(data["money"]),
        "events heard": f"{result.events:,}",
        "books": result.books,
        "matches": f"{result.ended:,}{_of_all(result)} in {result.seconds:.1f} s, {rate(result):.1f} a second",
        "client": f"{result.cpu_seconds:.1f} s of CPU, {result.memory_mb:.0f} MB",
        "plan": data["plan_digest"][:16],
        "outcome": data["outcome_digest"][:16],
    }
    for name, text in lines.items():
        out.print(f"[bold]{name}:[/] {escape(text)}", highlight=False, soft_wrap=True)
    _verdict(result, out)


def _of_all(result: Result) -> str:
    return f" of {result.plan.matches:,}, then interrupted," if result.interrupted else ""


def _calls(result: Result) -> Table:
    table = Table(title=f"oklp simulate, seed {result.plan.seed}: milliseconds")
    table.add_column("request")
    for column in ("count", *SHARES, "max"):
        table.add_column(column, justify="right")
    rows = dict(sorted(result.wire.calls.items()))
    rows |= {"last confirm → PUT": result.to_put, "last confirm → live": result.to_live}
    for kind, each in rows.items():
        shares = (f"{each.at(share):,.1f}" for share in SHARES.values())
        table.add_row(kind, f"{each.count:,}", *shares, f"{each.longest_ms:,.1f}")
    return table


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _verdict(result: Result, out: Console) -> None:
    for each in result.differences[:MOST_SHOWN]:
        out.print(f"[red]{escape(str(each))}[/]", highlight=False, soft_wrap=True)
        for line in each.script.lines():
            out.print(f"    {escape(line)}", highlight=False, soft_wrap=True)
        out.print(f"  again: {escape(replay(result.plan, each.script.number))}", highlight=False, soft_wrap=True)
    for fault in result.faults[:20]:
        out.print(f"[red]{escape(fault)}[/]", highlight=False, soft_wrap=True)
    if result.good:
        out.print("[green]Everything is as it must be.[/]")
    else:
        found = f"{len(result.differences)} matches differ, and {len(result.faults)} things besides."
        out.print(f"[red]{found}[/]")
