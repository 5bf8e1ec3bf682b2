"""Who may call what: every route of the OpenAPI document by every kind of caller, on both databases.

TABLE has a row for each route: what makes a request that would succeed, and the status that each caller gets. Those who
are refused are sent first and with the very request that then succeeds for the one who may: a refusal that did change
something would show. A route that is not in the table fails the test, and so does one that the document leaves out.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest

from oklp.app import create_app
from oklp.settings import Settings
from oklp.web import pages
from tests.harness import PASSWORD, GameClient, GameConfig, PlayerClient, Server, paid_match
from tests.web.staff import await_delivery, log_in

BACKENDS = ("sqlite",)

ANONYMOUS, PLAYER, OTHER_PLAYER = "anonymous", "player", "other player"
GAME, OTHER_GAME = "game", "other game"
OWNER, DEVELOPER, VIEWER, OTHER_STUDIO = "owner", "developer", "viewer", "other studio"
SUPPORT, FINANCE, ADMIN = "support", "finance", "admin"
STAFF = (SUPPORT, FINANCE, ADMIN)
KINDS = {PLAYER: "player", OTHER_PLAYER: "player"} | dict.fromkeys(STAFF, "operator")
KINDS |= dict.fromkeys((OWNER, DEVELOPER, VIEWER, OTHER_STUDIO), "studio")
CALLERS = (ANONYMOUS, PLAYER, OTHER_PLAYER, GAME, OTHER_GAME, OWNER, DEVELOPER, VIEWER, OTHER_STUDIO, *STAFF)

REASON = {"reason": "the matrix wants it"}
REPORT = {
    "schema_version": 1,
    "oklp_version": "0.1.0",
    "started_at": "2026-01-01T00:00:00Z",
    "finished_at": "2026-01-01T00:01:00Z",
    "game": {
        "game_id": "checked",
        "webhook_url": "http://127.0.0.1:9/match",
        "launch_urls": {},
        "mode": "sync",
        "teams": 2,
        "team_size": 1,
    },
    "results": [
        {
            "id": "webhook.start",
            "title": "A valid PUT is answered with 200",
            "section": "A3",
            "reason": "Anything but 200 aborts the match.",
            "fix": "Answer 200.",
            "verdict": "pass",
            "detail": "It was answered with 200.",
        }
    ],
}
_numbers = itertools.count(1)


def unique() -> str:
    return f"m{next(_numbers)}-{os.getpid()}"


# --- the world -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """A request that succeeds for those who may make it. `path` fills the route's template.

    `ends_session`: it is sent with a session of its own, so that the caller's goes on.
    """

    path: dict[str, str] = field(default_factory=dict)
    body: object = None
    form: dict[str, str] | None = None
    params: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    ends_session: bool = False


class World:
    """One of every caller, and things that belong to PLAYER, to GAME and to its studio."""

    def __init__(self, served: Server) -> None:
        self.served = served
        self.player, self.mate, self.stranger = (PlayerClient(served.url, deposit=100_000) for _ in range(3))
        self.owner, self.operator = served.studio, served.operator
        self.other_studio = self._other_studio()
        self.game = served.register(discovery="pull")
        self.other_game = GameConfig(self._register(self.other_studio)["developer_config"])
        self.backend = GameClient(served.url, self.game)
        clients = {
            PLAYER: self.player.http,
            OTHER_PLAYER: self.stranger.http,
            GAME: self.backend.http,
            OTHER_GAME: GameClient(served.url, self.other_game).http,
            OWNER: self.owner,
            DEVELOPER: self._colleague("developer"),
            VIEWER: self._colleague("viewer"),
            OTHER_STUDIO: self.other_studio,
            SUPPORT: served.new_operator("--role", "support"),
            FINANCE: served.new_operator("--role", "finance"),
            ADMIN: self.operator,
        }
        self.tokens = {caller: str(client.headers["Authorization"]) for caller, client in clients.items()}
        self.usernames = {
            caller: str(self._me(kind, self.tokens[caller])["username"]) for caller, kind in KINDS.items()
        }
        self.support_id = str(self._me("operator", self.tokens[SUPPORT])["operator_id"])
        self.http = httpx.Client(base_url=served.url, timeout=30)

    # --- people ---

    def _other_studio(self) -> httpx.Client:
        name = unique()
        body = {"name": name, "username": name, "email": f"{name}@example.org", "password": PASSWORD}
        assert httpx.post(f"{self.served.url}/api/studio/v1/studios", json=body).status_code == 201
        return log_in(self.served, "studio", name)

    def member(self, role: str) -> tuple[str, str]:
        """A new member of the studio: id and username."""
        name = unique()
        body = {"username": name, "email": f"{name}@example.org", "password": PASSWORD, "role": role}
        answer = self.owner.post("/members", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["member_id"]), name

    def _colleague(self, role: str) -> httpx.Client:
        return log_in(self.served, "studio", self.member(role)[1])

    def _me(self, kind: str, token: str) -> dict[str, Any]:
        answer = httpx.get(f"{self.served.url}/api/{kind}/v1/me", headers={"Authorization": token})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def new_operator(self) -> str:
        """The id of another operator, who is support."""
        me = self.served.new_operator("--role", "support").get("/me")
        assert me.status_code == 200, me.text
        return str(me.json()["operator_id"])

    @functools.cached_property
    def proposer(self) -> tuple[httpx.Client, PlayerClient, PlayerClient]:
        """An operator, and two players who play for more than one operator may move."""
        rich = [PlayerClient(self.served.url, deposit=900_000) for _ in range(2)]
        return self.served.new_operator("--role", "finance"), rich[0], rich[1]

    def proposal(self, by: httpx.Client | None = None) -> str:
        """What waits for a second operator."""
        operator, one, two = self.proposer
        match_id = paid_match(one, two, self.game.client_id, 60_000)
        answer = (by or operator).post(f"/matches/{match_id}/abort", json=REASON)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["proposal_id"])

    @functools.cached_property
    def shown_proposal(self) -> str:
        return self.proposal()

    # --- things ---

    @staticmethod
    def _register(studio: httpx.Client, **more: object) -> dict[str, Any]:
        body = {"name": unique(), "settings": {"discovery": "pull"}, **more}
        answer = studio.post("/games", json=body)
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def new_game(self) -> str:
        return str(self._register(self.owner)["game_id"])

    def pushed_game(self) -> str:
        """A game whose webhooks are refused at once."""
        return str(self._register(self.owner, webhook_url="http://127.0.0.1:9/match", settings={})["game_id"])

    def delivery(self) -> str:
        """A delivery of the studio's that has failed."""
        answer = self.owner.post(f"/games/{self.pushed_game()}/test-event")
        assert answer.status_code == 201, answer.text
        return str(await_delivery(self.owner, answer.json()["delivery_id"])["delivery_id"])

    def listened(self) -> str:
        """A game that somebody has begun to listen to, and holds for a while."""
        game_id = self.pushed_game()
        with self.owner.stream("GET", f"/games/{game_id}/listen", params={"listener": str(uuid.uuid4())}) as stream:
            assert "event: ready" in itertools.islice(stream.iter_lines(), 2)
        return game_id

    def relayed(self) -> dict[str, str]:
        """A delivery that a listener has been handed."""
        game_id = self.pushed_game()
        with self.owner.stream("GET", f"/games/{game_id}/listen", params={"listener": str(uuid.uuid4())}) as stream:
            assert self.owner.post(f"/games/{game_id}/test-event").status_code == 201
            lines = stream.iter_lines()
            assert next(line for line in lines if line == "event: delivery")
            data = json.loads(next(lines).removeprefix("data: "))
        return {"game_id": game_id, "delivery_id": data["delivery_id"], "attempt": str(data["attempt"])}

    def open_match(self) -> str:
        """A private one of PLAYER's, with one seat taken."""
        return self.player.create(self.game.client_id)

    def invited(self) -> str:
        """Somebody else's private match that PLAYER is invited to."""
        return self.mate.create(self.game.client_id, invite=[self.player.username])

    def live(self, mate: PlayerClient | None = None) -> str:
        """A live match of PLAYER and somebody else."""
        other = mate or self.mate
        match_id = self.player.create(self.game.client_id, invite=[other.username])
        other.act(match_id, "join")
        self.player.act(match_id, "confirm")
        assert other.act(match_id, "confirm")["status"] == "live"
        return match_id

    def match_token(self) -> str:
        url = self.player.act(self.live(), "launch")["launch_url"]
        return str(url).partition("token=")[2]

    def held(self) -> tuple[str, str]:
        """A suspended player and the match whose winnings are held."""
        winner = PlayerClient(self.served.url)
        match_id = self.live(winner)
        suspended = self.operator.post(f"/players/{winner.user_id}", json={"action": "suspend", **REASON})
        assert suspended.status_code == 200, suspended.text
        assert self.backend.finish(self.backend.report(match_id, winner.user_id)).status_code == 200
        return winner.user_id, match_id

    def settlement(self, match_id: str) -> dict[str, Any]:
        report = self.backend.report(match_id, self.player.user_id)
        return {**REASON, "participants": report["participants"], "teams": report["teams"]}

    # --- calling ---

    def send(self, method: str, template: str, call: Call, caller: str) -> httpx.Response:
        headers = dict(call.headers)
        if caller != ANONYMOUS:
            headers.setdefault("Authorization", self.tokens[caller])
        url = template.format(**call.path)
        return self.http.request(
            method, url, json=call.body, data=call.form, params=call.params or None, headers=headers
        )


