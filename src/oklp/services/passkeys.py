"""Passkeys (Web Authentication, level 2): registering one, logging in with it alone or as the second step.

The sums are in the library's hands, and are done outside of any transaction: `*_options` and `verify_*` know no
database. A challenge is made here, kept as a hash, and used up by the first answer, be it right or wrong.
"""

from __future__ import annotations

import ipaddress
import json
import uuid
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from oklp import contract
from oklp.errors import Conflict, InvalidRequest, LimitReached, NotFound, Unauthenticated, invalid
from oklp.services import auth, factors
from oklp.services.auth import LoggedIn, LogIn, Person
from oklp.services.factors import Change, SecondStep
from oklp.settings import Settings
from oklp.signing import hash_token
from oklp.storage import factors as store
from oklp.storage import players as people
from oklp.storage.engine import Tx
from oklp.storage.tx import Row

REGISTRATION, LOG_IN, SECOND_STEP = "registration", "log-in", "second-step"
CHALLENGE_MS = 300_000
MOST = 20
PLATFORM = "OKLP"


class Site(NamedTuple):
    """What a passkey is bound to: a host, and the origins of its pages."""

    rp_id: str
    origins: list[str]

    @classmethod
    def of(cls, settings: Settings) -> Site:
        """From the public URL. Browsers take no addresses for hosts: on loopback it is `localhost`."""
        parts = urlsplit(settings.public_url)
        origin, host = f"{parts.scheme}://{parts.netloc}", parts.hostname or ""
        try:
            is_loopback = ipaddress.ip_address(host).is_loopback
        except ValueError:
            is_loopback = False
        if not is_loopback:
            return cls(host, [origin])
        port = f":{parts.port}" if parts.port is not None else ""
        return cls("localhost", [origin, f"{parts.scheme}://localhost{port}"])


class Verified(NamedTuple):
    """Of an answer that was right."""

    credential_id: str
    public_key: str
    sign_count: int


def _encoded(value: bytes) -> str:
    return urlsafe_b64encode(value).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def bad_credential() -> InvalidRequest:
    return invalid("credential", "is not the answer to a challenge of ours, or not a valid one")


def challenge_of(credential: contract.Credential) -> bytes:
    """The challenge that a browser says it answers. Raises InvalidRequest."""
    try:
        return _decoded(json.loads(_decoded(credential.response.client_data_json))["challenge"])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise bad_credential() from None


# --- challenges ------------------------------------------------------------------------------------------------------


def known(tx: Tx, person_id: str) -> list[str]:
    """The credentials that somebody has."""
    return [row.credential_id for row in store.passkeys_of(tx, person_id)]


def remember(tx: Tx, purpose: str, kind: str, person_id: str | None, challenge: bytes, now: int) -> None:
    """A challenge was given out."""
    store.insert_challenge(
        tx,
        challenge_hash=hash_token(_encoded(challenge)),
        purpose=purpose,
        kind=kind,
        person_id=person_id,
        expires_at=now + CHALLENGE_MS,
    )


def take(tx: Tx, purpose: str, kind: str, person_id: str | None, challenge: bytes, now: int) -> bool:
    """Whether this was given out for this, to this person. It is used up in any case, and so this is no refusal."""
    row = store.take_challenge(tx, hash_token(_encoded(challenge)), purpose, kind, now)
    return row is not None and row.person_id == person_id


def registration_options(site: Site, person: Person, credentials: Sequence[str], challenge: bytes) -> dict[str, Any]:
    """What `navigator.credentials.create` takes."""
    import webauthn
    from webauthn.helpers import structs

    options = webauthn.generate_registration_options(
        rp_id=site.rp_id,
        rp_name=PLATFORM,
        user_id=uuid.UUID(person.id).bytes,
        user_name=person.username,
        challenge=challenge,
        timeout=CHALLENGE_MS,
        authenticator_selection=structs.AuthenticatorSelectionCriteria(
            resident_key=structs.ResidentKeyRequirement.PREFERRED,
            user_verification=structs.UserVerificationRequirement.PREFERRED,
        ),
        exclude_credentials=[structs.PublicKeyCredentialDescriptor(id=_decoded(each)) for each in credentials],
    )
    found: dict[str, Any] = json.loads(webauthn.options_to_json(options))
    return found


