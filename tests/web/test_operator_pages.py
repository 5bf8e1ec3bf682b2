"""The console by role: what is offered, what is refused however it is asked for, and what an admin decides."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from html import unescape
from urllib.parse import unquote

import httpx
import pyotp
import pytest
import sqlalchemy as sa

from oklp.storage.schema import audit, events, refused_results
from oklp.storage.schema_proposals import proposals
from oklp.web.caller import to_cursor
from oklp.web.pages import facts
from tests.harness import PASSWORD, PlayerClient, Server, enrol, paid_match, run_cli, serving
from tests.web.staff import log_in
from tests.web.test_pages import browser, tokens

BACKENDS = ("sqlite",)

REASON = {"reason": "because the test says so"}


def console(served: Server, operator: httpx.Client) -> httpx.Client:
    """The console with an operator's session."""
    site = browser(served)
    token = operator.headers["Authorization"].removeprefix("Bearer ")
    site.cookies.set("oklp_operator", token, domain="127.0.0.1", path="/")
    return site


def offered(text: str) -> set[str]:
    """The last words of the addresses that a page's forms go to."""
    return {path.rpartition("/")[2] for path in re.findall(r'method="post" action="/operator/([^"]+)"', text)}


def test_the_console_offers_what_the_role_may_do_and_refuses_the_rest(served: Server) -> None:
    game = served.register(discovery="pull")
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    match_id = paid_match(one, two, game.client_id)
    match, player = f"/operator/matches/{match_id}", f"/operator/players/{one.user_id}"
    support = console(served, served.new_operator("--role", "support"))
    finance = console(served, served.new_operator("--role", "finance"))
    pages = (match, player, f"/operator/games/{game.client_id}", "/operator/books")
    shown = [[offered(site.get(path).text) - {"log-out"} for path in pages] for site in (support, finance)]
    assert shown == [[set(), {"act"}, set(), set()], [{"settle", "abort"}, set(), set(), {"verify"}]]

    form = tokens(support.get(match).text)
    for site, path, fields in (
        (support, f"{match}/abort", REASON),
        (support, "/operator/books/verify", {}),
        (finance, f"{player}/act", {"action": "suspend", **REASON}),
    ):
        form = tokens(site.get("/operator").text)
        refused = site.post(path, data={**form, **fields})
        assert refused.status_code == 403, path
        assert "Not within your role" in refused.text, path
    assert "ledger.csv" not in support.get("/operator/ledger?account=house:fees").text
    assert support.get("/operator/ledger.csv").status_code == 403
    assert finance.get("/operator/ledger.csv").headers["content-type"].startswith("text/csv")
    assert one.match(match_id)["status"] == "live"


def test_a_proposal_is_withdrawn_by_whoever_made_it_and_offered_to_nobody_else(served: Server) -> None:
    game = served.register(discovery="pull")
    one, two = (PlayerClient(served.url, deposit=100_000) for _ in range(2))
    match_id = paid_match(one, two, game.client_id, 60_000)
    about = console(served, served.operator).get(f"/operator/matches/{match_id}").text
    assert ("Settle and pay out" in about, about.count(">Propose</button>")) == (False, 2)
    assert about.count("This takes two operators.") == 2
    proposal_id = served.operator.post(f"/matches/{match_id}/abort", json=REASON).json()["proposal_id"]
    fred, fay = console(served, served.operator), console(served, served.new_operator("--role", "finance"))
    withdrawal, decision = f"approvals/{proposal_id}/withdraw", f"approvals/{proposal_id}"

    def forms(site: httpx.Client) -> set[str]:
        found = re.findall(r'method="post" action="/operator/([^"]+)"', site.get("/operator/approvals").text)
        return {path for path in found if proposal_id in path}

    def send(site: httpx.Client, path: str, **fields: str) -> httpx.Response:
        form = tokens(site.get("/operator/approvals").text)
        return site.post(f"/operator/{path}", data={**form, **fields})

    assert (forms(fred), forms(fay)) == ({withdrawal}, {decision})
    waits = fay.get("/operator/approvals").text
    for player in (one, two):  # in the list, and again where it is approved or declined
        named = rf'"/operator/players/{player.user_id}">{player.username}</a>: 600.00\xa0XTS back'
        assert len(re.findall(named, waits)) == 3
    assert send(fay, withdrawal, **REASON).status_code == 403
    assert send(fred, decision, decision="approve", **REASON).status_code == 403
    unsaid = send(fred, withdrawal, reason=" ")
    assert (unsaid.status_code, "Say why" in unsaid.text) == (422, True)
    done = send(fred, withdrawal, reason="a slip of mine")
    assert (done.status_code, done.headers["location"]) == (303, "/operator/approvals")
    shown = fay.get("/operator/approvals").text
    assert (forms(fay), "Withdrawn" in shown, "a slip of mine" in shown) == (set(), True, True)
    assert len(re.findall(named, shown)) == 1, "what was proposed stays known"
    assert send(fred, withdrawal, **REASON).status_code == 409
    assert one.match(match_id)["status"] == "live"