@pytest.fixture
def world(served: Server) -> Iterator[World]:
    made = World(served)
    yield made
    made.http.close()


# --- the rows --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """`may` is who succeeds, with `ok`; `statuses` what the others get. `make` makes a request for one who may."""

    ok: int
    may: frozenset[str]
    statuses: dict[str, int]
    make: Callable[[World], Call]


def _nothing(_world: World) -> Call:
    return Call()


def _row(ok: int, make: Callable[[World], Call], may: tuple[str, ...], refused: dict[str, int], rest: int) -> Row:
    statuses = {caller: refused.get(caller, rest) for caller in CALLERS}
    statuses |= dict.fromkeys(may, ok)
    return Row(ok, frozenset(may), statuses, make)


_NO_SESSION = {ANONYMOUS: 401, GAME: 401, OTHER_GAME: 401}


def everyone(ok: int, make: Callable[[World], Call] = _nothing) -> Row:
    return _row(ok, make, CALLERS, {}, ok)


def players(ok: int, make: Callable[[World], Call] = _nothing, *, others: int | None = None) -> Row:
    """`others` is what a player who has nothing to do with the thing gets; None: the same."""
    if others is None:
        return _row(ok, make, (PLAYER, OTHER_PLAYER), _NO_SESSION, 403)
    return _row(ok, make, (PLAYER,), {**_NO_SESSION, OTHER_PLAYER: others}, 403)


