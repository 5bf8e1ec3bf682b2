"""Two server processes on one PostgreSQL, a browser at each: what one does the other sees, and outlives its node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_site import visitor
from tests.browser.tile_rush import chromium
from tests.conftest import MakeDatabase
from tests.harness import GameClient, PlayerClient, Server


@pytest.fixture
def nodes(make_database: MakeDatabase, tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    url = make_database("postgresql", migrated=True)
    one = Server(url, tmp_path)
    two = Server(url, tmp_path, more_env={"OKLP_PUBLIC_URL": one.url})
    one.start()
    two.start()
    try:
        yield one, two
    finally:
        for node in (one, two):
            node.kill()


def _open(page: Page, node: Server, player: PlayerClient, path: str) -> None:
    token = player.http.headers["Authorization"].removeprefix("Bearer ")
    page.context.add_cookies([{"name": "oklp_player", "value": token, "url": node.url}])
    page.goto(f"{node.url}{path}")


def test_players_at_two_nodes_see_one_another_live_and_a_node_that_dies_and_comes_back(
    nodes: tuple[Server, Server],
) -> None:
    here, there = nodes
    game = here.register(discovery="pull")
    ada, bea = PlayerClient(here.url), PlayerClient(here.url)
    match_id = ada.create(game.client_id, 500, invite=[bea.username])
    with chromium() as browser, visitor(browser) as one, visitor(browser) as two:
        mine, theirs = one.page, two.page
        _open(mine, here, ada, f"/matches/{match_id}")
        _open(theirs, there, bea, f"/matches/{match_id}")
        theirs.get_by_role("button", name="Join").click()
        expect(mine.locator("#roster").get_by_text("Joined")).to_have_count(2, timeout=10_000)
        mine.get_by_role("button", name="Confirm and pay").click()
        expect(theirs.locator("#roster")).to_contain_text("Paid", timeout=10_000)
        theirs.get_by_role("button", name="Confirm and pay").click()
        for page in (theirs, mine):
            expect(page.get_by_role("heading", name="Play!")).to_be_visible(timeout=10_000)

        # The second's node dies. What happens meanwhile is on his page once there is a server again.
        there.kill()
        backend = GameClient(here.url, game)
        assert backend.finish(backend.report(match_id, bea.user_id)).status_code == 200
        expect(mine.locator("#next")).to_contain_text(f"{bea.username} won 9.00", timeout=10_000)
        expect(theirs.get_by_role("heading", name="Play!")).to_be_visible()
        there.start()
        expect(theirs.get_by_role("heading", name="You won")).to_be_visible(timeout=45_000)
        expect(theirs.locator("#balance")).to_have_text("104.00\u00a0XTS")
        bea.must(201, "POST", "/wallet/deposits", {"amount": 100, "currency": "XTS"})
        expect(theirs.locator("#balance")).to_have_text("105.00\u00a0XTS", timeout=10_000)
        # That its server was away is all that his browser has to say.
        away = ("/live", "ERR_CONNECTION", "ERR_INCOMPLETE_CHUNKED", "ERR_CONTENT_LENGTH", "ERR_EMPTY_RESPONSE")
        two.faults = [fault for fault in two.faults if not any(each in fault for each in away)]