def test_a_reason_has_lines_and_one_that_is_refused_is_not_lost(served: Server) -> None:
    game = served.register(discovery="pull")
    match_id = paid_match(PlayerClient(served.url), PlayerClient(served.url), game.client_id)
    match, site = f"/operator/matches/{match_id}", console(served, served.operator)

    def send(action: str, reason: str, **fields: str) -> httpx.Response:
        return site.post(f"{match}/{action}", data={**tokens(site.get(match).text), "reason": reason, **fields})

    def opened(text: str) -> list[str]:
        return re.findall(r'<details class="dialog" id="([^"]+)" open>', text)

    fresh = site.get(match).text
    assert opened(fresh) == []
    assert re.findall(r'name="ranking-\d"[^>]* required value="([^"]*)"', fresh) == ["", ""], "nobody has won yet"
    assert ">Settle and pay out</button>" in fresh
    for reason, said in (
        ("x" * 501, "These are 501 characters"),
        ("one\r\ntwo\x07", "There are characters in it that cannot be read."),
        (" \r\n\t", "Say why"),
    ):
        refused = send("abort", reason)
        assert (refused.status_code, opened(refused.text), said in refused.text) == (422, ["abort"], True)
        assert f">\n{reason}</textarea>" in refused.text.replace("&#39;", "'")
    scores = {"ranking-0": "2", "score-0": "17", "ranking-1": "1", "forfeit-0": "on"}
    refused = send("settle", "", **scores)
    assert (refused.status_code, opened(refused.text)) == (422, ["settle"])
    for name, value in (("ranking-0", "2"), ("score-0", "17"), ("ranking-1", "1")):
        assert re.search(rf'name="{name}"[^>]* value="{value}"', refused.text), name
    assert 'name="forfeit-0" checked' in refused.text
    wrong = send("settle", "its game\tis gone", **{**scores, "ranking-0": "9"})
    assert (wrong.status_code, opened(wrong.text)) == (422, ["settle"])
    assert "its game\tis gone</textarea>" in wrong.text

    most = "one\r\n" + "x" * 496
    assert send("abort", most).status_code == 303
    assert [entry["reason"] for entry in served.operator.get(f"/matches/{match_id}").json()["audit"]] == [
        "one\n" + "x" * 496
    ]


def test_what_is_in_the_way_is_said_in_the_operators_language_first(served: Server) -> None:
    game = served.register(discovery="pull")
    match_id = paid_match(PlayerClient(served.url), PlayerClient(served.url), game.client_id)
    site, path = console(served, served.operator), f"/operator/matches/{match_id}"
    assert site.post(f"{path}/abort", data={**tokens(site.get(path).text), **REASON}).status_code == 303

    def again(language: str) -> str:
        headers = {"Accept-Language": language}
        refused = site.post(f"{path}/abort", data={**tokens(site.get(path).text), **REASON}, headers=headers)
        assert refused.status_code == 409
        return str(refused.text.partition('role="alert"')[2].partition("</div>")[0])

    english, german = again("en"), again("de")
    assert "lang=" not in english
    (named,) = re.findall(r"<p>(.*)</p>", english)
    assert f'<p>So wie die Dinge stehen, geht das nicht. <span lang="en">{named}</span></p>' in german


