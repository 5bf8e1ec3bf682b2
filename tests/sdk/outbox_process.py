"""A game server as a process of its own, for the tests that kill one.

python -m tests.sdk.outbox_process put FILE CONFIG MATCH_ID     put one result, say so, wait for ever
python -m tests.sdk.outbox_process flood FILE CONFIG            put results, naming each that is safe, for ever
python -m tests.sdk.outbox_process share FILE CONFIG FROM TO    put and report the matches of a range, then end
"""

from __future__ import annotations

import itertools
import json
import signal
import sys
from pathlib import Path

from oklp.sdk import Client, ResultOutbox, TeamResult


def match_id_of(number: int) -> str:
    return f"{number:024x}"


def put(outbox: ResultOutbox, match_id: str) -> None:
    outbox.put(
        match_id,
        {"u1": 300, "u2": 100},
        [TeamResult(id="t1", score=300, ranking=1), TeamResult(id="t2", score=100, ranking=2)],
    )


def main() -> None:
    what, file, config, *rest = sys.argv[1:]
    client = Client(json.loads(Path(config).read_text(encoding="utf-8")))
    outbox = ResultOutbox(file, client)
    match what:
        case "put":
            put(outbox, rest[0])
            print("put", flush=True)
            signal.pause()
        case "flood":
            for number in itertools.count():
                put(outbox, match_id_of(number))
                print(match_id_of(number), flush=True)
        case _:
            for number in range(int(rest[0]), int(rest[1])):
                put(outbox, match_id_of(number))
            sys.exit(0 if outbox.flush(60) else 1)


if __name__ == "__main__":
    main()
