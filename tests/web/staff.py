"""Studios and operators as the tests of this folder meet them."""

from __future__ import annotations

import time
from typing import Any

import httpx

from tests.harness import PASSWORD, Server


def log_in(served: Server, kind: str, username: str, password: str = PASSWORD) -> httpx.Client:
    """A client with a session of its own; `kind` is `player`, `studio` or `operator`."""
    http = httpx.Client(base_url=f"{served.url}/api/{kind}/v1", timeout=30)
    answer = http.post("/sessions", json={"username": username, "password": password})
    assert answer.status_code == 201, answer.text
    http.headers["Authorization"] = f"Bearer {answer.json()['token']}"
    return http


def await_delivery(http: httpx.Client, delivery_id: str, *states: str, seconds: float = 20) -> dict[str, Any]:
    """A delivery's detail, once it is in one of `states` (by default: over)."""
    until = time.monotonic() + seconds
    while True:
        answer = http.get(f"/deliveries/{delivery_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        if found["state"] in (states or ("delivered", "failed")):
            return found
        assert time.monotonic() < until, f"the delivery is {found['state']}"
        time.sleep(0.01)
