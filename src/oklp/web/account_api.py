"""What everybody may do with his own account, the same in the player, studio and operator APIs (contract section B7).

The routes are under the address of each API, which says whose they are.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from oklp import contract
from oklp.services import accounts, auth
from oklp.signing import hash_token
from oklp.web import sessions
from oklp.web.caller import AsSelf, Here, OfKind, address_of, bearer
from oklp.web.context import new_draft, new_uuid
from oklp.web.languages import language_of
from oklp.web.sessions import prove_password, reset_password

router = APIRouter()

ASKED = contract.Accepted(detail="If there is such an account with an address, a mail is on its way.")
SENT = contract.Accepted(detail="A mail with a link is on its way, if there is an address to prove.")


# --- sessions --------------------------------------------------------------------------------------------------------


@router.get("/sessions", response_model=contract.OpenSessions)
async def list_sessions(here: Here, request: Request, person: AsSelf) -> contract.OpenSessions:
    """Everywhere that the caller is logged in, newest first."""
    return await here.db.read(auth.open_sessions, person.id, hash_token(bearer(request)), here.clock())


@router.delete("/sessions", status_code=204)
async def end_other_sessions(here: Here, request: Request, person: AsSelf) -> Response:
    """Log out everywhere but here."""
    await here.db.write(auth.end_other_sessions, person.id, hash_token(bearer(request)))
    return Response(status_code=204)


@router.delete("/sessions/{session_id}", status_code=204)
async def end_session(here: Here, person: AsSelf, session_id: Annotated[contract.SessionId, Path()]) -> Response:
    """Log out there."""
    await here.db.write(auth.end_session, person.id, session_id, here.clock())
    return Response(status_code=204)


# --- passwords -------------------------------------------------------------------------------------------------------


@router.post("/password-resets", status_code=202, response_model=contract.Accepted)
async def ask_reset(here: Here, request: Request, kind: OfKind, body: contract.PasswordReset) -> contract.Accepted:
    """Send a link for a new password. The answer is the same whether or not there is such an account."""
    made = (body.name_or_email, address_of(request), new_uuid(), language_of(request), here.clock())
    await here.db.write(accounts.ask_reset, here.settings, here.vault, kind, *made)
    return ASKED


@router.post("/password-resets/confirm", status_code=204)
async def confirm_reset(
    here: Here, request: Request, kind: OfKind, body: contract.PasswordResetConfirmation
) -> Response:
    """A new password for the account that the link was made for. All of its sessions end."""
    await reset_password(here, request, kind, body.token, body.password)
    return Response(status_code=204)


@router.post("/me/password", status_code=204)
async def change_password(here: Here, request: Request, person: AsSelf, body: contract.PasswordChange) -> Response:
    """A new password. The caller's other sessions end."""
    current, new = body.current_password, body.password
    await sessions.change_password(here, request, person, current, new, bearer(request))
    return Response(status_code=204)


# --- e-mail addresses ------------------------------------------------------------------------------------------------


@router.post("/me/email", status_code=202, response_model=contract.Accepted)
async def change_email(here: Here, request: Request, person: AsSelf, body: contract.EmailChange) -> contract.Accepted:
    """Send a link to the new address, which is the account's once the link was followed."""
    await prove_password(here, request, person, body.password, "password")
    await here.db.write(
        accounts.change_email,
        here.settings,
        here.vault,
        person.kind,
        person.id,
        body.email,
        address_of(request),
        new_draft(language_of(request)),
        here.clock(),
    )
    return SENT


@router.post("/me/email-verifications", status_code=202, response_model=contract.Accepted)
async def verify_again(here: Here, request: Request, person: AsSelf) -> contract.Accepted:
    """Send the link that proves the address once more; earlier ones stop working."""
    await here.db.write(
        accounts.verify_again,
        here.settings,
        here.vault,
        person.kind,
        person.id,
        address_of(request),
        new_draft(language_of(request)),
        here.clock(),
    )
    return SENT


@router.post("/email-verifications/confirm", status_code=204)
async def confirm_email(here: Here, request: Request, kind: OfKind, body: contract.EmailConfirmation) -> Response:
    """The address that the link was sent to is proved."""
    made = (hash_token(body.token), new_uuid(), language_of(request), here.clock())
    await here.db.write(accounts.confirm_email, here.settings, here.vault, kind, *made)
    return Response(status_code=204)
