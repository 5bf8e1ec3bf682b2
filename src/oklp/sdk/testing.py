"""A platform for the tests of a game: in memory, on a socket of its own, with keys of its own.

    from oklp.sdk.testing import StandIn

    with StandIn(mode="async") as platform:
        app = create_app(platform.config)  # your game, with the configuration of this platform
        match = platform.new_match()
        told = platform.webhook(match.match_id)  # send it to your webhook, as the platform would
        token = platform.match_token(match.match_id, match.participants[0].id)
        ...
        (result,) = platform.wait_for_results(match.match_id)

Everything goes over HTTP, so whatever is under test is so with its real client, receiver and outbox. It knows no money
and no deadlines, and it does not judge ranks: `oklp check` does, against a real platform.
"""

from __future__ import annotations

import json
import secrets
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Thread
from types import TracebackType
from typing import Any, Final, Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import ValidationError

from oklp.contract import (
    Authentication,
    DeveloperConfig,
    FinishAnswer,
    FinishRequest,
    GameMatch,
    GameMatchPage,
    GameMatchStatus,
    GameUser,
    MatchInfo,
    Participant,
    Problem,
    ProblemField,
    TeamRef,
    TokenAnswer,
    TokenInfo,
    TokenInfoRequest,
    Wire,
)
from oklp.errors import InvalidRequest, NotFound, OklpError, Unauthenticated, Unavailable, WrongState, invalid
from oklp.signing import (
    WEBHOOK_ID,
    WEBHOOK_SIGNATURE,
    WEBHOOK_TIMESTAMP,
    SigningKey,
    generate_key,
    new_webhook_secret,
    sign_webhook,
    webhook_claims,
)

__all__ = ["SignedRequest", "StandIn"]