def log_in_options(site: Site, credentials: Sequence[str] | None, challenge: bytes) -> dict[str, Any]:
    """What `navigator.credentials.get` takes. Without `credentials` the browser offers those that it knows.

    A passkey that is the only step must have seen a finger or a PIN, so as to be two factors.
    """
    import webauthn
    from webauthn.helpers import structs

    need = structs.UserVerificationRequirement
    options = webauthn.generate_authentication_options(
        rp_id=site.rp_id,
        challenge=challenge,
        timeout=CHALLENGE_MS,
        allow_credentials=[structs.PublicKeyCredentialDescriptor(id=_decoded(each)) for each in credentials or ()],
        user_verification=need.REQUIRED if credentials is None else need.PREFERRED,
    )
    found: dict[str, Any] = json.loads(webauthn.options_to_json(options))
    return found


# --- answers ---------------------------------------------------------------------------------------------------------


def verify_registration(site: Site, credential: contract.Credential, challenge: bytes) -> Verified:
    """Raises InvalidRequest."""
    import webauthn

    try:
        done = webauthn.verify_registration_response(
            credential=credential.model_dump(by_alias=True, exclude_none=True),
            expected_challenge=challenge,
            expected_rp_id=site.rp_id,
            expected_origin=site.origins,
        )
    except Exception:  # the bytes go through CBOR, ASN.1 and X.509: whatever any of these raises, they are no good
        raise bad_credential() from None
    return Verified(_encoded(done.credential_id), _encoded(done.credential_public_key), done.sign_count)


def verify_answer(
    site: Site, credential: contract.Credential, challenge: bytes, public_key: str, sign_count: int, alone: bool
) -> Verified:
    """`alone`: it is the only step, and must have seen its owner. Raises InvalidRequest."""
    import webauthn

    try:
        done = webauthn.verify_authentication_response(
            credential=credential.model_dump(by_alias=True, exclude_none=True),
            expected_challenge=challenge,
            expected_rp_id=site.rp_id,
            expected_origin=site.origins,
            credential_public_key=_decoded(public_key),
            credential_current_sign_count=sign_count,
            require_user_verification=alone,
        )
    except Exception:  # as above
        raise bad_credential() from None
    return Verified(credential.id, public_key, done.new_sign_count)


def add(
    tx: Tx, change: Change, passkey_id: str, name: str, verified: Verified, codes: Sequence[str]
) -> contract.NewPasskey:
    """Raises Conflict for a credential that is known, LimitReached."""
    factors.hold(tx, change.person)
    if len(store.passkeys_of(tx, change.person.id)) >= MOST:
        raise LimitReached(f"An account has {MOST} passkeys at the most.")
    with tx.refusing(Conflict("This passkey is known already.")):
        store.insert_passkey(
            tx,
            id=passkey_id,
            kind=change.person.kind,
            person_id=change.person.id,
            credential_id=verified.credential_id,
            public_key=verified.public_key,
            sign_count=verified.sign_count,
            name=name,
            created_at=change.now,
        )
    recovery_codes = factors.added(tx, change, codes)
    row = store.passkey(tx, change.person.kind, verified.credential_id)
    if row is None:
        raise NotFound("There is no such passkey.")
    return contract.NewPasskey(**factors.view_of_passkey(row).model_dump(), recovery_codes=recovery_codes)


def find(tx: Tx, kind: str, credential: contract.Credential, person_id: str | None) -> Row:
    """The passkey that a browser speaks for; of this person, unless it is the only step. Raises InvalidRequest."""
    row = store.passkey(tx, kind, credential.id)
    if row is None or person_id not in (None, row.person_id):
        raise bad_credential()
    handle = credential.response.user_handle
    if handle is not None and handle.rstrip("=") != _encoded(uuid.UUID(row.person_id).bytes):
        raise bad_credential()
    return row


def log_in(
    tx: Tx,
    settings: Settings,
    kind: str,
    passkey: Row,
    sign_count: int,
    address: str,
    user_agent: str | None,
    token: str,
    now: int,
) -> LoggedIn:
    """A session by a passkey alone. Raises Unauthenticated when its count did not rise, or it was removed."""
    row = people.person(tx, kind, passkey.person_id)
    if row is None or not store.use_passkey(tx, passkey.id, sign_count, now):
        raise Unauthenticated("The passkey was refused.")
    return auth.open_session(tx, settings, LogIn(kind, row.username, address, user_agent), row.id, token, now)


def finish_log_in(
    tx: Tx, settings: Settings, step: SecondStep, passkey: Row, sign_count: int, token: str, now: int
) -> LoggedIn:
    """The second step by a passkey. Raises Unauthenticated."""
    row = factors.waiting(tx, step, now)
    if row.id != passkey.person_id or not store.use_passkey(tx, passkey.id, sign_count, now):
        raise Unauthenticated("The passkey was refused.")
    return factors.finish(tx, settings, step, row, token, now)
