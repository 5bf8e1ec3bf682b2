"""`tile-rush --config developer-config.json --port 9100`: the game server as a process."""

from __future__ import annotations

import argparse
import logging
import sqlite3
import sys
from pathlib import Path

import uvicorn

from oklp.sdk import ConfigError, StorageError, load_config

from .game import Game
from .integration import Platform
from .server import create_app
from .store import Store

GRACE_SECONDS = 3


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tile-rush", description="The game server of Tile Rush.")
    parser.add_argument("--config", type=Path, default=None, help="developer-config.json; else OKLP_DEVELOPER_CONFIG")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=9100, help="port to listen on")
    parser.add_argument(
        "--data", type=Path, default=Path("tile-rush.db"), help="file that runs and results are kept in"
    )
    parser.add_argument("--https", action="store_true", help="players come by https (a proxy is in front)")
    parser.add_argument("--back-url", default="", help="a match at the platform; may have {match_id}")
    parser.add_argument("--run-seconds", type=int, default=75, help="how long a run is, in matches from now on")
    options = parser.parse_args(argv)
    if options.run_seconds < 1:
        parser.error("--run-seconds must be at least 1")
    return options


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        config = load_config(options.config)
        game = Game(Store(options.data), Platform(config, options.data), options.run_seconds * 1000)
    except (ConfigError, StorageError) as error:
        print(f"tile-rush: {error}", file=sys.stderr)
        return 2
    except sqlite3.Error as error:
        print(f"tile-rush: {options.data}: {error}", file=sys.stderr)
        return 2
    app = create_app(
        lambda: game,
        back_url=options.back_url or f"{config.okletsplay_url}/",
        secure_cookies=options.https,
    )
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=options.host,
            port=options.port,
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
            ws="none",
        )
    )
    server.run()
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
