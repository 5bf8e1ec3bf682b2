"""Logging in and out, which is the same for players, studio members and operators."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from oklp import contract
from oklp.errors import InvariantBroken, SecondFactorRequired, Unauthenticated, invalid
from oklp.observability import count, login_failures
from oklp.services import accounts, auth, vault, views
from oklp.services.auth import LoggedIn, LogIn, Person
from oklp.signing import hash_token
from oklp.web.caller import address_of, bearer
from oklp.web.context import Context, new_token, new_uuid
from oklp.web.languages import language_of

NO_STORE = {"Cache-Control": "no-store"}
USER_AGENT_CHARS = 200


def attempt_of(request: Request, kind: str, username: str) -> LogIn:
    """Who says who he is, and from where."""
    return LogIn(kind, username, address_of(request), user_agent_of(request))


def user_agent_of(request: Request) -> str | None:
    """What the caller's program says it is."""
    user_agent = request.headers.get("user-agent", "")[:USER_AGENT_CHARS]
    return "".join(filter(str.isprintable, user_agent)) or None


async def prove_password(here: Context, request: Request, person: Person, password: str, field: str) -> None:
    """That it is the caller himself, and not somebody who found his session.

    Raises InvalidRequest for a wrong password, TooManyRequests after too many.
    """
    attempt = attempt_of(request, person.kind, person.username)
    known = await here.db.read(auth.begin_login, here.settings, attempt, here.clock())
    right = await here.in_pool(vault.verify_password, password, known.password_hash or vault.NEVER_MATCHES)
    if not await here.db.write(auth.check_password, here.settings, attempt, right, here.clock()):
        count(login_failures)
        raise invalid(field, "is not the password of this account")


async def log_in_as(here: Context, request: Request, kind: str, body: contract.LogIn) -> contract.Session:
    """Check a password and open a session. One refusal for unknown names and wrong passwords, and one duration."""
    attempt = attempt_of(request, kind, body.username)
    known = await here.db.read(auth.begin_login, here.settings, attempt, here.clock())
    right = await here.in_pool(vault.verify_password, body.password, known.password_hash or vault.NEVER_MATCHES)
    token = new_token()
    subject_id = known.subject_id if right else None
    done = await here.db.write(auth.end_login, here.settings, attempt, subject_id, token, here.clock())
    if done.expires_at is None:
        count(login_failures)
        raise Unauthenticated(auth.LOGIN_REFUSED)
    if done.methods:
        raise SecondFactorRequired(
            "The password is right. Complete the log-in with a second factor.",
            pending_token=token,
            methods=done.methods,
            expires_in=here.settings.second_factor_seconds,
        )
    return session_of(here, token, done)


def session_of(here: Context, token: str, done: LoggedIn) -> contract.Session:
    """What whoever is logged in gets."""
    if done.expires_at is None:
        raise InvariantBroken("a session that was refused was to be given out")
    expires_in = here.settings.session_seconds
    return contract.Session(token=token, expires_in=expires_in, expires_at=views.when(done.expires_at))


async def log_out_of(here: Context, request: Request) -> Response:
    """End the session that the request came with."""
    await here.db.write(auth.log_out, hash_token(bearer(request)))
    return Response(status_code=204)


async def reset_password(here: Context, request: Request, kind: str, token: str, password: str) -> None:
    """A new password by the link of a mail. All sessions end. Raises InvalidRequest."""
    token_hash = hash_token(token)
    await here.db.read(accounts.check_reset, kind, token_hash, here.clock())
    password_hash = await here.in_pool(vault.hash_password, password)
    made = (token_hash, password_hash, address_of(request), new_uuid(), language_of(request), here.clock())
    await here.db.write(accounts.confirm_reset, here.settings, here.vault, kind, *made)


async def change_password(here: Context, request: Request, person: Person, current: str, new: str, token: str) -> None:
    """A new password for somebody who knows the old one. Sessions other than that of `token` end."""
    await prove_password(here, request, person, current, "current_password")
    password_hash = await here.in_pool(vault.hash_password, new)
    made = (password_hash, hash_token(token), new_uuid(), language_of(request), here.clock())
    await here.db.write(accounts.change_password, here.settings, here.vault, person.kind, person.id, *made)