def games(ok: int, make: Callable[[World], Call] = _nothing, *, others: int | None = None) -> Row:
    if others is None:
        return _row(ok, make, (GAME, OTHER_GAME), {}, 401)
    return _row(ok, make, (GAME,), {OTHER_GAME: others}, 401)


def studio(ok: int, make: Callable[[World], Call] = _nothing, *, least: str = VIEWER, others: int | None = None) -> Row:
    """For members from the role `least` on. `others` as above; None: another studio's owner may as well."""
    may = {VIEWER: (OWNER, DEVELOPER, VIEWER), DEVELOPER: (OWNER, DEVELOPER), OWNER: (OWNER,)}[least]
    if others is None:
        return _row(ok, make, (*may, OTHER_STUDIO), _NO_SESSION, 403)
    return _row(ok, make, may, {**_NO_SESSION, OTHER_STUDIO: others}, 403)


def operators(ok: int, make: Callable[[World], Call] = _nothing, *, roles: tuple[str, ...] = STAFF) -> Row:
    """For operators of these roles."""
    return _row(ok, make, roles, _NO_SESSION, 403)


def _of_match(thing: Callable[[World], str], body: object = None) -> Callable[[World], Call]:
    return lambda world: Call({"match_id": thing(world)}, body)


def _of_game(body: object = None, thing: Callable[[World], str] = World.new_game) -> Callable[[World], Call]:
    return lambda world: Call({"game_id": thing(world)}, body)


def _known_game(world: World) -> Call:
    return Call({"game_id": world.game.client_id})


def _player(world: World) -> Call:
    return Call({"username": world.usernames[PLAYER]})


def _of_delivery(world: World) -> Call:
    return Call({"delivery_id": world.delivery()})


def _of_fault(world: World) -> Call:
    game_id = world.new_game()
    answer = world.owner.post(f"/games/{game_id}/faults", json={"kind": "finish_503"})
    assert answer.status_code == 201, answer.text
    return Call({"game_id": game_id, "fault_id": answer.json()["fault_id"]})


def _of_report(world: World) -> Call:
    game_id = world.new_game()
    answer = world.owner.post(f"/games/{game_id}/conformance-reports", json=REPORT)
    assert answer.status_code == 201, answer.text
    return Call({"game_id": game_id, "report_id": answer.json()["report_id"]})


def _credentials(caller: str) -> Callable[[World], Call]:
    return lambda world: Call(body={"username": world.usernames[caller], "password": PASSWORD})


def _log_out(_world: World) -> Call:
    return Call(ends_session=True)