def test_a_payment_is_found_by_the_number_that_its_player_reads_to_an_operator(served: Server) -> None:
    player = PlayerClient(served.url)
    home = browser(served)
    home.cookies.set("oklp_player", player.http.headers["Authorization"].removeprefix("Bearer "), domain="127.0.0.1")
    (number,) = re.findall(r"Number ([0-9a-f-]{36})<", home.get("/wallet?show=payments").text)
    site = console(served, served.operator)
    found = site.get("/operator/search", params={"q": number})
    assert (found.status_code, found.headers["location"]) == (303, f"/operator/ledger?payment={number}")
    page = site.get(found.headers["location"]).text
    assert f'<a href="/operator/players/{player.user_id}">To the player</a>' in page
    assert page.count(f">deposit:{number}</a>") == 2
    assert site.get(f"/operator/ledger?payment={number.upper()}").text.count(f">deposit:{number}</a>") == 2
    german = site.get(f"/operator/players/{player.user_id}", headers={"Accept-Language": "de"}).text
    assert "Eingezahlt" in german.partition("Letzte Buchungen")[2].partition("</ul>")[0]
    ledger = site.get("/operator/ledger", params={"account": f"player:{player.user_id}"}).text
    assert f'href="{found.headers["location"]}">deposit:{number}</a>' in ledger
    assert "ledger.csv" not in page
    assert "There is no such payment." in site.get("/operator/ledger?payment=no:such").text


def test_a_search_says_that_there_is_more_than_it_shows(served: Server) -> None:
    site, name = console(served, served.operator), f"Many {served.port}"
    for _ in range(21):
        served.studio.post("/games", json={"name": name, "settings": {"discovery": "pull"}})
    found = site.get("/operator/search", params={"q": name}).text
    assert found.count('<li class="row">') == 20
    assert "Only the first 20 are shown." in found


def test_an_account_of_the_ledger_leads_to_whom_or_what_it_is_of(served: Server) -> None:
    site = console(served, served.operator)
    foreign = served.register(discovery="pull").client_id
    made = served.new_studio().post("/games", json={"name": "Another's", "settings": {"discovery": "pull"}}).json()
    game_id = made["game_id"]
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    match_id = paid_match(one, two, game_id)
    studio = re.findall(r"account=(studio%3A[^\"]+)\"", site.get(f"/operator/games/{game_id}").text)[0]
    for account, href in (
        (f"player:{one.user_id}", f"/operator/players/{one.user_id}"),
        (f"held:{one.user_id}", f"/operator/players/{one.user_id}"),
        (f"escrow:{match_id}", f"/operator/matches/{match_id}"),
        (unquote(studio), f"/operator/games?studio={studio.removeprefix('studio%3A')}"),
    ):
        main = site.get("/operator/ledger", params={"account": account}).text.partition("<h1>")[2].partition("<form")[0]
        assert re.findall(r'<a href="([^"]+)">', main) == [href], account
        assert site.get(href).status_code == 200, href
    assert "To the" not in site.get("/operator/ledger").text

    def balance(account: str) -> list[str]:
        text = site.get("/operator/ledger", params={"account": account}).text
        return re.findall(r"<dt>Balance</dt><dd>([^<]+)<", text)

    assert balance(f"player:{one.user_id}") == ["95.00\xa0XTS"]
    assert balance(f"escrow:{match_id}") == ["10.00\xa0XTS"]
    assert balance("house:nobody") == balance(f"held:{one.user_id}") == []
    listed = site.get(f"/operator/games?studio={studio.removeprefix('studio%3A')}").text
    assert re.findall(r'href="/operator/games/([^"]+)"', listed) == [game_id]
    assert foreign in site.get("/operator/search", params={"q": foreign}).headers["location"]


def test_an_empty_parameter_of_a_page_is_none(served: Server) -> None:
    site = console(served, served.operator)
    for path in ("approvals", "audit", "matches", "deliveries", "players", "games", "ledger"):
        answers = [site.get(f"/operator/{path}{query}") for query in ("", "?cursor=", "?cursor=x")]
        assert [each.status_code for each in answers] == [200, 200, 422], path


