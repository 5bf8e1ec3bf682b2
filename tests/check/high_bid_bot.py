"""`high_bid_bot.py LAUNCH_URL`: plays High Bid to its end, as `oklp check --bot-command` runs it."""

from __future__ import annotations

import asyncio
import sys

from oklp.demo.bots import Bot, bold

if __name__ == "__main__":
    view = asyncio.run(Bot(bold, (0.0, 0.01)).play(sys.argv[1]))
    sys.exit(0 if view["phase"] == "over" else 1)
