"""The match info webhook for Django.

    from django.urls import path
    from oklp.sdk.django import match_webhook

    urlpatterns = [path("oklp/match", match_webhook(started=start_match, aborted=forget_match))]

`oklp.sdk.receiver` has the rules.
"""

from __future__ import annotations

from typing import Final

from django.http import HttpRequest, HttpResponse

from oklp.sdk.config import ConfigSource
from oklp.sdk.deliveries import DeliveryStore
from oklp.sdk.receiver import Aborted, Started, WebhookReceiver
from oklp.sdk.webhooks import MAX_BODY_BYTES

__all__ = ["MatchWebhook", "match_webhook"]


def match_webhook(
    config: ConfigSource = None,
    *,
    started: Started,
    aborted: Aborted,
    deliveries: DeliveryStore | None = None,
) -> MatchWebhook:
    """A view that takes the webhook; arguments as for `WebhookReceiver`. Raises ConfigError."""
    return MatchWebhook(WebhookReceiver(config, started=started, aborted=aborted, deliveries=deliveries))


class MatchWebhook:
    """A view around a receiver."""

    # The platform has no cookie of this site, and proves who it is by its token and signature.
    csrf_exempt: Final = True

    def __init__(self, receiver: WebhookReceiver) -> None:
        self._receiver = receiver

    def __call__(self, request: HttpRequest) -> HttpResponse:
        # Read as a stream: what is too large is not read to its end.
        answer = self._receiver.handle(request.method or "", request.headers, request.read(MAX_BODY_BYTES + 1))
        return HttpResponse(answer.body, status=answer.status, headers=answer.headers)