def test_what_happens_is_seen_without_loading_a_page_again(served: Server) -> None:
    game = served.register(discovery="pull")
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    match_id = paid_match(one, two, game.client_id)
    event = served.studio.post(f"/games/{served.register('http://127.0.0.1:9/m').client_id}/test-event").json()
    site = console(served, served.operator)
    lists = ("games", "matches", "deliveries", "ledger", "audit", "players", "team")
    operator_id = re.findall(r"/operator/team/([0-9a-f-]{36})", site.get("/operator/team").text)[0]
    things = (f"team/{operator_id}", f"matches/{match_id}", f"players/{one.user_id}", f"games/{game.client_id}")
    for path in ("", *lists, *things, f"deliveries/{event['delivery_id']}"):
        parts = re.findall(r"<[a-z]+ [^>]*data-poll=[^>]*>", site.get(f"/operator/{path}".rstrip("/")).text)
        assert parts, path
        assert all(' id="' in f" {part}" and "data-refresh" in part for part in parts), path
    older = site.get("/operator/audit", params={"cursor": to_cursor(10**9)})
    assert (older.status_code, "data-poll" in older.text) == (200, False), "what is older stays as it is"


def test_the_audit_log_says_what_was_changed_into_what(served: Server) -> None:
    game_id = served.register("http://127.0.0.1:9/old").client_id
    change = {"webhook_url": "http://127.0.0.1:9/new", "name": "<b>Anew</b>"}
    assert served.studio.patch(f"/games/{game_id}", json=change).status_code == 200
    site = console(served, served.operator)
    for path in (f"/operator/audit?subject=game:{game_id}", f"/operator/games/{game_id}"):
        text = site.get(path).text
        assert "http://127.0.0.1:9/old → http://127.0.0.1:9/new" in text, path
        assert "→ &lt;b&gt;Anew&lt;/b&gt;" in text, path
        assert "<b>Anew" not in text, path


def test_the_audit_log_leads_to_the_studio_that_it_is_about_and_whose_member_acted(served: Server) -> None:
    studio, site = served.new_studio(), console(served, served.operator)
    me = studio.get("/me").json()
    body = {"username": f"{me['username'][:24]}-dev", "email": "dev@example.org", "password": PASSWORD, "role": "owner"}
    added = studio.post("/members", json=body).json()
    dev = log_in(served, "studio", body["username"])
    game_id = dev.post("/games", json={"name": "Audited", "settings": {"discovery": "pull"}}).json()["game_id"]
    about, home = f"studio:{me['studio_id']}", f"/operator/games?studio={me['studio_id']}"

    def links(subject: str) -> list[tuple[str, str]]:
        shown = site.get("/operator/audit", params={"subject": subject}).text.partition('id="entries"')[2]
        return re.findall(r'<a (?:class="mono" )?href="([^"]+)">([^<]+)</a>', shown.partition("</ul>")[0])

    assert links(about) == [(home, about), (home, f"member:{me['username']}")] * 2
    by_dev = (home, f"member:{body['username']}")
    assert links(f"game:{game_id}") == [(f"/operator/games/{game_id}", f"game:{game_id}"), by_dev]
    assert f'<a href="{home}">{by_dev[1]}</a>' in site.get(f"/operator/games/{game_id}").text
    assert f'href="/operator/audit?subject={about}"' in site.get(home).text

    assert studio.delete(f"/members/{added['member_id']}").status_code == 204
    assert len(links(f"game:{game_id}")) == 1
    assert served.new_studio().post("/members", json=body).status_code == 201
    assert len(links(f"game:{game_id}")) == 1, "whoever took the name since is another"


