"""What the machine can do without the platform: the rows of a result written by others, and bare RSA signatures.

A finished match of two players costs these rows, here and in `services.results`: the match is locked and updated, the
winner's balance is locked and updated, one result, four postings (escrow, platform fee, studio share, prize) and one
event are inserted. The limit writes nothing else, so what the platform writes besides (an operation a batch) counts
against it.
"""

from __future__ import annotations

import multiprocessing
import re
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psycopg
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from bench import seed
from oklp.signing import generate_key

PGBENCH_CLIENTS = 16


class LimitFailed(Exception):
    """A limit could not be measured, and the message says why."""


# --- PostgreSQL: pgbench ---------------------------------------------------------------------------------------------

# :n is the match. Ids are those of `seed`. Each value is what the platform would write, of the same length.
_MATCH = (
    f"(lpad(to_hex({seed.FIRST_AT} + :n::bigint / {seed.MATCHES_A_MILLISECOND}), 12, '0')"
    " || left(md5('match-' || :n::text), 12))"
)
_USERS = tuple(f"md5('player-' || ((2 * :n::bigint + {k}) % {seed.PLAYERS})::text)::uuid::text" for k in range(2))
_NOW = "(extract(epoch from clock_timestamp()) * 1000)::bigint"
_NUMBER = "pg_current_xact_id()::text::bigint"
_NEXT = "\\set i :i + 1\n\\set n :base + :i * {clients} + :client_id\n"

# A row `d` with the texts of the result, from a row `k` with the ids. pgbench takes a colon before a letter or a digit
# for a variable, in quotes as well: hence the many %s, and `_SET`.
_TEXTS = f"""
  SELECT k.*, format('{{"participants":[["%s",300],["%s",100]],"teams":[["1%s",300,1,false],["2%s",100,2,false]]}}',
      k.u0, k.u1, k.rest, k.rest) AS body,
    format('{{"teams":[{{"id":"1%s","score":%s,"ranking":%s,"forfeit":%s}},'
      '{{"id":"2%s","score":%s,"ranking":%s,"forfeit":%s}}],"scores":{{"%s":%s,"%s":%s}},'
      '"winnings":[{{"user_id":"%s","amount":%s}}]}}',
      k.rest, 300, 1, 'false', k.rest, 100, 2, 'false', k.u0, 300, k.u1, 100, k.u0, 900) AS outcome
  FROM (SELECT id, u0, u1, substr(id, 2) AS rest
    FROM (SELECT {_MATCH} AS id, {_USERS[0]} AS u0, {_USERS[1]} AS u1) ids) k"""
_SET = "'match:' || d.id || ':' || 'settle'"
_HASH = "encode(sha256(convert_to(d.body, 'UTF8')), 'hex')"
_POSTINGS = """LATERAL (VALUES (0, 'escrow:' || d.id, -1000), (1, 'house:' || 'fees', 50),
    (2, 'studio:' || '{studio}', 50), (3, 'player:' || d.u0, 900)) AS p (n, account, amount)"""

STEPS = (
    _NEXT
    + f"""BEGIN;
SELECT id, game_id, studio_id, status, mode, score_order, discovery, currency, entry_fee, fee_bps, studio_share_bps,
  prize_shares_bps, team_size, escrow, roster, result_hash, start_delivery_id, results_due_at
  FROM matches WHERE id = {_MATCH} FOR UPDATE;
SELECT user_id, currency, balance, held FROM balances WHERE user_id = {_USERS[0]} FOR UPDATE;
INSERT INTO results (match_id, user_id, submission, body, body_hash, received_at)
  SELECT d.id, '', 1, d.body, {_HASH}, {_NOW} FROM ({_TEXTS}) d;
INSERT INTO postings (set_id, n, "of", account, currency, amount, at, tx_number)
  SELECT {_SET}, p.n, 4, p.account, 'XTS', p.amount, {_NOW}, {_NUMBER}
  FROM ({_TEXTS}) d, {_POSTINGS};
UPDATE balances SET balance = balance + 900 WHERE user_id = {_USERS[0]} AND currency = 'XTS';
UPDATE matches SET status = 'finished', finished_at = {_NOW}, result_hash = {_HASH}, outcome = d.outcome,
  abort_reason = NULL, abort_detail = NULL, escrow = 0 FROM ({_TEXTS}) d WHERE matches.id = {_MATCH};
INSERT INTO events (tx_number, kind, match_id, at) VALUES ({_NUMBER}, 'match', {_MATCH}, {_NOW});
COMMIT;
"""
)