def _sign_up(_world: World) -> Call:
    name = unique()
    body = {"username": name, "email": f"{name}@example.org", "password": PASSWORD, "country": "DE"}
    return Call(body={**body, "date_of_birth": "1990-05-17"})


def _studio_sign_up(_world: World) -> Call:
    name = unique()
    return Call(body={"name": name, "username": name, "email": f"{name}@example.org", "password": PASSWORD})


def _new_match(world: World) -> Call:
    return Call(body={"game_id": world.game.client_id, "entry_fee": {"amount": 5, "currency": "XTS"}})


def _invitation(world: World) -> Call:
    return Call({"match_id": world.open_match()}, {"usernames": [world.mate.username]})


def _ready_to_confirm(world: World) -> Call:
    return Call({"match_id": world.open_match()})


def _token_question(world: World) -> Call:
    return Call(body={"token": world.match_token()})


def _report(world: World) -> Call:
    return Call(body=world.backend.report(world.live(), world.player.user_id))


def _removal(world: World) -> Call:
    return Call({"member_id": world.member("viewer")[0]})


def _held(world: World) -> Call:
    user_id, match_id = world.held()
    return Call({"user_id": user_id, "match_id": match_id}, {"decision": "release", **REASON})


def _suspension(world: World) -> Call:
    return Call({"user_id": PlayerClient(world.served.url, deposit=0).user_id}, {"action": "suspend", **REASON})


def _verified_before(world: World) -> Call:
    """One verification at a time: the one that was begun last is over."""
    until = time.monotonic() + 20
    while world.operator.get("/books/verification").json().get("state") == "running":
        assert time.monotonic() < until, "the books are being verified for too long"
        time.sleep(0.01)
    return Call()


def _settlement(world: World) -> Call:
    match_id = world.live()
    return Call({"match_id": match_id}, world.settlement(match_id))


def _client(world: World) -> dict[str, str]:
    return {key: str(world.game.auth[key]) for key in ("client_id", "client_secret")}


def _token_form(world: World) -> Call:
    return Call({"realm": "oklp"}, form={**_client(world), "grant_type": "client_credentials"})


def _introspection(world: World) -> Call:
    return Call({"realm": "oklp"}, form={**_client(world), "token": world.tokens[GAME].removeprefix("Bearer ")})


def _realm(_world: World) -> Call:
    return Call({"realm": "oklp"})


def _new_member(_world: World) -> Call:
    name = unique()
    return Call(body={"username": name, "email": f"{name}@example.org", "password": PASSWORD, "role": "viewer"})


_DEPOSIT = {"amount": 10, "currency": "XTS"}
_PLAYER, _STUDIO, _OPERATOR = "/api/player/v1", "/api/studio/v1", "/api/operator/v1"
_MATCH = f"{_PLAYER}/matches/{{match_id}}"
_OWN_GAME = f"{_STUDIO}/games/{{game_id}}"
_ANY_PLAYER = f"{_OPERATOR}/players/{{user_id}}"
_ANY_MATCH = f"{_OPERATOR}/matches/{{match_id}}"
_REALM = "/auth/realms/{realm}"


_PROOF, _GUESS = {"password": PASSWORD}, {"password": "not the password"}
_NO_CREDENTIAL = {"id": "AA", "rawId": "AA", "type": "public-key", "response": {"clientDataJSON": "AA"}}