@pytest.mark.parametrize(
    ("detail", "said"),
    [
        ({}, []),
        ({"amount": 900, "currency": "XTS"}, [("amount", "9.00\xa0XTS")]),
        ({"amount": 900}, [("amount", "€9.00")]),
        ({"settings.entry_fee_max": {"from": 2000, "to": 5000}}, [("settings.entry_fee_max", "€20.00 → €50.00")]),
        ({"settings": {"fee_bps": {"from": 1000, "to": 950}}}, [("settings.fee_bps", "10% → 9.5%")]),
        ({"username": "ann", "from": "viewer", "to": "owner"}, [("username", "ann"), ("from → to", "viewer → owner")]),
        ({"settings.x": {"from": None, "to": [1, "b"]}}, [("settings.x", "\N{EN DASH} → 1, b")]),
        ({"from": {"role": "a", "status": "b"}, "to": {"role": "c", "status": "b"}}, [("role", "a → c")]),
        (
            {"prizes": [["ann", 900], ["bob", 100]], "currency": "XTS", "ranking": [["t1", 1]]},
            [("prizes", "ann: 9.00\xa0XTS, bob: 1.00\xa0XTS"), ("ranking", "t1: 1")],
        ),
        ({"faults": [{"check": "x"}]}, [("faults", '{"check": "x"}')]),
        ({"books": {"clean": True}}, [("books.clean", "true")]),
    ],
)
def test_the_detail_of_an_entry_as_facts(detail: dict[str, object], said: list[tuple[str, str]]) -> None:
    assert facts.of(detail, "en", "EUR") == said


def proposals_of(match_id: str, count: int) -> list[dict[str, object]]:
    """Rows of what waits for long, made before anything else that waits: each of one player's winnings."""
    made = {"match_id": match_id, "action": "held-winnings.release", "request": '{"decision": "release"}'}
    kept = {"amount": 1, "currency": "XTS", "reason": "proved", "proposer_id": "nobody", "proposer": "nobody"}
    waits = {"state": "waiting", "expires_at": 4_000_000_000_000}
    return [{"id": f"p{n:03}", "user_id": f"u{n:03}", "proposed_at": n, **made, **kept, **waits} for n in range(count)]


def test_what_waits_is_shown_by_the_page_and_all_of_it_is_a_click_away(served: Server) -> None:
    game = served.register(discovery="pull")
    match_id = PlayerClient(served.url).create(game.client_id)
    support = console(served, served.new_operator("--role", "support"))
    admin = console(served, served.operator)

    def shown(path: str) -> list[str]:
        return re.findall(r'id="proposal-(p\d+)"', admin.get(path).text)

    def link(path: str, text: str) -> str:
        found = re.search(rf'href="(\?[^"]+)">{text}<', admin.get(path).text)
        assert found is not None, text
        return "/operator/approvals" + unescape(found[1])

    engine = sa.create_engine(served.database_url)
    try:
        with engine.begin() as connection:
            connection.execute(proposals.insert(), proposals_of(match_id, 120))
        first = shown("/operator/approvals")
        assert first == [f"p{n:03}" for n in range(25)]
        assert "No longer possible" not in admin.get("/operator/approvals").text
        all_of_it = link("/operator/approvals", "All that wait")
        assert shown(all_of_it) == first
        assert shown(link(all_of_it, "Newer")) == [f"p{n:03}" for n in range(25, 50)]
        assert shown(f"/operator/approvals?list=waiting&match={match_id}") == first
        assert shown("/operator/approvals?list=waiting&match=another") == []
        listed = served.operator.get("/proposals", params={"waiting": "true", "limit": 100}).json()
        rest = served.operator.get("/proposals", params={"waiting": "true", "cursor": listed["next_cursor"]}).json()
        assert [each["proposal_id"] for each in (listed["proposals"] + rest["proposals"])[:120]] == [
            f"p{n:03}" for n in range(120)
        ]
        pages = [site.get("/operator").text for site in (admin, support)]
        assert [re.findall(r'<span class="count">([^<]+)<', page) for page in pages] == [["99+"], []]
    finally:
        with engine.begin() as connection:
            connection.execute(proposals.delete().where(proposals.c.match_id == match_id))
        engine.dispose()


