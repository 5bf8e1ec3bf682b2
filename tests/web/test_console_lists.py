"""What operators and studios look for among much: postings by the page, filters, what waits, and in which order."""

from __future__ import annotations

import re

import httpx
import sqlalchemy as sa

from oklp.storage.schema import games, postings
from tests.harness import GameClient, PlayerClient, Server, paid_match
from tests.web.test_operator_pages import console
from tests.web.test_studio_pages import api, owner, register

BACKENDS = ("sqlite",)

MATCH = re.compile(r'href="/(?:operator|studio/games/[^/]+)/matches/([0-9a-f]{24})"')


def moved(match_id: str, sets: int) -> list[dict[str, object]]:
    """Postings of a match as many fees leave them that are paid and go back, two of each set."""
    legs = (("clearing:test", -1), (f"escrow:{match_id}", 1))
    return [
        {"set_id": f"match:{match_id}:of-this-test:{number}", "n": n, "of": 2, "account": account, "currency": "XTS",
         "amount": amount, "at": number, "tx_number": 1}
        for number in range(sets)
        for n, (account, amount) in enumerate(legs)
    ]  # fmt: skip


def test_postings_of_a_match_come_by_the_page(served: Server) -> None:
    match_id = PlayerClient(served.url).create(served.register(discovery="pull").client_id)
    site, path = console(served, served.operator), f"/operator/matches/{match_id}"

    def shown(text: str) -> tuple[list[str], str, dict[str, str]]:
        part = text.partition('id="postings"')[2].partition("</section>")[0]
        links = {name: href for href, name in re.findall(r'href="(\?cursor=[^"#]+)#postings">(\w+)<', part)}
        said = re.search(r'<p class="muted">([^<]+)</p>', part)
        return re.findall(r">(match:[^<]+)</a>", part), said[1] if said else "", links

    engine = sa.create_engine(served.database_url)
    try:
        with engine.begin() as connection:
            connection.execute(postings.insert(), moved(match_id, 53))
        sets = [str(each["set_id"]) for each in moved(match_id, 53)]
        first, said, links = shown(site.get(path).text)
        assert (first, said, set(links)) == (sets[:50], "1 to 50 of 106", {"Newer"})
        second, said, links = shown(site.get(path + links["Newer"]).text)
        assert (second, said, set(links)) == (sets[50:100], "51 to 100 of 106", {"Older", "Newer"})
        assert shown(site.get(path + links["Older"]).text)[0] == first
        last, said, links = shown(site.get(path + links["Newer"]).text)
        assert (last, said, set(links)) == (sets[100:], "101 to 106 of 106", {"Older"})
        assert site.get(f"{path}?cursor=x").status_code == 422
    finally:
        with engine.begin() as connection:
            connection.execute(postings.delete().where(postings.c.set_id.contains(":of-this-test:")))
        engine.dispose()


def test_deliveries_are_filtered_by_their_match(served: Server) -> None:
    game = served.register("http://127.0.0.1:9/m")
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    wanted, other = (paid_match(one, two, game.client_id) for _ in range(2))
    for match_id in (wanted, other):
        one.await_status(match_id, "aborted")
    site = console(served, served.operator)
    told = {each["delivery_id"] for each in served.operator.get(f"/matches/{wanted}").json()["deliveries"]}
    path = f"/operator/deliveries?match={wanted.upper()}"
    assert set(re.findall(r'href="/operator/deliveries/([0-9a-f-]+)"', site.get(path).text)) == told
    assert f'href="/operator/deliveries?match={wanted}"' in site.get(f"/operator/matches/{wanted}").text
    assert "None fits this filter." in site.get("/operator/deliveries?match=%27").text
    listed = served.operator.get("/deliveries", params={"match_id": wanted}).json()["deliveries"]
    assert {each["delivery_id"] for each in listed} == told
    assert served.operator.get("/deliveries", params={"match_id": "x"}).status_code == 422


def test_a_studio_looks_for_a_match_by_its_id_or_by_who_plays(served: Server) -> None:
    site = owner(served)
    game_id, another = register(served, site), register(served, site)
    one, two, three = (PlayerClient(served.url) for _ in range(3))
    first, second = one.create(game_id, 100, visibility="public"), two.create(game_id, 100)
    elsewhere = one.create(another, 100)
    three.act(first, "join")
    three.act(first, "leave")

    def found(query: str) -> list[str]:
        page = site.get(f"/studio/games/{game_id}/matches", params={"q": query})
        listed = api(served, site).get(f"/games/{game_id}/matches", params={"query": query}).json()["matches"]
        assert MATCH.findall(page.text) == [each["match_id"] for each in listed], query
        return MATCH.findall(page.text)

    assert found(f" {first.upper()} ") == [first]
    assert found(one.username.upper()) == found(one.user_id) == [first]
    assert found(three.username) == [first], "he had a seat in it"
    assert found("") == [second, first]
    for nothing in (elsewhere, one.username[:-1], "nobody", "' OR 1=1 --", "%"):
        assert found(nothing) == [], nothing
    narrowed = site.get(f"/studio/games/{game_id}/matches", params={"q": one.username, "status": "live"}).text
    assert "None fits this filter." in narrowed
    assert f"/matches/live?q={one.username}&amp;status=live" in narrowed, "its stream is of the same"


