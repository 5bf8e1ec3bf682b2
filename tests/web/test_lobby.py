"""Games that are offered and those that are not any more, and the form for a new match."""

from __future__ import annotations

import html
import re

from tests.harness import PlayerClient, Server, paid_match
from tests.web.test_error_pages import main_of, next_of
from tests.web.test_pages import browser, logged_in

BACKENDS = ("sqlite",)

REASON = "because of the studio's bank account"


def test_a_suspended_game_has_a_page_that_says_so_and_offers_no_match(served: Server) -> None:
    game_id = served.register(discovery="pull", name="Gone for Now").client_id
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    room = f"/matches/{paid_match(one, two, game_id)}"
    site, stranger = logged_in(served, one), browser(served)
    page = f"/games/{game_id}"
    assert "X-Robots-Tag" not in stranger.get(page).headers

    def vet(decision: str) -> None:
        body = {"decision": decision, "reason": REASON}
        assert served.operator.post(f"/games/{game_id}/vetting", json=body).status_code == 200

    vet("suspend")
    assert f'href="{page}"' in site.get(room).text, "the room leads there"
    for visitor, ways in ((site, ["/games", "/matches"]), (stranger, ["/games"])):
        answer = visitor.get(page)
        assert (answer.status_code, answer.headers["X-Robots-Tag"]) == (200, "noindex")
        said = main_of(answer)
        assert "<h1>Gone for Now</h1>" in said
        assert "<h2>Not offered at the moment</h2>" in said
        assert next_of(answer) == ways
        assert "/matches/new" not in said
        assert REASON not in html.unescape(answer.text)
    # Whoever has the game's page open is told in the part that is asked for again.
    assert re.search(r'<section class="empty" id="waiting" data-refresh>', main_of(site.get(page)))
    german = browser(served, **{"Accept-Language": "de"}).get(page).text
    assert "Zurzeit nicht angeboten" in german
    assert one.call("GET", page).status_code == 404, "of what can be played, the API tells"
    vet("approve")
    again = site.get(page)
    assert f'href="/matches/new?game={game_id}"' in again.text
    assert "X-Robots-Tag" not in again.headers
