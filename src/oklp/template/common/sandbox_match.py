"""`python sandbox_match.py developer-config.json`: two new players, a free match of this game, and a link for each.

For a platform on your own machine (`oklp serve --sandbox`); it plays the part of two people at their browsers.
"""

from __future__ import annotations

import secrets
import sys
import time
from typing import Any

import httpx
from oklp.sdk import load_config

PASSWORD = secrets.token_urlsafe(16)


def call(http: httpx.Client, method: str, path: str, body: object = None) -> dict[str, Any]:
    answer = http.request(method, path, json=body)
    if not answer.is_success:
        sys.exit(f"{method} {path}: {answer.status_code} {answer.text}")
    found: dict[str, Any] = answer.json()
    return found


def new_player(platform_url: str) -> tuple[str, httpx.Client]:
    """The name of a player who has signed up and logged in, and their side of the API."""
    name = f"player-{secrets.token_hex(4)}"
    http = httpx.Client(base_url=f"{platform_url}/api/player/v1", trust_env=False, timeout=10)
    about = {"email": f"{name}@players.example", "date_of_birth": "1990-01-01", "country": "DE"}
    call(http, "POST", "/players", {"username": name, "password": PASSWORD, **about})
    session = call(http, "POST", "/sessions", {"username": name, "password": PASSWORD})
    http.headers["authorization"] = f"Bearer {session['token']}"
    return name, http


def main(path: str) -> None:
    config = load_config(path)
    people = [new_player(config.okletsplay_url.rstrip("/")) for _ in range(2)]
    (_, first), (guest, second) = people
    free = {"amount": 0, "currency": "XTS"}
    request = {"game_id": config.authentication.client_id, "entry_fee": free, "invite": [guest]}
    match_id = call(first, "POST", "/matches", request)["match_id"]
    call(second, "POST", f"/matches/{match_id}/join", {})
    for _, player in people:
        call(player, "POST", f"/matches/{match_id}/confirm")
    while (match := call(first, "GET", f"/matches/{match_id}"))["status"] in ("pending", "starting"):
        time.sleep(0.1)
    if match["status"] != "live":
        sys.exit(f"The match is {match['status']}: is the game server running? {match}")
    for name, player in people:
        link = call(player, "POST", f"/matches/{match_id}/launch", {"platform": "browser"})["launch_url"]
        print(f"{name}: {link}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
