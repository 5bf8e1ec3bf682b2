"""The stand-in that studios test their games on says what the platform would."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from oklp.errors import Unauthenticated
from oklp.sdk import (
    Client,
    ConflictError,
    CredentialsError,
    InvalidRequestError,
    MatchAborted,
    MatchStarted,
    NotFoundError,
    RetryPolicy,
    TeamResult,
    UnavailableError,
    WebhookVerifier,
)
from oklp.sdk.testing import StandIn


@pytest.fixture(scope="module")
def platform() -> Iterator[StandIn]:
    with StandIn() as running:
        yield running


@pytest.fixture
def client(platform: StandIn) -> Iterator[Client]:
    with Client(platform.config, retry=RetryPolicy(attempts=1)) as client:
        yield client


def test_a_synchronous_match(platform: StandIn, client: Client) -> None:
    info = platform.new_match(teams=3, team_size=2)
    users = [participant.id for participant in info.participants]
    token = platform.match_token(info.match_id, users[4])
    assert client.token_info(token).submissions_left == 1
    scores = {user: number for number, user in enumerate(users)}
    teams = [TeamResult(id=team.id, score=0, ranking=number) for number, team in enumerate(info.teams, 1)]
    for wrong in (dict(list(scores.items())[:-1]), {**scores, "stranger": 1}):
        with pytest.raises(InvalidRequestError):
            client.finish(info.match_id, wrong, teams)
    with pytest.raises(InvalidRequestError):
        client.finish(info.match_id, {users[0]: 1})
    for _ in range(2):
        answer = client.finish(info.match_id, scores, teams)
        assert (answer.accepted, answer.match_status) == (True, "finished")
    assert not client.finish(info.match_id, {**scores, users[0]: 99}, teams).accepted
    assert len(platform.results(info.match_id)) == 1
    assert client.token_info(token).submissions_left == 0
    assert [match.match_id for match in client.matches(status="finished")] == [info.match_id]
    assert client.user(users[0]).user_id == users[0]


def test_what_it_refuses(platform: StandIn, client: Client) -> None:
    info = platform.new_match(status="aborted")
    teams = [TeamResult(id=team.id, score=0, ranking=1) for team in info.teams]
    scores = dict.fromkeys((participant.id for participant in info.participants), 0)
    with pytest.raises(ConflictError):
        client.finish(info.match_id, scores, teams)
    with pytest.raises(NotFoundError):
        client.token_info("unknown")
    with pytest.raises(NotFoundError):
        client.match("0" * 24)
    stranger = platform.config.model_copy(
        update={"authentication": platform.config.authentication.model_copy(update={"client_secret": "another"})}
    )
    with Client(stranger) as other, pytest.raises(CredentialsError):
        other.token_info("unknown")
    answer = httpx.post(f"{platform.config.okletsplay_url}/api/game/v1/finish", content=b"{")
    assert (answer.status_code, answer.json()["type"]) == (401, "urn:oklp:error:unauthenticated")


def test_it_fails_as_often_as_it_is_told_to(platform: StandIn, client: Client) -> None:
    info = platform.new_match()
    token = platform.match_token(info.match_id, info.participants[0].id)
    platform.fail_next(2, 502, call="token-info")
    assert client.match(info.match_id).match_id == info.match_id
    for _ in range(2):
        with pytest.raises(UnavailableError):
            client.token_info(token)
    assert client.token_info(token).match_id == info.match_id


def test_its_webhooks_are_the_platforms(platform: StandIn) -> None:
    info = platform.new_match()
    with WebhookVerifier(platform.config) as verifier:
        told = platform.webhook(info.match_id)
        assert isinstance(verifier.verify(told.method, told.headers, told.body), MatchStarted)
        off = platform.webhook(info.match_id, "DELETE")
        event = verifier.verify(off.method, off.headers, off.body)
        assert isinstance(event, MatchAborted)
        assert event.info == info


def test_a_start_that_is_played_back_as_an_abort_is_refused(platform: StandIn) -> None:
    """The two have the same body, and no signature covers the method: the token says which of them it is for."""
    told = platform.webhook(platform.new_match().match_id)
    with WebhookVerifier(platform.config) as verifier:
        for method in ("DELETE", "delete"):
            with pytest.raises(Unauthenticated, match="another method"):
                verifier.verify(method, told.headers, told.body)
        event = verifier.verify("put", told.headers, told.body)
        assert isinstance(event, MatchStarted)
        assert not event.duplicate


def test_who_waits_for_too_much_is_told(platform: StandIn) -> None:
    with pytest.raises(TimeoutError, match="0 results"):
        platform.wait_for_results(platform.new_match().match_id, timeout_seconds=0.01)