def test_winnings_about_which_a_proposal_waits_say_so_and_are_not_decided_on_twice(served: Server) -> None:
    game = served.register(discovery="pull")
    one, two = (PlayerClient(served.url, deposit=100_000) for _ in range(2))
    match_id = paid_match(one, two, game.client_id, 60_000)
    reason = {"reason": "because the test says so"}
    assert served.operator.post(f"/players/{one.user_id}", json={"action": "suspend", **reason}).status_code == 200
    server = GameClient(served.url, game)
    assert server.finish(server.report(match_id, one.user_id)).status_code == 200
    site, path = console(served, served.operator), f"/operator/players/{one.user_id}"
    decided = f'action="{path}/held/{match_id}"'
    assert site.get(path).text.count(decided) == 2
    body = {"decision": "release", **reason}
    proposed = served.operator.post(f"/players/{one.user_id}/held-winnings/{match_id}", json=body)
    assert proposed.status_code == 202
    text = site.get(path).text
    approvals = f"/operator/approvals?list=waiting&amp;match={match_id}#proposal-{proposed.json()['proposal_id']}"
    assert "Pay held winnings" in text
    assert f'<a href="{approvals}">proposed by ' in text
    assert decided not in text
    assert "What moves more than 1,000.00\xa0XTS is proposed" in site.get("/operator/approvals").text


def test_who_has_waited_for_a_decision_for_the_longest_comes_first(served: Server) -> None:
    site = owner(served)
    early, late, refused = (register(served, site) for _ in range(3))
    engine = sa.create_engine(served.database_url)

    def set_vetting(game_id: str, vetting: str, at: int) -> None:
        with engine.begin() as connection:
            connection.execute(games.update().where(games.c.id == game_id).values(vetting=vetting, vetting_at=at))

    operator = console(served, served.operator)
    try:
        for game_id, vetting, at in ((late, "in-review", 86_400_000), (early, "in-review", 1), (refused, "draft", 2)):
            set_vetting(game_id, vetting, at)
        for path in ("/operator/games?vetting=in-review", "/operator"):
            text = operator.get(path).text
            assert re.findall(r'href="/operator/games/([^"]+)"', text)[:2] == [early, late], path
            assert re.search(r'Submitted <time datetime="1970-01-02', text), path
        assert "Submitted" in operator.get(f"/operator/games/{late}").text
        assert operator.get("/operator/games?vetting=in-review&cursor=x").status_code == 422
    finally:
        for game_id in (early, late, refused):
            set_vetting(game_id, "approved", 1)
        engine.dispose()


def test_a_game_that_was_sent_back_is_told_from_one_that_was_never_handed_in(served: Server) -> None:
    site = owner(served)
    refused, never = (register(served, site) for _ in range(2))
    engine = sa.create_engine(served.database_url)
    with engine.begin() as connection:  # the sandbox has approved both
        fresh = {"vetting": "draft", "vetting_reason": None, "vetting_by": None, "vetting_at": None}
        connection.execute(games.update().where(games.c.id.in_([refused, never])).values(**fresh))
    engine.dispose()
    studio, operator = api(served, site), console(served, served.operator)

    def standing(reader: httpx.Client, path: str, *, of: str = "") -> list[str]:
        text = reader.get(path).text.partition("<main")[2]
        return re.findall(r'<span class="badge[^>]*>([^<]+)</span>', text.partition(f'{of}"')[2])[:1]

    def everywhere(game_id: str) -> list[str]:
        own, about = f"/studio/games/{game_id}", f"/operator/games/{game_id}"
        home = f"/operator/games?studio={studio.get('/me').json()['studio_id']}"
        lists = standing(site, "/studio", of=own) + standing(operator, home, of=about)
        return lists + standing(site, own) + standing(operator, about)

    assert everywhere(refused) == everywhere(never) == ["Draft"] * 4
    assert studio.post(f"/games/{refused}/review").status_code == 200
    assert everywhere(refused) == ["In review"] * 4
    decision = {"decision": "refuse", "reason": "The rules page is missing."}
    assert served.operator.post(f"/games/{refused}/vetting", json=decision).json()["vetting"] == "draft"
    assert everywhere(refused) == ["Sent back"] * 4
    assert everywhere(never) == ["Draft"] * 4
    who = served.operator.get("/me").json()["username"]
    for text in (site.get(f"/studio/games/{refused}").text, operator.get(f"/operator/games/{refused}").text):
        assert decision["reason"] in text
        assert who in text.partition("<main")[2]
    assert studio.post(f"/games/{refused}/review").status_code == 200
    assert everywhere(refused) == ["In review"] * 4
