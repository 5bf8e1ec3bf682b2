"""The second step of a log-in: codes of an authenticator app (TOTP, RFC 6238) and recovery codes.

Passkeys have a room of their own (`passkeys`). A person has a second factor from the first app or passkey on; from then
on a password alone opens no session. Recovery codes come with the first factor and go with the last.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from oklp import contract
from oklp.errors import NotFound, Unauthenticated, WrongState
from oklp.services import auth, mails, views
from oklp.services.auth import LoggedIn, LogIn, Person
from oklp.services.mails import Pen
from oklp.services.vault import Vault
from oklp.settings import Settings
from oklp.signing import hash_token
from oklp.storage import factors as store
from oklp.storage import players as people
from oklp.storage import tickets
from oklp.storage.engine import Tx
from oklp.storage.tx import Row

STEP_MS = 30_000
# A code is taken one step early or late: clocks of telephones are not ours.
STEPS_AROUND = (0, -1, 1)
RECOVERY_CODES = 10
# Six digits of which three are right at a time: whoever has the password may guess so often, from wherever he calls.
MOST_WRONG_CODES = 20
WRONG_CODES_MS = 24 * 3_600_000  # as long as failed log-ins are kept
GONE = "The log-in has expired or was completed; begin again."


class Change(NamedTuple):
    """What a change of somebody's factors is made with: his session stays, and a mail tells him.

    `language` is that of the request, for whom no other is known.
    """

    settings: Settings
    vault: Vault
    person: Person
    session_hash: str
    mail_id: str
    language: str
    now: int


# --- what somebody has -----------------------------------------------------------------------------------------------


def factors(tx: Tx, person_id: str) -> contract.SecondFactors:
    totp = store.totp_of(tx, person_id)
    passkeys = store.passkeys_of(tx, person_id)
    has_totp = totp is not None and totp.confirmed_at is not None
    return contract.SecondFactors(
        enabled=has_totp or bool(passkeys),
        totp=has_totp,
        passkeys=[view_of_passkey(row) for row in passkeys],
        recovery_codes_left=store.codes_left(tx, person_id),
    )


def view_of_passkey(row: Row) -> contract.Passkey:
    return contract.Passkey(
        passkey_id=row.id,
        name=row.name,
        created_at=views.when(row.created_at),
        last_used_at=views.maybe_when(row.last_used_at),
    )


# --- adding and removing ---------------------------------------------------------------------------------------------


def start_totp(tx: Tx, change: Change, secret: str) -> contract.TotpEnrolment:
    """A secret for an app, which counts once a code of it was given. Raises WrongState when there is an app already."""
    known = store.totp_of(tx, change.person.id)
    if known is not None and known.confirmed_at is not None:
        raise WrongState("There is an authenticator app already; remove it first.")
    store.put_totp(tx, change.person.id, change.vault.encrypt(secret), change.now)
    return enrolment(change.settings, change.person.username, secret)


def enrolment(settings: Settings, username: str, secret: str) -> contract.TotpEnrolment:
    """A secret as apps take it."""
    import pyotp  # loaded when it is first needed

    host = urlsplit(settings.public_url).hostname
    uri = pyotp.TOTP(secret).provisioning_uri(name=username, issuer_name=f"OKLP {host}")
    return contract.TotpEnrolment(secret=secret, otpauth_uri=uri)


def confirm_totp(
    tx: Tx, change: Change, code: str, attempt: LogIn, codes: Sequence[str]
) -> contract.FactorAdded | None:
    """The app counts from now on. None for a wrong code, which counts as a failed log-in.

    Raises WrongState when there is nothing to confirm, TooManyRequests.
    """
    auth.check_failures(tx, change.settings, attempt, change.now)
    hold(tx, change.person)
    row = store.totp_of(tx, change.person.id)
    if row is None or row.confirmed_at is not None:
        raise WrongState("There is no authenticator app to confirm.")
    if not _use_totp(tx, change.vault, row, code, change.now):
        auth.fail(tx, attempt, change.now)
        return None
    store.confirm_totp(tx, change.person.id, change.now)
    return contract.FactorAdded(recovery_codes=added(tx, change, codes))


def hold(tx: Tx, person: Person) -> None:
    """Who else adds or removes factors of this person waits, so that what the account says of them stays true."""
    people.lock_person(tx, person.kind, person.id)


def added(tx: Tx, change: Change, codes: Sequence[str]) -> list[str] | None:
    """After a factor was added. With the first one come the recovery codes, and sessions without it end."""
    person = change.person
    row = people.person(tx, person.kind, person.id)
    if row is None:
        raise NotFound("There is no such account.")
    _tell(tx, change, row, "factor-added")
    if row.second_factor:
        return None
    people.update_person(tx, person.kind, person.id, second_factor=True)
    people.delete_sessions_of(tx, person.id, but=change.session_hash)
    _put_codes(tx, person.id, codes)
    return list(codes)


def remove_totp(tx: Tx, change: Change) -> None:
    """Raises NotFound."""
    hold(tx, change.person)
    if not store.delete_totp(tx, change.person.id):
        raise NotFound("There is no authenticator app.")
    _removed(tx, change)


def remove_passkey(tx: Tx, change: Change, passkey_id: str) -> None:
    """Likewise."""
    hold(tx, change.person)
    if not store.delete_passkey(tx, change.person.id, passkey_id):
        raise NotFound("There is no such passkey.")
    _removed(tx, change)


def _removed(tx: Tx, change: Change) -> None:
    person = change.person
    row = people.person(tx, person.kind, person.id)
    if row is None:
        raise NotFound("There is no such account.")
    _tell(tx, change, row, "factor-removed")
    if factors(tx, person.id).enabled:
        return
    store.delete_all(tx, person.id)
    people.update_person(tx, person.kind, person.id, second_factor=False)


def remove_all(tx: Tx, pen: Pen, kind: str, person_id: str, now: int) -> dict[str, Any]:
    """By somebody else, for a person who has lost all of them: apps, passkeys and recovery codes go.

    His password alone lets him in from then on, so whoever calls this has made sure who is asking. Every session ends,
    and so do log-ins that wait for their second step: they may be somebody else's. He is told by mail. Wrong codes are
    forgotten, or they would count against his next app.

    Returns what there was, for the audit log. Raises NotFound, and WrongState when there is no second factor.
    """
    people.lock_person(tx, kind, person_id)
    row = people.person(tx, kind, person_id)
    if row is None:
        raise NotFound("There is no such account.")
    had = factors(tx, person_id)
    if not (row.second_factor or had.enabled):  # of an app that is gone the recovery codes may be asked for still
        raise WrongState("There is no second factor.")
    store.delete_all(tx, person_id)  # before sessions: a log-in that is using one up just now is waited for
    people.update_person(tx, kind, person_id, second_factor=False)
    people.delete_sessions_of(tx, person_id)
    tickets.delete_of(tx, person_id, auth.SECOND_FACTOR)
    people.clear_failures(tx, _guesses(kind, person_id))
    mails.tell(tx, pen, kind, row, "factors-removed", now)
    return {"totp": had.totp, "passkeys": len(had.passkeys), "recovery_codes_left": had.recovery_codes_left}


def renew_codes(tx: Tx, change: Change, codes: Sequence[str]) -> contract.RecoveryCodes:
    """Ten new recovery codes; the old ones are worth nothing. Raises WrongState without a second factor."""
    if not factors(tx, change.person.id).enabled:
        raise WrongState("Recovery codes come with a second factor; there is none.")
    _put_codes(tx, change.person.id, codes)
    return contract.RecoveryCodes(recovery_codes=list(codes))


def _put_codes(tx: Tx, person_id: str, codes: Sequence[str]) -> None:
    store.replace_codes(tx, person_id, [_code_hash(person_id, code) for code in codes])


def _code_hash(person_id: str, code: str) -> str:
    """80 random bits need no stretching. Dashes and case do not count: people type these."""
    return hash_token(f"{person_id}:{code.replace('-', '').replace(' ', '').lower()}")


def _tell(tx: Tx, change: Change, row: Row, kind: str) -> None:
    pen = Pen(change.settings, change.vault, change.mail_id, change.language)
    mails.tell(tx, pen, change.person.kind, row, kind, change.now)


# --- the second step -------------------------------------------------------------------------------------------------


class SecondStep(NamedTuple):
    """A log-in whose password was right: the hash of its pending token, where it comes from, in which language."""

    kind: str
    pending_hash: str
    address: str
    user_agent: str | None
    language: str

    def attempt(self, username: str) -> LogIn:
        return LogIn(self.kind, username, self.address, self.user_agent)


def waiting(tx: Tx, step: SecondStep, now: int) -> Row:
    """Whose log-in this is. Raises Unauthenticated when it is none, or over."""
    ticket = tickets.find(tx, auth.SECOND_FACTOR, step.kind, step.pending_hash, now)
    row = people.person(tx, step.kind, ticket.subject_id) if ticket is not None else None
    if row is None:
        raise Unauthenticated(GONE, token_refused=True)
    return row


def finish_by_code(
    tx: Tx,
    settings: Settings,
    vault: Vault,
    step: SecondStep,
    code: str | None,
    recovery_code: str | None,
    token: str,
    now: int,
) -> LoggedIn:
    """The session of a log-in, if the code is right; a wrong one counts like a wrong password.

    Codes of the app, which can be guessed, are counted by account besides, and no new password forgets those.

    Raises Unauthenticated, TooManyRequests.
    """
    row = waiting(tx, step, now)
    attempt = step.attempt(row.username)
    auth.check_failures(tx, settings, attempt, now)
    right = False
    people.lock_person(tx, step.kind, row.id)  # guesses that come to several nodes at once are counted in turn
    if code is not None:
        auth.check_count(tx, _guesses(step.kind, row.id), MOST_WRONG_CODES, WRONG_CODES_MS, now)
        totp = store.totp_of(tx, row.id)
        right = totp is not None and totp.confirmed_at is not None and _use_totp(tx, vault, totp, code, now)
    elif recovery_code is not None:
        code_hash = _code_hash(row.id, recovery_code)
        right = store.use_code(tx, row.id, code_hash)
        if right and not factors(tx, row.id).enabled:
            # The app went with a lost key. Codes that were used up one by one would leave an account that seems to have
            # a second factor and asks for none: it says that it has none from now on, and an operator sets one up.
            store.delete_all(tx, row.id)
            people.update_person(tx, step.kind, row.id, second_factor=False)
        if right:
            _warn_of_recovery(tx, settings, vault, step, row, code_hash, now)
    if not right:
        auth.fail(tx, attempt, now)
        if code is not None:
            people.insert_failure(tx, _guesses(step.kind, row.id), now)
        return LoggedIn(None)
    return finish(tx, settings, step, row, token, now)


def _guesses(kind: str, person_id: str) -> str:
    """What wrong codes of an account are counted by."""
    return f"second-step:{kind}:{person_id}"


def finish(tx: Tx, settings: Settings, step: SecondStep, row: Row, token: str, now: int) -> LoggedIn:
    """Both steps are done. Raises Unauthenticated when another request has been quicker."""
    if tickets.take(tx, auth.SECOND_FACTOR, step.kind, step.pending_hash, now) is None:
        raise Unauthenticated(GONE, token_refused=True)
    people.clear_failures(tx, _guesses(step.kind, row.id))
    return auth.open_session(tx, settings, step.attempt(row.username), row.id, token, now)


def _warn_of_recovery(
    tx: Tx, settings: Settings, vault: Vault, step: SecondStep, row: Row, code_hash: str, now: int
) -> None:
    values = {**mails.news(settings, step.kind, row, step.language), "left": str(store.codes_left(tx, row.id))}
    # The code is used up, so that this happens once: its hash names the mail.
    mails.post(tx, vault, hash_token(f"recovery:{code_hash}"), "recovery-code-used", row.email, values, now)


def _use_totp(tx: Tx, vault: Vault, row: Row, code: str, now: int) -> bool:
    """Whether the code is that of about now, and of a later step than any used before (RFC 6238, section 5.2)."""
    import pyotp  # loaded when it is first needed

    hotp = pyotp.HOTP(vault.decrypt(row.secret))
    steps = [now // STEP_MS + around for around in STEPS_AROUND]
    matching = [step for step in steps if secrets.compare_digest(hotp.at(step), code)]
    return any(store.use_step(tx, row.person_id, step) for step in matching)