def _account(api: str, caller: str, own: Callable[..., Row]) -> dict[tuple[str, str], Row]:
    """What everybody may do with his own account. What would end the callers' sessions is tried as a refusal."""
    changed = {"current_password": "not the password", "password": PASSWORD}
    unproved = {"email": "new@example.org", "password": "not the password"}
    return {
        ("POST", f"{api}/password-resets"): everyone(202, lambda _: Call(body={"name_or_email": unique()})),
        ("POST", f"{api}/password-resets/confirm"): everyone(
            422, lambda _: Call(body={"token": "none", "password": PASSWORD})
        ),
        ("POST", f"{api}/email-verifications/confirm"): everyone(422, lambda _: Call(body={"token": "none"})),
        ("GET", f"{api}/sessions"): own(200),
        ("DELETE", f"{api}/sessions"): own(204),
        ("DELETE", f"{api}/sessions/{{session_id}}"): own(404, lambda _: Call({"session_id": "0" * 32})),
        ("POST", f"{api}/me/password"): own(422, lambda _: Call(body=changed)),
        ("POST", f"{api}/me/email"): own(422, lambda _: Call(body=unproved)),
        ("POST", f"{api}/me/email-verifications"): own(202),
        ("POST", f"{api}/sessions/second-factor"): everyone(
            401, lambda _: Call(body={"pending_token": "none", "code": "123456"})
        ),
        ("POST", f"{api}/sessions/passkey/options"): everyone(200, lambda _: Call(body={})),
        ("POST", f"{api}/sessions/passkey"): everyone(422, lambda _: Call(body={"credential": _NO_CREDENTIAL})),
        ("GET", f"{api}/me/second-factors"): own(200),
        # There is no app to be confirmed, nothing to be removed, and no factor that codes would stand in for.
        ("POST", f"{api}/me/totp"): own(422, lambda _: Call(body=_GUESS)),
        ("POST", f"{api}/me/totp/confirm"): own(409, lambda _: Call(body={"code": "123456"})),
        ("POST", f"{api}/me/totp/remove"): own(404, lambda _: Call(body=_PROOF)),
        ("POST", f"{api}/me/recovery-codes"): own(409, lambda _: Call(body=_PROOF)),
        ("POST", f"{api}/me/passkeys/options"): own(200, lambda _: Call(body=_PROOF)),
        ("POST", f"{api}/me/passkeys"): own(422, lambda _: Call(body={"name": "x", "credential": _NO_CREDENTIAL})),
        ("POST", f"{api}/me/passkeys/{{passkey_id}}/remove"): own(
            404, lambda _: Call({"passkey_id": str(uuid.uuid4())}, _PROOF)
        ),
    }