def test_faults_of_the_books_are_said_to_be_english(served: Server) -> None:
    fault = {"check": "every set sums to zero", "row": "match:1:settle", "detail": "It sums to 1."}
    counted = {"clean": False, "postings": 2, "posting_sets": 1, "matches": 0, "totals": [], "faults": [fault]}
    entry = {"at": 1, "actor": "operator:olga", "subject": "platform:books"}
    run: dict[str, object] = {"run_id": "of-this-test"}
    entries = [
        {**entry, "action": "books.begun", "detail": json.dumps(run)},
        {**entry, "action": "books.verified", "detail": json.dumps({**run, "books": counted})},
    ]
    site = console(served, served.operator)
    engine = sa.create_engine(served.database_url)
    try:
        with engine.begin() as connection:
            connection.execute(audit.insert(), entries)
        text = site.get("/operator/books", headers={"Accept-Language": "de"}).text
    finally:
        with engine.begin() as connection:
            connection.execute(audit.delete().where(audit.c.detail.contains("of-this-test")))
        engine.dispose()
    assert '<strong lang="en">every set sums to zero</strong>' in text
    assert '<p lang="en">It sums to 1.</p>' in text


def test_the_console_in_german_says_no_words_of_the_api(served: Server) -> None:
    game = served.register(discovery="pull")
    match_id = PlayerClient(served.url).create(game.client_id)
    site = console(served, served.operator)
    site.headers["Accept-Language"] = "de"

    def facts_of(path: str) -> dict[str, str]:
        found = re.findall(r"<div><dt[^>]*>([^<]+)</dt><dd[^>]*>([^<]+)</dd>", site.get(path).text)
        return {unescape(name): unescape(value) for name, value in found}

    match = facts_of(f"/operator/matches/{match_id}")
    assert (match["Sichtbarkeit"], [name for name in match if name.endswith(":")]) == ("Privat", [])
    rules = facts_of(f"/operator/games/{game.client_id}")
    assert (rules["So wird gespielt"], rules["Welche Punktzahl gewinnt"]) == ("Gleichzeitig", "Die höchste")
    assert (rules["So erfährt es von Matches"], rules["Gebühr vom Topf"]) == ("Es fragt", "10\xa0%")
    shown = site.get("/style").text
    assert ("fünf" in shown, "five" in shown, "An amount" in shown) == (True, False, False)


def test_a_match_says_that_more_results_were_refused_than_are_kept(served: Server) -> None:
    member = served.new_studio()
    game_id = f"reported-{served.port}"
    body = {"name": "Much reported", "game_id": game_id, "settings": {"discovery": "pull"}}
    assert member.post("/games", json=body).status_code == 201
    match_id = PlayerClient(served.url).create(game_id)
    studio = browser(served)
    studio.cookies.set("oklp_studio", member.headers["Authorization"].removeprefix("Bearer "), domain="127.0.0.1")
    pages = (
        (console(served, served.operator), f"/operator/matches/{match_id}"),
        (studio, f"/studio/games/{game_id}/matches/{match_id}"),
    )
    row = {
        "match_id": match_id,
        "body": '{"participants":[["u1",1]]}',
        "reason": "A result was in before.",
        "received_at": 1,
    }
    engine = sa.create_engine(served.database_url)
    try:
        for numbers in (range(100), range(100, 101)):
            with engine.begin() as connection:
                connection.execute(refused_results.insert(), [{**row, "body_hash": str(number)} for number in numbers])
            for site, path in pages:
                shown = site.get(path).text
                assert shown.count("A result was in before.") == 100, path
                assert ("Others came after these 100" in shown) == (100 in numbers), path
    finally:
        with engine.begin() as connection:
            connection.execute(refused_results.delete().where(refused_results.c.match_id == match_id))
        engine.dispose()


def test_health_and_metrics_say_how_far_the_counting_of_results_is_behind(served: Server) -> None:
    """An event that is an hour old, behind a transaction that never ends: nobody can count it."""
    event = {"tx_number": 2**62, "kind": "wallet", "at": int(time.time() * 1000) - 3_600_000}

    def metric() -> float:
        text = httpx.get(f"{served.url}/metrics").text
        return float(text.partition("\noklp_counting_lag_seconds ")[2].partition("\n")[0])

    engine = sa.create_engine(served.database_url)
    try:
        with engine.begin() as connection:
            connection.execute(events.insert(), event)
        # What other tests have left to count comes before it.
        until = time.monotonic() + 20
        while not 3_600 <= metric() < 3_700:
            assert time.monotonic() < until, metric()
            time.sleep(0.05)
        page = console(served, served.operator).get("/operator/health").text
        assert re.search(r"<dt>Counting is behind</dt><dd>3,6\d\d s<", page), page
        assert 3_600_000 <= served.operator.get("/health").json()["counting_lag_ms"] < 3_700_000
    finally:
        with engine.begin() as connection:
            connection.execute(events.delete().where(events.c.tx_number == event["tx_number"]))
        engine.dispose()


