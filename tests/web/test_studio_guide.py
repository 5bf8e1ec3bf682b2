"""The studio's guide to an integration: the game's own addresses, and programs that work as they stand there."""

from __future__ import annotations

import asyncio
import html
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from oklp.sdk.testing import SignedRequest, StandIn
from tests.harness import Server
from tests.web.test_studio_pages import api, owner, register

BACKENDS = ("sqlite",)


def programs(page: str) -> dict[str, str]:
    """What there is to copy, by its label; of those with the same one the first."""
    found: dict[str, str] = {}
    for label, text in re.findall(r'<pre tabindex="0" aria-label="([^"]+)">(.*?)</pre>', page, re.DOTALL):
        found.setdefault(label, html.unescape(text))
    return found


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """A platform whose developer-config.json is in the current folder."""
    made = StandIn()
    (tmp_path / "developer-config.json").write_text(made.config.model_dump_json())
    monkeypatch.chdir(tmp_path)
    return made


def test_the_guide_has_the_games_own_addresses_and_no_secret(served: Server) -> None:
    site = owner(served)
    game_id = register(served, site, webhook_url="http://127.0.0.1:9/hooks/m")
    guide = site.get(f"/studio/games/{game_id}/guide").text
    assert f"client_id={game_id}" in guide
    assert f"{served.url}/auth/realms/oklp/protocol/openid-connect/token" in guide
    assert f"{served.url}/auth/realms/oklp/protocol/openid-connect/certs" in guide
    assert "<code>http://127.0.0.1:9/hooks/m</code>" in guide
    assert "whsec_" not in guide
    assert "oklp new-game word-duel</pre>" in guide  # a name that the command takes
    assert "is tried" not in guide
    settings = {"settings": {"start_retries": 1}}
    assert api(served, site).patch(f"/games/{game_id}", json=settings).status_code == 200
    assert "Anything else is tried once more" in site.get(f"/studio/games/{game_id}/guide").text


@pytest.mark.parametrize("path", ["/h%C3%BC/it's%20a%22%3C%F0%9F%98%80%E2%80%AE", "/%7Bx:foo%7D/y"])
def test_the_webhook_of_the_guide_takes_matches_at_the_games_own_path(
    served: Server, platform: StandIn, path: str
) -> None:
    site = owner(served)
    game_id = register(served, site, webhook_url=f"http://127.0.0.1:9{path}")
    code = programs(site.get(f"/studio/games/{game_id}/guide").text)["The webhook in Python"]
    told: list[tuple[str, str]] = []

    async def start_match(match_id: str, participants: list[object], teams: list[object]) -> None:
        assert (len(participants), len(teams)) == (2, 2)
        told.append(("started", match_id))

    async def forget_match(match_id: str) -> None:
        await asyncio.sleep(0)
        told.append(("aborted", match_id))

    names: dict[str, Any] = {"start_match": start_match, "forget_match": forget_match}
    exec(code, names)
    game = httpx.ASGITransport(names["app"])

    async def send(*requests: SignedRequest) -> list[int]:
        async with httpx.AsyncClient(transport=game, base_url="http://127.0.0.1:9") as caller:
            answers = [
                await caller.request(each.method, path, content=each.body, headers=dict(each.headers))
                for each in requests
            ]
            elsewhere = await caller.put("/x/y")
        assert elsewhere.status_code == 404
        return [answer.status_code for answer in answers]

    with platform:
        match_id = platform.new_match().match_id
        put, delete = platform.webhook(match_id), platform.webhook(match_id, "DELETE")
        assert asyncio.run(send(put, delete, SignedRequest("PUT", {}, put.body))) == [200, 200, 401]
    assert told == [("started", match_id), ("aborted", match_id)]


def test_a_game_that_asks_is_shown_how_to_get_its_matches(served: Server, platform: StandIn) -> None:
    site = owner(served)
    body = {"name": f"Asks {served.port}", "settings": {"discovery": "pull"}}
    made = api(served, site).post("/games", json=body)
    assert made.status_code == 201, made.text
    guide = site.get(f"/studio/games/{made.json()['game_id']}/guide").text
    assert f'"{served.url}/api/game/v1/matches?status=live"' in html.unescape(guide)
    assert "webhook" not in guide.partition("<main")[2].partition("3. Who comes to play")[0].partition("</nav>")[2]
    started: list[str] = []
    names: dict[str, Any] = {"start_match": lambda match_id, participants, teams: started.append(match_id)}
    with platform:
        live = platform.new_match().match_id
        platform.new_match(status="finished")
        exec(programs(guide)["The matches in Python"], names)
    assert started == [live]


@pytest.mark.parametrize("team_size", [1, 2])
def test_the_sdk_of_the_guide_reports_a_match_of_teams(served: Server, platform: StandIn, team_size: int) -> None:
    site = owner(served)
    game_id = register(served, site)
    code = programs(site.get(f"/studio/games/{game_id}/guide").text)["Python"]
    with platform:
        match = platform.new_match(team_size=team_size)
        first, second = (team.id for team in match.teams)
        points = {player.id: 10 if player.team_id == first else 1 for player in match.participants}
        names: dict[str, Any] = {
            "match_token": platform.match_token(match.match_id, match.participants[0].id),
            "score_of": points.__getitem__,
            "rank_of": {first: 1, second: 2}.__getitem__,
        }
        exec(code, names)
        (result,) = platform.results(match.match_id)
    assert {each.id: each.score for each in result.participants} == points
    assert [(each.id, each.score, each.ranking) for each in result.teams or ()] == [
        (first, 10 * team_size, 1),
        (second, team_size, 2),
    ]