ONE_STATEMENT = (
    _NEXT
    + f"""WITH d AS ({_TEXTS}),
m AS (UPDATE matches SET status = 'finished', finished_at = {_NOW}, result_hash = {_HASH}, outcome = d.outcome,
    abort_reason = NULL, abort_detail = NULL, escrow = 0
  FROM d WHERE matches.id = {_MATCH} AND matches.status = 'live' AND matches.escrow = 1000
  RETURNING d.id, d.u0, d.body),
r AS (INSERT INTO results (match_id, user_id, submission, body, body_hash, received_at)
  SELECT d.id, '', 1, d.body, {_HASH}, {_NOW} FROM m d),
p AS (INSERT INTO postings (set_id, n, "of", account, currency, amount, at, tx_number)
  SELECT {_SET}, p.n, 4, p.account, 'XTS', p.amount, {_NOW}, {_NUMBER} FROM m d, {_POSTINGS}),
b AS (UPDATE balances SET balance = balance + 900 FROM m d WHERE user_id = d.u0 AND currency = 'XTS')
INSERT INTO events (tx_number, kind, match_id, at) SELECT {_NUMBER}, 'match', d.id, {_NOW} FROM m d;
"""
)


def pgbench(programs: Path, url: str, script: str, studio_id: str, numbers: range) -> float:
    """Finish the matches `numbers` with pgbench, a commit each; returns matches a second."""
    clients = PGBENCH_CLIENTS
    each, rest = divmod(len(numbers), clients)
    if rest:
        raise LimitFailed(f"{len(numbers)} matches cannot be shared evenly by {clients} clients")
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script.replace("{studio}", studio_id).replace("{clients}", str(clients)))
        file.flush()
        command = [str(programs / "pgbench"), "-n", "-M", "prepared", "-c", str(clients), "-j", "2", "-t", str(each)]
        variables = ["-D", "i=-1", "-D", f"base={numbers.start}"]
        done = subprocess.run([*command, *variables, "-f", file.name, url], capture_output=True, text=True, check=False)
    found = re.search(r"^tps = ([0-9.]+)", done.stdout, re.MULTILINE)
    if done.returncode != 0 or found is None or "ERROR" in done.stderr:
        raise LimitFailed(f"pgbench: {done.stdout}\n{done.stderr}")
    return float(found.group(1))