TABLE: dict[tuple[str, str], Row] = {
    # The issuer: credentials are in the form, and a Bearer token beside them says nothing.
    ("GET", _REALM): everyone(200, _realm),
    ("GET", f"{_REALM}/.well-known/openid-configuration"): everyone(200, _realm),
    ("GET", f"{_REALM}/protocol/openid-connect/certs"): everyone(200, _realm),
    ("POST", f"{_REALM}/protocol/openid-connect/token"): everyone(200, _token_form),
    ("POST", f"{_REALM}/protocol/openid-connect/token/introspect"): everyone(200, _introspection),
    # Games.
    ("POST", "/api/game/v1/token-info"): games(200, _token_question, others=404),
    ("POST", "/api/game/v1/finish"): games(200, _report, others=404),
    ("POST", "/api/games/v1/finish"): games(200, _report, others=404),
    ("GET", "/api/game/v1/matches"): games(200),
    ("GET", "/api/game/v1/matches/{match_id}"): games(200, _of_match(World.live), others=404),
    ("GET", "/api/game/v1/users/{user_id}"): games(
        200, lambda world: (world.live(), Call({"user_id": world.player.user_id}))[1], others=404
    ),
    # Players.
    ("POST", f"{_PLAYER}/players"): everyone(201, _sign_up),
    ("POST", f"{_PLAYER}/sessions"): everyone(201, _credentials(PLAYER)),
    ("DELETE", f"{_PLAYER}/sessions/current"): players(204, _log_out),
    ("GET", f"{_PLAYER}/me"): players(200),
    ("GET", f"{_PLAYER}/players"): players(200, lambda _: Call(params={"query": "m"})),
    ("GET", f"{_PLAYER}/players/{{username}}"): players(200, _player),
    ("PUT", f"{_PLAYER}/me/privacy"): players(200, lambda _: Call(body={"private": False})),
    ("GET", f"{_PLAYER}/me/notification-choices"): players(200),
    ("PUT", f"{_PLAYER}/me/notification-choices"): players(200, lambda _: Call(body={"language": "en", "topics": {}})),
    ("GET", f"{_PLAYER}/notifications"): players(200),
    ("POST", f"{_PLAYER}/notifications/read"): players(200, lambda _: Call(body={"upto": "0"})),
    ("GET", f"{_PLAYER}/games"): players(200),
    ("GET", f"{_PLAYER}/games/{{game_id}}/best-players"): players(200, _known_game),
    ("GET", f"{_PLAYER}/games/{{game_id}}"): players(200, _known_game),
    ("POST", f"{_PLAYER}/matches"): players(201, _new_match),
    ("GET", f"{_PLAYER}/matches"): players(200),
    ("GET", _MATCH): players(200, _of_match(World.open_match), others=404),
    ("POST", f"{_MATCH}/invitations"): players(200, _invitation, others=404),
    ("POST", f"{_MATCH}/join"): players(200, _of_match(World.invited), others=404),
    ("POST", f"{_MATCH}/decline"): players(200, _of_match(World.invited), others=404),
    ("POST", f"{_MATCH}/leave"): players(200, _of_match(World.open_match), others=404),
    ("POST", f"{_MATCH}/confirm"): players(200, _ready_to_confirm, others=404),
    ("POST", f"{_MATCH}/cancel"): players(200, _of_match(World.open_match), others=404),
    ("POST", f"{_MATCH}/launch"): players(200, _of_match(World.live), others=404),
    ("GET", f"{_PLAYER}/wallet"): players(200),
    ("GET", f"{_PLAYER}/wallet/entries"): players(200),
    ("GET", f"{_PLAYER}/wallet/payments"): players(200),
    ("POST", f"{_PLAYER}/wallet/deposits"): players(201, lambda _: Call(body=_DEPOSIT)),
    ("POST", f"{_PLAYER}/wallet/withdrawals"): players(201, lambda _: Call(body=_DEPOSIT)),
    # The stream would never end: those who get as far as the id that is none may listen.
    ("GET", f"{_PLAYER}/events"): players(422, lambda _: Call(headers={"Last-Event-ID": "none of ours"})),
    **_account(_PLAYER, PLAYER, players),
    # Studios.
    ("POST", f"{_STUDIO}/studios"): everyone(201, _studio_sign_up),
    ("POST", f"{_STUDIO}/sessions"): everyone(201, _credentials(OWNER)),
    ("DELETE", f"{_STUDIO}/sessions/current"): studio(204, _log_out),
    ("GET", f"{_STUDIO}/me"): studio(200),
    ("GET", f"{_STUDIO}/members"): studio(200),
    ("POST", f"{_STUDIO}/members"): studio(201, _new_member, least=OWNER),
    ("PATCH", f"{_STUDIO}/members/{{member_id}}"): studio(
        200,
        lambda world: Call({"member_id": world.member("viewer")[0]}, {"role": "developer"}),
        least=OWNER,
        others=404,
    ),
    ("DELETE", f"{_STUDIO}/members/{{member_id}}"): studio(204, _removal, least=OWNER, others=404),
    ("GET", f"{_STUDIO}/games"): studio(200),
    ("POST", f"{_STUDIO}/games"): studio(
        201, lambda _: Call(body={"name": unique(), "settings": {"discovery": "pull"}}), least=DEVELOPER
    ),
    ("GET", _OWN_GAME): studio(200, _known_game, others=404),
    ("PATCH", _OWN_GAME): studio(200, _of_game({"name": "Another name"}), least=DEVELOPER, others=404),
    ("POST", f"{_OWN_GAME}/secrets"): studio(201, _of_game(), least=DEVELOPER, others=404),
    ("GET", f"{_OWN_GAME}/developer-config"): studio(200, _known_game, others=404),
    # The sandbox has approved the game already.
    ("POST", f"{_OWN_GAME}/review"): studio(409, _of_game(), least=DEVELOPER, others=404),
    ("GET", f"{_OWN_GAME}/matches"): studio(200, _known_game, others=404),
    ("GET", f"{_OWN_GAME}/figures"): studio(200, _known_game, others=404),
    ("GET", f"{_OWN_GAME}/deliveries"): studio(200, _known_game, others=404),
    ("POST", f"{_OWN_GAME}/test-event"): studio(201, _of_game(None, World.pushed_game), least=DEVELOPER, others=404),
    ("GET", f"{_STUDIO}/deliveries/{{delivery_id}}"): studio(200, _of_delivery, others=404),
    ("POST", f"{_STUDIO}/deliveries/{{delivery_id}}/resend"): studio(200, _of_delivery, least=DEVELOPER, others=404),
    ("POST", f"{_OWN_GAME}/conformance-reports"): studio(201, _of_game(REPORT), least=DEVELOPER, others=404),
    ("GET", f"{_OWN_GAME}/conformance-reports"): studio(200, _known_game, others=404),
    ("GET", f"{_OWN_GAME}/conformance-reports/{{report_id}}"): studio(200, _of_report, others=404),
    ("POST", f"{_OWN_GAME}/faults"): studio(201, _of_game({"kind": "finish_503"}), least=DEVELOPER, others=404),
    ("GET", f"{_OWN_GAME}/faults"): studio(200, _known_game, others=404),
    ("DELETE", f"{_OWN_GAME}/faults"): studio(204, _known_game, least=DEVELOPER, others=404),
    ("DELETE", f"{_OWN_GAME}/faults/{{fault_id}}"): studio(204, _of_fault, least=DEVELOPER, others=404),
    ("GET", f"{_OWN_GAME}/calls"): studio(200, _known_game, others=404),
    ("GET", f"{_OWN_GAME}/calls/events"): studio(
        422,
        lambda world: Call({"game_id": world.new_game()}, headers={"Last-Event-ID": "none of ours"}),
        others=404,
    ),
    # This stream would not end either: who may listen is told that somebody else does.
    ("GET", f"{_OWN_GAME}/listen"): studio(
        409,
        lambda world: Call({"game_id": world.listened()}, params={"listener": str(uuid.uuid4()), "resume": "true"}),
        least=DEVELOPER,
        others=404,
    ),
    ("DELETE", f"{_OWN_GAME}/listen"): studio(
        204,
        lambda world: Call({"game_id": world.new_game()}, params={"listener": str(uuid.uuid4())}),
        least=DEVELOPER,
        others=404,
    ),
    ("POST", f"{_OWN_GAME}/listen/{{delivery_id}}/{{attempt}}"): studio(
        200, lambda world: Call(world.relayed(), {"status": 200}), least=DEVELOPER, others=404
    ),
    **_account(_STUDIO, OWNER, studio),
    # Operators.
    **_account(_OPERATOR, ADMIN, operators),
    ("POST", f"{_OPERATOR}/sessions"): everyone(201, _credentials(ADMIN)),
    ("DELETE", f"{_OPERATOR}/sessions/current"): operators(204, _log_out),
    ("GET", f"{_OPERATOR}/me"): operators(200),
    ("GET", f"{_OPERATOR}/operators"): operators(200),
    ("GET", f"{_OPERATOR}/operators/{{operator_id}}"): operators(
        200, lambda world: Call({"operator_id": world.support_id})
    ),
    ("POST", f"{_OPERATOR}/operators/{{operator_id}}"): operators(
        200,
        lambda world: Call(
            {"operator_id": world.new_operator()}, {"action": "change-role", "role": "finance", **REASON}
        ),
        roles=(ADMIN,),
    ),
    ("GET", f"{_OPERATOR}/games"): operators(200),
    ("GET", f"{_OPERATOR}/games/{{game_id}}"): operators(200, _known_game),
    ("GET", f"{_OPERATOR}/games/{{game_id}}/conformance-reports"): operators(200, _known_game),
    ("GET", f"{_OPERATOR}/games/{{game_id}}/conformance-reports/{{report_id}}"): operators(200, _of_report),
    ("POST", f"{_OPERATOR}/games/{{game_id}}/vetting"): operators(
        200, _of_game({"decision": "suspend", **REASON}), roles=(ADMIN,)
    ),
    ("GET", f"{_OPERATOR}/players"): operators(200),
    ("GET", _ANY_PLAYER): operators(200, lambda world: Call({"user_id": world.player.user_id})),
    ("POST", _ANY_PLAYER): operators(200, _suspension, roles=(SUPPORT, ADMIN)),
    ("POST", f"{_ANY_PLAYER}/held-winnings/{{match_id}}"): operators(200, _held, roles=(FINANCE, ADMIN)),
    ("GET", f"{_OPERATOR}/matches"): operators(200),
    ("GET", _ANY_MATCH): operators(200, _of_match(World.open_match)),
    ("GET", f"{_ANY_MATCH}/refused-results"): operators(200, _of_match(World.open_match)),
    ("POST", f"{_ANY_MATCH}/settle"): operators(200, _settlement, roles=(FINANCE, ADMIN)),
    ("POST", f"{_ANY_MATCH}/abort"): operators(200, _of_match(World.open_match, REASON), roles=(FINANCE, ADMIN)),
    ("GET", f"{_OPERATOR}/overview"): operators(200),
    ("GET", f"{_OPERATOR}/search"): operators(200, lambda _: Call(params={"query": "m"})),
    ("GET", f"{_OPERATOR}/ledger/postings"): operators(200, lambda _: Call(params={"account": "house:fees"})),
    ("POST", f"{_OPERATOR}/books/verification"): operators(202, _verified_before, roles=(FINANCE, ADMIN)),
    ("GET", f"{_OPERATOR}/books/verification"): operators(200),
    ("POST", f"{_OPERATOR}/deliveries/{{delivery_id}}/resend"): operators(
        200, lambda world: Call({"delivery_id": world.delivery()}, REASON), roles=(SUPPORT, ADMIN)
    ),
    ("GET", f"{_OPERATOR}/proposals"): operators(200),
    ("GET", f"{_OPERATOR}/proposals/{{proposal_id}}"): operators(
        200, lambda world: Call({"proposal_id": world.shown_proposal})
    ),
    ("POST", f"{_OPERATOR}/proposals/{{proposal_id}}/decision"): operators(
        200,
        lambda world: Call({"proposal_id": world.proposal()}, {"decision": "approve", **REASON}),
        roles=(FINANCE, ADMIN),
    ),
    # Of those who may propose it, ADMIN has.
    ("POST", f"{_OPERATOR}/proposals/{{proposal_id}}/withdrawal"): operators(
        200, lambda world: Call({"proposal_id": world.proposal(world.operator)}, REASON), roles=(ADMIN,)
    ),
    ("GET", f"{_OPERATOR}/deliveries"): operators(200),
    ("GET", f"{_OPERATOR}/deliveries/{{delivery_id}}"): operators(200, _of_delivery),
    ("GET", f"{_OPERATOR}/audit"): operators(200),
    ("GET", f"{_OPERATOR}/mails"): operators(200),
    ("GET", f"{_OPERATOR}/books"): operators(200, roles=(FINANCE, ADMIN)),
    ("GET", f"{_OPERATOR}/health"): operators(200),
    # --- for machines and people who look after the server: they tell nothing of anybody ---
    ("GET", "/healthz"): everyone(200),
    ("GET", "/readyz"): everyone(200),
    ("GET", "/metrics"): everyone(200),
}

