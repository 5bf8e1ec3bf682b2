"""A player that is a program: `sum-sprint-bot LAUNCH_URL`.

It plays a match as a browser does, by the same addresses.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

import httpx


class BotError(Exception):
    """The game did not let the bot play; the text says why."""


def play(launch_url: str, *, mistakes: int = 0, think_seconds: float = 0.5) -> dict[str, Any]:
    """Play to the end, with so many wrong answers; returns the last state. Raises BotError and httpx.HTTPError."""
    with httpx.Client(follow_redirects=True, trust_env=False, timeout=10) as http:
        seat = str(_must(http.get(launch_url)).url)
        _must(http.post(f"{seat}/begin"))
        view = _state(http, seat)
        if view["phase"] == "playing":
            time.sleep(think_seconds)
            answers = [a + b + (index < mistakes) for index, (a, b) in enumerate(view["sums"])]
            _must(http.post(f"{seat}/answer", data={f"sum-{index}": str(each) for index, each in enumerate(answers)}))
            view = _state(http, seat)
        return view


def _state(http: httpx.Client, seat: str) -> dict[str, Any]:
    view: dict[str, Any] = _must(http.get(f"{seat}/state")).json()
    return view


def _must(answer: httpx.Response) -> httpx.Response:
    if not answer.is_success:
        raise BotError(f"the game answered {answer.status_code}")
    return answer


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="sum-sprint-bot",
        description="Plays one match of Sum Sprint.",
    )
    parser.add_argument("launch_url", help="the address that the platform gave out for this player")
    parser.add_argument("--mistakes", type=int, default=0, help="how many sums it gets wrong")
    parser.add_argument("--think-seconds", type=float, default=0.5, help="how long it takes over all of them")
    options = parser.parse_args(argv)
    try:
        view = play(options.launch_url, mistakes=options.mistakes, think_seconds=options.think_seconds)
    except (BotError, httpx.HTTPError, httpx.InvalidURL) as error:
        print(f"sum-sprint-bot: {error}", file=sys.stderr)
        return 1
    print(json.dumps({name: view.get(name) for name in ("phase", "score")}))
    return 0 if view["phase"] == "played" else 1


if __name__ == "__main__":
    sys.exit(main())
