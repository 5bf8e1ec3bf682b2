"""The game server as a process: `sum-sprint --config developer-config.json`."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import uvicorn
from oklp.sdk import ConfigError, load_config

from .server import create_app


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="sum-sprint",
        description="The game server of Sum Sprint.",
    )
    parser.add_argument("--config", type=Path, default=None, help="developer-config.json; else OKLP_DEVELOPER_CONFIG")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=9000, help="port to listen on")
    parser.add_argument("--data", type=Path, default=Path("game.db"), help="file of matches and results")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        app = create_app(load_config(options.config), options.data)
    except ConfigError as error:
        print(f"sum-sprint: {error}", file=sys.stderr)
        return 2
    # No access log: the launch URL has a match-token in it.
    server = uvicorn.Server(
        uvicorn.Config(app, host=options.host, port=options.port, access_log=False, log_config=None)
    )
    server.run()
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
