"""What is measured: one function a phase, each on a running platform."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bench import load, seed
from bench.load import Outcome, Plan
from bench.process import Process
from bench.seed import Seeded
from oklp.signing import hash_token
from oklp.storage.engine import connectable

CONNECTIONS = 32
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
TOKEN_PATH = "/auth/realms/oklp/protocol/openid-connect/token"
TOKEN_INFO_PATH = "/api/game/v1/token-info"
FINISH_PATH = "/api/game/v1/finish"


class WrongAnswers(Exception):
    """Something answered other than it should, or left other rows: the figures would mean nothing."""


@dataclass(frozen=True)
class Measured:
    """A phase under load: answers a second, latencies, processor seconds for a thousand answers."""

    rate: float
    p50_ms: float
    p99_ms: float
    server_cpu: float
    database_cpu: float
    generator_share: float
    answers: int

    def as_json(self) -> dict[str, Any]:
        return {name: round(value, 4) for name, value in asdict(self).items()}


def _under_load(server: Process, plan: Plan, database_cpu: Callable[[], float] = lambda: 0.0) -> Measured:
    server_before, database_before = server.cpu_seconds(), database_cpu()
    outcome: Outcome = load.run(plan)
    server_spent, database_spent = server.cpu_seconds() - server_before, database_cpu() - database_before
    if outcome.wrong or not outcome.answers:
        raise WrongAnswers(f"{outcome.answers} answers, among them wrong ones: {outcome.wrong}")
    return Measured(
        rate=outcome.rate,
        p50_ms=outcome.percentile(0.5),
        p99_ms=outcome.percentile(0.99),
        server_cpu=server_spent / outcome.total * 1000,
        database_cpu=database_spent / outcome.total * 1000,
        generator_share=outcome.cpu_seconds / outcome.seconds,
        answers=outcome.answers,
    )


def _token_request(seeded: Seeded) -> bytes:
    game = seeded.game
    form = {
        "client_id": game.game_id,
        "client_secret": game.client_secret,
        "grant_type": "client_credentials",
        "scope": "olp-report-api",
    }
    return load.post(TOKEN_PATH, urllib.parse.urlencode(form).encode(), FORM)


def access_token(seeded: Seeded, server: Process) -> str:
    """One access token, over HTTP."""
    body = _token_request(seeded).partition(b"\r\n\r\n")[2]
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{TOKEN_PATH}", body, {"Content-Type": FORM})
    with urllib.request.urlopen(request, timeout=10) as answer:
        token: str = json.load(answer)["access_token"]
        return token


def issue_tokens(
    server: Process, seeded: Seeded, seconds: float, database_cpu: Callable[[], float] = lambda: 0.0
) -> Measured:
    """Client credentials for access tokens."""
    plan = Plan(
        server.port,
        [_token_request(seeded)],
        CONNECTIONS,
        seconds=seconds,
        warm_up_seconds=0.5,
        marker=b'"access_token"',
    )
    return _under_load(server, plan, database_cpu)


def token_infos(seeded: Seeded, access: str, numbers: range) -> list[bytes]:
    """A token-info request for each match-token of these matches."""
    return [
        load.post(
            TOKEN_INFO_PATH,
            json.dumps({"token": seed.match_token(number, team)}).encode(),
            JSON,
            f"Bearer {access}",
        )
        for number in numbers
        for team in range(2)
    ]


def ask_about_tokens(
    server: Process, requests: list[bytes], seconds: float, database_cpu: Callable[[], float] = lambda: 0.0
) -> Measured:
    plan = Plan(
        server.port,
        requests,
        CONNECTIONS,
        seconds=seconds,
        warm_up_seconds=0.5,
        marker=b'"match_status":"live"',
    )
    return _under_load(server, plan, database_cpu)


def write_token_file(path: Path, seeded: Seeded, public_key: str, numbers: range) -> None:
    """What `bench.plain` needs to answer `token-info` without a database."""
    tokens = {
        hash_token(seed.match_token(number, team)): {
            "match_id": seed.match_id(number),
            "user_id": seed.members(number)[team],
            "match_status": "live",
            "submissions_total": 1,
            "submissions_left": 1,
        }
        for number in numbers
        for team in range(2)
    }
    issuer = seeded.settings.issuer
    path.write_text(json.dumps({"issuer": issuer, "public_key": public_key, "tokens": tokens}), encoding="utf-8")


def finish_matches(
    server: Process,
    access: str,
    numbers: range,
    database_cpu: Callable[[], float] = lambda: 0.0,
) -> Measured:
    """Each of these matches finished once."""
    requests = [load.post(FINISH_PATH, seed.result_of(number), JSON, f"Bearer {access}") for number in numbers]
    plan = Plan(server.port, requests, CONNECTIONS, warm_up=len(requests) // 10, marker=b'"accepted":true')
    return _under_load(server, plan, database_cpu)


# --- the rows --------------------------------------------------------------------------------------------------------


def check_rows(seeded: Seeded, finished: set[int]) -> None:
    """Every match of `finished` is over, exactly once, with nothing in escrow; no other is; and all sums to zero."""
    engine = connectable(seeded.settings.database_url)
    ids = {seed.match_id(number) for number in finished}
    wrong = []
    with engine.connect() as connection:

        def column(sql: str) -> list[Any]:
            return [row[0] for row in connection.execute(sa.text(sql))]

        bench = "created_by IN (SELECT id FROM players WHERE username_key LIKE 'player-%')"
        over = column(f"SELECT id FROM matches WHERE status = 'finished' AND escrow = 0 AND {bench}")
        seeded_over = {key for key in over if key in ids}
        if len(seeded_over) != len(ids):
            wrong.append(f"{len(ids) - len(seeded_over)} matches are not finished")
        results = column("SELECT match_id FROM results")
        if len(results) != len(set(results)) or not ids <= set(results):
            wrong.append(f"{len(results)} results for {len(ids)} matches")
        settled = column("SELECT set_id FROM postings WHERE set_id LIKE 'match:%settle'")
        wrong.extend(f"match {key} has no postings" for key in ids - {text[6:30] for text in settled})
        if len(settled) != 4 * len(results):
            wrong.append(f"{len(settled)} postings settle {len(results)} matches")
        if sum(int(value) for value in column("SELECT coalesce(sum(amount), 0) FROM postings")) != 0:
            wrong.append("the postings do not sum to zero")
        off = column(
            "SELECT b.user_id FROM balances b WHERE b.balance <> (SELECT coalesce(sum(p.amount), 0) FROM postings p"
            " WHERE p.account = 'player:' || b.user_id AND p.currency = b.currency)"
        )
        if off:
            wrong.append(f"{len(off)} balances are not the sum of their postings")
    engine.dispose()
    if wrong:
        raise WrongAnswers("; ".join(wrong[:5]))
