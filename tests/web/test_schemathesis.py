"""Fuzzing from /openapi.json: whatever is sent, no answer is a 500, and refusals are problems."""

from __future__ import annotations

import os
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

from tests.harness import GameClient, PlayerClient, Server, paid_match

EXAMPLES = int(os.environ.get("OKLP_TEST_FUZZ_EXAMPLES") or 6)
SOAK = 50
KINDS = ("player", "studio", "operator", "game")
PHASES = (Phase.explicit, Phase.generate)


def _document(url: str) -> dict[str, object]:
    found: dict[str, object] = httpx.get(f"{url}/openapi.json", timeout=60).json()
    return found


@pytest.fixture
def callers(served: Server) -> dict[str, str]:
    """A bearer token for each kind of caller, in a world where something has happened."""
    game = served.register(discovery="pull")
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    paid_match(one, two, game.client_id)
    return {
        "player": one.http.headers["Authorization"],
        # Their own: guesses at their passwords count as failed log-ins.
        "studio": served.new_studio().headers["Authorization"],
        "operator": served.new_operator().headers["Authorization"],
        "game": GameClient(served.url, game).http.headers["Authorization"],
    }


@pytest.mark.parametrize("kind", KINDS)
def test_no_input_gives_a_500(served: Server, callers: dict[str, str], kind: str) -> None:
    assert fuzz_all(served, callers, kind, EXAMPLES) > 5


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
def test_no_input_of_many_gives_a_500(served: Server, callers: dict[str, str], kind: str) -> None:
    fuzz_all(served, callers, kind, SOAK * EXAMPLES)


def fuzz_all(served: Server, callers: dict[str, str], kind: str, examples: int) -> int:
    """Every operation for such callers, by one of them. Returns how many there are."""
    schema = schemathesis.openapi.from_dict(_document(served.url))
    schema.config.update(base_url=served.url)
    every: list[Any] = [result.ok() for result in schema.get_all_operations()]  # type: ignore[union-attr]
    operations = [each for each in every if _kind(each.path) == kind]
    for operation in operations:
        # Streams have tests of their own, and who logs out would try nothing after it.
        if not operation.path.endswith(("/events", "/listen", "/sessions/current")):
            _fuzz(operation, callers[kind], examples)
    served.books()
    return len(operations)


def _fuzz(operation: Any, authorization: str, examples: int) -> None:
    headers = {} if "/auth/" in operation.path else {"Authorization": authorization}

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=PHASES,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )
    @given(case=operation.as_strategy())
    def check(case: Any) -> None:
        answer = case.call(headers=headers, timeout=20)
        assert answer.status_code < 500, (case.as_curl_command(), answer.text)
        if answer.status_code >= 400 and headers:
            assert answer.headers["content-type"][0] == "application/problem+json", case.as_curl_command()

    check()


def _kind(path: str) -> str:
    return next((kind for kind in KINDS if path.startswith(f"/api/{kind}/")), "game")