def commit_ms_postgres(url: str) -> float:
    """Milliseconds of one small commit on an idle server: the median of a hundred."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS bench_commits (n bigint)")
        times = _timed(lambda: connection.execute("INSERT INTO bench_commits VALUES (1)"))
        connection.execute("DROP TABLE bench_commits")
    return times


def _timed(work: Callable[[], object], count: int = 100) -> float:
    times = []
    for _ in range(count):
        started = time.perf_counter()
        work()
        times.append((time.perf_counter() - started) * 1000)
    return sorted(times)[count // 2]


# --- SQLite: a bare loop ---------------------------------------------------------------------------------------------


def _open_sqlite(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA cache_size=-16000")
    return connection


def _finish_loop(path: str, studio_id: str, numbers: range) -> float:
    """Finish matches one by one, a commit each. Whatever can be is made before the clock starts."""
    connection = _open_sqlite(path)
    execute = connection.execute
    now = int(time.time() * 1000)
    number = execute("SELECT coalesce(max(number), 0) + 1 FROM operations").fetchone()[0]
    ready = [_rows(n, studio_id, now, number) for n in numbers]
    started = time.perf_counter()
    for key, winner, outcome, digest, result, postings, event in ready:
        execute("BEGIN IMMEDIATE")
        execute(
            "SELECT id, game_id, studio_id, status, mode, score_order, discovery, currency, entry_fee, fee_bps,"
            " studio_share_bps, prize_shares_bps, team_size, escrow, roster, result_hash, start_delivery_id,"
            " results_due_at FROM matches WHERE id = ?",
            (key,),
        ).fetchone()
        execute("SELECT user_id, currency, balance, held FROM balances WHERE user_id = ?", (winner,)).fetchone()
        execute(
            "INSERT INTO results (match_id, user_id, submission, score, body, body_hash, received_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            result,
        )
        connection.executemany(
            'INSERT INTO postings (set_id, n, "of", account, currency, amount, at, tx_number)'
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            postings,
        )
        execute("UPDATE balances SET balance = balance + 900 WHERE user_id = ? AND currency = 'XTS'", (winner,))
        execute(
            "UPDATE matches SET status = 'finished', finished_at = ?, result_hash = ?, outcome = ?,"
            " abort_reason = NULL, abort_detail = NULL, escrow = 0 WHERE id = ?",
            (now, digest, outcome, key),
        )
        execute("INSERT INTO events (tx_number, kind, match_id, user_id, at) VALUES (?, ?, ?, ?, ?)", event)
        execute("COMMIT")
    seconds = time.perf_counter() - started
    connection.close()
    return len(numbers) / seconds


def _rows(n: int, studio_id: str, now: int, number: int) -> tuple[Any, ...]:
    key, (winner, loser) = seed.match_id(n), seed.members(n)
    first, second = seed.team_id(n, 0), seed.team_id(n, 1)
    body = (
        f'{{"participants":[["{winner}",300],["{loser}",100]],'
        f'"teams":[["{first}",300,1,false],["{second}",100,2,false]]}}'
    )
    outcome = (
        f'{{"teams":[{{"id":"{first}","score":300,"ranking":1,"forfeit":false}},'
        f'{{"id":"{second}","score":100,"ranking":2,"forfeit":false}}],'
        f'"scores":{{"{winner}":300,"{loser}":100}},"winnings":[{{"user_id":"{winner}","amount":900}}]}}'
    )
    digest = seed.digest(body)
    moves = ((f"escrow:{key}", -1000), ("house:fees", 50), (f"studio:{studio_id}", 50), (f"player:{winner}", 900))
    postings = [
        (f"match:{key}:settle", n, len(moves), account, seed.CURRENCY, amount, now, number)
        for n, (account, amount) in enumerate(moves)
    ]
    result = (key, "", 1, None, body, digest, now)
    return key, winner, outcome, digest, result, postings, (number, "match", key, None, now)


def sqlite_loop(path: str, studio_id: str, numbers: range) -> float:
    """Finish the matches `numbers` in a bare `sqlite3` loop, a commit each; returns matches a second."""
    return _in_process(_finish_loop, path, studio_id, numbers)


def commit_ms_sqlite(path: str) -> float:
    """Milliseconds of one small commit: the median of a hundred."""
    connection = _open_sqlite(path)
    connection.execute("CREATE TABLE IF NOT EXISTS bench_commits (n)")
    median = _timed(lambda: connection.execute("INSERT INTO bench_commits VALUES (1)"))
    connection.execute("DROP TABLE bench_commits")
    connection.close()
    return median


# --- RSA -------------------------------------------------------------------------------------------------------------


def _sign(seconds: float) -> float:
    key = serialization.load_pem_private_key(generate_key().encode(), password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise LimitFailed("the key is no RSA key")
    scheme, digest = padding.PKCS1v15(), hashes.SHA256()
    message = b"x" * 400
    count = 0
    started = time.perf_counter()
    while (passed := time.perf_counter() - started) < seconds:
        for _ in range(20):
            key.sign(message, scheme, digest)
        count += 20
    return count / passed


def rsa_signatures(seconds: float) -> float:
    """RS256 signatures a second with a 2,048 bit key, in one thread that does nothing else."""
    return _in_process(_sign, seconds)


# --- beneath ---------------------------------------------------------------------------------------------------------


def _child(pipe: Connection, work: Callable[..., float], arguments: tuple[Any, ...]) -> None:
    try:
        pipe.send(work(*arguments))
    except Exception as error:
        pipe.send(LimitFailed(repr(error)))


def _in_process(work: Callable[..., float], *arguments: Any) -> float:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_child, args=(theirs, work, arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        answer = ours.recv()
    except EOFError:
        answer = LimitFailed(f"{work.__name__} ended without a word")
    process.join()
    if not isinstance(answer, float):
        raise answer
    return answer
