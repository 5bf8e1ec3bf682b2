"""Second factors and passkeys, the same in the player, studio and operator APIs (contract section B8)."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.responses import JSONResponse, Response

from oklp import contract
from oklp.services import factors
from oklp.services.auth import Person
from oklp.services.factors import Change
from oklp.web import second_step
from oklp.web.caller import AsSelf, Here, OfKind, bearer
from oklp.web.context import Context, new_recovery_codes, new_totp_secret
from oklp.web.sessions import NO_STORE, prove_password

router = APIRouter()

PasskeyPath = Annotated[contract.UserId, Path()]


def _change(here: Context, request: Request, person: Person) -> Change:
    return second_step.change_of(here, request, person, bearer(request))


def _secret(thing: contract.Wire, status: int = 200) -> Response:
    """What is shown this once."""
    return Response(thing.model_dump_json(), status, NO_STORE, "application/json")


# --- one's own factors -----------------------------------------------------------------------------------------------


@router.get("/me/second-factors", response_model=contract.SecondFactors)
async def read_factors(here: Here, person: AsSelf) -> contract.SecondFactors:
    """What the caller's log-ins are completed with."""
    return await here.db.read(factors.factors, person.id)


@router.post("/me/totp", response_model=contract.TotpEnrolment)
async def start_totp(here: Here, request: Request, person: AsSelf, body: contract.CurrentPassword) -> Response:
    """A secret for an authenticator app. It counts once a code was given to `/me/totp/confirm`."""
    await prove_password(here, request, person, body.password, "password")
    change = _change(here, request, person)
    return _secret(await here.db.write(factors.start_totp, change, new_totp_secret()))


@router.post("/me/totp/confirm", response_model=contract.FactorAdded)
async def confirm_totp(here: Here, request: Request, person: AsSelf, body: contract.TotpCode) -> Response:
    """The app counts. With a first factor come ten recovery codes, shown this once."""
    added = await second_step.confirm_totp(here, request, _change(here, request, person), body.code)
    return _secret(added)


@router.post("/me/totp/remove", status_code=204)
async def remove_totp(here: Here, request: Request, person: AsSelf, body: contract.CurrentPassword) -> Response:
    await prove_password(here, request, person, body.password, "password")
    await here.db.write(factors.remove_totp, _change(here, request, person))
    return Response(status_code=204)


@router.post("/me/recovery-codes", response_model=contract.RecoveryCodes)
async def renew_codes(here: Here, request: Request, person: AsSelf, body: contract.CurrentPassword) -> Response:
    """Ten new recovery codes, shown this once; the old ones are worth nothing."""
    await prove_password(here, request, person, body.password, "password")
    return _secret(await here.db.write(factors.renew_codes, _change(here, request, person), new_recovery_codes()))


@router.post("/me/passkeys/options", response_model=dict[str, Any])
async def passkey_options(here: Here, request: Request, person: AsSelf, body: contract.CurrentPassword) -> JSONResponse:
    """What `navigator.credentials.create` takes as `publicKey` (its JSON form)."""
    await prove_password(here, request, person, body.password, "password")
    options = await second_step.registration_options(here, person)
    return JSONResponse(options, headers=NO_STORE)


@router.post("/me/passkeys", status_code=201, response_model=contract.NewPasskey)
async def add_passkey(here: Here, request: Request, person: AsSelf, body: contract.PasskeyRegistration) -> Response:
    """The passkey that the browser has made. With a first factor come ten recovery codes, shown this once."""
    made = await second_step.add_passkey(here, _change(here, request, person), body)
    return _secret(made, 201)


@router.post("/me/passkeys/{passkey_id}/remove", status_code=204)
async def remove_passkey(
    here: Here, request: Request, person: AsSelf, passkey_id: PasskeyPath, body: contract.CurrentPassword
) -> Response:
    await prove_password(here, request, person, body.password, "password")
    await here.db.write(factors.remove_passkey, _change(here, request, person), passkey_id)
    return Response(status_code=204)


# --- logging in ------------------------------------------------------------------------------------------------------


@router.post("/sessions/second-factor", status_code=201, response_model=contract.Session)
async def second_factor(here: Here, request: Request, kind: OfKind, body: contract.SecondFactor) -> contract.Session:
    """The second step of a log-in: a code of the app, a recovery code, or a passkey."""
    return await second_step.finish(here, request, kind, body)


@router.post("/sessions/passkey/options", response_model=dict[str, Any])
async def log_in_options(
    here: Here, request: Request, kind: OfKind, body: contract.PasskeyLogInStart | None = None
) -> JSONResponse:
    """What `navigator.credentials.get` takes as `publicKey`: for a log-in by passkey alone, or for a second step."""
    pending_token = body.pending_token if body is not None else None
    options = await second_step.log_in_options(here, request, kind, pending_token)
    return JSONResponse(options, headers=NO_STORE)


@router.post("/sessions/passkey", status_code=201, response_model=contract.Session)
async def log_in_by_passkey(
    here: Here, request: Request, kind: OfKind, body: contract.PasskeyLogIn
) -> contract.Session:
    """Log in by a passkey that has seen its owner: two factors in one, so that there is no second step."""
    return await second_step.by_passkey(here, request, kind, body.credential)