# The document itself, and another spelling of what is in it.
PUBLIC = {"/openapi.json", "/docs", "/docs/oauth2-redirect", f"{_REALM}/"}


# --- the tests -------------------------------------------------------------------------------------------------------


def test_every_route_is_in_the_table(served: Server) -> None:
    document = httpx.get(f"{served.url}/openapi.json", timeout=60).json()
    routes = {
        (method.upper(), path) for path, item in document["paths"].items() for method in item if method != "parameters"
    }
    assert routes == set(TABLE)


def test_every_route_is_in_the_document() -> None:
    """Routes that the application answers and its document does not tell of are the public ones, and no others."""
    app = create_app(Settings(sandbox=True, database_url="sqlite:///not-opened.db"))
    answered = {path for route in app.routes if (path := getattr(route, "path", None)) and hasattr(route, "methods")}
    of_pages = {route.path for route in pages.routes}  # for people: tests/web/test_pages.py
    assert answered - {path for _, path in TABLE} == PUBLIC | of_pages


def test_every_route_by_every_caller(world: World) -> None:
    wrong: list[str] = []
    for (method, template), row in TABLE.items():
        call = row.make(world)
        first = True
        for caller in sorted(CALLERS, key=lambda each: each in row.may):
            if caller in row.may:
                # What was refused to the others must still be possible for the first who may.
                call = call if first else row.make(world)
                first = False
            answer = _send(world, method, template, call, caller)
            expected = row.statuses[caller]
            if answer.status_code != expected:
                wrong.append(
                    f"{method} {template} by {caller}: {answer.status_code}, not {expected}: {answer.text[:200]}"
                )
            elif expected in (401, 403, 404):
                wrong.extend(f"{method} {template} by {caller}: {fault}" for fault in _faults(answer))
    assert not wrong, "\n".join(wrong)