def test_an_admin_gives_roles_and_takes_them_away(served: Server) -> None:
    sue = served.new_operator("--role", "support")
    me = sue.get("/me").json()
    assert me["role"] == "support"
    admin, page = console(served, served.operator), f"/operator/team/{me['operator_id']}"
    assert me["username"] in admin.get("/operator/team").text
    assert offered(console(served, sue).get(page).text) == {"log-out"}

    def decide(**fields: str) -> httpx.Response:
        return admin.post(page, data={**tokens(admin.get(page).text), **fields})

    assert decide(action="change-role", role="owner", **REASON).status_code == 422
    assert "Say why" in decide(action="change-role", role="finance", reason=" ").text
    assert decide(action="change-role", role="finance", **REASON).status_code == 303
    assert sue.get("/me").status_code == 401  # the session was that of less
    credentials = {"username": me["username"], "password": PASSWORD}
    sue.headers["Authorization"] = f"Bearer {sue.post('/sessions', json=credentials).json()['token']}"
    assert sue.get("/me").json()["role"] == "finance"
    shown = admin.get(page).text
    assert REASON["reason"] in shown
    assert "support → finance" in shown
    assert "It counts from the next log-in" in shown
    assert decide(action="suspend", **REASON).status_code == 303
    assert sue.get("/me").status_code == 401
    assert sue.post("/sessions", json=credentials).status_code == 401
    assert decide(action="reinstate", **REASON).status_code == 303
    assert sue.post("/sessions", json=credentials).status_code == 201


def test_the_second_factor_of_a_player_is_removed_after_a_word_of_warning(served: Server) -> None:
    one = PlayerClient(served.url)
    page = f"/operator/players/{one.user_id}"
    removal = 'name="action" value="remove-factors"'
    support = console(served, served.new_operator("--role", "support"))
    assert removal not in support.get(page).text
    enrol(log_in(served, "player", one.username))
    shown = support.get(page).text
    assert removal in shown
    assert "First make sure who is asking" in shown
    assert removal not in console(served, served.new_operator("--role", "finance")).get(page).text
    form = {**tokens(shown), "action": "remove-factors"}
    refused = support.post(f"{page}/act", data={**form, "reason": " "})
    assert (refused.status_code, "Say why" in refused.text) == (422, True)
    assert support.post(f"{page}/act", data={**form, **tokens(refused.text), **REASON}).status_code == 303
    shown = support.get(page).text
    assert (removal in shown, "player.remove-factors" in shown) == (False, True)
    support.headers["Accept-Language"] = "de"
    assert "Zweiter Faktor</dt><dd>nein" in support.get(page).text


def test_the_command_line_gives_roles_too(served: Server) -> None:
    username = served.new_operator("--role", "support").get("/me").json()["username"]
    # In the sandbox everybody tries everything.
    another = ("operator", "create", "--username", f"{username[:24]}-too", "--password", PASSWORD)
    assert "is an operator (admin)" in served.cli(*another).stdout
    assert "active (finance)" in served.cli("operator", "role", username, "finance", "--reason", "promoted").stdout
    again = served.cli("operator", "role", username, "finance", "--reason", "promoted", check=False)
    assert (again.returncode, "so already" in again.stderr) == (1, True)
    assert "suspended (finance)" in served.cli("operator", "suspend", username, "--reason", "gone").stdout
    listed = next(line for line in served.cli("operator", "list").stdout.splitlines() if username in line)
    assert listed.split() == [username, "finance", "suspended", "no"]