TOKEN_SECONDS: Final = 300
_REALM: Final = "/auth/realms/oklp"
_API: Final = "/api/game/v1"


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A webhook as it arrives: send `body` as it is, since the signature covers every byte."""

    method: Literal["PUT", "DELETE"]
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class _Match:
    info: MatchInfo
    status: GameMatchStatus
    results: dict[str, FinishRequest] = field(default_factory=dict)


@dataclass(slots=True)
class _Failing:
    call: str = ""
    left: int = 0
    status: int = 503


class StandIn:
    """The platform of one game. A context manager: it answers until the block ends. Threads may share it.

    `mode` is how the game reports: one result a match (`sync`), or one a player (`async`).
    """

    def __init__(self, *, client_id: str = "game", mode: Literal["sync", "async"] = "sync") -> None:
        self.mode = mode
        self._key = SigningKey(generate_key())
        self._changed = Condition()
        self._matches: dict[str, _Match] = {}
        self._match_tokens: dict[str, tuple[str, str]] = {}
        self._access_tokens: set[str] = set()
        self._failing = _Failing()
        self._server = _server(self)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.config = DeveloperConfig(
            okletsplay_url=url,
            authentication=Authentication(
                client_id=client_id,
                client_secret=str(uuid.uuid4()),
                webhook_secret=new_webhook_secret(secrets.token_bytes(32)),
                public_key_url=url + _REALM,
                token_url=f"{url}{_REALM}/protocol/openid-connect/token",
            ),
        )

    def __enter__(self) -> StandIn:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    # --- what a test does --------------------------------------------------------------------------------------------

    def new_match(self, *, teams: int = 2, team_size: int = 1, status: GameMatchStatus = "live") -> MatchInfo:
        """A match that the platform knows of, and that nobody has been told of yet."""
        refs = [TeamRef(id=str(uuid.uuid4())) for _ in range(teams)]
        players = [Participant(id=str(uuid.uuid4()), team_id=ref.id) for ref in refs for _ in range(team_size)]
        info = MatchInfo(match_id=secrets.token_hex(12), participants=players, teams=refs)
        with self._changed:
            self._matches[info.match_id] = _Match(info, status)
        return info

    def set_status(self, match_id: str, status: GameMatchStatus) -> None:
        """What the platform says of a match from now on. Raises NotFound."""
        with self._changed:
            self._match(match_id).status = status

    def webhook(self, match_id: str, method: Literal["PUT", "DELETE"] = "PUT") -> SignedRequest:
        """The webhook that tells of a match, or that it is off, signed now. Raises NotFound."""
        with self._changed:
            body = self._match(match_id).info.model_dump_json().encode()
        return self.signed(method, body)

    def signed(self, method: Literal["PUT", "DELETE"], body: bytes, *, aged_seconds: int = 0) -> SignedRequest:
        """Any body, signed as the platform's own. `aged_seconds` after it was: tokens live for 5 minutes."""
        own = self.config.authentication
        at, name = int(time.time()) - aged_seconds, f"msg_{secrets.token_hex(12)}"
        token = self._key.sign(webhook_claims(own.public_key_url, own.client_id, at, TOKEN_SECONDS, name, method))
        headers = {
            "authorization": f"Bearer {token}",
            "content-type": "application/json",
            WEBHOOK_ID: name,
            WEBHOOK_TIMESTAMP: str(at),
            WEBHOOK_SIGNATURE: sign_webhook([own.webhook_secret or ""], name, at, body),
        }
        return SignedRequest(method, headers, body)

    def match_token(self, match_id: str, user_id: str) -> str:
        """What the launch URL of a player has in it."""
        token = secrets.token_urlsafe(32)
        with self._changed:
            self._match_tokens[token] = (match_id, user_id)
        return token

    def fail_next(self, times: int = 1, status: int = 503, *, call: Literal["", "token-info", "finish"] = "") -> None:
        """Answer so many of the next calls of the game API, or of one of them, with this status. 0 ends it."""
        with self._changed:
            self._failing = _Failing(call, times, status)

    def results(self, match_id: str) -> list[FinishRequest]:
        """The results that were accepted, in the order in which they came. Raises NotFound."""
        with self._changed:
            return list(self._match(match_id).results.values())

    def wait_for_results(self, match_id: str, count: int = 1, timeout_seconds: float = 10.0) -> list[FinishRequest]:
        """As `results`, once there are so many. Raises TimeoutError, NotFound."""
        with self._changed:
            match = self._match(match_id)
            if not self._changed.wait_for(lambda: len(match.results) >= count, timeout_seconds):
                raise TimeoutError(f"{len(match.results)} results came in {timeout_seconds:g} s, not {count}")
            return list(match.results.values())

    # --- what it answers ---------------------------------------------------------------------------------------------

    def _answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> object:
        """What is sent as JSON. Raises OklpError for a refusal."""
        parts = urlsplit(target)
        with self._changed:
            match (method, parts.path.removeprefix(_REALM)):
                case ("POST", "/protocol/openid-connect/token"):
                    return self._access_token(body)
                case ("GET", "/protocol/openid-connect/certs"):
                    return {"keys": [self._key.public_jwk()]}
                case ("GET", ""):
                    return {"realm": "oklp", "public_key": self._key.public_key_base64()}
            if headers.get("authorization", "").removeprefix("Bearer ") not in self._access_tokens:
                raise Unauthenticated("The access token is not of this platform.")
            if self._failing.left and parts.path.endswith(self._failing.call):
                self._failing.left -= 1
                raise _Failure(self._failing.status)
            return self._game_api(method, parts.path.replace("/api/games/", "/api/game/"), parts.query, body)

    def _game_api(self, method: str, path: str, query: str, body: bytes) -> Wire:
        match (method, path.removeprefix(_API).strip("/").split("/")):
            case ("POST", ["token-info"]):
                return self._token_info(TokenInfoRequest.model_validate_json(body).token)
            case ("POST", ["finish"]):
                return self._finish(FinishRequest.model_validate_json(body))
            case ("GET", ["matches"]):
                wanted = parse_qs(query).get("status", [])
                found = [_shown(each) for each in self._matches.values() if not wanted or each.status in wanted]
                return GameMatchPage(matches=found)
            case ("GET", ["matches", match_id]):
                return _shown(self._match(match_id))
            case ("GET", ["users", user_id]):
                if any(each.id == user_id for match in self._matches.values() for each in match.info.participants):
                    return GameUser(user_id=user_id, username=f"player-{user_id[:8]}")
        raise NotFound("There is no such thing.")

    def _access_token(self, body: bytes) -> dict[str, Any]:
        form = {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
        own = self.config.authentication
        if (form.get("client_id"), form.get("client_secret")) != (own.client_id, own.client_secret):
            raise Unauthenticated("The credentials are not those of this platform's game.")
        token = secrets.token_urlsafe(32)
        self._access_tokens.add(token)
        return TokenAnswer(access_token=token, expires_in=TOKEN_SECONDS).model_dump(by_alias=True)

    def _token_info(self, token: str) -> TokenInfo:
        if token not in self._match_tokens:
            raise NotFound("There is no such match-token.")
        match_id, user_id = self._match_tokens[token]
        match = self._match(match_id)
        key = match_id if self.mode == "sync" else user_id
        left = 0 if key in match.results else 1
        return TokenInfo(
            match_id=match_id,
            user_id=user_id,
            match_status=match.status,
            submissions_total=1,
            submissions_left=left,
        )

    def _finish(self, report: FinishRequest) -> FinishAnswer:
        """The first result of each key counts; the same again is accepted again, another one never (A7)."""
        match = self._match(report.match_id)
        self._check_roster(match.info, report)
        key = report.match_id if self.mode == "sync" else report.participants[0].id
        if key not in match.results:
            if match.status == "finished":
                return FinishAnswer(match_id=report.match_id, accepted=False, match_status=match.status)
            if match.status != "live":
                raise WrongState(f"The match is {match.status}.")
            match.results[key] = report
            if self.mode == "sync" or len(match.results) == len(match.info.participants):
                match.status = "finished"
            self._changed.notify_all()
        return FinishAnswer(match_id=report.match_id, accepted=match.results[key] == report, match_status=match.status)

    def _check_roster(self, info: MatchInfo, report: FinishRequest) -> None:
        players, named = {each.id for each in info.participants}, [each.id for each in report.participants]
        if not players.issuperset(named) or len(set(named)) < len(named):
            raise invalid("participants", "are not those of the match")
        if self.mode == "async":
            if report.teams is not None or len(named) != 1:
                raise invalid("participants", "an asynchronous game sends one player and no teams")
        elif set(named) != players or sorted(t.id for t in report.teams or ()) != sorted(t.id for t in info.teams):
            raise invalid("teams", "a synchronous game sends every player and every team")

    def _match(self, match_id: str) -> _Match:
        if match_id not in self._matches:
            raise NotFound("There is no such match.")
        return self._matches[match_id]


# --- beneath ---------------------------------------------------------------------------------------------------------


class _Failure(Unavailable):
    """What `fail_next` asked for."""

    def __init__(self, status: int) -> None:
        super().__init__("A test asked for this.", retry_after_seconds=0)
        self.failed_with = status


def _shown(match: _Match) -> GameMatch:
    return GameMatch(**match.info.model_dump(), match_status=match.status)


def _server(platform: StandIn) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Headers and body are written apart; without this the second waits for the first to be acknowledged.
        disable_nagle_algorithm = True

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            try:
                answer = platform._answer(self.command, self.path, headers, body)
            except ValidationError as error:
                faults = [(".".join(map(str, each["loc"])), each["msg"]) for each in error.errors()]
                self.refuse(InvalidRequest("A field is not valid."), faults)
            except OklpError as refusal:
                self.refuse(refusal, [(each.field, each.message) for each in refusal.errors])
            else:
                self.say(200, "application/json", answer)

        do_GET = do_POST = handle_any  # noqa: N815 - names that http.server looks for

        def refuse(self, refusal: OklpError, faults: list[tuple[str, str]]) -> None:
            problem = Problem(
                type=f"urn:oklp:error:{refusal.code}",
                title=refusal.title,
                status=refusal.failed_with if isinstance(refusal, _Failure) else refusal.status,
                detail=refusal.detail,
                errors=[ProblemField(field=name, message=message) for name, message in faults] or None,
            )
            self.say(problem.status, "application/problem+json", problem)

        def say(self, status: int, kind: str, answer: object) -> None:
            shown = answer.model_dump_json(exclude_none=True) if isinstance(answer, Wire) else json.dumps(answer)
            content = shown.encode()
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            """Tests print what they want to."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that goes away in the middle, as a test may want it to, is no news."""

    return Server(("127.0.0.1", 0), Handler)
