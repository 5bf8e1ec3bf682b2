"""The match info webhook for Flask.

    from flask import Flask
    from oklp.sdk.flask import match_webhook

    app = Flask(__name__)
    app.add_url_rule("/oklp/match", view_func=match_webhook(started=start_match, aborted=forget_match))

`oklp.sdk.receiver` has the rules.
"""

from __future__ import annotations

from typing import Final

from flask import Response, request

from oklp.sdk.config import ConfigSource
from oklp.sdk.deliveries import DeliveryStore
from oklp.sdk.receiver import METHODS, Aborted, Started, WebhookReceiver
from oklp.sdk.webhooks import MAX_BODY_BYTES

__all__ = ["MatchWebhook", "match_webhook"]


def match_webhook(
    config: ConfigSource = None,
    *,
    started: Started,
    aborted: Aborted,
    deliveries: DeliveryStore | None = None,
) -> MatchWebhook:
    """A view function that takes the webhook; arguments as for `WebhookReceiver`. Raises ConfigError."""
    return MatchWebhook(WebhookReceiver(config, started=started, aborted=aborted, deliveries=deliveries))


class MatchWebhook:
    """A view function around a receiver."""

    # Flask reads these from a view function: its endpoint's name, and the methods of the rule.
    __name__: Final = "oklp_match_webhook"
    methods: Final = METHODS
    provide_automatic_options: Final = False

    def __init__(self, receiver: WebhookReceiver) -> None:
        self._receiver = receiver

    def close(self) -> None:
        """As `WebhookReceiver.close`."""
        self._receiver.close()

    def __call__(self) -> Response:
        # The stream, not the whole body: what is too large is not read to its end.
        answer = self._receiver.handle(request.method, request.headers, request.stream.read(MAX_BODY_BYTES + 1))
        return Response(answer.body, answer.status, answer.headers)
