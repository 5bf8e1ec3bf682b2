"""`reversi --config developer-config.json --port 9000`: the game server as a process."""

from __future__ import annotations

import argparse
import logging
import sqlite3
import sys
from pathlib import Path

import uvicorn

from oklp.sdk import ConfigError, StorageError, load_config

from .matches import Pace
from .server import Options, create_app
from .sockets import LARGEST_MESSAGE

GRACE_SECONDS = 3
# A player whose connection died without a word is shown as away after so long, twice.
PING_SECONDS = 10.0


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="reversi", description="The game server of Reversi.")
    parser.add_argument("--config", type=Path, default=None, help="developer-config.json; else OKLP_DEVELOPER_CONFIG")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=9000, help="port to listen on")
    parser.add_argument("--data", type=Path, default=Path("reversi.db"), help="file that matches are kept in")
    parser.add_argument("--public-url", default="", help="where players reach it, as https://reversi.example")
    parser.add_argument("--back-url", default="", help="a match at the platform; may have {match_id}")
    parser.add_argument("--base-seconds", type=int, default=180, help="a side's time for the whole match")
    parser.add_argument("--increment-seconds", type=int, default=2, help="what each move adds to it")
    parser.add_argument("--arrival-seconds", type=int, default=300, help="for both players to come to the board")
    options = parser.parse_args(argv)
    if options.base_seconds < 1 or options.increment_seconds < 0 or options.arrival_seconds < 1:
        parser.error("times are at least one second, the increment at least none")
    return options


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # Three lines for each connection tell nobody anything.
    for noisy in ("httpx", "uvicorn.error"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        app = create_app(
            Options(
                config=load_config(options.config),
                data=options.data,
                pace=Pace(options.base_seconds, options.increment_seconds, options.arrival_seconds),
                public_url=options.public_url,
                back_url=options.back_url,
            )
        )
    except (ConfigError, StorageError, sqlite3.Error) as error:
        print(f"reversi: {error}", file=sys.stderr)
        return 2
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=options.host,
            port=options.port,
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
            ws="websockets-sansio",
            ws_max_size=2 * LARGEST_MESSAGE,
            ws_max_queue=8,
            ws_ping_interval=PING_SECONDS,
            ws_ping_timeout=PING_SECONDS,
            ws_per_message_deflate=False,
        )
    )
    server.run()
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
