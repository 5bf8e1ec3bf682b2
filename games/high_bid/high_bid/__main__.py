"""`high-bid --config developer-config.json --port 9000`: the game server as a process."""

from __future__ import annotations

import argparse
import logging
import signal
import sqlite3
import sys
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from oklp.sdk import AsyncClient, AsyncWebhookVerifier, ConfigError, load_config

from .game import Game
from .matches import Pace
from .server import create_app
from .store import Store

# Open tables are streams that never end by themselves: they are told to, and what then is still open is cut off.
GRACE_SECONDS = 3


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="high-bid", description="The game server of High Bid.")
    parser.add_argument("--config", type=Path, default=None, help="developer-config.json; else OKLP_DEVELOPER_CONFIG")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=9000, help="port to listen on")
    parser.add_argument("--data", type=Path, default=Path("high-bid.db"), help="file that matches are kept in")
    parser.add_argument("--https", action="store_true", help="players come by https (a proxy is in front)")
    parser.add_argument("--back-url", default="", help="a match at the platform; may have {match_id}")
    parser.add_argument("--arrival-seconds", type=int, default=600, help="for both players to come to the table")
    parser.add_argument("--round-seconds", type=int, default=30, help="for choosing a card")
    return parser.parse_args(argv)


class Server(uvicorn.Server):
    """Ends the open streams when it is told to stop, since it waits for all answers before it shuts down."""

    def __init__(self, config: uvicorn.Config, app: Starlette) -> None:
        super().__init__(config)
        self._app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True
        game: Game | None = getattr(self._app.state, "game", None)
        if game is not None:
            game.close()


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        config = load_config(options.config)
        store = Store(options.data)
    except ConfigError as error:
        print(f"high-bid: {error}", file=sys.stderr)
        return 2
    except sqlite3.Error as error:
        print(f"high-bid: {options.data}: {error}", file=sys.stderr)
        return 2
    pace = Pace(arrival_seconds=options.arrival_seconds, round_seconds=options.round_seconds)
    app = create_app(
        lambda: Game(store, AsyncClient(config), AsyncWebhookVerifier(config), pace),
        back_url=options.back_url or f"{config.okletsplay_url}/",
        secure_cookies=options.https,
    )
    server = Server(
        uvicorn.Config(
            app,
            host=options.host,
            port=options.port,
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
            ws="none",
        ),
        app,
    )
    server.run()
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