def _send(world: World, method: str, template: str, call: Call, caller: str) -> httpx.Response:
    if not call.ends_session or caller not in TABLE[method, template].may:
        return world.send(method, template, call, caller)
    kind = KINDS[caller]
    token = str(log_in(world.served, kind, world.usernames[caller]).headers["Authorization"])
    ended = world.send(method, template, replace(call, headers={"Authorization": token}), caller)
    again = httpx.get(f"{world.served.url}/api/{kind}/v1/me", headers={"Authorization": token})
    assert again.status_code == 401, "the session goes on"
    return ended


def _faults(answer: httpx.Response) -> list[str]:
    """A refusal is a problem, and a 401 says how to authenticate (B1)."""
    faults = []
    if answer.headers["content-type"] != "application/problem+json":
        faults.append("is not a problem")
    elif answer.json()["status"] != answer.status_code:
        faults.append("says another status than its own")
    if answer.status_code == 401 and not answer.headers.get("www-authenticate", "").startswith("Bearer"):
        faults.append("does not say how to authenticate")
    return faults


@pytest.mark.parametrize("kind", ["player", "studio", "operator"])
@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ,", "Basic dXNlcjpwYXNz", "Bearer nobody", "Bearer a.b.c", f"Bearer {'x' * 9000}"],
)
def test_what_is_no_session_is_nobody(served: Server, kind: str, authorization: str) -> None:
    answer = httpx.get(f"{served.url}/api/{kind}/v1/me", headers={"Authorization": authorization})
    assert answer.status_code == 401, answer.text
