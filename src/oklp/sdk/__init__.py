"""The kit for game servers: call the platform, and receive its webhooks.

    from oklp.sdk import Client

    with Client("developer-config.json") as client:
        player = client.token_info(match_token)
        client.finish(player.match_id, {player.user_id: 300})

`Client` and `AsyncClient` are the game API (contract sections A4, A6, A7). `ResultOutbox` keeps results on disk until
they are answered. `oklp.sdk.asgi`, `oklp.sdk.flask` and `oklp.sdk.django` take match info webhooks (A3), on
`WebhookReceiver` and `WebhookVerifier`. `MatchRandom` gives all players of a match the same numbers (A8). What they
raise is drawn in `oklp.sdk.errors`; `docs/sdk.md` is the guide.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oklp.contract import (
        DeveloperConfig,
        FinishAnswer,
        GameMatch,
        GameUser,
        MatchInfo,
        Participant,
        ParticipantResult,
        TeamRef,
        TeamResult,
        TokenInfo,
    )
    from oklp.errors import FieldError, OklpError
    from oklp.sdk.client import AsyncClient, Client
    from oklp.sdk.config import ConfigSource, load_config
    from oklp.sdk.deliveries import DeliveryStore, MemoryDeliveries, SqliteDeliveries
    from oklp.sdk.errors import (
        ApiError,
        ConfigError,
        ConflictError,
        CredentialsError,
        DifferentResultError,
        InvalidCallError,
        InvalidRequestError,
        NotFoundError,
        SdkError,
        StorageError,
        UnavailableError,
        UnexpectedAnswerError,
        UnreachableError,
    )
    from oklp.sdk.outbox import AsyncResultOutbox, OutboxEntry, OutboxProblem, OutboxState, ResultOutbox
    from oklp.sdk.randomness import MatchRandom
    from oklp.sdk.receiver import AsyncWebhookReceiver, MatchRefused, WebhookAnswer, WebhookReceiver
    from oklp.sdk.requests import Participants, RetryPolicy
    from oklp.sdk.webhooks import (
        AsyncWebhookVerifier,
        MatchAborted,
        MatchStarted,
        TestEvent,
        WebhookEvent,
        WebhookVerifier,
    )

__all__ = [
    "ApiError",
    "AsyncClient",
    "AsyncResultOutbox",
    "AsyncWebhookReceiver",
    "AsyncWebhookVerifier",
    "Client",
    "ConfigError",
    "ConfigSource",
    "ConflictError",
    "CredentialsError",
    "DeliveryStore",
    "DeveloperConfig",
    "DifferentResultError",
    "FieldError",
    "FinishAnswer",
    "GameMatch",
    "GameUser",
    "InvalidCallError",
    "InvalidRequestError",
    "MatchAborted",
    "MatchInfo",
    "MatchRandom",
    "MatchRefused",
    "MatchStarted",
    "MemoryDeliveries",
    "NotFoundError",
    "OklpError",
    "OutboxEntry",
    "OutboxProblem",
    "OutboxState",
    "Participant",
    "ParticipantResult",
    "Participants",
    "ResultOutbox",
    "RetryPolicy",
    "SdkError",
    "SqliteDeliveries",
    "StorageError",
    "TeamRef",
    "TeamResult",
    "TestEvent",
    "TokenInfo",
    "UnavailableError",
    "UnexpectedAnswerError",
    "UnreachableError",
    "WebhookAnswer",
    "WebhookEvent",
    "WebhookReceiver",
    "WebhookVerifier",
    "load_config",
]

# A game server that only reports results should not have to load cryptography, nor one that only receives webhooks the
# clients: each name is imported from its module when it is first asked for.
_HOMES = {
    "oklp.contract": (
        "DeveloperConfig FinishAnswer GameMatch GameUser MatchInfo Participant ParticipantResult TeamRef TeamResult "
        "TokenInfo"
    ),
    "oklp.errors": "FieldError OklpError",
    "oklp.sdk.client": "AsyncClient Client",
    "oklp.sdk.config": "ConfigSource load_config",
    "oklp.sdk.deliveries": "DeliveryStore MemoryDeliveries SqliteDeliveries",
    "oklp.sdk.errors": (
        "ApiError ConfigError ConflictError CredentialsError DifferentResultError InvalidCallError "
        "InvalidRequestError NotFoundError SdkError StorageError UnavailableError UnexpectedAnswerError "
        "UnreachableError"
    ),
    "oklp.sdk.outbox": "AsyncResultOutbox OutboxEntry OutboxProblem OutboxState ResultOutbox",
    "oklp.sdk.randomness": "MatchRandom",
    "oklp.sdk.receiver": "AsyncWebhookReceiver MatchRefused WebhookAnswer WebhookReceiver",
    "oklp.sdk.requests": "Participants RetryPolicy",
    "oklp.sdk.webhooks": ("AsyncWebhookVerifier MatchAborted MatchStarted TestEvent WebhookEvent WebhookVerifier"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