# --- second factors --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose operators need a second factor, as in production."""
    folder = tmp_path_factory.mktemp("strict")
    with serving(f"sqlite:///{folder / 'oklp.db'}", folder, OKLP_OPERATOR_SECOND_FACTOR="1") as running:
        running.cli("operator", "create", "--username", "olga", "--password", PASSWORD)
        yield running


def test_without_a_second_factor_an_operator_can_only_set_one_up(strict: Server) -> None:
    olga = log_in(strict, "operator", "olga")
    assert olga.get("/me").json()["role"] == "admin"
    for answer in (olga.get("/games"), olga.get("/books"), olga.post(f"/matches/{'0' * 24}/abort", json=REASON)):
        assert answer.status_code == 403
        assert answer.json()["type"] == "urn:oklp:error:second-factor-missing"
    site = console(strict, olga)
    for path in ("/operator", "/operator/games", "/operator/ledger.csv"):
        led = site.get(path)
        assert (led.status_code, led.headers["location"]) == (303, "/operator/security#factors")
    security = site.get("/operator/security")
    assert "the console opens once you have one" in security.text
    assert "/operator/audit" not in security.text
    form = tokens(security.text)
    refused = site.post("/operator/books/verify", data=form)
    assert (refused.status_code, "Set up a second factor first" in refused.text) == (403, True)

    asked = site.post("/operator/security/totp", data={**form, "factor_password": PASSWORD})
    secret = re.search(r'name="secret" value="([A-Z2-7]{32})"', asked.text)
    assert secret is not None, asked.text
    fields = {**tokens(asked.text), "secret": secret[1], "code": pyotp.TOTP(secret[1]).now()}
    codes = site.post("/operator/security/totp/confirm", data=fields)
    assert codes.status_code == 200
    assert "/operator/audit" in codes.text
    assert site.get("/operator").status_code == 200
    assert olga.get("/games").status_code == 401  # a factor more gives the session a new token


def test_an_operator_who_has_lost_his_factors_sets_up_others_at_the_next_log_in(strict: Server) -> None:
    admin, ida = strict.new_operator(), strict.new_operator()
    name, team = ida.get("/me").json()["username"], "/operator/team"
    own, page = (f"{team}/{each.get('/me').json()['operator_id']}" for each in (admin, ida))
    site, removal = console(strict, admin), 'name="action" value="remove-factors"'
    assert [removal in site.get(each).text for each in (own, page)] == [False, True]
    form = {**tokens(site.get(page).text), "action": "remove-factors", **REASON}
    himself = site.post(own, data=form)
    assert (himself.status_code, "on the page of your account" in himself.text) == (409, True)
    assert site.post(page, data={**form, **tokens(site.get(page).text)}).status_code == 303
    assert ida.get("/me").status_code == 401

    again = log_in(strict, "operator", name)  # the password is enough, and leads no further than to another factor
    led = console(strict, again).get("/operator")
    assert (led.status_code, led.headers["location"]) == (303, "/operator/security#factors")
    enrol(again)
    by_command = ("operator", "remove-factors", name, "--reason", "the only one left")
    assert f"{name} has no second factor any more" in strict.cli(*by_command).stdout
    assert log_in(strict, "operator", name).get("/games").status_code == 403
    twice = strict.cli(*by_command, check=False)
    assert (twice.returncode, "There is no second factor." in twice.stderr) == (1, True)
    log = admin.get("/audit", params={"subject": f"operator:{page.rpartition('/')[2]}"}).json()["entries"]
    assert [(each["action"], each["reason"]) for each in log[:2]] == [
        ("operator.remove-factors", "the only one left"),
        ("operator.remove-factors", REASON["reason"]),
    ]


def test_only_the_sandbox_does_without(strict: Server) -> None:
    env = {**strict.env, "OKLP_SANDBOX": "0", "OKLP_SECRET_KEY": "k" * 43, "OKLP_OPERATOR_SECOND_FACTOR": "0"}
    done = run_cli(env, "serve", "--port", "1", check=False)
    assert (done.returncode, "OKLP_OPERATOR_SECOND_FACTOR" in done.stderr) == (1, True)
