"""Second factors at the edge, for the APIs and the pages alike: challenges, answers, the end of a log-in.

The library's sums are done in the pool, between a transaction that takes a challenge and one that records the outcome.
"""

from __future__ import annotations

import secrets
from typing import Any

from fastapi import Request

from oklp import contract
from oklp.errors import Unauthenticated, invalid
from oklp.observability import count, login_failures
from oklp.services import factors, passkeys
from oklp.services.auth import LoggedIn, Person
from oklp.services.factors import Change, SecondStep
from oklp.services.passkeys import Site
from oklp.signing import hash_token
from oklp.web.caller import address_of
from oklp.web.context import Context, new_recovery_codes, new_token, new_uuid
from oklp.web.languages import language_of
from oklp.web.sessions import attempt_of, session_of, user_agent_of

CHALLENGE_BYTES = 32


def change_of(here: Context, request: Request, person: Person, session_token: str) -> Change:
    """A change of somebody's own factors, with the session that stays."""
    made = (hash_token(session_token), new_uuid(), language_of(request), here.clock())
    return Change(here.settings, here.vault, person, *made)


async def confirm_totp(here: Context, request: Request, change: Change, code: str) -> contract.FactorAdded:
    """The app counts from now on. Raises InvalidRequest for a wrong code, WrongState, TooManyRequests."""
    attempt = attempt_of(request, change.person.kind, change.person.username)
    added = await here.db.write(factors.confirm_totp, change, code, attempt, new_recovery_codes())
    if added is None:
        count(login_failures)
        raise invalid("code", "is not the code that the app shows now")
    return added


# --- registering passkeys --------------------------------------------------------------------------------------------


async def registration_options(here: Context, person: Person) -> dict[str, Any]:
    """What `navigator.credentials.create` takes as `publicKey`, in its JSON form."""
    known = await here.db.read(passkeys.known, person.id)
    challenge = secrets.token_bytes(CHALLENGE_BYTES)
    options = await here.in_pool(passkeys.registration_options, Site.of(here.settings), person, known, challenge)
    await here.db.write(passkeys.remember, passkeys.REGISTRATION, person.kind, person.id, challenge, here.clock())
    return options


async def add_passkey(here: Context, change: Change, body: contract.PasskeyRegistration) -> contract.NewPasskey:
    """Raises InvalidRequest, Conflict, LimitReached."""
    person = change.person
    challenge = passkeys.challenge_of(body.credential)
    await _take(here, passkeys.REGISTRATION, person.kind, person.id, challenge)
    verified = await here.in_pool(passkeys.verify_registration, Site.of(here.settings), body.credential, challenge)
    return await here.db.write(passkeys.add, change, new_uuid(), body.name, verified, new_recovery_codes())


async def _take(here: Context, purpose: str, kind: str, person_id: str | None, challenge: bytes) -> None:
    if not await here.db.write(passkeys.take, purpose, kind, person_id, challenge, here.clock()):
        raise passkeys.bad_credential()


# --- logging in ------------------------------------------------------------------------------------------------------


def _step(request: Request, kind: str, pending_token: str) -> SecondStep:
    where = (address_of(request), user_agent_of(request), language_of(request))
    return SecondStep(kind, hash_token(pending_token), *where)


async def log_in_options(here: Context, request: Request, kind: str, pending_token: str | None) -> dict[str, Any]:
    """What `navigator.credentials.get` takes as `publicKey`: for a second step, or for a log-in by passkey alone."""
    challenge = secrets.token_bytes(CHALLENGE_BYTES)
    person_id, credentials, purpose = None, None, passkeys.LOG_IN
    if pending_token is not None:
        person_id = (await here.db.read(factors.waiting, _step(request, kind, pending_token), here.clock())).id
        credentials, purpose = await here.db.read(passkeys.known, person_id), passkeys.SECOND_STEP
    options = await here.in_pool(passkeys.log_in_options, Site.of(here.settings), credentials, challenge)
    await here.db.write(passkeys.remember, purpose, kind, person_id, challenge, here.clock())
    return options


async def finish(here: Context, request: Request, kind: str, body: contract.SecondFactor) -> contract.Session:
    """The second step of a log-in: a code of the app, a recovery code, or a passkey.

    Raises Unauthenticated (with `token_refused` when the log-in is over), InvalidRequest, TooManyRequests.
    """
    step = _step(request, kind, body.pending_token)
    token = new_token()
    if body.credential is not None:
        done = await _finish_by_passkey(here, step, body.credential, token)
    else:
        given = (body.code, body.recovery_code, token, here.clock())
        done = await here.db.write(factors.finish_by_code, here.settings, here.vault, step, *given)
    if done.expires_at is None:
        count(login_failures)
        raise Unauthenticated("The code is wrong, or was used before.")
    return session_of(here, token, done)


async def _finish_by_passkey(here: Context, step: SecondStep, credential: contract.Credential, token: str) -> LoggedIn:
    person = await here.db.read(factors.waiting, step, here.clock())
    challenge = passkeys.challenge_of(credential)
    await _take(here, passkeys.SECOND_STEP, step.kind, person.id, challenge)
    known = await here.db.read(passkeys.find, step.kind, credential, person.id)
    rest = (Site.of(here.settings), credential, challenge, known.public_key, known.sign_count)
    verified = await here.in_pool(passkeys.verify_answer, *rest, alone=False)
    args = (here.settings, step, known, verified.sign_count, token, here.clock())
    return await here.db.write(passkeys.finish_log_in, *args)


async def by_passkey(here: Context, request: Request, kind: str, credential: contract.Credential) -> contract.Session:
    """Log in by a passkey that has seen its owner: two factors in one, so that there is no second step."""
    challenge = passkeys.challenge_of(credential)
    await _take(here, passkeys.LOG_IN, kind, None, challenge)
    known = await here.db.read(passkeys.find, kind, credential, None)
    rest = (Site.of(here.settings), credential, challenge, known.public_key, known.sign_count)
    verified = await here.in_pool(passkeys.verify_answer, *rest, alone=True)
    token = new_token()
    whence = (address_of(request), user_agent_of(request))
    args = (here.settings, kind, known, verified.sign_count, *whence, token, here.clock())
    return session_of(here, token, await here.db.write(passkeys.log_in, *args))
