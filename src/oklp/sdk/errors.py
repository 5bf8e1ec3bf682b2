"""What the clients raise, in one tree. `except SdkError` takes all of it.

    SdkError
    ├── ConfigError              the developer configuration is missing, unreadable or incomplete (also a ValueError)
    ├── InvalidCallError         an argument that the platform would refuse; nothing was sent (also a ValueError)
    ├── DifferentResultError     an outbox holds another result for the same match and players
    ├── StorageError             an outbox's or a store's file cannot be read or written; nothing was promised
    ├── UnreachableError         no answer, after every retry
    ├── UnexpectedAnswerError    an answer that is not of the contract: a proxy's page, another service
    └── ApiError                 the platform refused; has the fields of its problem (contract section B1)
        ├── CredentialsError     401 and 403: the client's credentials, or what they allow
        ├── NotFoundError        404: or another game's; a match-token that is unknown, expired or revoked
        ├── ConflictError        409: the match's state does not allow it
        ├── InvalidRequestError  400, 413 and 422: `errors` names the fields at fault
        └── UnavailableError     408, 425, 429 and 5xx, after every retry

Webhook receivers raise the classes of `oklp.errors` instead, whose `status` is what to answer the platform with.
"""

from __future__ import annotations

from typing import Final

from oklp.errors import FieldError

# The type of a problem that has none of its own (RFC 9457 §4.2.1), which every problem of the platform has.
UNNAMED: Final = "about:blank"


class SdkError(Exception):
    """The root of what the clients raise."""


class ConfigError(SdkError, ValueError):
    """The developer configuration is missing, unreadable or incomplete. Never quotes a secret."""


class InvalidCallError(SdkError, ValueError):
    """An argument that the platform would refuse. Nothing was sent; `errors` names the fields at fault."""

    def __init__(self, message: str, errors: tuple[FieldError, ...] = ()) -> None:
        super().__init__(message)
        self.errors = errors


class DifferentResultError(SdkError):
    """The outbox holds another result for the same match and players, and the first is final. Nothing was stored."""


class StorageError(SdkError):
    """The SQLite file of an outbox or of a store of deliveries cannot be read or written. What was asked for was not
    done, and nothing was promised.
    """


class UnreachableError(SdkError):
    """No answer came, after `attempts` attempts. The request may have been carried out all the same; repeating it is
    safe, as every endpoint of the game API is idempotent.
    """

    def __init__(self, message: str, attempts: int) -> None:
        super().__init__(message)
        self.attempts = attempts


class UnexpectedAnswerError(SdkError):
    """An answer with a status of success or redirection that the contract does not know."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class ApiError(SdkError):
    """The platform refused. `code` is the stable name of the refusal (`not-found`), made from the problem's `type`.

    From the token endpoint, whose errors have the form of RFC 6749 §5.2, `code` is its `error` (`invalid_client`).
    """

    def __init__(
        self,
        *,
        status: int,
        title: str,
        detail: str,
        type: str = UNNAMED,  # noqa: A002 - the problem's own name for it (RFC 9457)
        code: str = "",
        errors: tuple[FieldError, ...] = (),
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(f"{status} {title}" + (f": {detail}" if detail and detail != title else ""))
        self.status = status
        self.title = title
        self.detail = detail
        self.type = type
        self.code = code
        self.errors = errors
        self.retry_after_seconds = retry_after_seconds


class CredentialsError(ApiError):
    """401 or 403."""


class NotFoundError(ApiError):
    """404."""


class ConflictError(ApiError):
    """409."""


class InvalidRequestError(ApiError):
    """400, 413 or 422."""


class UnavailableError(ApiError):
    """408, 425, 429 or 5xx, after every retry; `retry_after_seconds` when the platform said so."""


def is_passing(status: int) -> bool:
    """Whether the same request may be answered otherwise in a while. 408 did not arrive whole and in time, 425 came
    too early in a connection for what stands before the platform (RFC 8470).
    """
    return status in (408, 425, 429) or status >= 500


def api_error_class(status: int) -> type[ApiError]:
    if is_passing(status):
        return UnavailableError
    return {
        400: InvalidRequestError,
        401: CredentialsError,
        403: CredentialsError,
        404: NotFoundError,
        409: ConflictError,
        413: InvalidRequestError,
        422: InvalidRequestError,
    }.get(status, ApiError)
